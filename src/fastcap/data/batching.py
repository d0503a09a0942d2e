"""How captions of unequal lengths are padded and batched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastcap.errors import ConfigError, DataError, listed, many

__all__ = ["bucket_batches", "pad_tokens"]


def pad_tokens(
    sequences: Sequence[Sequence[int]], pad_id: int, length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Token ids of unequal lengths -> `token_ids (B, T)` int64 and `padding_mask (B, T)`, True where padded.

    Args:
        sequences: at least one; none is cut.
        pad_id: id at padded places.
        length: T (default: the longest sequence, so that a batch of short captions stays cheap).

    Raises:
        DataError: no sequences, or one longer than `length`.
    """
    sequences = [
        listed(sequence, "token ids", (int, np.integer), DataError)
        for sequence in many(sequences, "sequences", DataError)
    ]
    if not sequences:
        raise DataError("a batch needs at least one example, got none")
    lengths = np.array([len(sequence) for sequence in sequences])
    longest = int(lengths.max())
    if length is None:
        length = longest
    elif longest > length:
        raise DataError(f"a sequence of {longest} tokens does not fit the batch length {length}")
    padding_mask = np.arange(length) >= lengths[:, None]
    token_ids = np.full((len(sequences), length), pad_id, np.int64)
    token_ids[~padding_mask] = [token_id for sequence in sequences for token_id in sequence]
    return token_ids, padding_mask


def bucket_batches(
    lengths: Sequence[int], max_tokens: int, seed: int, epoch: int, max_size: int | None = None
) -> list[list[int]]:
    """Batches of examples of about equal length, under a budget of tokens, padding included.

    Examples of equal length are shuffled, the sorted examples are cut into batches, and batches are shuffled: little
    padding, other batches in every epoch, and every example exactly once.

    Args:
        lengths: tokens of each example.
        max_tokens: the largest `B * T` of a batch.
        seed, epoch: decide the batches.
        max_size: the largest B (default: no limit but the tokens), where pictures cost more than tokens.

    Returns:
        Lists of indices into `lengths`.

    Raises:
        ConfigError: the budget is smaller than the longest example, or `max_size` is below 1.
    """
    if max_size is not None and max_size < 1:
        raise ConfigError(f"max_size is {max_size}; allowed: at least 1")
    lengths = listed(lengths, "lengths", (int, np.integer))
    longest = max(lengths, default=0)
    if longest > max_tokens:
        raise ConfigError(f"max_tokens is {max_tokens}; allowed: at least {longest}, the longest example")
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order.tolist():
        # sorted upwards: the latest example is the batch's longest
        if batch and ((len(batch) + 1) * lengths[index] > max_tokens or len(batch) == max_size):
            batches.append(batch)
            batch = []
        batch.append(index)
    if batch:
        batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))]
