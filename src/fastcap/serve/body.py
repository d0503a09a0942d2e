"""The pictures and texts in the body of a request, kept in memory and bounded by the limits."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from fastcap.runtime.images import missing_decoders
from fastcap.runtime.signatures import FORMATS, format_of
from fastcap.serve.gate import shown
from fastcap.serve.limits import MAX_TEXT_BYTES, MAX_TEXTS, Limits

__all__ = ["Picture", "has_body", "picture_types", "read_form", "read_pictures"]


_FORM = "multipart/form-data"
_ANY = "application/octet-stream"


def picture_types() -> tuple[list[str], list[str]]:
    """The media types of pictures that are read here; and those that are not, each with what it needs."""
    missing = missing_decoders()
    kinds = {name.upper(): (f"image/{name.lower()}",) for name in FORMATS} | {"HEIF": ("image/heic", "image/heif")}
    read = [kind for name, own in kinds.items() if name not in missing for kind in own]
    return read, [f"{' or '.join(own)} {missing[name]}" for name, own in kinds.items() if name in missing]


class Picture(BytesIO):
    """The bytes of a picture, and its name in answers and errors."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name[-200:].encode("utf-8", "replace").decode()


def has_body(request: Request) -> bool:
    """Whether the headers announce a body."""
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


class _FormParser(MultiPartParser):
    """Starlette's parser, which by itself drops an unfinished part silently."""

    ended = False

    def on_end(self) -> None:
        self.ended = True

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        try:
            super().on_part_data(data, start, end)
        except MultiPartException:
            raise MultiPartException(
                f"a part without filename= has more than {self.max_part_size} bytes; allowed are texts of at most "
                f"{self.max_part_size} bytes, and files with filename="
            ) from None


async def read_pictures(request: Request, limits: Limits) -> list[Picture]:
    """The files of a form, or else the body itself, whatever its stated type: the format is read from its bytes."""
    if _is_form(request):
        pictures, texts = await read_form(request, limits)
        if texts["text"]:
            raise HTTPException(422, "a part 'text'; allowed are files named 'image' (options go into the query)")
    else:
        _check_encoding(request)
        body = await request.body()
        if body and format_of(body) in ("", "text") and not _may_be_picture(_media_type(request)):
            read, others = picture_types()
            allowed = "; ".join([", ".join([*read, _ANY]), *others])
            raise _wrong_type(request, f"{_FORM} with files 'image', and one picture as {allowed}")
        pictures = [Picture(body, "body")] if body else []
    if not pictures:
        raise HTTPException(422, "no picture; send one as the body, or files named 'image' as multipart/form-data")
    return pictures


async def read_form(
    request: Request, limits: Limits, names: Sequence[str] = ("text",), max_bytes: int = MAX_TEXT_BYTES
) -> tuple[list[Picture], dict[str, list[str]]]:
    """The pictures of a form, and its texts of each of these names, of at most `max_bytes` each."""
    _check_encoding(request)
    told = "for scores texts 'text'" if names == ("text",) else f"texts {' and '.join(map(repr, names))}"
    if not _is_form(request):
        raise _wrong_type(request, f"{_FORM} with a file 'image', and {told}")
    parser = _FormParser(
        request.headers,
        request.stream(),
        max_files=limits.images,
        max_fields=MAX_TEXTS,
        max_part_size=max_bytes,
    )
    parser.spool_max_size = limits.body_bytes  # in memory, so that no picture touches the disk
    pictures: list[Picture] = []
    texts: dict[str, list[str]] = {name: [] for name in names}
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from None
    except UnicodeError:  # Starlette catches UnicodeDecodeError alone, but some codecs raise its base class
        raise HTTPException(400, "a form that is not in the charset that it states; allowed is UTF-8") from None
    except ValueError:  # python-multipart's own, which Starlette translates only since some version
        raise HTTPException(400, "Invalid multipart data.") from None
    if not parser.ended:
        raise HTTPException(400, "the form is cut short; allowed is one that ends with its boundary and '--'")
    for name, part in form.multi_items():
        if name == "image" and isinstance(part, UploadFile):
            pictures.append(Picture(await part.read(), part.filename or name))
        elif name in texts and isinstance(part, str):
            texts[name].append(part)
        else:
            kind = "text" if isinstance(part, str) else "file"
            raise HTTPException(
                422,
                f"a {kind} {shown(name)}; allowed are files named 'image', with filename=, and {told}",
            )
    return pictures, texts


def _is_form(request: Request) -> bool:
    return _media_type(request) == _FORM


def _may_be_picture(kind: str) -> bool:
    return kind in ("", _ANY) or kind.startswith("image/")


def _wrong_type(request: Request, allowed: str) -> HTTPException:
    kind = _media_type(request)
    return HTTPException(415, f"a body {f'of type {shown(kind)}' if kind else 'without a type'}; allowed are {allowed}")


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise HTTPException(415, f"a body with Content-Encoding {shown(encoding)}; allowed are bodies as they are")


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
