"""ICMR: fewer masks at every pass, none at the end, a score that never falls, and nothing forbidden in a caption."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastcap.decoder.moe_decoder import ImageState
from fastcap.generation.icmr import ICMRDecoder
from fastcap.layers import ImageTokens
from fastcap.model import build_model
from fastcap.vocabulary import Vocabulary
from invariants import assert_batch_equals_single

VOCABULARY = 24


class ToyDecoder:
    """A decoder whose logits are an arbitrary but fixed function of the tokens it sees: all that refinement may rely
    on. It remembers what it was shown."""

    def __init__(self, seed: int, sharpness: float = 1.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.own = sharpness * torch.randn(32, VOCABULARY, generator=generator)
        self.others = sharpness * torch.randn(VOCABULARY, VOCABULARY, generator=generator)
        self.seen: list[Tensor] = []

    def logits(self, token_ids: Tensor, image_state: object, *, causal: bool, lengths: Tensor) -> Tensor:
        assert not causal
        self.seen.append(token_ids)
        inside = torch.arange(token_ids.shape[1]) < lengths[:, None]
        context = (self.others[token_ids] * inside[..., None]).sum(dim=1, keepdim=True)
        return self.own[: token_ids.shape[1]] + context / lengths[:, None, None] ** 0.5


PAD, BOS, EOS, MASK = range(4)


def refiner(passes: int) -> ICMRDecoder:
    return ICMRDecoder(Vocabulary(size=VOCABULARY), passes)


lengths_of_rows = st.lists(st.integers(1, 12), min_size=1, max_size=5)


@given(lengths_of_rows, st.integers(0, 1000), st.booleans())
def test_least_certain_is_true_at_exactly_the_n_smallest(counts, seed, ties):
    width = 12
    probabilities = torch.rand(len(counts), width, generator=torch.Generator().manual_seed(seed))
    if ties:
        probabilities = (probabilities * 3).round() / 3
    found = ICMRDecoder.least_certain(probabilities, torch.tensor(counts))
    for row, count in enumerate(counts):
        expected = sorted(range(width), key=lambda place: (float(probabilities[row, place]), place))[:count]
        assert found[row].nonzero().flatten().tolist() == sorted(expected)


@settings(deadline=None)
@given(lengths_of_rows, st.integers(1, 6), st.integers(0, 1000))
def test_every_pass_sees_strictly_fewer_masks_and_the_last_leaves_none(lengths, passes, seed):
    decoder, length = ToyDecoder(seed), torch.tensor(lengths)
    refined = refiner(passes)(decoder, None, length, int(length.max()))
    assert len(decoder.seen) == passes
    for row, n_tokens in enumerate(lengths):
        masks = [int((seen[row] == MASK).sum()) for seen in decoder.seen]
        assert masks == [n_tokens * (passes - done) // passes for done in range(passes)]
        if n_tokens >= passes:
            assert all(after < before for before, after in itertools.pairwise(masks))
    assert not (refined.token_ids == MASK).any()


@settings(deadline=None)
@given(lengths_of_rows, st.integers(2, 6), st.integers(0, 1000), st.floats(0.1, 8))
def test_the_kept_score_never_falls(lengths, total, seed, sharpness):
    decoder, length = ToyDecoder(seed, sharpness), torch.tensor(lengths)
    refine = refiner(total)
    scores = torch.stack(
        [refine(decoder, None, length, int(length.max()), passes=passes).scores for passes in range(1, total + 1)]
    )
    assert (scores.diff(dim=0) >= 0).all()


def test_some_passes_are_accepted_and_some_are_not():
    """Else the tests of acceptance above would show nothing."""
    changed = 0
    for seed in range(30):
        decoder = ToyDecoder(seed, 3.0)
        first, second = (refiner(2)(decoder, None, torch.tensor([8]), 8, passes=passes) for passes in (1, 2))
        changed += not torch.equal(first.token_ids, second.token_ids)
    assert 0 < changed < 30


@settings(deadline=None)
@given(lengths_of_rows, st.integers(0, 1000), st.integers(1, 4))
def test_scores_are_the_mean_log_probability_of_the_kept_tokens(lengths, seed, passes):
    length = torch.tensor(lengths)
    refined = refiner(passes)(ToyDecoder(seed), None, length, int(length.max()))
    for row, n_tokens in enumerate(lengths):
        expected = refined.probabilities[row, :n_tokens].double().log().mean()
        assert refined.scores[row].item() == pytest.approx(expected.item(), abs=1e-5)
        assert (refined.token_ids[row, n_tokens:] == PAD).all()
        assert (refined.probabilities[row, n_tokens:] == 1).all()


@pytest.fixture
def encoded(tiny_model):
    """A random model's decoder and what it prepared of 50 images."""
    generator = torch.Generator().manual_seed(0)
    image = ImageTokens(torch.randn(50, 4, 32, generator=generator), torch.randn(50, 32, generator=generator))
    with torch.no_grad():
        return tiny_model, tiny_model.decoder.prepare(image)


