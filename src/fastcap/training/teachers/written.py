"""A teacher of kind sequences whose captions are written already, such as a committee's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch import nn

from fastcap.runtime.encoding import clean_caption, encode
from fastcap.training.committee import read_lines
from fastcap.training.teachers.ensemble import BEAMS

__all__ = ["WrittenCaptions"]


class WrittenCaptions(nn.Module):
    """Captions of pictures from a file of JSON lines, `{"image": path, "captions": [text, ...]}`, the best first.

    Args:
        path: the file; its pictures are named from its folder.
        tokenizer: the student's.

    Raises:
        DataError: the file is missing or damaged.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.written, self.tokenizer = read_lines(path, "captions"), tokenizer
        self.settings = hashlib.sha256(path.read_bytes()).hexdigest()

    def captions(self, paths: Sequence[Path], images: Sequence[int]) -> list[list[list[int]]]:
        """Token ids of the first `BEAMS` captions of some images; none of an image that the file does not have."""
        texts = [self.written.get(Path(os.path.abspath(paths[index])), [])[:BEAMS] for index in images]
        return [[encode(self.tokenizer, clean_caption(text)) for text in each] for each in texts]
