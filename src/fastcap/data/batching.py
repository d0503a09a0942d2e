"""Which examples go into a batch, and how they are padded. Orders depend on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcap.errors import ConfigError, DataError

__all__ = ["Batch", "ShuffledSampler", "bucket_batches", "collate", "pad_tokens"]


class Batch(NamedTuple):
    """`images (B, H, W, 3)` uint8, `token_ids (B, T)` int64, `padding_mask (B, T)`, True where padded."""

    images: NDArray[np.uint8]
    token_ids: NDArray[np.int64]
    padding_mask: NDArray[np.bool_]


def pad_tokens(
    sequences: Sequence[Sequence[int]], pad_id: int = 0, length: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Token ids of unequal lengths -> `token_ids (B, T)` int64 and `padding_mask (B, T)`, True where padded.

    Args:
        sequences: at least one; none is cut.
        pad_id: id at padded places (default 0, `<pad>`).
        length: T (default: the longest sequence, so that a batch of short captions stays cheap).

    Raises:
        DataError: no sequences, or one longer than `length`.
    """
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


def collate(samples: Sequence[tuple[NDArray[np.uint8], Sequence[int]]], pad_id: int = 0) -> Batch:
    """Pairs (picture `(H, W, 3)` uint8, token ids) -> one padded `Batch`.

    Raises:
        DataError: no samples, or pictures of different sizes.
    """
    token_ids, padding_mask = pad_tokens([ids for _, ids in samples], pad_id)
    shapes = {image.shape for image, _ in samples}
    if len(shapes) > 1:
        raise DataError(f"pictures of one batch have the sizes {sorted(shapes)}; needed: one size")
    return Batch(np.stack([image for image, _ in samples]), token_ids, padding_mask)


def bucket_batches(
    lengths: Sequence[int], max_tokens: int, seed: int, epoch: int, max_size: int | None = None
) -> list[list[int]]:
    """Batches of examples of about equal length, under a budget of tokens, padding included.

    Examples of equal length are shuffled, batches are cut along the sorted lengths and then shuffled: close
        to no
    padding, another mixture every epoch, every example exactly once.

    Args:
        lengths: tokens of each example.
        max_tokens: largest `B * T` of a batch.
        seed, epoch: the same two give the same batches.
        max_size: largest B (default: no limit but the tokens), for when pictures cost more than tokens.

    Returns:
        Lists of indices into `lengths`.

    Raises:
        ConfigError: the budget is smaller than the longest example, or `max_size` is below 1.
    """
    if max_size is not None and max_size < 1:
        raise ConfigError(f"max_size is {max_size}; allowed: at least 1")
    longest = max(lengths, default=0)
    if longest > max_tokens:
        raise ConfigError(f"max_tokens is {max_tokens}; allowed: at least {longest}, the longest example")
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    order = order[np.argsort(np.asarray(lengths)[order], kind="stable")]
    batches: list[list[int]] = []
    batch: list[int] = []
    for index in order.tolist():
        # Sorted upwards: the newest example is the batch's longest.
        if batch and ((len(batch) + 1) * lengths[index] > max_tokens or len(batch) == max_size):
            batches.append(batch)
            batch = []
        batch.append(index)
    if batch:
        batches.append(batch)
    return [batches[i] for i in rng.permutation(len(batches))]


class ShuffledSampler:
    """Endless shuffled epochs as batches of indices, resumable to the batch.

    One pass of `for batch in sampler` is one epoch, or the rest of it after `load_state_dict` or a `break`.
    `epoch` counts from 0 and belongs to the batch that was handed out last.

    Args:
        n: number of examples.
        batch_size: indices a batch; the epoch's last batch may be smaller.
        seed: the same seed gives the same order for every epoch.
        drop_last: leave that smaller batch out (default False: no example is skipped).

    Raises:
        ConfigError: `n` or `batch_size` below 1, or `drop_last` would leave no batch.
    """

    def __init__(self, n: int, batch_size: int, seed: int, *, drop_last: bool = False) -> None:
        if n < 1 or batch_size < 1:
            raise ConfigError(f"sampler got n={n}, batch_size={batch_size}; allowed: at least 1")
        if drop_last and n < batch_size:
            raise ConfigError(f"drop_last with batch_size={batch_size} leaves nothing of {n} examples")
        self.n, self.batch_size, self.seed, self.drop_last = n, batch_size, seed, drop_last
        self.epoch = 0
        self._position = 0  # batches of this epoch that were handed out

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self._position == len(self):
            self.epoch, self._position = self.epoch + 1, 0
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n)
        while self._position < len(self):
            first = self._position * self.batch_size
            self._position += 1  # before the yield: a state taken while the batch is in use counts it as done
            yield order[first : first + self.batch_size].tolist()

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: where the next batch comes from, and what the order depends on."""
        at_edge = self._position == len(self)
        return {
            "epoch": self.epoch + at_edge,
            "position": 0 if at_edge else self._position,
            "n": self.n,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "drop_last": self.drop_last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ConfigError: the state belongs to other data or settings, whose order would be another one.
        """
        for name in ("n", "batch_size", "seed", "drop_last"):
            if state.get(name) != getattr(self, name):
                raise ConfigError(
                    f"the saved sampler has {name}={state.get(name)}, this one {name}={getattr(self, name)}: "
                    "an exact resume needs the same data and settings"
                )
        epoch, position = state.get("epoch"), state.get("position")
        if not (isinstance(epoch, int) and isinstance(position, int) and epoch >= 0 and 0 <= position < len(self)):
            raise ConfigError(
                f"the saved sampler has epoch={epoch}, position={position}; allowed: epoch at least 0, "
                f"position 0 to {len(self) - 1}"
            )
        self.epoch, self._position = epoch, position