@torch.no_grad()
def test_one_pass_is_the_arg_max_of_every_position(encoded):
    model, state = encoded
    lengths = torch.arange(50) % 12 + 1
    refined = model.refiner(model.decoder, state, lengths, 12, passes=1)
    inside = torch.arange(12) < lengths[:, None]
    masks = torch.where(inside, MASK, PAD)
    logits = model.decoder.logits(masks, state, causal=False, lengths=lengths)
    logits[..., :5] = -torch.inf
    choice = logits.argmax(dim=-1)
    repeats = torch.nn.functional.pad(choice[:, 1:] == choice[:, :-1], (1, 0))
    assert torch.equal(refined.token_ids[inside & ~repeats], choice[inside & ~repeats])
    assert repeats.any()
    assert (refined.token_ids[inside & repeats] != choice[inside & repeats]).all()


@pytest.mark.parametrize("sharpness", [1, 30, 1000])
@torch.no_grad()
def test_nothing_forbidden_and_nothing_past_the_length_in_six_thousand_captions(encoded, sharpness):
    """However sure the model is: at 1000 times the logits every probability but the first choice's is exactly 0."""
    model, state = encoded
    model.decoder.bias.mul_(sharpness)
    model.decoder.norm.weight.mul_(sharpness)
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        lengths = torch.randint(1, 13, (200,), generator=generator)
        token_ids = model.refiner(model.decoder, state, lengths, 12).token_ids
        inside = torch.arange(12) < lengths[:, None]
        assert (token_ids[inside] >= 5).all()
        assert (token_ids[~inside] == PAD).all()


@torch.no_grad()
def test_words_ruled_out_are_never_produced_either(encoded):
    model, state = encoded
    lengths = torch.full((50,), 8)
    favourites = model.refiner(model.decoder, state, lengths, 8).token_ids.unique().tolist()
    strict = ICMRDecoder(model.vocabulary, 3, favourites)
    assert not set(strict(model.decoder, state, lengths, 8).token_ids.unique().tolist()) & set(favourites)


def test_a_token_equal_to_its_left_neighbour_gives_way_to_the_second_choice():
    class Fixed:
        """Wants `7 7 9`, and `11` second everywhere."""

        def logits(self, token_ids: Tensor, image_state: object, *, causal: bool, lengths: Tensor) -> Tensor:
            logits = torch.zeros(*token_ids.shape, VOCABULARY)
            for place, token in enumerate((7, 7, 9)):
                logits[:, place, token] = 5.0
            logits[..., 11] = 3.0
            return logits

    refined = refiner(1)(Fixed(), None, torch.tensor([3]), 3)
    assert refined.token_ids.tolist() == [[7, 11, 9]]
    assert refined.probabilities[0, 1] < refined.probabilities[0, 0]


def test_no_pass_at_all_is_refused():
    with pytest.raises(ValueError, match="passes is 0; allowed: 1 or more"):
        refiner(0)


def of_image(state: ImageState, index: int) -> ImageState:
    """The state of one of several images."""

    def one(parts):
        return type(parts)(*(part[index : index + 1] for part in parts))

    return ImageState(
        state.context[index : index + 1],
        [one(memory) for memory in state.memories],
        [one(routing) for routing in state.routings],
        [[one(expert) for expert in experts] for experts in state.experts],
    )


