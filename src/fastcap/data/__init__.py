"""Pictures and captions on their way into training: readers, tokenizer, cache, augmentation, batches."""

from __future__ import annotations

from fastcap.data.cache import ImageCache, read_image
from fastcap.data.readers import READERS, BadRow, Example, Examples, load_dataset
from fastcap.data.tokenizer import SPECIAL_TOKENS, clean_caption, decode, encode, train_tokenizer

__all__ = [
    "READERS",
    "SPECIAL_TOKENS",
    "BadRow",
    "Example",
    "Examples",
    "ImageCache",
    "clean_caption",
    "decode",
    "encode",
    "load_dataset",
    "read_image",
    "train_tokenizer",
]
