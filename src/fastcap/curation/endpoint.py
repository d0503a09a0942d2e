"""Captions from a language model behind any endpoint that speaks OpenAI's chat: in batches, told what it costs.

Only what `fastcap data rewrite --endpoint` names is asked; nothing else of this package uses the network here.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastcap.errors import ConfigError, DataError, FastcapError

__all__ = ["Answers", "Endpoint", "Usage"]

_MAX_ANSWER = 2**22  # bytes
_LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
_MAY_PASS = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
_CHARACTERS_A_TOKEN = 4  # a rule of thumb for English


@dataclass
class Usage:
    """What was asked and answered: requests, tries that failed, and tokens as the server counts them."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def cost(self, price: tuple[float, float]) -> float:
        """In the currency of `price`: of a million prompt tokens, and of a million completion tokens."""
        return (self.prompt_tokens * price[0] + self.completion_tokens * price[1]) / 1e6


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the key to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass
class Endpoint:
    """A chat model.

    Args:
        url: of the API, for instance http://localhost:11434/v1; `/chat/completions` is added.
        model: as the server calls it.
        prompt: the system message.
        key: sent as a bearer token, if any.
        timeout: seconds for an answer (60: a batch takes a large model some ten).
        retries: further tries after an answer that may pass, 429 or 500 and their like, or none at all (5).
        sleep: waits between tries; tests give their own.

    Raises ConfigError for an address that is none.
    """

    url: str
    model: str
    prompt: str
    key: str = ""
    timeout: float = 60.0
    retries: int = 5
    sleep: Callable[[float], object] = time.sleep
    usage: Usage = field(default_factory=Usage)

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/\s]+", self.url):
            raise ConfigError(f"endpoint {self.url!r}; needed: an address such as http://localhost:11434/v1")
        self._opener = urllib.request.build_opener(_NoRedirects)

    def rewrite(self, captions: Sequence[str]) -> list[str | None]:
        """An answer for each caption; None where the model keeps answering something else than was asked for.

        A batch whose answer is no list of as many texts is asked once more, then in halves.
        Raises FastcapError when the server refuses, or does not answer after all tries.
        """
        for _ in range(2):
            answers = _parsed(self._ask(captions), len(captions))
            if answers is not None:
                return [*answers]
        if len(captions) == 1:
            return [None]
        half = len(captions) // 2
        return self.rewrite(captions[:half]) + self.rewrite(captions[half:])

    def estimate(self, captions: Sequence[str], batch: int) -> Usage:
        """What asking would take, by a rule of thumb: four characters a token, answers as long as captions."""
        requests = -(-len(captions) // batch)
        tokens = sum(len(caption) + 4 for caption in captions) // _CHARACTERS_A_TOKEN
        return Usage(requests, 0, tokens + requests * len(self.prompt) // _CHARACTERS_A_TOKEN, tokens)

    def _ask(self, captions: Sequence[str]) -> str:
        body = {
            "model": self.model,
            "temperature": 0,
            "messages": [
                {"role": "system", "content": self.prompt},
                {"role": "user", "content": json.dumps(list(captions), ensure_ascii=False)},
            ],
        }
        answer = self._post(json.dumps(body).encode())
        self.usage.requests += 1
        used = answer.get("usage")
        if isinstance(used, dict):
            for name in ("prompt_tokens", "completion_tokens"):
                count = used.get(name)
                setattr(self.usage, name, getattr(self.usage, name) + (count if isinstance(count, int) else 0))
        try:
            content = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError):
            return ""
        return content if isinstance(content, str) else ""

    def _post(self, body: bytes) -> dict[str, Any]:
        """The answer's object; {} for one that is none. Tries again what may pass."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.key}"} if self.key else {})}
        address = self.url.rstrip("/") + "/chat/completions"
        problem = ""
        for attempt in range(self.retries + 1):
            wait = min(2.0**attempt, _LONGEST_WAIT)
            try:
                request = urllib.request.Request(address, body, headers)
                with self._opener.open(request, timeout=self.timeout) as answer:
                    content = answer.read(_MAX_ANSWER + 1)
                return _object(content)
            except urllib.error.HTTPError as error:
                problem = f"{address} answers {error.code}{_told(error)}"
                if error.code not in _MAY_PASS:
                    raise FastcapError(problem + _hint(error.code)) from None
                asked = error.headers.get("Retry-After", "")
                wait = min(float(asked), _LONGEST_WAIT) if re.fullmatch(r"\d+(\.\d+)?", asked) else wait
            except (OSError, ValueError) as error:  # refused, unreachable, too slow, cut short, no HTTP
                problem = f"{address}: {getattr(error, 'reason', None) or error or type(error).__name__}"
            if attempt < self.retries:
                self.usage.retries += 1
                self.sleep(wait)
        raise FastcapError(f"{problem}; gave up after {self.retries + 1} tries")


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > _MAX_ANSWER:
        return {}
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _told(error: urllib.error.HTTPError) -> str:
    """What an error says of itself, on one line."""
    try:
        told = json.loads(error.read(2**16))
        told = told.get("error", told)
        told = told.get("message", "") if isinstance(told, dict) else told
    except (ValueError, OSError, AttributeError, RecursionError):
        return ""
    text = " ".join(str(told).split())[:200]
    return f" ({text})" if text else ""


def _hint(status: int) -> str:
    return {
        401: "; is the key in the variable that --key-env names?",
        403: "; is the key allowed to use this model?",
        404: "; is the address that of the API, with /v1, and the model's name right?",
    }.get(status, "")


def _parsed(content: str, count: int) -> list[str] | None:
    """The texts of an answer, which models like to put into a fence or an object; None for anything else."""
    fenced = re.search(r"```(?:json)?\s*(.*?)```", content, re.DOTALL)
    text = (fenced[1] if fenced else content).strip()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(values, dict) and len(values) == 1:
        values = next(iter(values.values()))
    if not isinstance(values, list) or len(values) != count:
        return None
    texts = [" ".join(value.split()) if isinstance(value, str) else "" for value in values]
    return texts if all(texts) else None


class Answers:
    """What has been answered before, in a file that is only appended to: a job that was interrupted asks for the rest.

    Raises DataError for a file that holds anything else.
    """

    def __init__(self, path: Path, endpoint: Endpoint) -> None:
        self.path, self._made_with = path, f"{endpoint.model}\n{endpoint.prompt}"
        self._known: dict[str, str] = {}
        data = path.read_bytes() if path.is_file() else b""
        end = data.rfind(b"\n") + 1  # a last line that was cut short is dropped
        for number, line in enumerate(data[:end].splitlines(), 1):
            try:
                row = json.loads(line)
                self._known[row["key"]] = row["caption"]
            except (ValueError, TypeError, LookupError):
                raise DataError(f"{path}:{number}: no answer that this command has kept") from None
        if end < len(data):
            with path.open("rb+") as file:
                file.truncate(end)

    def get(self, caption: str) -> str | None:
        """The answer to a caption, if it is known."""
        return self._known.get(self._key(caption))

    def add(self, answers: dict[str, str]) -> None:
        """Keep answers by their captions."""
        rows = [{"key": self._key(caption), "caption": answer} for caption, answer in answers.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        self._known.update({row["key"]: row["caption"] for row in rows})

    def _key(self, caption: str) -> str:
        return hashlib.sha256(f"{self._made_with}\n{caption}".encode("utf-8", "surrogatepass")).hexdigest()
