"""Left-to-right decoding: greedy is the arg-max loop, a wide beam is exhaustive search, samples follow probabilities,
and limits are obeyed."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import EXPERTS, small_model

from fastcap.generation.autoregressive import beam_search, choice_probabilities, every_length, greedy_search, sample
from fastcap.layers import ImageTokens
from fastcap.model import TorchStepper
from invariants import assert_exported_equals_eager

BOS, EOS, VOCABULARY = 0, 1, 5
MARKS: dict[str, Any] = {"bos_id": BOS, "eos_id": EOS}


class ToyStepper:
    """Log-probabilities that depend on the image and on the whole past, looked up by neither sums nor products of it:
    a beam that mixed up its rows would be found out. The state holds each row's past."""

    def __init__(self, seed: int, n_images: int = 1, sharpness: float = 1.5) -> None:
        self.seed, self.n_images, self.sharpness = seed, n_images, sharpness

    def log_p(self, image: int, past: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng([self.seed, image, len(past), *past])
        logits = self.sharpness * rng.standard_normal(VOCABULARY)
        return logits - np.log(np.exp(logits).sum())

    def start(self, image_state: Any, rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        return [(image, tuple(prompt_ids)) for image in range(self.n_images) for _ in range(rows_per_image)]

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        rows = [
            (state[parent][0], (*state[parent][1], int(token)))
            for parent, token in zip(parents, token_ids, strict=True)
        ]
        return np.stack([self.log_p(image, past) for image, past in rows]), rows


def log_probability(stepper: ToyStepper, image: int, caption: tuple[int, ...]) -> float:
    past, total = (BOS,), 0.0
    for token in (*caption, EOS):
        total += stepper.log_p(image, past)[token]
        past = (*past, token)
    return total


def allowed(caption: tuple[int, ...]) -> bool:
    return all(a != b for a, b in itertools.pairwise(caption))


def every_caption(min_length: int, max_length: int, tokens: tuple[int, ...] = (2, 3, 4)) -> list[tuple[int, ...]]:
    lengths = range(min_length, max_length + 1)
    return [c for length in lengths for c in itertools.product(tokens, repeat=length) if allowed(c)]


def argmax_loop(
    stepper: ToyStepper, image: int, min_length: int, max_length: int, prompt: Sequence[int] = ()
) -> list[int]:
    past, caption = [BOS, *prompt], []
    while len(caption) < max_length:
        log_p = stepper.log_p(image, tuple(past))
        log_p[[BOS, past[-1]]] = -np.inf
        if len(caption) < min_length:
            log_p[EOS] = -np.inf
        token = int(log_p.argmax())
        if token == EOS:
            break
        past.append(token)
        caption.append(token)
    return caption


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3), st.integers(0, 3), st.integers(1, 3))
def test_one_beam_is_greedy_search_is_the_arg_max_loop(seed, min_length, more, n_images):
    stepper = ToyStepper(seed, n_images)
    limits = {"min_length": min_length, "max_length": min_length + more, "forbidden": (BOS,)}
    found = greedy_search(stepper, None, n_images, **limits, **MARKS)
    beam = beam_search(stepper, None, n_images, beams=1, **limits, **MARKS)
    for image in range(n_images):
        assert found[image].token_ids == argmax_loop(stepper, image, min_length, min_length + more)
        assert beam[image] == [found[image]]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.0, 0.7, 1.0]))
def test_a_beam_wide_enough_is_exhaustive_search(seed, min_length, more, penalty):
    stepper, limits = ToyStepper(seed, 2), (min_length, min_length + more)
    captions = every_caption(*limits)
    found = beam_search(
        stepper,
        None,
        2,
        beams=60,
        min_length=limits[0],
        max_length=limits[1],
        forbidden=(BOS,),
        length_penalty=penalty,
        **MARKS,
    )
    for image in range(2):
        scores = {c: log_probability(stepper, image, c) / max(1, len(c)) ** penalty for c in captions}
        expected = sorted(scores, key=lambda caption: -scores[caption])
        assert [tuple(hypothesis.token_ids) for hypothesis in found[image]] == expected
        assert [hypothesis.score for hypothesis in found[image]] == pytest.approx([scores[c] for c in expected])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 2), st.integers(0, 2), st.sampled_from([0.0, 0.7, 1.0]))
