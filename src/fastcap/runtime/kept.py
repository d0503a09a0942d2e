"""The pictures that a captioner keeps between calls: what the network made of the last few.

A picture is known by the hash of its bytes, so that it is found again whatever its name, and never stale.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np
from PIL import Image

from fastcap.errors import ConfigError
from fastcap.runtime.engine import Encoded
from fastcap.runtime.images import ImageSource, read_file, source_name

__all__ = ["MAX_KEPT", "Kept"]

MAX_KEPT = 1024


class NamedBytes(io.BytesIO):
    """The bytes of a picture, and its name in messages."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class Kept:
    """At most `count` encoded pictures; the one that was asked for longest ago goes first. Threads may share it.

    A picture takes its pixels, and for a prefix model the keys and values of its prefix: 0.15 MB and 0.7 MB for a
    language model of 135 million parameters that reads 16 image tokens at 224 pixels.

    Raises ConfigError for a count out of range.
    """

    def __init__(self, count: int) -> None:
        if type(count) is not int or not 0 <= count <= MAX_KEPT:
            raise ConfigError(f"keep is {count!r}; allowed are whole numbers from 0 to {MAX_KEPT}, pictures")
        self.count = count
        self._lock = threading.Lock()
        self._pictures: OrderedDict[Hashable, Encoded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._pictures)

    def find(
        self, source: ImageSource, max_pixels: int, load: Callable[[ImageSource], np.ndarray], make: Callable
    ) -> Encoded:
        """The picture, ready to be captioned.

        Args:
            source: as in `load_image`.
            max_pixels: its limit; a picture that was read under a larger one is not found under this one.
            load: from a source to pixels (1, H, W, 3), for a picture that is not kept.
            make: from these to an `Encoded`.
        """
        if not self.count:
            return make(load(source))
        if isinstance(source, (np.ndarray, Image.Image)):  # their pixels as the model sees them say what they are
            pixels = load(source)
            return self._kept(("pixels", hashlib.sha256(pixels.tobytes()).digest()), lambda: make(pixels))
        data = NamedBytes(read_file(source), source_name(source))
        key = "file", hashlib.sha256(data.getbuffer()).digest(), max_pixels
        return self._kept(key, lambda: make(load(data)))

    def _kept(self, key: Hashable, make: Callable[[], Encoded]) -> Encoded:
        with self._lock:
            if (known := self._pictures.get(key)) is not None:
                self._pictures.move_to_end(key)
                return known
        encoded = make()  # without the lock: others need not wait; of two that load one picture, the first stays
        with self._lock:
            encoded = self._pictures.setdefault(key, encoded)
            self._pictures.move_to_end(key)
            while len(self._pictures) > self.count:
                self._pictures.popitem(last=False)
            return encoded
