"""A CLIP of transformers as the judge of `fastcap.losses.clip`.

Letters: B images, R caption rows, T tokens, V our vocabulary, C width of CLIP's tokens, A width of its space.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.pretrained import Preprocessing, without_bars
from fastcap.errors import ConfigError, ModelFileError, needs
from fastcap.parts import local_part

__all__ = ["ClipJudge"]


class ClipJudge(nn.Module):
    """Pictures, and texts of our own tokens, as unit vectors in the space of a frozen CLIP.

    Our vocabulary is not CLIP's. Each of our tokens is therefore read as the mean of the embeddings of CLIP's tokens
    for its text: exactly CLIP's reading where both have the word as one token, as both have most words of captions, and
    an approximation of the others.

    Args:
        name: a pretrained part, or a folder.
        tokenizer: ours.
        max_length: most tokens of a caption.

    Raises:
        ModelFileError: it is not here, or no CLIP.
        ConfigError: captions are longer than it reads.
    """

    dictionary: Tensor

    def __init__(self, name: str, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        folder = local_part(name)
        self.clip, self.preprocessing = load_clip(folder), Preprocessing.read(folder)
        theirs = read_tokenizer(folder)
        self.first, *_, self.last = theirs.encode("a").ids
        longest = int(self.clip.config.text_config.max_position_embeddings) - 2
        if max_length > longest:
            raise ConfigError(f"max_length is {max_length}; allowed: up to {longest}, with clip_model {name}")
        self.register_buffer("dictionary", self.translated(tokenizer, theirs))
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> ClipJudge:
        """A judge stays in evaluation mode."""
        return super().train(False)

    @property
    def table(self) -> nn.Embedding:
        """CLIP's embeddings of its own tokens."""
        embedding: nn.Embedding = self.clip.text_model.embeddings.token_embedding
        return embedding

    @torch.no_grad()
    def translated(self, ours: Tokenizer, theirs: Tokenizer) -> Tensor:
        """An embedding of each of our tokens, (V, C); zeros for marks and what has no text."""
        rows = []
        for index in range(ours.get_vocab_size()):
            ids = theirs.encode(ours.decode([index]).strip(), add_special_tokens=False).ids
            rows.append(self.table.weight[ids].mean(dim=0) if ids else torch.zeros(self.table.embedding_dim))
        return torch.stack(rows)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """pixels (B, 3, H, W) uint8 -> unit vectors (B, A)."""
        size = self.preprocessing.size
        if tuple(pixels.shape[2:]) != size:
            pixels = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True).clamp(0, 255)
        seen = self.clip.vision_model(pixel_values=self.preprocessing.normalised(pixels)).pooler_output
        return F.normalize(self.clip.visual_projection(seen), dim=-1)

    def embed_texts(self, probabilities: Tensor, lengths: Tensor) -> Tensor:
        """Probabilities (R, T, V) of our tokens, lengths (R,) -> unit vectors (R, A) of what CLIP reads."""
        words = probabilities.to(self.dictionary.dtype) @ self.dictionary
        n_rows, longest, _ = words.shape
        ids = torch.full((n_rows, longest + 2), self.last, device=words.device)  # behind the first end nothing is read
        ids[:, 0] = self.first
        inside = torch.arange(longest, device=words.device) < lengths[:, None]

        def replaced(module: Any, given: Any, embedded: Tensor) -> Tensor:
            mixed = torch.where(inside[..., None], words, embedded[:, 1:-1])
            return torch.cat([embedded[:, :1], mixed, embedded[:, -1:]], dim=1)

        hook = self.table.register_forward_hook(replaced)
        try:
            read = self.clip.text_model(input_ids=ids).last_hidden_state
        finally:
            hook.remove()
        at_end = read[torch.arange(n_rows, device=read.device), lengths + 1]
        return F.normalize(self.clip.text_projection(at_end), dim=-1)


def load_clip(folder: Path) -> Any:
    """A CLIP in 32 bits."""
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ModelFileError(f"clip_model {folder} {needs('transformers', 'prefix')}") from error
    try:
        with without_bars():
            model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError
        raise ModelFileError(f"{folder} holds no model of transformers ({' '.join(str(error).split())})") from error
    if not all(hasattr(model, part) for part in ("text_projection", "visual_projection")):
        raise ModelFileError(f"clip_model {folder} is a {type(model).__name__}; needed: a CLIP")
    return model


def read_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's tokenizer, which puts its marks around a text."""
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    tokenizer.no_padding()
    if len(tokenizer.encode("a").ids) < 3:
        raise ModelFileError(f"{path} puts no marks around a text; needed: those of a CLIP")
    return tokenizer
