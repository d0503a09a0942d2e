"""The selective scan of state-space models: a linear recurrence along a sequence, exact and without a slow loop.

Letters: B batch, H heads, N positions, P channels of a head, C chunks, L positions of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["selective_scan", "selective_scan_reference"]

FORGOTTEN = -64.0  # its exponential, 1.6e-28, adds nothing that float32 can hold; that of -inf costs ten times as long


def selective_scan_reference(log_decay: Tensor, inputs: Tensor) -> Tensor:
    """The slow twin of `selective_scan`: the recurrence written as it is defined, one position at a time."""
    state = torch.zeros_like(inputs[:, :, 0])
    states = []
    for position in range(inputs.shape[2]):
        state = log_decay[:, :, position].exp()[..., None] * state + inputs[:, :, position]
        states.append(state)
    return torch.stack(states, dim=2)


def selective_scan(log_decay: Tensor, inputs: Tensor, chunk: int = 49) -> Tensor:
    """States of `h_t = exp(log_decay_t) h_{t-1} + inputs_t` with `h_0 = 0`, in time and memory linear in N.

    One scalar decay a head makes a chunk a masked matrix product (the state-space duality of Mamba-2,
    Dao and Gu 2024). The states at the ends of the chunks follow a recurrence of the same kind, a chunk's length
    shorter: the function calls itself. There is no loop operator, so it exports to ONNX as it is.

    Args:
        log_decay: (B, H, N), at most 0 everywhere: a positive value would let the state grow without bound.
        inputs: (B, H, N, P).
        chunk: positions of a chunk, 2 or more. 49 is fastest on large maps in PyTorch; fewer mean fewer exponentials (a
            chunk's are its square), which is what counts on small maps in ONNX Runtime.

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
    # decay from position s to position t >= s; differences are taken before exp, so nothing can overflow
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=inputs.device).tril()
    between = (total[..., :, None] - total[..., None, :]).masked_fill(~later, FORGOTTEN).exp()
    states = between @ inputs  # (B, H, C, L, P), each chunk as if it began from zero
    if n_chunks > 1:
        ends = selective_scan(total[..., -1], states[:, :, :, -1], chunk)  # (B, H, C, P)
        before = torch.cat([torch.zeros_like(ends[:, :, :1]), ends[:, :, :-1]], dim=2)
        states = states + total.exp()[..., None] * before[:, :, :, None]
    return states.reshape(-1, heads, n_chunks * chunk, channels)[:, :, :length]
