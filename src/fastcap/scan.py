"""The selective scan of state-space models: a linear recurrence along a sequence, computed exactly and in parallel.

Letters: B batch, H heads, N positions, P channels of a head, C chunks, L positions of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["selective_scan", "selective_scan_reference"]

FORGOTTEN = -64.0  # its exponential, 1.6e-28, vanishes beside 1 in float32; that of -inf takes ten times as long


def selective_scan_reference(log_decay: Tensor, inputs: Tensor) -> Tensor:
    """The slow twin of `selective_scan`: the recurrence as it is defined, one position at a time."""
    state = torch.zeros_like(inputs[:, :, 0])
    states = []
    for position in range(inputs.shape[2]):
        state = log_decay[:, :, position].exp()[..., None] * state + inputs[:, :, position]
        states.append(state)
    return torch.stack(states, dim=2)


def selective_scan(log_decay: Tensor, inputs: Tensor, chunk: int = 49) -> Tensor:
    """States of `h_t = exp(log_decay_t) h_{t-1} + inputs_t` with `h_0 = 0`, in time and memory linear in N.

    With one scalar decay per head, a chunk is a masked matrix product (the state-space duality of Mamba-2, Dao and Gu
    2024). The states at the ends of chunks follow the same kind of recurrence, with one position per chunk, so the
    function calls itself. It has no loop and exports to ONNX as it is.

    Args:
        log_decay: (B, H, N), at most 0: the state would grow without bound otherwise.
        inputs: (B, H, N, P).
        chunk: positions of a chunk, 2 or more. 49 is fastest on large maps in PyTorch. A chunk takes as many
            exponentials as its square, so fewer positions are faster on small maps in ONNX Runtime.

    Returns:
        (B, H, N, P), the state after each position.

    Raises:
        ValueError: a chunk of fewer than 2 positions.
    """
    heads, length, channels = map(int, inputs.shape[1:])  # int: constants of an exported graph
    if chunk < 2:
        raise ValueError(f"chunk is {chunk}; allowed: 2 or more")
    chunk = min(chunk, length)
    padding = -length % chunk
    if padding:
        log_decay = F.pad(log_decay, (0, padding))
        inputs = F.pad(inputs, (0, 0, 0, padding))
    n_chunks = (length + padding) // chunk
    inputs = inputs.reshape(-1, heads, n_chunks, chunk, channels)
    total = log_decay.reshape(-1, heads, n_chunks, chunk).cumsum(dim=-1)
    # decay from position s to position t >= s; the difference is taken before exp, which cannot overflow then
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=inputs.device).tril()
    between = (total[..., :, None] - total[..., None, :]).masked_fill(~later, FORGOTTEN).exp()
    states = between @ inputs  # (B, H, C, L, P), each chunk with initial state 0
    if n_chunks > 1:
        ends = selective_scan(total[..., -1], states[:, :, :, -1], chunk)  # (B, H, C, P)
        before = torch.cat([torch.zeros_like(ends[:, :, :1]), ends[:, :, :-1]], dim=2)
        states = states + total.exp()[..., None] * before[:, :, :, None]
    return states.reshape(-1, heads, n_chunks * chunk, channels)[:, :, :length]