@torch.no_grad()
def test_rows_decoded_together_are_as_decoded_alone(encoded):
    model, state = encoded
    lengths = torch.randint(1, 13, (50,), generator=torch.Generator().manual_seed(2))
    together = model.refiner(model.decoder, state, lengths, 12)

    def alone(row: int) -> list[int]:
        length = int(lengths[row])
        return model.refiner(model.decoder, of_image(state, row), lengths[row : row + 1], length).token_ids[0].tolist()

    assert_batch_equals_single(
        [ids[:length].tolist() for ids, length in zip(together.token_ids, lengths.tolist(), strict=True)], alone
    )


# The whole model


@torch.no_grad()
def test_a_caption_obeys_the_range_and_comes_best_first(tiny_model):
    pixels = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for low, high, count in [(1, 1, 1), (2, 6, 4), (12, 12, 1), (1, 12, 12)]:
        found = tiny_model(pixels, torch.tensor([low, high]), torch.tensor([count]))
        assert found.token_ids.shape[:2] == found.lengths.shape == found.confidences.shape == (3, count)
        assert ((found.lengths >= low) & (found.lengths <= high)).all()
        assert ((found.token_ids != PAD).sum(dim=2) == found.lengths).all()
        assert (found.confidences.diff(dim=1) <= 0).all()
        assert ((found.confidences > 0) & (found.confidences <= 1)).all()


@torch.no_grad()
def test_confidence_is_the_geometric_mean_of_the_tokens_in_both_readings(tiny_model):
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = tiny_model(pixels, torch.tensor([3, 9]), torch.tensor([4]))
    state = tiny_model.decoder.prepare(tiny_model.encode(pixels))
    for image in range(2):
        for k in range(4):
            length = int(found.lengths[image, k])
            ids = found.token_ids[image, k, :length].tolist()
            own = of_image(state, image)
            log_p = tiny_model.decoder.logits(torch.tensor([[BOS, *ids]]), own, causal=True).log_softmax(dim=-1)
            causal = sum(log_p[0, t, token] for t, token in enumerate([*ids, EOS])) / (length + 1)
            parallel = found.token_confidences[image, k, :length].log().mean()
            torch.testing.assert_close(found.confidences[image, k], ((causal + parallel) / 2).exp())


@torch.no_grad()
def test_without_the_causal_reading_the_parallel_one_decides_alone(tiny_config):
    generation = dataclasses.replace(tiny_config.generation, causal_weight=0.0)
    model = build_model(dataclasses.replace(tiny_config, generation=generation)).eval()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = model(pixels, torch.tensor([3, 9]), torch.tensor([4]))
    torch.testing.assert_close(found.confidences, found.token_confidences.log().sum(dim=2).div(found.lengths).exp())


@pytest.mark.parametrize("weight", [1e4, -1e4])
@torch.no_grad()
def test_a_heavy_alignment_alone_decides_the_order(tiny_config, weight):
    generation = dataclasses.replace(tiny_config.generation, alignment_weight=weight)
    model = build_model(dataclasses.replace(tiny_config, generation=generation)).eval()
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = model(pixels, torch.tensor([3, 9]), torch.tensor([4]))
    texts = model.embed_text(found.token_ids.flatten(0, 1), found.lengths.flatten()).unflatten(0, (2, 4))
    cosines = (texts @ model.alignment.embed_image(model.encode(pixels))[..., None])[..., 0]
    assert (weight * cosines.diff(dim=1) <= 1e-6 * abs(weight)).all()


@torch.no_grad()
def test_a_picture_is_captioned_alike_alone_and_in_a_batch(tiny_model):
    pixels = torch.randint(0, 256, (5, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    limits, count = torch.tensor([2, 12]), torch.tensor([3])

    def captions(index: slice) -> list[list[list[int]]]:
        found = tiny_model(pixels[index], limits, count)
        rows = zip(found.token_ids.tolist(), found.lengths.tolist(), strict=True)
        return [[ids[:length] for ids, length in zip(*row, strict=True)] for row in rows]

    assert_batch_equals_single(captions(slice(5)), lambda index: captions(slice(index, index + 1))[0])
