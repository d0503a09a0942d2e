"""CMFA, cross-modal feature alignment: images and texts as unit vectors, close together where they belong together.

The text encoder shares only the table of words with the decoder, and the image side sees only the image, so that no
caption can leak into an image's vector.

Letters: B images, R texts, T tokens, D width of the image tokens, A width of the shared space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.layers import ImageTokens, SelfAttention

__all__ = [
    "CONTRASTS", "Alignment", "PooledAlignment", "TextEncoder", "contrastive_loss", "info_nce", "recall",
    "sigmoid_loss",
]  # fmt: skip


class TextEncoder(nn.Module):
    """Embedded tokens to one vector: two small transformer layers and the mean over tokens.

    Args:
        d_model: width of the embedded tokens, from the decoder's table, which is trained on all captions.
        d_space: A.
        max_length: most tokens.
        d_text: width of the layers; half the captioner's, since the text need only be recognised.
        n_layers, n_heads: layers and heads.
        dropout: of embedded tokens and of each residual branch, in training only.
    """

    def __init__(
        self,
        d_model: int,
        d_space: int,
        max_length: int,
        d_text: int = 128,
        n_layers: int = 2,
        n_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project_in = nn.Linear(d_model, d_text)
        self.position = nn.Parameter(torch.zeros(max_length, d_text))
        nn.init.normal_(self.position, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(d_text) for _ in range(2 * n_layers))
        self.attentions = nn.ModuleList(SelfAttention(d_text, n_heads) for _ in range(n_layers))
        self.networks = nn.ModuleList(
            nn.Sequential(nn.Linear(d_text, 2 * d_text), nn.ReLU(), nn.Linear(2 * d_text, d_text))
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_text)
        self.project = nn.Linear(d_text, d_space)

    def forward(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """embedded tokens (R, T, D) padded, lengths (R,), each 1 or more -> (R, A)."""
        steps = torch.arange(embedded.shape[1], device=embedded.device)
        padded = steps >= lengths[:, None]
        x = self.dropout(self.project_in(embedded) + self.position[: embedded.shape[1]])
        for index, (attention, network) in enumerate(zip(self.attentions, self.networks, strict=True)):
            x = x + self.dropout(attention(self.norms[2 * index](x), causal=False, padding_mask=padded))
            x = x + self.dropout(network(self.norms[2 * index + 1](x)))
        x = self.norm(x).masked_fill(padded[..., None], 0.0)
        return self.project(x.sum(dim=1) / lengths[:, None])


class Alignment(nn.Module):
    """Image tokens and texts to unit vectors (…, A), and their cosine to a logit.

    An image's tokens are pooled in three ways, by a learned query (attention pooling), by their mean and by their
    maximum, so that the backbone need not change for the alignment.

    Args:
        d_model: D.
        d_space: A; 128 numbers tell thousands of images apart.
        max_length: most tokens of a text.
        dropout: of the pooled image, and in the text encoder.
    """

    def __init__(self, d_model: int, d_space: int, max_length: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.text: nn.Module = TextEncoder(d_model, d_space, max_length, dropout=dropout)
        self.question = nn.Linear(d_model, 1)
        self.image = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(3 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_space)
        )
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # SigLIP's initial values: t = 10, b = -10
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def embed_image(self, image: ImageTokens) -> Tensor:
        """ImageTokens of B images -> (B, A), unit length."""
        weights = self.question(image.tokens).softmax(dim=1)
        attended = (weights * image.tokens).sum(dim=1)
        pooled = torch.cat([attended, image.tokens.mean(dim=1), image.tokens.amax(dim=1)], dim=-1)
        return F.normalize(self.image(pooled), dim=-1)

    def embed_text(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Embedded tokens (R, T, D), lengths (R,) -> (R, A), unit length."""
        return F.normalize(self.text(embedded, lengths), dim=-1)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Unit vectors (B, A) and (R, A) -> (B, R): `t x·y + b`."""
        return self.log_scale.exp() * images @ texts.t() + self.bias


class PooledAlignment(Alignment):
    """An alignment of networks that are frozen and know much already: one linear layer for each side.

    Args:
        d_image: width of the image tokens, whose mean is read.
        d_text: width of what a language model makes of a text, of which the mean and the last are read.
        d_space: A.
        dropout: of what is read.
    """

    def __init__(self, d_image: int, d_text: int, d_space: int, dropout: float = 0.1) -> None:
        nn.Module.__init__(self)  # none of the layers of an alignment that learns to read
        self.image = nn.Sequential(nn.Dropout(dropout), nn.Linear(d_image, d_space))
        self.text = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * d_text, d_space))
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def embed_image(self, image: ImageTokens) -> Tensor:
        """ImageTokens of B images -> (B, A), unit length."""
        return F.normalize(self.image(image.pooled), dim=-1)

    def embed_text(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """What a language model makes of texts (R, T, D), zeros where padded, lengths (R,) -> (R, A), unit length."""
        embedded = embedded.to(self.log_scale.dtype)
        last = embedded[torch.arange(len(embedded), device=embedded.device), lengths - 1]
        read = torch.cat([embedded.sum(dim=1) / lengths[:, None], last], dim=-1)
        return F.normalize(self.text(read), dim=-1)


def contrastive_loss(alignment: Alignment, kind: str, image: ImageTokens, embedded: Tensor, lengths: Tensor) -> Tensor:
    """The mean of c losses of `kind` ("info_nce" or "sigmoid"), for B images and R = B c texts, those of an image side
    by side: the i-th loss takes the i-th text of each image, so that no two texts of an image are a negative pair.

    Args:
        embedded: tokens (R, T, D).
        lengths: (R,).
    """
    images = alignment.embed_image(image)
    texts = alignment.embed_text(embedded, lengths).unflatten(0, (len(images), -1))  # (B, c, A)
    losses = [CONTRASTS[kind](alignment.logits(images, texts[:, i])) for i in range(texts.shape[1])]
    return torch.stack(losses).mean()


def sigmoid_loss(logits: Tensor) -> Tensor:
    """SigLIP's loss (Zhai et al. 2023) of logits (B, B), whose diagonal holds the positive pairs.

    `-1/B Σ_ij log σ(y_ij logits_ij)`, y = 1 on the diagonal and -1 elsewhere.
    """
    signs = 2 * torch.eye(logits.shape[0], device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / logits.shape[0]


def info_nce(logits: Tensor) -> Tensor:
    """CLIP's loss (Radford et al. 2021) of logits (B, B), whose diagonal holds the positive pairs: the mean of the
    cross-entropies over texts and over images."""
    target = torch.arange(logits.shape[0], device=logits.device)
    return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target))


CONTRASTS = {"info_nce": info_nce, "sigmoid": sigmoid_loss}


def recall(similarity: Tensor, owners: Tensor, at: tuple[int, ...] = (1, 5, 10)) -> dict[str, float]:
    """Recall at k in both directions: `image_to_text_k`, the share of images with one of their texts among the k
    nearest, and `text_to_image_k`, the share of texts with their image among the k nearest.

    Args:
        similarity: (B, R).
        owners: (R,), the image of each text; every image has a text.
    """
    recalls: dict[str, float] = {}
    own = owners[None, :] == torch.arange(similarity.shape[0], device=owners.device)[:, None]  # (B, R)
    best = similarity.masked_fill(~own, -torch.inf).amax(dim=1, keepdim=True)
    image_rank = (similarity > best).sum(dim=1)
    to_own_image = similarity.gather(0, owners[None, :])
    text_rank = (similarity > to_own_image).sum(dim=0)
    for k in at:
        recalls[f"image_to_text_{k}"] = (image_rank < k).float().mean().item()
        recalls[f"text_to_image_{k}"] = (text_rank < k).float().mean().item()
    return recalls
