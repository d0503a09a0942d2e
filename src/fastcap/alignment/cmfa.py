"""CMFA, cross-modal feature alignment: an image and a text as unit vectors, near each other if they belong together.

The text encoder is a network of its own that shares but the table of words with the decoder, and the image side gets
nothing but the image: no caption can leak into it.
Letters: B images, R texts, T tokens, D width of the image tokens, A width of the shared space.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.layers import ImageTokens, SelfAttention

__all__ = ["CONTRASTS", "Alignment", "TextEncoder", "contrastive_loss", "info_nce", "recall", "sigmoid_loss"]


class TextEncoder(nn.Module):
    """Embedded tokens to one vector: two small transformer layers and the mean over tokens.

    Args:
        d_model: width of the embedded tokens; the table is the decoder's, which has seen more text than any image has.
        d_space: A.
        max_length: most tokens.
        d_text: width; half the captioner's, since the text need only be recognised.
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
    """Image tokens and texts to unit vectors (…, A), and how their cosine becomes a logit.

    An image is what a learned question finds in its tokens (attention pooling) beside their mean and their largest
    values, so the tokens can stay as the captioner wants them.

    Args:
        d_model: D.
        d_space: A; 128 numbers tell thousands of images apart.
        max_length: most tokens of a text.
        dropout: of what is seen of an image, and in the text encoder.
    """

    def __init__(self, d_model: int, d_space: int, max_length: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.text = TextEncoder(d_model, d_space, max_length, dropout=dropout)
        self.question = nn.Linear(d_model, 1)
        self.image = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(3 * d_model, d_model), nn.ReLU(), nn.Linear(d_model, d_space)
        )
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())  # SigLIP's beginnings: t = 10, b = -10
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def embed_image(self, image: ImageTokens) -> Tensor:
        """ImageTokens of B images -> (B, A), unit length."""
        weights = self.question(image.tokens).softmax(dim=1)
        found = (weights * image.tokens).sum(dim=1)
        seen = torch.cat([found, image.tokens.mean(dim=1), image.tokens.amax(dim=1)], dim=-1)
        return F.normalize(self.image(seen), dim=-1)

    def embed_text(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Embedded tokens (R, T, D), lengths (R,) -> (R, A), unit length."""
        return F.normalize(self.text(embedded, lengths), dim=-1)

    def logits(self, images: Tensor, texts: Tensor) -> Tensor:
        """Unit vectors (B, A) and (R, A) -> (B, R): `t x·y + b`."""
        return self.log_scale.exp() * images @ texts.t() + self.bias


def contrastive_loss(alignment: Alignment, kind: str, image: ImageTokens, embedded: Tensor, lengths: Tensor) -> Tensor:
    """`kind` ("info_nce" or "sigmoid") of B images against R = B c texts, the c of an image side by side.

    One of c in turn stands for each image, so that two texts of one image are never each other's opposite.

    Args:
        embedded: tokens (R, T, D).
        lengths: (R,).
    """
    images = alignment.embed_image(image)
    texts = alignment.embed_text(embedded, lengths).unflatten(0, (len(images), -1))  # (B, c, A)
    losses = [CONTRASTS[kind](alignment.logits(images, texts[:, i])) for i in range(texts.shape[1])]
    return torch.stack(losses).mean()


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


CONTRASTS = {"info_nce": info_nce, "sigmoid": sigmoid_loss}


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
