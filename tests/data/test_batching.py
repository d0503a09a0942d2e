"""Batches: padding is marked, every example comes once, and an order can be taken up anywhere."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.data import ShuffledSampler, bucket_batches, collate, pad_tokens
from fastcap.errors import ConfigError, DataError

SEQUENCES = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6)
SAMPLERS = st.tuples(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5))


# --- padding -----------------------------------------------------------------------------------------------


@given(SEQUENCES, st.integers(0, 9))
def test_what_is_not_padding_is_the_sequence(sequences: list[list[int]], pad_id: int) -> None:
    token_ids, padding_mask = pad_tokens(sequences, pad_id)
    assert token_ids.shape == padding_mask.shape == (len(sequences), max(map(len, sequences)))
    assert token_ids.dtype == np.int64
    assert padding_mask.dtype == bool
    for ids, padded, sequence in zip(token_ids, padding_mask, sequences, strict=True):
        assert ids[~padded].tolist() == sequence
        assert (ids[padded] == pad_id).all()
        assert sorted(padded) == padded.tolist()  # padding stands at the end


def test_a_fixed_length_pads_and_never_cuts() -> None:
    assert pad_tokens([[5, 6]], length=4)[0].tolist() == [[5, 6, 0, 0]]
    with pytest.raises(DataError, match="3 tokens does not fit the batch length 2"):
        pad_tokens([[5, 6, 7]], length=2)


def test_collate_stacks_pictures_beside_their_tokens() -> None:
    samples = [(np.full((2, 2, 3), n, np.uint8), [5] * n) for n in (1, 3)]
    batch = collate(samples)
    assert batch.images.shape == (2, 2, 2, 3)
    assert batch.images[:, 0, 0, 0].tolist() == [1, 3]
    assert batch.token_ids.tolist() == [[5, 0, 0], [5, 5, 5]]
    assert batch.padding_mask.tolist() == [[False, True, True], [False, False, False]]


def test_impossible_batches_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        collate([])
    with pytest.raises(DataError, match="needed: one size"):
        collate([(np.zeros((2, 2, 3), np.uint8), [5]), (np.zeros((4, 4, 3), np.uint8), [5])])


# --- length buckets ----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 24), max_size=60), st.integers(24, 100), st.none() | st.integers(1, 8))
def test_every_example_comes_once_within_the_budget(
    lengths: list[int], max_tokens: int, max_size: int | None
) -> None:
    batches = bucket_batches(lengths, max_tokens, seed=0, epoch=0, max_size=max_size)
    assert sorted(itertools.chain(*batches)) == list(range(len(lengths)))
    for batch in batches:
        assert batch
        assert len(batch) * max(lengths[i] for i in batch) <= max_tokens
        assert max_size is None or len(batch) <= max_size


def test_buckets_of_caption_lengths_hold_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(6, 20, 2000).tolist()
    batches = bucket_batches(lengths, max_tokens=512, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert padded / sum(lengths) < 1.02


def test_epochs_differ_and_repeat() -> None:
    lengths = [5, 6, 7, 8] * 20
    first, again, next_epoch, other_seed = (
        bucket_batches(lengths, 64, seed, epoch) for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]
    )
    assert first == again
    assert first != next_epoch
    assert first != other_seed
    widths = [max(lengths[i] for i in batch) for batch in first]
    assert widths != sorted(widths)  # short captions do not always come first


def test_a_budget_below_the_longest_example_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_tokens is 9; allowed: at least 10"):
        bucket_batches([3, 10], 9, seed=0, epoch=0)
    with pytest.raises(ConfigError, match="max_size is 0"):
        bucket_batches([3], 9, seed=0, epoch=0, max_size=0)


# --- the sampler -------------------------------------------------------------------------------------------


def endless(sampler: ShuffledSampler) -> itertools.chain[list[int]]:
    return itertools.chain.from_iterable(iter(lambda: sampler, None))


@given(SAMPLERS)
def test_an_epoch_holds_every_example_once(spec: tuple[int, int, int]) -> None:
    n, batch_size, seed = spec
    sampler = ShuffledSampler(n, batch_size, seed)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(itertools.chain(*batches)) == list(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(SAMPLERS, st.integers(0, 12))
def test_a_resumed_sampler_goes_on_as_if_never_stopped(spec: tuple[int, int, int], stop: int) -> None:
    whole = list(itertools.islice(endless(ShuffledSampler(*spec)), 24))
    first = ShuffledSampler(*spec)
    before = list(itertools.islice(endless(first), stop))
    second = ShuffledSampler(*spec)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert before + list(itertools.islice(endless(second), 24 - stop)) == whole


def test_the_epoch_belongs_to_the_batch_in_use_and_the_state_to_the_next() -> None:
    sampler = ShuffledSampler(4, 2, seed=0)
    seen = [(sampler.epoch, sampler.state_dict()) for _ in itertools.islice(endless(sampler), 3)]
    assert [epoch for epoch, _ in seen] == [0, 0, 1]
    assert [(state["epoch"], state["position"]) for _, state in seen] == [(0, 1), (1, 0), (1, 1)]


def test_a_broken_loop_is_taken_up_by_the_next() -> None:
    sampler, whole = ShuffledSampler(6, 2, seed=3), list(ShuffledSampler(6, 2, seed=3))
    for _ in sampler:
        break
    assert list(sampler) == whole[1:]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    sampler = ShuffledSampler(50, 50, seed=0)
    first, second = list(sampler), list(sampler)
    assert first != second
    assert first != list(ShuffledSampler(50, 50, seed=1))
    assert first == list(ShuffledSampler(50, 50, seed=0))


def test_drop_last_leaves_the_smaller_batch_out() -> None:
    assert [len(batch) for batch in ShuffledSampler(7, 3, seed=0, drop_last=True)] == [3, 3]
    with pytest.raises(ConfigError, match="leaves nothing of 2 examples"):
        ShuffledSampler(2, 3, seed=0, drop_last=True)


@pytest.mark.parametrize(("n", "batch_size"), [(0, 1), (1, 0)])
def test_an_empty_sampler_is_refused(n: int, batch_size: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ShuffledSampler(n, batch_size, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 9}, "n=9"),
        ({"seed": 1}, "seed=1"),
        ({"batch_size": 1}, "batch_size=1"),
        ({"position": 4}, "position=4"),
        ({"epoch": -1}, "epoch=-1"),
        ({"epoch": None}, "epoch=None"),
    ],
)
def test_a_state_of_another_run_is_refused(change: dict, message: str) -> None:
    sampler = ShuffledSampler(8, 2, seed=0)
    with pytest.raises(ConfigError, match=message):
        sampler.load_state_dict(sampler.state_dict() | change)
