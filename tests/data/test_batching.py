"""Batches: padding is marked, every example comes once, and an order can be taken up anywhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.data import bucket_batches, pad_tokens
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
    assert pad_tokens([[5, 6]], 0, length=4)[0].tolist() == [[5, 6, 0, 0]]
    with pytest.raises(DataError, match="3 tokens does not fit the batch length 2"):
        pad_tokens([[5, 6, 7]], 0, length=2)


@given(st.lists(st.integers(0, 24), max_size=60), st.integers(24, 100), st.none() | st.integers(1, 8))
def test_every_example_comes_once_within_the_budget(lengths: list[int], max_tokens: int, max_size: int | None) -> None:
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