def test_every_length_with_beams_enough_is_every_caption(seed, min_length, more, penalty):
    stepper, limits = ToyStepper(seed), (min_length, min_length + more)
    found = every_length(
        stepper,
        None,
        beams=60,
        min_length=limits[0],
        max_length=limits[1],
        forbidden=(BOS,),
        length_penalty=penalty,
        **MARKS,
    )
    scores = {c: log_probability(stepper, 0, c) / max(1, len(c)) ** penalty for c in every_caption(*limits)}
    assert [tuple(each.token_ids) for each in found] == sorted(scores, key=lambda caption: -scores[caption])
    assert [each.score for each in found] == pytest.approx(sorted(scores.values(), reverse=True))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 5))
def test_captions_of_every_length_are_those_of_searches_for_one_length(seed, beams, longest):
    """The end mark takes no beam from what goes on, so a search that may end at one place keeps the same beginnings."""
    stepper = ToyStepper(seed)
    found = every_length(stepper, None, beams=beams, min_length=0, max_length=longest, **MARKS)
    assert {len(each.token_ids) for each in found} == set(range(longest + 1))
    for length in range(longest + 1):
        [forced] = beam_search(stepper, None, 1, beams=beams, min_length=length, max_length=length, **MARKS)
        assert [each for each in found if len(each.token_ids) == length] == forced


def test_what_is_said_at_every_length_repeats_no_run_of_tokens():
    found = every_length(ToyStepper(3, sharpness=4.0), None, beams=4, max_length=12, no_repeat=2, **MARKS)
    for each in found:
        pairs = list(itertools.pairwise(each.token_ids))
        assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize("changed", [{"beams": 0}, {"min_length": 5}, {"no_repeat": -1}])
def test_lengths_and_beams_that_make_no_sense_are_refused(changed):
    with pytest.raises(ValueError):
        every_length(ToyStepper(0), None, **({"beams": 2, "max_length": 4} | MARKS | changed))


def test_a_beam_finds_what_greed_walks_past():
    class GardenPath(ToyStepper):
        """The likelier first word, 2, leads nowhere likely; 3 leads to a certain end."""

        def log_p(self, image: int, past: tuple[int, ...]) -> np.ndarray:
            rows = {(BOS,): [0, 0, 0.6, 0.4, 0], (BOS, 2): [0, 0.3, 0, 0.3, 0.4], (BOS, 3): [0, 0.9, 0.1, 0, 0]}
            return np.log(np.array(rows.get(past, [0, 1, 0, 0, 0]), dtype=float) + 1e-12)

    settings_ = {"max_length": 3, "length_penalty": 0.0, **MARKS}
    greedy = greedy_search(GardenPath(0), None, 1, **settings_)[0]
    wide = beam_search(GardenPath(0), None, 1, beams=2, **settings_)[0][0]
    assert greedy.token_ids == [2, 4]
    assert wide.token_ids == [3]
    assert wide.score > greedy.score


