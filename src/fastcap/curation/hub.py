"""Data sets of the hub: known ones by name, fetched as tables and unpacked into a folder; and a merge that goes there.

The hub is the server that `HF_ENDPOINT` names. `HF_TOKEN` is sent to it, and to no other.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastcap.curation.merge import Source
from fastcap.curation.unpacking import Columns, unpack, unpacked
from fastcap.errors import ConfigError, DataError, FastcapError, nearest, needs
from fastcap.fetching import TIMEOUT, Unavailable, fetch

__all__ = ["NAMED", "Named", "find_source", "named_as", "push"]

_TRIES = 3  # of what the hub says is too much, or does not answer
_LONGEST_WAIT = 60.0  # seconds, whatever the hub asks for


@dataclass(frozen=True)
class Named:
    """A data set that is known by name.

    Attributes:
        folders: names under which its folder may stand below the root.
        hub: OWNER/NAME on the hub; "" where it is not there.
        captions, originals: columns there.
        only: a column that has to be true; `fixed`: the caption of every row, where the table has none.
        unsplit: see `Source`.
    """

    folders: tuple[str, ...]
    hub: str = ""
    captions: str = ""
    originals: str = ""
    only: str = ""
    fixed: str = ""
    licence: str = ""
    unsplit: bool = False


NAMED: dict[str, Named] = {
    "coco": Named(("coco",)),
    "flickr": Named(
        ("flickr", "flickr30k", "flickr8k"),
        "Mozilla/flickr30k-transformed-captions-gpt4o",
        *("alt_text", "original_alt_text"),
        licence="pictures: their photographers' on Flickr; see Mozilla/flickr30k-transformed-captions-gpt4o",
        unsplit=True,
    ),
    "textcaps": Named(("textcaps",), "lmms-lab/TextCaps", "caption_str", licence="CC-BY-4.0"),
    "pexels": Named(
        ("pexels",), "tarekziade/pexels-gpt4o", "alt_text", licence="the Pexels licence", unsplit=True
    ),
    "docornot": Named(
        ("docornot",), "mozilla/docornot", only="is_document", fixed="A page of a document with text.",
        licence="see mozilla/docornot",
    ),
    "validation": Named(
        ("validation",), "Mozilla/alt-text-validation", "gpt_alt_text", licence="see Mozilla/alt-text-validation",
        unsplit=True,
    ),
}  # fmt: skip
"""The data sets of distilvit. A folder with a data set of that name is taken before the hub."""


def named_as(text: str) -> str | None:
    """The name of a known data set, by that or by its OWNER/NAME on the hub; None for any other text."""
    return next((name for name, named in NAMED.items() if text in (name, named.hub) and text), None)


def find_source(text: str, root: Path, cache: Path, progress: bool = False) -> Source:
    """The source that a word of the command line means: NAME=DIR, DIR, or a name of NAMED.

    Args:
        root: where folders of known names are looked for.
        cache: a folder for what comes from the hub.

    Raises ConfigError for a word that means nothing, DataError for a folder that is not there or a hub that does not
    give the data set.
    """
    name, equals, folder = text.partition("=")
    if equals:
        if not name or not Path(folder).is_dir():
            raise DataError(f"source {text!r}: {folder or 'nothing'} is no folder; needed: NAME=DIR")
        return Source(name, unpacked(Path(folder), cache / name))
    text = named_as(text) or text
    if text not in NAMED:
        if Path(text).is_dir():
            name = Path(text).resolve().name
            return Source(name, unpacked(Path(text), cache / name))
        known = f"{nearest(text, NAMED)}; allowed: {', '.join(NAMED)}, a folder, or NAME=DIR"
        raise ConfigError(f"unknown source {text!r}{known}")
    named = NAMED[text]
    for each in named.folders:
        if (root / each).is_dir():
            return Source(text, root / each)
    looked = " and ".join(str(root / each) for each in named.folders)
    if not named.hub:
        raise DataError(
            f"source {text}: not in {looked}, and not on the hub; put its folder there, or write {text}=DIR"
        )
    try:
        return _from_hub(text, named, cache / text, progress)
    except Unavailable as error:
        raise DataError(f"source {text}: not in {looked}, and {error}") from None


# --- from the hub ------------------------------------------------------------------------------------------


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _from_hub(name: str, named: Named, folder: Path, progress: bool) -> Source:
    """Fetch the tables of a data set and unpack them; a second call takes what the first has left."""
    source = Source(name, folder, "jsonl", named.licence, named.unsplit)
    if folder.is_dir():
        return source
    listing = json.loads(_patiently(lambda: _read(f"{_endpoint()}/api/datasets/{named.hub}/parquet")))
    splits: dict[str, list[str]] = next(iter(listing.values()), {}) if isinstance(listing, dict) else {}
    tables = [(split, url) for split, urls in splits.items() for url in urls]
    if not tables:
        raise Unavailable(f"{named.hub} has no tables on the hub")
    if stray := next((url for _, url in tables if not str(url).startswith(f"{_endpoint()}/")), None):
        raise Unavailable(f"{named.hub} has a table elsewhere, {stray}, which is not fetched")  # nor sent the token
    fetched = []
    for number, (split, url) in enumerate(tables):
        path = folder.with_name(f"{name}.tables") / f"{number:05}.parquet"
        if not path.is_file():
            _patiently(lambda url=url, path=path: fetch(url, path, "", name, progress))  # type: ignore[misc]
        fetched.append((split, path))
    columns = Columns(named.captions, named.originals, named.only, named.fixed)
    unpack(fetched, columns, folder, named.hub)
    for _, path in fetched:
        path.unlink()
    return source


def _read(url: str) -> bytes:
    request = urllib.request.Request(url)
    if token := os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise Unavailable(f"{url} answers {error.code}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise Unavailable(f"{url} cannot be reached ({getattr(error, 'reason', error)})") from error


def _patiently(ask: Callable[[], Any]) -> Any:
    """What the hub gives, asked again where it says that it was asked too often.

    Raises Unavailable that says what to do about a refusal.
    """
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except Unavailable as error:
            refusal = error.__cause__
            code = refusal.code if isinstance(refusal, urllib.error.HTTPError) else 0
            if code == 429 and left:
                stated = (
                    str(refusal.headers.get("Retry-After", "")) if isinstance(refusal, urllib.error.HTTPError) else ""
                )
                time.sleep(min(float(stated) if stated.isdecimal() else 2.0, _LONGEST_WAIT))
                continue
            advice = {
                401: "; set HF_TOKEN to a token that may read it",
                403: "; set HF_TOKEN to a token that may read it",
                404: "; it is not there, or HF_TOKEN may not see it",
                429: f"; it was asked {_TRIES} times, try again later",
            }
            raise Unavailable(f"{error}{advice.get(code, '')}") from error
    raise AssertionError("the last try returns or raises")


# --- to the hub --------------------------------------------------------------------------------------------


def push(folder: Path, repository: str, private: bool) -> str:
    """Upload a merged data set; returns its address. What is there already is not sent again.

    Raises ConfigError for a name that is none, FastcapError if the hub refuses or cannot be reached, or if
    huggingface_hub is not installed.
    """
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise ConfigError(f"got the repository {repository!r}; needed: OWNER/NAME")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ModuleNotFoundError as error:
        raise FastcapError(f"--push-to-hub {needs(str(error.name), 'hub')}") from None
    api = HfApi(endpoint=_endpoint(), token=os.environ.get("HF_TOKEN"))
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, repo_type="dataset", commit_message="Merged by fastcap"
        )
    except HfHubHTTPError as error:
        code = error.response.status_code if error.response is not None else 0
        advice = {401: ": set HF_TOKEN to a token that may write", 403: ": HF_TOKEN may not write there"}
        raise FastcapError(f"{repository}: the hub answers {code}{advice.get(code, '')}; {folder} is whole") from None
    except Exception as error:  # of the client beneath, which is another one in each version
        reason = str(error).partition("\n")[0]
        raise FastcapError(f"{repository}: the hub cannot be reached ({reason}); {folder} is whole") from None
    return f"{_endpoint()}/datasets/{repository}"
