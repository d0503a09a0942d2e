"""Documents of a folder, one after the other: what is wrong with their pictures' texts, and captions in their place."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from fastcap.documents.document import FORMATS, Document, Reported
from fastcap.documents.epub import Book
from fastcap.documents.judge import ADVICE, says_nothing
from fastcap.documents.places import file_reader
from fastcap.errors import DataError, FastcapError, ImageError
from fastcap.files import is_read_only, written_aside
from fastcap.runtime.lint import lint, without_preamble
from fastcap.runtime.signatures import is_private
from fastcap.runtime.silence import is_photo

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Captioner

__all__ = ["Mender", "Row", "find_documents"]

Row: TypeAlias = dict[str, Any]
"""A picture that is reported: `file`, `member` of an EPUB, `line`, `target`, `rule`, `findings` of the linter, `told`,
and where captions are written `written` and, if there is one, `text` and `confidence`. Or `file` and `error`."""

_Caption: TypeAlias = tuple[Reported, str, Row]


class _Captioned(NamedTuple):
    """A picture's caption, and what the picture is, if that is known."""

    text: str
    confidence: float
    kind: str | None


_EPUB = ".epub"
_BESIDE = frozenset(("node_modules", "__pycache__"))  # folders of other people's documents
_MAX_BYTES = 2**30  # of one document; of an EPUB most is pictures
_FLUSH_SECONDS = 10.0  # of captions that a kill may cost
_WORDINGS = 4  # tried, if the first breaks a rule of the linter
_TRIED = 200  # captions of one document that are tried one by one, if all together do not fit
_KNOWN = 10_000  # captions kept, for pictures that several documents show


def find_documents(path: str) -> Iterator[tuple[Path, Path | FastcapError]]:
    """The documents that a path stands for, each with the folder that addresses with a leading slash begin at.

    A folder is looked into with all folders below it, but for hidden ones and `node_modules`; links are not followed.
    """
    top = Path(path)
    if top.is_dir():
        unlisted: list[OSError] = []
        for folder, folders, names in os.walk(top, onerror=unlisted.append):
            folders[:] = sorted(name for name in folders if not is_private(name) and name not in _BESIDE)
            for name in sorted(names):
                if _is_document(name) and not is_private(name) and os.path.isfile(os.path.join(folder, name)):
                    yield Path(folder, name), top
        for error in unlisted:
            yield Path(error.filename), DataError(f"{error.filename}: cannot be listed: {error.strerror}")
    elif not top.exists():
        yield top, DataError(f"{path}: no such file or folder")
    elif not top.is_file():  # a pipe would be waited for without end
        yield top, DataError(f"{path}: no regular file")
    elif not _is_document(top.name):
        yield top, DataError(f"{path}: no document that is read; allowed are {', '.join([*FORMATS, _EPUB])}")
    else:
        yield top, top.parent


def _is_document(name: str) -> bool:
    return Path(name).suffix.lower() in (*FORMATS, _EPUB)


@dataclass
class Mender:
    """Checks documents and writes captions into them.

    `open_captioner`: loads the model, once there is something to caption. `neutral`: name nobody's gender, and report
    texts that do. `min_confidence`: captions below it are not written. `roots`: folders for addresses with a leading
    slash. `show`: takes the difference that a document's captions would make, which then is not written.
    """

    open_captioner: Callable[[], Captioner]
    neutral: bool = False
    min_confidence: float = 0.0
    roots: Sequence[Path] = ()
    show: Callable[[str], object] | None = None
    _captioner: Captioner | None = None
    _captions: dict[str, _Captioned | str] = field(default_factory=dict)

    def check(self, path: Path, top: Path) -> Iterator[Row]:
        """What is to be reported of a document. Raises DataError or OSError for one that cannot be read."""
        for member, document in self._opened(path, _read(path), top):
            if isinstance(document, DataError):
                yield _failure(path, member, document)
                continue
            for item in document.reported:
                yield _row(path, member, item)

    def fix(self, path: Path, top: Path) -> list[Row]:
        """The same, and captions written into the document, whole or not at all; after long work also meanwhile.

        A caption that would change more than its text, as may happen in broken markup, is left out. Raises DataError or
        OSError for a document that cannot be read or written.
        """
        writer = _Writer(path, _read(path), self.show)
        rows: list[Row] = []
        for member, document in self._opened(path, writer.data, top):
            if isinstance(document, DataError):
                rows.append(_failure(path, member, document))
                continue
            captions: list[_Caption] = []
            for item in document.reported:
                row = _row(path, member, item) | {"written": False}
                rows.append(row)
                caption = self._caption(document, item) if item.verdict.may_write else row["told"]
                if isinstance(caption, str):
                    row["told"] = caption
                    continue
                row |= {"text": caption.text, "confidence": round(caption.confidence, 4), "written": self.show is None}
                captions.append((item, caption.text, row))
                if writer.is_due():
                    writer.write(member, _with_captions(document, captions))
            if captions:
                writer.write(member, _with_captions(document, captions))
        writer.close()
        return rows

    def _opened(self, path: Path, data: bytes, top: Path) -> Iterator[tuple[str, Document | DataError]]:
        """The document, or the pages of a book with their names in it; one that cannot be read stops no other."""
        if path.suffix.lower() == _EPUB:
            book = Book(data, str(path))
            for page, content in book.pages():
                try:
                    document: Document | DataError = Document(content, page, book.reader(page), self.neutral)
                except DataError as error:
                    document = error
                yield page, document
            return
        around = [folder for folder in reversed(path.absolute().parents) if folder.is_relative_to(top.absolute())]
        reader = file_reader(path, [*self.roots, *around, Path.cwd()])
        yield "", Document(data, str(path), reader, self.neutral)

    def _caption(self, document: Document, item: Reported) -> _Captioned | str:
        """A caption and its confidence, or why there is none."""
        key = item.verdict.place.key
        if key not in self._captions:
            if len(self._captions) >= _KNOWN:
                self._captions.clear()
            self._captions[key] = self._captioned(document.source(item))
        caption = self._captions[key]
        if not isinstance(caption, str) and caption.confidence < self.min_confidence:
            what = "" if is_photo(caption.kind) else f"no photo ({caption.kind}); "
            return f"left: {what}the caption {caption.text!r} has a confidence of {caption.confidence:.2f}"
        return caption

    def _captioned(self, source: bytes | Path) -> _Captioned | str:
        if self._captioner is None:
            self._captioner = self.open_captioner()
        try:
            # A wording that breaks a rule would be reported again: others are tried, then its beginning is left out.
            for candidates in (1, _WORDINGS):
                caption = self._captioner.caption(source, neutral=self.neutral, candidates=candidates)
                for candidate in caption.candidates:
                    if not lint(candidate.text, neutral=self.neutral):
                        return _Captioned(candidate.text, candidate.confidence, caption.kind)
        except ImageError as error:
            return str(error)
        for candidate in caption.candidates:
            text = without_preamble(candidate.text)
            if text and not any(says_nothing(finding, text) for finding in lint(text)):
                return _Captioned(text, candidate.confidence, caption.kind)
        return f"left: the model's caption, {caption.text!r}, breaks a rule itself"


