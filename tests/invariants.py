"""What every family of models promises. Each promise is a function that the family's tests call; where it is broken,
the failure says where the two answers part, and what usually causes that.

Letters: B images, R caption rows (those of one image side by side), T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastcap.layers import KeyValueCache

__all__ = [
    "assert_batch_equals_single",
    "assert_cached_equals_full",
    "assert_causal",
    "assert_exported_equals_eager",
    "assert_padding_blind",
]


@torch.no_grad()
def assert_cached_equals_full(decoder: Any, state: Any, token_ids: Tensor) -> None:
    """Reading token_ids (R, T) piece by piece with a cache gives the logits of reading them at once: one token at a
    time, several, and all of them."""
    length = token_ids.shape[1]
    full = decoder.logits(token_ids, state, causal=True)
    one_by_one = (
        "the cache is one position behind: a token's position is `cache.length` before any layer appends its keys; or "
        "keys are cached before their positions are in them"
    )
    several = (
        "a piece of several tokens is masked as if it stood alone: it sees all that the cache holds and, of itself, "
        "what came before: triu(held + 1), not triu(1)"
    )
    for pieces, cause in (([1] * length, one_by_one), ([length - 2, 1, 1], several), ([3, 1, length - 4], several)):
        cache = KeyValueCache(len(decoder.layers))
        cached = torch.cat([decoder.logits(p, state, causal=True, cache=cache) for p in token_ids.split(pieces, 1)], 1)
        if cache.length != length:
            raise AssertionError(
                f"the cache holds {cache.length} positions after {length} tokens. Usual cause: a layer does not append "
                "its keys and values, or appends them under another layer's number"
            )
        equal(cached, full, f"cached differs from full in pieces of {pieces}", cause, place="position")


@torch.no_grad()
def assert_causal(decoder: Any, state: Any, token_ids: Tensor, exact: bool = False) -> None:
    """Another token t changes no logits before t, and all from t on; `exact`: not even their last digit."""
    before = decoder.logits(token_ids, state, causal=True)
    for place in range(token_ids.shape[1]):
        changed = token_ids.clone()
        changed[:, place] = (changed[:, place] + 1) % before.shape[2]
        after = decoder.logits(changed, state, causal=True)
        tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {}
        equal(
            after[:, :place],
            before[:, :place],
            f"another token {place} changes logits before it",
            "the causal mask is missing, or shifted by one: position t sees positions 0 to t",
            place="position",
            **tolerance,
        )
        blind = ((after - before)[:, place:].abs().amax(dim=(0, 2)) == 0).nonzero()
        if len(blind):
            raise AssertionError(
                f"another token {place} changes nothing at position {place + int(blind[0])}. Usual cause: the causal "
                "mask hides a position from itself or from later ones, or the token ids are not read"
            )


@torch.no_grad()
def assert_padding_blind(read: Callable[[Tensor, Tensor], Tensor], token_ids: Tensor, lengths: Tensor) -> None:
    """What stands past the lengths (R,) of token_ids (R, T, ...), and how wide the rows are, changes nothing: neither
    in `read(token_ids, lengths)` of shape (R, T, V) as far as the lengths go, nor in one of shape (R, V)."""
    inside = torch.arange(token_ids.shape[1]) < lengths[:, None]
    before = read(token_ids, lengths)
    other = token_ids.clone()
    other[~inside] = token_ids[inside][-1]
    wider = torch.cat([other, token_ids[inside][:1].expand(len(other), 5, *other.shape[2:])], dim=1)
    for changed, change in ((other, "other padding"), (wider, "5 more columns of padding")):
        after = read(changed, lengths)
        if before.ndim == 3:
            after = after[:, : token_ids.shape[1]][inside]
        equal(
            after,
            before[inside] if before.ndim == 3 else before,
            f"{change} changes what is read of the captions",
            "keys past a caption's length are not masked in self-attention, or a mean runs over the whole row",
            place="token" if before.ndim == 3 else "row",
            axis=0,
        )


def assert_batch_equals_single(together: Sequence[Any], alone: Callable[[int], Any]) -> None:
    """Item i of a batch is `alone(i)`: a tensor within rounding, anything else exactly."""
    cause = (
        "an operation over the whole batch (a mean, a sort, a common width), or a reshape that gives a row another "
        "image's state: rows of one image stand side by side"
    )
    for index, item in enumerate(together):
        single = alone(index)
        if isinstance(item, Tensor):
            equal(item, single, f"item {index} of the batch is not what it is alone", cause, place="place", axis=0)
        elif item != single:
            raise AssertionError(
                f"item {index} of the batch is not what it is alone: {item} and {single}. Usual cause: {cause}"
            )


def assert_exported_equals_eager(exported: Mapping[str, Any], eager: Mapping[str, Any], atol: float = 1e-4) -> None:
    """What a graph gives, tensor by tensor, is what the model in PyTorch gives: integers exactly, the rest within
    `atol`."""
    if exported.keys() != eager.keys():
        raise AssertionError(f"the graph gives {sorted(exported)}, the model {sorted(eager)}")
    for name, expected in eager.items():
        ours, theirs = np.asarray(expected), np.asarray(exported[name])
        if ours.shape != theirs.shape:
            raise AssertionError(
                f"{name}: the graph's shape is {theirs.shape}, the model's {ours.shape}. Usual cause: a size was "
                "traced as a constant: int(x.shape[i]), len(x) or a Python loop over it"
            )
        close = ours == theirs if ours.dtype.kind in "iub" else np.isclose(theirs, ours, rtol=1e-7, atol=atol)
        if not close.all():
            first = tuple(int(axis[0]) for axis in np.nonzero(~close))
            raise AssertionError(
                f"{name}: the graph gives {theirs[first]} at {first}, the model {ours[first]}. Usual causes: a number "
                "that depends on the input was traced as a constant (int(x.shape[i]), an `if` on a tensor); the model "
                "was traced in training mode; the graph's weights are of another model"
            )


def equal(ours: Tensor, expected: Tensor, what: str, cause: str, place: str, axis: int = 1, **tolerance: float) -> None:
    """Raise an AssertionError that names the first index along `axis` at which two tensors differ, and the cause."""
    try:
        torch.testing.assert_close(ours, expected, **tolerance)
    except AssertionError as error:
        where = ""
        if ours.shape == expected.shape and ours.ndim > axis:
            differs = ~torch.isclose(ours, expected, **tolerance)
            places = differs.transpose(0, axis).flatten(1).any(dim=1) if ours.ndim > 1 else differs
            where = f", first at {place} {int(places.nonzero()[0])}" if places.any() else ""
        raise AssertionError(f"{what}{where}. Usual cause: {cause}.\n{error}") from None
