"""Sidecars: a caption in a small file beside its picture, where other programs look for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from html import escape

from fastcap.files import written_aside
from fastcap.runtime.rows import Row
from fastcap.runtime.signatures import IMAGE_SUFFIXES

__all__ = ["SIDECARS", "sidecar_path", "write_sidecar"]

# Lang Alt, as the XMP specification has it: the entry for x-default comes first, and here alone. AltTextAccessibility
# stems from the IPTC Photo Metadata Standard 2021.1; dc:description is what older programs show.
_XMP = """\
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
   <dc:description>
    <rdf:Alt><rdf:li xml:lang="x-default">{caption}</rdf:li></rdf:Alt>
   </dc:description>
   <Iptc4xmpCore:AltTextAccessibility>
    <rdf:Alt><rdf:li xml:lang="x-default">{caption}</rdf:li></rdf:Alt>
   </Iptc4xmpCore:AltTextAccessibility>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

SIDECARS: dict[str, Callable[[Row], str]] = {
    "txt": lambda row: row["caption"] + "\n",
    "json": lambda row: (
        json.dumps({key: row[key] for key in row if key != "image"}, ensure_ascii=False, indent=1) + "\n"
    ),
    "xmp": lambda row: _XMP.format(caption=escape(row["caption"], quote=False)),
}
"""The text of a sidecar by its kind, from a row with a caption."""


def sidecar_path(image: str, kind: str) -> str:
    """`photo.txt`, which training tools read, but `photo.jpg.json` and `photo.jpg.xmp`, as photo managers name them."""
    stem, suffix = os.path.splitext(image)
    return f"{stem}.txt" if kind == "txt" and suffix.lower() in IMAGE_SUFFIXES else f"{image}.{kind}"


def write_sidecar(row: Row, kind: str) -> None:
    """Write the sidecar of a captioned picture, whole or not at all; one that exists is replaced. Raises OSError, which
    names it."""
    path = sidecar_path(row["image"], kind)
    try:
        with written_aside(path) as file:
            file.write_text(SIDECARS[kind](row), encoding="utf-8")
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error
