"""Attention of M queries to N keys in three forms behind one signature, each with a slow twin that says what it is.

| kind | what a query reads | multiply-adds a head |
|---|---|---|
| flash | softmax over all keys; `scaled_dot_product_attention`, which keeps no M x N table | 2 M N K |
| linear | all keys, weighed by products of positive features (Katharopoulos et al. 2020) | (M + N) K^2 + M K |
| strided | softmax over every S-th key, each query and head its own (after Child et al. 2019) | 2 M N K / S |

Letters: B images, H heads, M queries, N keys, K width of a head, S stride.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ATTENTIONS", "TWINS", "attend", "attention_weights", "multiply_adds"]

Attention = Callable[[Tensor, Tensor, Tensor, int], Tensor]

EPSILON = 1e-6  # of a sum of positive features


def flash(queries: Tensor, keys: Tensor, values: Tensor, stride: int = 1) -> Tensor:
    """Softmax attention by PyTorch's fused kernel; `stride` says nothing here."""
    return F.scaled_dot_product_attention(queries, keys, values)


def features(x: Tensor) -> Tensor:
    """The positive features of linear attention: elu(x) + 1."""
    return F.elu(x) + 1


def linear(queries: Tensor, keys: Tensor, values: Tensor, stride: int = 1) -> Tensor:
    """Linear attention: keys and values become one (K, K) table, whatever N is; `stride` says nothing here."""
    queries, keys = features(queries), features(keys)
    table = keys.transpose(-1, -2) @ values  # (B, H, K, K)
    total = queries @ keys.sum(dim=-2)[..., None]  # (B, H, M, 1)
    return queries @ table / (total + EPSILON)


def strided(queries: Tensor, keys: Tensor, values: Tensor, stride: int = 2) -> Tensor:
    """Sparse attention: query m of head h reads the keys n with n = m + h modulo the stride, and only these are
    multiplied.

    Raises:
        ValueError: there are fewer keys than the stride, so that a query would have none.
    """
    heads, n_queries, n_keys = int(queries.shape[1]), int(queries.shape[2]), int(keys.shape[2])
    check_stride(n_keys, stride)
    missing = -n_keys % stride
    real = F.pad(torch.ones(n_keys, dtype=torch.bool, device=keys.device), (0, missing)).view(-1, stride)  # (N/S, S)
    wide = F.pad(queries, (0, 0, 0, -n_queries % stride)).unflatten(2, (-1, stride))  # (B, H, M/S, S, K)
    deep, read = (F.pad(part, (0, 0, 0, missing)).unflatten(2, (-1, stride)) for part in (keys, values))
    phases = torch.arange(stride, device=keys.device)
    result = []
    for head in range(heads):
        order = (phases + head) % stride  # the phase of keys that each phase of queries reads
        own = wide[:, head].transpose(1, 2)  # (B, S, M/S, K)
        key, value = (part[:, head].index_select(2, order).transpose(1, 2) for part in (deep, read))
        scores = own @ key.transpose(-1, -2) * int(queries.shape[3]) ** -0.5  # (B, S, M/S, N/S)
        scores = scores.masked_fill(~real.index_select(1, order).T[:, None], -torch.inf)
        result.append((scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(1, 2)[:, :n_queries])
    return torch.stack(result, dim=1)


def check_stride(n_keys: int, stride: int) -> None:
    """Raise ValueError unless every query has a key."""
    if not 1 <= stride <= n_keys:
        raise ValueError(f"attention stride is {stride}; allowed: 1 to {n_keys}, the number of keys")


# --- the slow twins ----------------------------------------------------------------------------------------------


def softmax_weights(queries: Tensor, keys: Tensor, stride: int = 1) -> Tensor:
    """(B, H, M, N), rows sum to 1."""
    return (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5).softmax(dim=-1)


def linear_weights(queries: Tensor, keys: Tensor, stride: int = 1) -> Tensor:
    """(B, H, M, N): what the table of linear attention amounts to, rows sum to 1."""
    products = features(queries) @ features(keys).transpose(-1, -2)
    return products / (products.sum(dim=-1, keepdim=True) + EPSILON)


def strided_weights(queries: Tensor, keys: Tensor, stride: int = 2) -> Tensor:
    """(B, H, M, N): softmax under a mask, rows sum to 1."""
    check_stride(keys.shape[2], stride)
    heads, rows, columns = (torch.arange(size, device=keys.device) for size in (*queries.shape[1:3], keys.shape[2]))
    visible = (rows[:, None] + heads[:, None, None] - columns) % stride == 0
    scores = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    return scores.masked_fill(~visible, -torch.inf).softmax(dim=-1)


WEIGHTS = {"flash": softmax_weights, "linear": linear_weights, "strided": strided_weights}

ATTENTIONS: dict[str, Attention] = {"flash": flash, "linear": linear, "strided": strided}
"""By kind: queries (B, H, M, K), keys and values (B, H, N, K), the stride -> (B, H, M, K)."""


def twin(weights: Callable[[Tensor, Tensor, int], Tensor]) -> Attention:
    """Attention by its table of weights."""
    return lambda queries, keys, values, stride: weights(queries, keys, stride) @ values


TWINS: dict[str, Attention] = {kind: twin(weights) for kind, weights in WEIGHTS.items()}
"""The same through a table of all weights, M x N of them."""


def attend(kind: str, queries: Tensor, keys: Tensor, values: Tensor, stride: int = 2) -> Tensor:
    """Attention of one of `ATTENTIONS`.

    Raises:
        ValueError: another kind, or a stride that leaves a query without a key.
    """
    if kind not in ATTENTIONS:
        raise ValueError(f"attention is {kind!r}; allowed: {', '.join(ATTENTIONS)}")
    return ATTENTIONS[kind](queries, keys, values, stride)


def attention_weights(kind: str, queries: Tensor, keys: Tensor, stride: int = 2) -> Tensor:
    """How much each query reads of each key (B, H, M, N), for pictures of it."""
    return WEIGHTS[kind](queries, keys, stride)


def multiply_adds(kind: str, n_queries: int, n_keys: int, width: int, stride: int = 2) -> int:
    """Multiply-adds of the products of one head. Those of `flash` grow with M N; those of `linear` with M + N; those of
    `strided` are those of `flash`, with sides rounded up to the stride, over the stride."""
    if kind == "linear":
        return (n_queries + n_keys) * width**2 + n_queries * width
    if kind == "strided":
        groups = -(-n_queries // stride) * -(-n_keys // stride)
        return 2 * groups * width * stride
    return 2 * n_queries * n_keys * width
