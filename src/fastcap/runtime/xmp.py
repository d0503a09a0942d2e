"""XMP: the alternative text and the description that a packet states, and a packet with others.

A packet is changed by cutting out and putting in whole properties; all else that programs keep there stays as it is,
byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple
from xml.parsers import expat

from fastcap.errors import DataError

__all__ = ["Texts", "texts", "with_texts"]

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ALT = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/ AltTextAccessibility"  # IPTC Photo Metadata Standard 2021.1
_DESCRIPTION = "http://purl.org/dc/elements/1.1/ description"  # what older programs show
_WRITER = "http://ns.adobe.com/photoshop/1.0/ CaptionWriter"  # who wrote the description
_MADE_BY = "urn:fastcap:xmp:1.0/ MadeBy"

_TAG = re.compile(rb"""<[^<>"']*(?:"[^"]*"[^<>"']*|'[^']*'[^<>"']*)*>""")
_NEW = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
# Lang Alt, as the XMP specification has it: the entry for x-default comes first, and here alone.
_LANG_ALT = '\n   <{0}><rdf:Alt><rdf:li xml:lang="x-default">{1}</rdf:li></rdf:Alt></{0}>'
_OWN = """ <rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" rdf:about="{about}"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:fastcap="urn:fastcap:xmp:1.0/">{properties}
  </rdf:Description>
 """


class Texts(NamedTuple):
    """What a packet states; "" for what it does not. `made_by`: the model, if the alternative text is ours."""

    alt: str = ""
    description: str = ""
    writer: str = ""
    made_by: str = ""


@dataclass
class _Property:
    """A property of the picture: where it stands in the packet, and its words; `attribute` of an element, or one."""

    name: str
    start: int
    end: int = 0
    words: list[str] = field(default_factory=list)
    attribute: bool = False


class _Packet:
    """A parsed packet. Raises DataError for what is no XMP in UTF-8."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.properties: list[_Property] = []
        self.about, self.end_of_rdf = "", -1
        self._stack: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.namespace_prefixes = True
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse  # whose entities could unpack to gigabytes
        try:
            data.decode("utf-8")
            self._parser.Parse(data.rstrip(b"\0 \t\r\n"), True)
        except (expat.ExpatError, UnicodeDecodeError) as error:
            raise DataError(f"XMP that is damaged: {error}") from None
        if self.end_of_rdf < 0:
            raise DataError("XMP that is damaged: no rdf:RDF in it")

    def words(self, name: str) -> str:
        """The words of a property, of an x-default entry or else its first one."""
        return next((" ".join("".join(each.words[:1]).split()) for each in self.properties if each.name == name), "")

    def without(self, names: Iterable[str]) -> list[tuple[int, int]]:
        """The ranges of these properties."""
        return [(each.start, each.end) for each in self.properties if each.name in set(names)]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = " ".join(name.split(" ")[:2])
        at, depth = self._parser.CurrentByteIndex, self._depth()
        self._stack.append(name)
        if depth == 1 and name == f"{_RDF} Description":
            tag = _TAG.match(self.data, at)
            for key, value in attributes.items():
                plain, prefix = " ".join(key.split(" ")[:2]), key.split(" ")[-1]
                if plain == f"{_RDF} about":
                    self.about = self.about or value
                elif tag and (place := _attribute(tag, f"{prefix}:{plain.split(' ')[-1]}")):
                    self.properties.append(_Property(plain, *place, [value], attribute=True))
        elif depth == 2:
            self.properties.append(_Property(name, at))
        elif depth > 2 and name == f"{_RDF} li":
            is_default = any(value == "x-default" for value in attributes.values())
            self.properties[-1].words.insert(0 if is_default else len(self.properties[-1].words), "")
            self._into = 0 if is_default else len(self.properties[-1].words) - 1

    def _end(self, name: str) -> None:
        self._stack.pop()
        depth, at = self._depth(), self._parser.CurrentByteIndex
        if depth == 2 and self.properties:
            tag = _TAG.match(self.data, at)
            self.properties[-1].end = tag.end() if tag else at
        elif depth == 0 and name.startswith(f"{_RDF} RDF"):
            self.end_of_rdf = at if self.data.startswith(b"</", at) else -1

    def _text(self, text: str) -> None:
        depth = self._depth()
        if depth == 3:
            words = self.properties[-1].words
            if text.strip() and not words:
                words.append("")
                self._into = 0
            if text.strip():
                words[self._into] += text
        elif depth > 3 and self.properties[-1].words:
            self.properties[-1].words[self._into] += text

    def _depth(self) -> int:
        """1 directly in rdf:RDF, 2 in a Description, 3 in a property; 0 outside."""
        root = f"{_RDF} RDF"
        return len(self._stack) - self._stack.index(root) if root in self._stack else 0

    def _refuse(self, *_: object) -> None:
        raise DataError("XMP with a document type, which is not read")


def _attribute(tag: re.Match[bytes], name: str) -> tuple[int, int] | None:
    found = re.search(rb"\s" + re.escape(name.encode()) + rb"""\s*=\s*(?:"[^"]*"|'[^']*')""", tag[0])
    return (tag.start() + found.start(), tag.start() + found.end()) if found else None


def texts(packet: bytes) -> Texts:
    """What a packet states. Raises DataError for one that is damaged."""
    parsed = _Packet(packet)
    return Texts(*map(parsed.words, (_ALT, _DESCRIPTION, _WRITER, _MADE_BY)))


def with_texts(packet: bytes | None, caption: str, made_by: str, describes: bool) -> bytes:
    """A packet, or a new one, with a caption as alternative text and, where `describes`, as description.

    Those that it stated go. Raises DataError for a packet that is damaged.
    """
    parsed = _Packet(packet or _NEW.encode())
    names = {_ALT, _MADE_BY} | ({_DESCRIPTION, _WRITER} if describes else set())
    properties = _LANG_ALT.format("Iptc4xmpCore:AltTextAccessibility", escape(caption, quote=False))
    if describes:
        properties += _LANG_ALT.format("dc:description", escape(caption, quote=False))
        properties += f"\n   <photoshop:CaptionWriter>{escape(made_by, quote=False)}</photoshop:CaptionWriter>"
    properties += f"\n   <fastcap:MadeBy>{escape(made_by, quote=False)}</fastcap:MadeBy>"
    own = _OWN.format(about=escape(parsed.about), properties=properties).encode()
    pieces, at = [], 0
    for start, end in sorted(parsed.without(names)):
        pieces.append(parsed.data[at:start])
        at = end
    pieces += [parsed.data[at : parsed.end_of_rdf], own, parsed.data[parsed.end_of_rdf :]]
    return _EMPTY.sub(b"", b"".join(pieces))


# What is left of our own part of a packet once its properties are cut out.
_EMPTY = re.compile(rb' <rdf:Description [^<>]*xmlns:fastcap="urn:fastcap:xmp:1\.0/">\s*</rdf:Description>\s?')