def test_wider_beams_score_better_on_the_whole():
    means = []
    for beams in (1, 2, 4, 16):
        scores = [
            beam_search(ToyStepper(seed), None, 1, beams=beams, max_length=5, length_penalty=0, **MARKS)[0][0].score
            for seed in range(60)
        ]
        means.append(np.mean(scores))
    assert means == sorted(means)
    assert means[-1] > means[0] + 0.05


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 4), st.integers(0, 3))
def test_limits_are_obeyed_and_nothing_forbidden_or_repeated_comes_out(seed, beams, min_length, more):
    found = beam_search(
        ToyStepper(seed, 2, sharpness=4),
        None,
        2,
        beams=beams,
        min_length=min_length,
        max_length=min_length + more,
        forbidden=(BOS, 4),
        **MARKS,
    )
    for hypotheses in found:
        assert hypotheses
        scores = [hypothesis.score for hypothesis in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({tuple(hypothesis.token_ids) for hypothesis in hypotheses}) == len(hypotheses)
        for hypothesis in hypotheses:
            assert min_length <= len(hypothesis.token_ids) <= min_length + more
            assert set(hypothesis.token_ids) <= {2, 3}
            assert allowed(tuple(hypothesis.token_ids))


def test_images_are_searched_independently():
    together = beam_search(ToyStepper(7, 4), None, 4, beams=3, max_length=5, **MARKS)
    fewer = beam_search(ToyStepper(7, 2), None, 2, beams=3, max_length=5, **MARKS)
    assert together[:2] == fewer


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beams": 0}, "beams is 0; allowed: 1 or more"),
        ({"min_length": 4, "max_length": 3}, r"lengths 4\.\.3 are an empty range"),
        ({"min_length": -1}, r"lengths -1\.\.3 are an empty range"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        beam_search(ToyStepper(0), None, 1, **{"beams": 2, "max_length": 3, **MARKS, **changed})


# Prompts


@settings(deadline=None)
@given(st.integers(0, 10_000), st.lists(st.sampled_from([2, 3, 4]), max_size=3), st.integers(0, 2))
def test_a_caption_continues_its_prompt_which_is_no_part_of_it(seed, prompt, min_length):
    stepper, limits = ToyStepper(seed, 2), {"min_length": min_length, "max_length": min_length + 2}
    found = greedy_search(stepper, None, 2, prompt_ids=prompt, forbidden=(BOS,), **limits, **MARKS)
    drawn = sample(stepper, None, 2, samples=2, top_k=1, prompt_ids=prompt, forbidden=(BOS,), **limits, **MARKS)
    for image, hypothesis in enumerate(found):
        said = argmax_loop(stepper, image, **limits, prompt=prompt)
        assert hypothesis.token_ids == said
        past, log_p = [BOS, *prompt], []
        for token in [*said, EOS]:
            log_p.append(stepper.log_p(image, tuple(past))[token])
            past.append(token)
        assert hypothesis.log_p == pytest.approx(log_p)
        assert [each.token_ids for each in drawn[image]] == [said, said]


# Sampling


@pytest.mark.parametrize("filters", [{}, {"temperature": 0.5}, {"top_k": 2}, {"top_p": 0.6}], ids=str)
def test_samples_come_as_often_as_their_probability_says(filters):
    """A chi-square test of 3,000 captions of up to two words against the probabilities of all of them, worked out word
    by word; 0.1 % of right samplers would fail it, and none does, as the seed is fixed."""
    stepper = ToyStepper(5)
    expected: dict[tuple[int, ...], float] = {}

    def walk(past: tuple[int, ...], probability: float) -> None:
        log_p = stepper.log_p(0, past)
        log_p[[BOS, past[-1]]] = -np.inf
        if len(past) == 3:
            log_p[[token for token in range(VOCABULARY) if token != EOS]] = -np.inf
        settings_ = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **filters}
        for token, p in enumerate(choice_probabilities(log_p[None], **settings_)[0]):
            if p and token == EOS:
                expected[past[1:]] = probability * p
            elif p:
                walk((*past, token), probability * p)

    walk((BOS,), 1.0)
    assert sum(expected.values()) == pytest.approx(1)
    limits = {"max_length": 2, "min_length": 0, "forbidden": (BOS,)}
    drawn = sample(stepper, None, 1, samples=3000, seed=1, **limits, **filters, **MARKS)[0]
    counts = Counter(tuple(hypothesis.token_ids) for hypothesis in drawn)
    assert counts.keys() <= expected.keys()
    statistic = sum((counts[c] - 3000 * p) ** 2 / (3000 * p) for c, p in expected.items())
    freedom = len(expected) - 1
    critical = freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3  # Wilson and Hilferty
    assert statistic < critical


def test_temperature_top_k_and_top_p_keep_what_they_say():
    log_p = np.log(np.array([[0.5, 0.25, 0.15, 0.1, 0.0]]) + 1e-300)
    rows = {
        (1.0, 0, 1.0): [0.5, 0.25, 0.15, 0.1, 0],
        (1.0, 2, 1.0): [2 / 3, 1 / 3, 0, 0, 0],
        (1.0, 0, 0.5): [1, 0, 0, 0, 0],
        (1.0, 0, 0.76): [0.5 / 0.9, 0.25 / 0.9, 0.15 / 0.9, 0, 0],
        (0.5, 2, 1.0): [0.8, 0.2, 0, 0, 0],
        (1e-3, 0, 1.0): [1, 0, 0, 0, 0],
    }
    for (temperature, top_k, top_p), expected in rows.items():
        found = choice_probabilities(log_p, temperature, top_k, top_p)
        assert found[0] == pytest.approx(expected, abs=1e-9)
    assert not choice_probabilities(np.full((1, 5), -np.inf), 1.0, 0, 1.0).any()


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_sampling_the_likeliest_token_only_is_greedy_search(seed, min_length):
    stepper, limits = ToyStepper(seed, 2), {"min_length": min_length, "max_length": min_length + 2, "forbidden": (BOS,)}
    for filters in ({"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-9}):
        found = sample(stepper, None, 2, seed=seed, **filters, **limits, **MARKS)
        expected = greedy_search(stepper, None, 2, **limits, **MARKS)
        assert [best.token_ids for (best,) in found] == [best.token_ids for best in expected]
        assert [best.score for (best,) in found] == pytest.approx([best.score for best in expected])


def test_a_seed_makes_samples_repeat_and_images_do_not_disturb_one_another():
    settings_ = {"samples": 5, "max_length": 6, **MARKS}
    first = sample(ToyStepper(3, 4), None, 4, seed=7, **settings_)
    assert sample(ToyStepper(3, 4), None, 4, seed=7, **settings_) == first
    assert sample(ToyStepper(3, 2), None, 2, seed=7, **settings_) == first[:2]
    assert sample(ToyStepper(3, 4), None, 4, seed=8, **settings_) != first
    scores = [hypothesis.score for hypothesis in first[0]]
    assert scores == sorted(scores, reverse=True)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(4, 8), st.booleans())
def test_no_sequence_of_tokens_is_said_twice_under_guard(seed, no_repeat, max_length, sampled):
    stepper, limits = ToyStepper(seed, 2), {"max_length": max_length, "no_repeat": no_repeat, **MARKS}
    if sampled:
        found = sample(stepper, None, 2, samples=3, seed=seed, **limits)
    else:
        found = beam_search(stepper, None, 2, beams=3, **limits)
    for hypothesis in itertools.chain(*found):
        windows = [hypothesis.token_ids[i : i + no_repeat] for i in range(len(hypothesis.token_ids) - no_repeat + 1)]
        assert len(windows) == len(set(map(tuple, windows)))


def test_the_guard_changes_what_a_model_that_goes_round_in_circles_says():
    class Circle(ToyStepper):
        """2 3 2 3 ... for as long as it may."""

        def log_p(self, image: int, past: tuple[int, ...]) -> np.ndarray:
            return np.log(np.array([0.01, 0.01, 0.5, 0.4, 0.08]))

    limits = {"max_length": 6, "forbidden": (BOS,), **MARKS}
    said = {n: greedy_search(Circle(0), None, 1, no_repeat=n, **limits)[0].token_ids for n in (0, 1, 2)}
    assert said == {0: [2, 3, 2, 3, 2, 3], 1: [2, 3, 4], 2: [2, 3, 2, 4, 2]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"samples": 0}, "samples is 0; allowed: 1 or more"),
        ({"temperature": 0}, "temperature is 0; allowed: above 0"),
        ({"top_k": -1}, r"top_k is -1; allowed: 0 \(all\) or more"),
        ({"top_p": 0}, "top_p is 0; allowed: above 0, at most 1"),
        ({"no_repeat": -1}, "no_repeat is -1; allowed: 0 or more"),
    ],
)
def test_sampling_refuses_settings_out_of_their_range(changed, message):
    with pytest.raises(ValueError, match=message):
        sample(ToyStepper(0), None, 1, **{"max_length": 3, **MARKS, **changed})


