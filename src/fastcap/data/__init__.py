"""Pictures and captions on their way into training: readers, tokenizer, cache, augmentation, batches."""

from __future__ import annotations

from fastcap.data.augment import AugmentSettings, augment, is_crop_safe, is_mirror_safe
from fastcap.data.batching import bucket_batches, pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.data.formats import READERS
from fastcap.data.readers import BadRow, Example, Examples, load_dataset
from fastcap.data.tokenizer import train_tokenizer

__all__ = [
    "READERS",
    "AugmentSettings",
    "BadRow",
    "Example",
    "Examples",
    "ImageCache",
    "augment",
    "bucket_batches",
    "is_crop_safe",
    "is_mirror_safe",
    "load_dataset",
    "pad_tokens",
    "train_tokenizer",
]