class _Writer:
    """Brings new content into a file, whole or not at all; or shows what it would change."""

    def __init__(self, path: Path, data: bytes, show: Callable[[str], object] | None) -> None:
        self.data = data
        self._path, self._show, self._written = path, show, time.monotonic()
        self._on_disk = data
        self._pages: dict[str, bytes] = {}

    def is_due(self) -> bool:
        """Whether enough was done since the last write that a kill should not cost it."""
        return self._show is None and time.monotonic() - self._written > _FLUSH_SECONDS

    def write(self, member: str, content: bytes) -> None:
        """Take the new content of the file or of a member, which is written when that is due or at the end."""
        self._pages[member] = content
        if self._show:
            before = dict(Book(self.data, str(self._path)).pages())[member] if member else self.data
            self._show(_difference(before, content, f"{self._path}/{member}" if member else str(self._path)))
        elif self.is_due():
            self.close()

    def close(self) -> None:
        """Write what was taken, unless somebody else has changed the file. Raises DataError, or OSError."""
        if not self._pages or self._show:
            return
        whole = self._pages.get("") or Book(self.data, str(self._path)).written(self._pages)
        if whole == self._on_disk:
            return
        if is_read_only(self._path):
            raise DataError(f"{self._path}: read-only; left as it is")
        if self._path.read_bytes() != self._on_disk:
            raise DataError(f"{self._path}: changed by another program meanwhile; left as it is")
        with written_aside(self._path, durable=True, keep_mode=True) as file:
            file.write_bytes(whole)
        self._on_disk, self._written = whole, time.monotonic()


def _with_captions(document: Document, captions: list[_Caption]) -> bytes:
    """The document with its captions; those that do not fit are left out, and their rows say so."""
    try:
        return document.written([caption[:2] for caption in captions])
    except DataError:
        if len(captions) > _TRIED:
            raise
    fitting: list[_Caption] = []
    for caption in captions:
        try:
            document.written([each[:2] for each in [*fitting, caption]])
            fitting.append(caption)
        except DataError as error:
            caption[2].update(written=False, told=str(error))
    captions[:] = fitting
    return document.written([caption[:2] for caption in fitting])


def _read(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path}: larger than {_MAX_BYTES // 2**20} MiB")
    return path.read_bytes()


def _failure(path: Path, member: str, error: DataError) -> Row:
    return {"file": str(path), "member": member, "error": f"{path}: {error}"}


def _row(path: Path, member: str, item: Reported) -> Row:
    verdict = item.verdict
    told = "; ".join(dict.fromkeys(finding.advice for finding in verdict.findings)) or ADVICE[verdict.rule]
    if verdict.rule not in ("poor", "missing", "empty"):
        told = ADVICE[verdict.rule] + (f": {verdict.place.told}" if verdict.place.told else "")
    row: Row = {"file": str(path)} | ({"member": member} if member else {})
    row |= {"line": item.line, "target": item.target, "rule": verdict.rule}
    return row | {"findings": [finding.rule for finding in verdict.findings], "told": told}


def _difference(before: bytes, after: bytes, name: str) -> str:
    """A unified diff, by lines that end with a line feed."""
    old, new = (_lines(data.decode("utf-8", "surrogateescape")) for data in (before, after))
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + [rest] * bool(rest)