# The networks


@pytest.fixture(params=["moe", "rope", "rope with experts"])
def decoder(request, tiny_model):
    if request.param == "moe":
        return tiny_model.decoder.double()
    return small_model(**(EXPERTS if "experts" in request.param else {})).decoder.double()


@torch.no_grad()
def test_the_network_steps_as_it_reads_at_once(decoder):
    """Greedy search with a cache against arg-max over whole readings; and the score is the log-probability."""
    generator = torch.Generator().manual_seed(0)
    image = ImageTokens(
        torch.randn(3, 4, 32, generator=generator).double(), torch.randn(3, 32, generator=generator).double()
    )
    marks = {"bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3), "min_length": 3, "max_length": 9, "length_penalty": 0.0}
    found = greedy_search(TorchStepper(decoder), decoder.prepare(image), 3, **marks)
    drawn = sample(TorchStepper(decoder), decoder.prepare(image), 3, samples=2, top_k=1, **marks)
    assert [[each.token_ids for each in rows] for rows in drawn] == [[each.token_ids] * 2 for each in found]
    for index, hypothesis in enumerate(found):
        state = decoder.prepare(ImageTokens(image.tokens[index : index + 1], image.pooled[index : index + 1]))
        logits = decoder.logits(torch.tensor([[1, *hypothesis.token_ids]]), state, causal=True)[0]
        log_p = logits.log_softmax(dim=-1)
        targets = torch.tensor([*hypothesis.token_ids, 2])
        assert hypothesis.score == pytest.approx(log_p.gather(1, targets[:, None]).sum().item())
        logits[:, [0, 1, 3]] = -torch.inf
        logits[range(1, len(logits)), targets[:-1]] = -torch.inf
        logits[:3, 2] = -torch.inf
        expected = logits.argmax(dim=-1)[: len(hypothesis.token_ids)]
        assert hypothesis.token_ids == expected.tolist()


@torch.no_grad()
def test_beams_of_the_network_carry_their_own_past(decoder):
    image = ImageTokens(torch.randn(2, 4, 32).double(), torch.randn(2, 32).double())
    settings_ = {"beams": 4, "bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3), "max_length": 6, "length_penalty": 0.0}
    found = beam_search(TorchStepper(decoder), decoder.prepare(image), 2, **settings_)
    for index, hypotheses in enumerate(found):
        state = decoder.prepare(ImageTokens(image.tokens[index : index + 1], image.pooled[index : index + 1]))
        for hypothesis in hypotheses:
            logits = decoder.logits(torch.tensor([[1, *hypothesis.token_ids]]), state, causal=True)[0]
            targets = torch.tensor([*hypothesis.token_ids, 2])
            expected = logits.log_softmax(dim=-1).gather(1, targets[:, None]).sum().item()
            assert hypothesis.score == pytest.approx(expected)


@torch.no_grad()
def test_a_prompt_is_read_in_one_go_as_token_by_token(decoder):
    image = ImageTokens(torch.randn(2, 4, 32).double(), torch.randn(2, 32).double())
    stepper, state, prompt, rows = TorchStepper(decoder), decoder.prepare(image), [1, 17, 9, 60], np.arange(6)
    at_once, one_by_one = stepper.start(state, 3, prompt), stepper.start(state, 3)
    for token in prompt:
        _, one_by_one = stepper.step(np.full(6, token), one_by_one, rows)
    token_ids, parents = np.array([5, 6, 7, 8, 9, 10]), np.array([2, 0, 0, 5, 3, 4])
    log_p = [stepper.step(token_ids, start, parents)[0] for start in (at_once, one_by_one)]
    assert_exported_equals_eager({"log_p": log_p[0]}, {"log_p": log_p[1]}, atol=1e-10)


@torch.no_grad()
def test_a_search_of_the_network_continues_a_prompt(decoder):
    image, prompt = ImageTokens(torch.randn(2, 4, 32).double(), torch.randn(2, 32).double()), [17, 9, 60]
    settings_ = {"bos_id": 1, "eos_id": 2, "forbidden": (0, 1, 3), "max_length": 6, "length_penalty": 0.0}
    found = greedy_search(TorchStepper(decoder), decoder.prepare(image), 2, prompt_ids=prompt, **settings_)
    for index, hypothesis in enumerate(found):
        state = decoder.prepare(ImageTokens(image.tokens[index : index + 1], image.pooled[index : index + 1]))
        log_p = decoder.logits(torch.tensor([[1, *prompt, *hypothesis.token_ids]]), state, causal=True)[0, 3:]
        targets = torch.tensor([*hypothesis.token_ids, 2])
        expected = log_p.log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
        assert hypothesis.log_p == pytest.approx(expected.tolist())


@torch.no_grad()
def test_a_prompt_takes_its_part_of_the_longest_caption(tiny_model):
    image = tiny_model.encode(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    for captions in (tiny_model.search(image, prompt_ids=[17] * 8), tiny_model.sample(image, 3, prompt_ids=[17] * 8)):
        assert all(2 <= len(caption.token_ids) <= 4 for caption in captions[0])
    with pytest.raises(ValueError, match=r"lengths 2\.\.1 are an empty range"):
        tiny_model.search(image, prompt_ids=[17] * 11)
