"""CMFA, cross-modal feature alignment: an image and a text as unit vectors, near each other if they belong together.

The text encoder is a network of its own, and the image side gets nothing but the image: no caption can leak into it.
Letters: B images, R texts, T tokens, D width of the image tokens, A width of the shared space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.layers import ImageTokens, SelfAttention

__all__ = ["Alignment", "TextEncoder", "info_nce", "recall", "sigmoid_loss"]


class TextEncoder(nn.Module):
    """Token ids to one vector: two small transformer layers and the mean over tokens.

    Args:
        vocab_size: V.
        d_text: width; half the captioner's, since the text need only be recognised.
        d_space: A.
        n_layers, n_heads: layers and heads.
        max_length: most tokens.
    """

    def __init__(
        self,
        vocab_size: int,
        d_text: int = 128,
        d_space: int = 128,
        n_layers: int = 2,
        n_heads: int = 4,
        max_length: int = 24,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, d_text)
        self.position = nn.Parameter(torch.zeros(max_length, d_text))
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(d_text) for _ in range(2 * n_layers))
        self.attentions = nn.ModuleList(SelfAttention(d_text, n_heads) for _ in range(n_layers))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d_text, 2 * d_text), nn.ReLU(), nn.Linear(2 * d_text, d_text))
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_text)
        self.project = nn.Linear(d_text, d_space)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids (R, T) padded, lengths (R,), each 1 or more -> (R, A)."""
        steps = torch.arange(token_ids.shape[1], device=token_ids.device)
        padded = steps >= lengths[:, None]
        x = self.embedding(token_ids) + self.position[: token_ids.shape[1]]
        for index, (attention, network) in enumerate(zip(self.attentions, self.networks, strict=True)):
            x = x + attention(self.norms[2 * index](x), causal=False, padding_mask=padded)
            x = x + network(self.norms[2 * index + 1](x))
        x = self.norm(x).masked_fill(padded[..., None], 0.0)
        return self.project(x.sum(dim=1) / lengths[:, None])


class Alignment(nn.Module):
    """Image tokens and texts to unit vectors (…, A), and how their cosine becomes a logit.

    An image is what a learned question finds in its tokens (attention pooling), so the tokens can stay as the captioner
    wants them.
    """

    def __init__(self, vocab_size: int, d_model: int, d_space: int = 128, max_length: int = 24) -> None:
        super().__init__()
        self.text = TextEncoder(vocab_size, d_space=d_space, max_length=max_length)
        self.question = nn.Linear(d_model, 1)
        self.image = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_space))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # SigLIP's beginnings: t = 10, b = -10
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def embed_image(self, image: ImageTokens) -> Tensor:
        """ImageTokens of B images -> (B, A), unit length."""
        weights = self.question(image.tokens).softmax(dim=1)
        found = (weights * image.tokens).sum(dim=1)
        return F.normalize(self.image(torch.cat([found, image.pooled], dim=-1)), dim=-1)

    def embed_text(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """token_ids (R, T), lengths (R,) -> (R, A), unit length."""
        return F.normalize(self.text(token_ids, lengths), dim=-1)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Unit vectors (B, A) and (R, A) -> (B, R): `t x·y + b`."""
        return self.log_scale.exp() * images @ texts.t() + self.bias


def sigmoid_loss(logits: Tensor) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023): logits (B, B) of all pairs, of which the diagonal belongs together.

    `-1/B Σ_ij log σ(y_ij logits_ij)`, y = 1 on the diagonal and -1 elsewhere.
    """
    signs = 2 * torch.eye(logits.shape[0], device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / logits.shape[0]


def info_nce(logits: Tensor) -> Tensor:
    """CLIP's loss (Radford et al. 2021): the mean cross-entropy of finding the text of each image and the image of each
    text among B, for logits (B, B) whose diagonal belongs together."""
    target = torch.arange(logits.shape[0], device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))


def recall(similarity: Tensor, owners: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Retrieval both ways: the share of images of which a text is among the k nearest texts, and of texts of which the
    image is among the k nearest images, as `image_to_text_k` and `text_to_image_k`.

    Args:
        similarity: (B, R).
        owners: (R,), the image of each text; every image has a text.
    """
    found: dict[str, float] = {}
    own = owners[None, :] == torch.arange(similarity.shape[0], device=owners.device)[:, None]  # (B, R)
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    image_rank = (similarity > best).sum(dim=1)
    mine = similarity.gather(0, owners[None, :])
    text_rank = (similarity > mine).sum(dim=0)
    for k in at:
        found[f"image_to_text_{k}"] = (image_rank < k).float().mean().item()
        found[f"text_to_image_{k}"] = (text_rank < k).float().mean().item()
    return found
