"""Pictures with their captions, as a notebook shows them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

from PIL import Image

from fastcap.errors import ConfigError, counted, listed
from fastcap.runtime.captioner import Caption
from fastcap.runtime.images import ImageSource, load_thumbnail

__all__ = ["Gallery", "show", "thumbnail"]

_SIDE = 240  # pixels, the longer side of a thumbnail
_QUALITY = 80
_LIST = "display:flex;flex-wrap:wrap;gap:1em;margin:0;padding:0;list-style:none"
_ITEM = f"width:{_SIDE}px;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Gallery:
    """What `show` returns. Jupyter displays `html`, in which texts are escaped and nothing is loaded from elsewhere."""

    captions: tuple[str, ...]
    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return "\n".join(self.captions)


def show(
    images: ImageSource | list[Any] | tuple[Any, ...], captions: str | Caption | Sequence[str | Caption]
) -> Gallery:
    """Pictures with captions below them, as the last line of a notebook's cell: `show(paths, caption(paths))`.

    `images`: one picture, or a list or tuple of them, of the kinds that `Captioner.caption` takes; file objects are
    read to their end. `captions`: as many captions or texts; the mouse over a caption shows its confidence.

    Raises ImageError for a bad picture, ConfigError if the numbers of pictures and captions differ.
    """
    pictures = images if isinstance(images, (list, tuple)) else [images]
    texts = [captions] if isinstance(captions, (str, Caption)) else listed(captions, "captions", (str, Caption))
    if len(pictures) != len(texts):
        raise ConfigError(
            f"{counted(len(pictures), 'picture')} and {counted(len(texts), 'caption')}; allowed are as many of each"
        )
    items = "".join(map(_item, pictures, texts))
    return Gallery(tuple(map(str, texts)), f'<ul style="{_LIST}">{items}</ul>')


def thumbnail(image: ImageSource, side: int) -> str:
    """A picture as the address of an `img`, which holds it: at most `side` pixels wide and high. Raises ImageError."""
    file = BytesIO()
    Image.fromarray(load_thumbnail(image, side)).save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _item(image: ImageSource, caption: str | Caption) -> str:
    text = escape(str(caption))
    title = f' title="confidence {caption.confidence:.2f}"' if isinstance(caption, Caption) else ""
    return f'<li style="{_ITEM}"><img src="{thumbnail(image, _SIDE)}" alt="{text}"><div{title}>{text}</div></li>'
