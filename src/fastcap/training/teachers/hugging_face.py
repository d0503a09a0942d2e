"""A teacher of kind sequences: a published captioner."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from torch import nn

from fastcap.errors import ModelFileError, needs
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.training.teachers.ensemble import BEAMS

__all__ = ["HuggingFaceCaptioner"]


class HuggingFaceCaptioner(nn.Module):
    """A captioner that transformers knows (BLIP, GIT, ViT-GPT2 and the like), with its own processor and tokenizer.

    Args:
        name: a directory, or a name on the hub, `@REVISION` added to pin it. Only safetensors are read.
        tokenizer, max_length: the student's, in whose tokens the captions are given.

    Raises:
        ModelFileError: transformers is missing, or there is no such captioner.
    """

    def __init__(self, name: str, tokenizer: Tokenizer, max_length: int) -> None:
        super().__init__()
        try:
            from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
        except ImportError as error:
            raise ModelFileError(f"teacher {name} {needs('transformers', 'distill')}") from error
        repository, _, revision = name.partition("@") if not Path(name).is_dir() else (name, "", "")
        settings = {"revision": revision} if revision else {}
        try:
            self.model: Any = AutoModelForImageTextToText.from_pretrained(
                repository, use_safetensors=True, dtype=torch.float32, **settings
            )
            self.processor = AutoImageProcessor.from_pretrained(repository, backend="pil", **settings)
            self.tokenizer = AutoTokenizer.from_pretrained(repository, **settings)
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, the hub's own
            raise ModelFileError(
                f"teacher {name} was not found as a captioner: tried a directory of that name, the Hugging Face cache "
                f"and hub ({type(error).__name__}: {' '.join(str(error).split())})"
            ) from error
        self.requires_grad_(False).eval()
        self.settings = [self.model.config.to_dict(), self.processor.to_dict(), self.tokenizer.get_vocab()]
        self.student, self.max_length = tokenizer, max_length

    @torch.no_grad()
    def captions(self, paths: Sequence[Path], images: Sequence[int]) -> list[list[list[int]]]:
        """The best `BEAMS` captions of some images by beam search, in the student's tokens, best first."""
        pictures = []
        for index in images:
            with Image.open(paths[index]) as picture:
                pictures.append(ImageOps.exif_transpose(picture).convert("RGB"))
        pixels = self.processor(images=pictures, return_tensors="pt").pixel_values
        # twice the student's length: what is cut there is too long for the student anyway, and is left out as such
        beams = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "do_sample": False}
        generated = self.model.generate(
            pixel_values=pixels.to(self.model.device), max_new_tokens=2 * self.max_length, **beams
        )
        texts = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        token_ids = [encode(self.student, clean_caption(text)) for text in texts]
        return [token_ids[i : i + BEAMS] for i in range(0, len(token_ids), BEAMS)]
