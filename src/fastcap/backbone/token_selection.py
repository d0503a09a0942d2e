"""From the tokens of a grid to fewer: pooled, the most important, or any.

A language model reads a prefix in time that grows with its tokens: 576 of a 24x24 grid cost nine times what 64 do.

Letters: B images, N image tokens, C their width, K selected ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fastcap.layers import pool_grid

__all__ = ["SELECTIONS", "TokenSelection"]

SELECTIONS = ("pool", "learned", "random")


class TokenSelection(nn.Module):
    """N tokens of a square grid to K.

    - "pool": the mean of K cells, in the order of the grid. Nothing is learned.
    - "learned": a linear layer says how important each token is; the K most important stay, in the order of the grid.
      While it is trained, Gumbel noise lets others have a chance (a sample without replacement, Kool et al. 2019), and
      what is selected is multiplied by 1 plus its importance minus the same, which changes no value, but has a gradient
      (straight-through, Bengio et al. 2013).
    - "random": any K; while it is trained, drawn anew for each image, later the same ones for every image.

    Where tokens are selected, each has a learned row and column added, since a language model reads them without their
    place.

    Args:
        d_image: C.
        n_image: N, a square number.
        n_tokens: K, at most N; for "pool" a square number.
        kind: one of `SELECTIONS`.
        seed: of the choice that "random" makes after training.

    Raises:
        ValueError: another kind, or a number out of its range.
    """

    cells: Tensor
    fixed: Tensor
    norm: nn.LayerNorm
    importance: nn.Linear

    def __init__(self, d_image: int, n_image: int, n_tokens: int, kind: str = "pool", seed: int = 0) -> None:
        super().__init__()
        side = math.isqrt(n_image)
        if kind not in SELECTIONS:
            raise ValueError(f"selection is {kind!r}; allowed: {', '.join(SELECTIONS)}")
        if side**2 != n_image or not 1 <= n_tokens <= n_image:
            raise ValueError(f"{n_tokens} of {n_image} tokens; allowed: 1 to N of a square number N")
        if kind == "pool" and math.isqrt(n_tokens) ** 2 != n_tokens:
            raise ValueError(f"n_tokens is {n_tokens}; allowed: square numbers, to which a grid is pooled")
        self.kind, self.n_image, self.n_tokens = kind, n_image, n_tokens
        if kind == "pool":
            # Pooling 7 x 7 to 4 x 4 is no operator of ONNX, but a product with a constant.
            self.register_buffer("cells", pool_grid(torch.eye(n_image)[None], n_tokens)[0], persistent=False)
            return
        self.rows, self.columns = (nn.Parameter(torch.zeros(side, d_image)) for _ in range(2))
        if kind == "learned":
            self.norm = nn.LayerNorm(d_image)
            self.importance = nn.Linear(d_image, 1)
        else:
            fixed = torch.randperm(n_image, generator=torch.Generator().manual_seed(seed))[:n_tokens].sort().values
            self.register_buffer("fixed", fixed, persistent=False)

    def scores(self, tokens: Tensor) -> Tensor:
        """How important each token is, before any threshold: (B, N)."""
        return self.importance(self.norm(tokens))[..., 0]

    def kept(self, tokens: Tensor) -> Tensor:
        """Places (B, K) of the selected tokens in the grid, ascending; of "pool", whose tokens are all of them, none.

        Raises:
            ValueError: this selection pools.
        """
        if self.kind == "pool":
            raise ValueError("pooling keeps no token by itself")
        if self.kind == "learned":
            scores = self.scores(tokens)
            if self.training:
                scores = scores - (-torch.rand_like(scores).clamp(1e-9, 1 - 1e-7).log()).log()  # Gumbel noise
            return scores.topk(self.n_tokens, dim=1).indices.sort(dim=1).values
        if self.training:
            return torch.rand(tokens.shape[:2], device=tokens.device).topk(self.n_tokens, dim=1).indices.sort(1).values
        return self.fixed.expand(tokens.shape[0], -1)

    def weights(self, tokens: Tensor) -> Tensor:
        """How much each selected token holds of each token of the grid (B, K, N), rows sum to 1."""
        if self.kind == "pool":
            return self.cells.expand(len(tokens), -1, -1)
        return torch.nn.functional.one_hot(self.kept(tokens), self.n_image).to(tokens.dtype)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, N, C) -> (B, K, C).

        Raises:
            ValueError: another number of tokens than N.
        """
        if not torch.jit.is_tracing() and tokens.shape[1] != self.n_image:
            raise ValueError(f"got {tokens.shape[1]} image tokens; needed: {self.n_image}")
        if self.kind == "pool":
            return self.cells @ tokens
        kept = self.kept(tokens)
        places = (self.rows[:, None] + self.columns[None]).flatten(0, 1)  # (N, C)
        chosen = (tokens + places).gather(1, kept[..., None].expand(-1, -1, int(tokens.shape[2])))
        if self.kind == "learned" and self.training:
            weight = self.scores(tokens).gather(1, kept).sigmoid()[..., None]
            chosen = chosen * (1 + weight - weight.detach())
        return chosen
