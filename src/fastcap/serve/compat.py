"""Endpoints that other software speaks already: Ollama's and OpenAI's chat, with a caption as the answer.

A model that answers questions is asked those that stand in a chat (`fastcap.serve.chat`). One that writes captions
reads no prompts: whatever is asked of a picture, the answer is its caption. What cannot be done is refused in the shape
that the clients of each know. Shapes: docs/api.md of ollama/ollama, and OpenAI's API reference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, StreamingResponse

import fastcap
from fastcap.errors import ConfigError, ImageError
from fastcap.runtime.options import Options
from fastcap.serve.body import Picture
from fastcap.serve.chat import Asked, asked_of
from fastcap.serve.gate import shown
from fastcap.serve.schema import Failed, Model
from fastcap.serve.service import Service

__all__ = ["Refused", "compat_router", "shape_of_errors"]

_OURS = ("/v1/caption", "/v1/score", "/v1/ask")
_DATA_URL = re.compile(r"data:[^,]*?(;base64)?,(.*)", re.IGNORECASE | re.DOTALL)


class Refused(HTTPException):
    """A request that cannot be answered, with what OpenAI's errors state beside the message."""

    def __init__(self, status: int, detail: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(status, detail)
        self.param, self.code = param, code


def shape_of_errors(path: str, error: HTTPException) -> dict[str, Any]:
    """An error as the clients of a path expect it; Ollama's is ours."""
    if not path.startswith("/v1/") or path in _OURS:
        return {"error": error.detail}
    kind = "server_error" if error.status_code >= 500 else "invalid_request_error"
    code = getattr(error, "code", None) or {401: "invalid_api_key"}.get(error.status_code)
    return {"error": {"message": error.detail, "type": kind, "param": getattr(error, "param", None), "code": code}}


def compat_router(service: Service) -> APIRouter:
    """The routes of both."""
    router = APIRouter(include_in_schema=False)
    _add_ollama(router, _Model(service))
    _add_openai(router, _Model(service))
    return router


@dataclass(frozen=True)
class _Wish:
    """A picture that somebody wants to have described. `url`: where it is to be fetched, in place of `data`."""

    data: bytes = b""
    url: str = ""


class _Said(NamedTuple):
    """The wordings of a caption, best first, or the one answer to a question; and the time that it took."""

    texts: list[str]
    milliseconds: float


class _Model:
    """The one model that is served, as both protocols name and describe it."""

    def __init__(self, service: Service) -> None:
        self.service, self.bundle = service, service.captioner.bundle
        digests = "".join(file.sha256 for _, file in sorted(self.bundle.files.items()))
        self.digest = hashlib.sha256(digests.encode()).hexdigest()
        self.name = f"{self.bundle.name}:latest"
        self.created = int((self.bundle.folder / "model.json").stat().st_mtime)

    def check(self, name: object) -> str:
        """The name as it was given. Raises Refused for that of another model."""
        if not isinstance(name, str) or not name:
            raise Refused(400, "model is required", "model")
        if name not in (self.bundle.name, self.name):
            message = f"model {shown(name)} not found; served is '{self.bundle.name}'"
            raise Refused(404, message, "model", "model_not_found")
        return name

    def asked(self, messages: Sequence[dict[str, Any]]) -> Asked:
        """The question that messages end with, if the model answers questions. Raises Refused."""
        try:
            return asked_of(messages) if self.bundle.questions else Asked()
        except ConfigError as error:
            raise Refused(400, str(error), "messages") from None

    async def says(self, wish: _Wish, asked: Asked, count: int = 1) -> _Said:
        """What the model says of a picture, which has taken its place in the queue. Raises Refused."""
        picture: Picture | Failed = Picture(wish.data, "image")
        if wish.url:
            picture = await self.service.fetched(wish.url)
        if isinstance(picture, Failed):
            raise Refused(400, picture.error, "messages", "image_parse_error")
        if asked.question:
            if count > 1:
                raise Refused(400, f"n is {count}; allowed is 1, as a question has one answer", "n")
            try:
                answer = await self.service.answer(picture, *asked)
            except ImageError as error:
                raise Refused(400, str(error), "messages", "image_parse_error") from None
            except ConfigError as error:
                raise Refused(400, str(error), "messages") from None
            return _Said([answer.text], answer.milliseconds)
        options = replace(Options.from_flat(self.service.usual), candidates=count)
        row = await self.service.caption_picture(picture, options)
        if isinstance(row, Failed):
            raise Refused(400, row.error, "messages", "image_parse_error")
        texts = [wording.caption for wording in row.candidates or ()] or [row.caption]  # "" if it was too uncertain
        return _Said(texts, row.milliseconds)


async def _body(request: Request) -> dict[str, Any]:
    """The JSON of a request, whatever its type is said to be: clients differ."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON; allowed is one object") from None
    if not isinstance(body, dict):
        raise Refused(400, f"the body is {shown(body)}; allowed is one object")
    return body


def _refuse(body: dict[str, Any], model: str, names: Iterable[str]) -> None:
    """Raise Refused for the first of these parameters that asks for something."""
    for name in names:
        if body.get(name):
            raise Refused(400, f"{model} does not support {name}", name, "unsupported_parameter")


_TAKES_CAPTION = re.compile("caption|alt|descri|title|headline|summary|text|response|answer", re.IGNORECASE)
_EMPTY = {"string": "", "array": [], "number": 0, "integer": 0, "boolean": False, "null": None}
_DEEPEST = 20  # objects in one another, of a schema


def _shaped(caption: str, wanted: object, param: str) -> str:
    """A caption in the form that is wanted: as it is, as JSON, or as JSON by a schema."""
    if wanted in (None, "", {"type": "text"}):
        return caption
    if wanted in ("json", {"type": "json_object"}):
        return json.dumps({"caption": caption}, ensure_ascii=False)
    schema = wanted
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
    value = _filled(schema, caption, "", _DEEPEST)
    text = json.dumps(value, ensure_ascii=False)
    if json.dumps(caption, ensure_ascii=False) not in text:
        raise Refused(400, f"{param}: a schema without a text for a caption or a description", param)
    return text


def _filled(schema: object, caption: str, name: str, depth: int) -> object:
    """A value of a schema: texts whose names ask for a caption hold it, all else is empty."""
    kinds = schema.get("type") if isinstance(schema, dict) else None
    kind = next((each for each in kinds if each != "null"), "null") if isinstance(kinds, list) else kinds
    if kind == "object" and isinstance(schema, dict) and depth:
        properties = schema.get("properties") or {}
        if isinstance(properties, dict):
            return {key: _filled(each, caption, key, depth - 1) for key, each in properties.items()}
    if kind == "string" and _TAKES_CAPTION.search(name):
        return caption
    if kind not in _EMPTY:
        raise Refused(400, f"a schema of a kind that is not filled: {shown(schema)}", "response_format")
    return _EMPTY[kind]


def _pieces(text: str) -> list[str]:
    """A text as streams bring it: in words, each with the space before it."""
    return re.findall(r"\s*\S+", text) or [text]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")


# Ollama


def _add_ollama(router: APIRouter, model: _Model) -> None:
    details = {
        "parent_model": "",
        "format": "onnx",
        "family": "fastcap",
        "families": ["fastcap"],
        "parameter_size": "",
        "quantization_level": "",
    }
    modified = datetime.fromtimestamp(model.created, timezone.utc).isoformat().replace("+00:00", "Z")
    facts = {"name": model.name, "model": model.name, "size": model.bundle.bytes, "digest": model.digest}
    facts |= {"details": details}

    @router.api_route("/api/version", methods=["GET", "HEAD"])
    async def version() -> dict[str, str]:
        return {"version": fastcap.__version__}

    @router.api_route("/api/tags", methods=["GET", "HEAD"])
    async def tags() -> dict[str, Any]:
        return {"models": [facts | {"modified_at": modified}]}

    @router.api_route("/api/ps", methods=["GET", "HEAD"])
    async def running() -> dict[str, Any]:
        return {"models": [facts | {"expires_at": "9999-12-31T23:59:59Z", "size_vram": 0, "context_length": 0}]}

    @router.post("/api/show")
    async def show(request: Request) -> dict[str, Any]:
        body = await _body(request)
        model.check(body.get("model") or body.get("name"))
        return {
            "license": model.bundle.licence,
            "modelfile": f"# {model.bundle.description}\nFROM {model.name}\n",
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": details,
            "model_info": {"general.architecture": "fastcap", "general.basename": model.bundle.name},
            "capabilities": ["completion", "vision"],
            "modified_at": modified,
        }

    @router.post("/api/generate")
    async def generate(request: Request) -> Response:
        return await _ollama(request, model, _generate_images, lambda text: {"response": text})

    @router.post("/api/chat")
    async def chat(request: Request) -> Response:
        return await _ollama(
            request, model, _chat_images, lambda text: {"message": {"role": "assistant", "content": text}}
        )


def _generate_images(body: dict[str, Any]) -> list[Any] | None:
    """The pictures of a request; None for one that only loads the model."""
    return None if not body.get("prompt") and not body.get("images") else body.get("images") or []


def _chat_images(body: dict[str, Any]) -> list[Any] | None:
    """Those of the newest message that has any."""
    messages = _messages(body, required=False)
    found = (message.get("images") for message in reversed(messages) if message.get("images"))
    return next(found, []) if messages else None


def _messages(body: dict[str, Any], required: bool = True) -> list[dict[str, Any]]:
    messages = body.get("messages") or []
    is_list = isinstance(messages, list) and all(isinstance(message, dict) for message in messages)
    if not is_list or (required and not messages):
        raise Refused(400, f"messages is {shown(messages)}; allowed is a list of messages", "messages")
    return messages


async def _ollama(
    request: Request,
    model: _Model,
    images_of: Callable[[dict[str, Any]], list[Any] | None],
    words: Callable[[str], dict[str, Any]],
) -> Response:
    """Answer in Ollama's shape, a line for each word unless one object is wanted."""
    started = time.perf_counter_ns()
    with model.service.workers.places(1):
        body = await _body(request)
        name = model.check(body.get("model"))
        body["think"] = body.get("think") not in (None, False, "", "false")
        _refuse(body, name, ("tools", "think", "suffix"))
        wanted = body.get("format")
        images = images_of(body)
        head = {"model": name, "created_at": _now()}
        if images is None:  # as clients warm a model up, or let it go
            reason = "unload" if body.get("keep_alive") in (0, "0") else "load"
            return JSONResponse(head | words("") | {"done": True, "done_reason": reason})
        _shaped("", wanted, "format")  # now, not once a picture was captioned
        asked = model.asked(body.get("messages") or [{"role": "user", "content": body.get("prompt")}])
        said = await model.says(_ollama_picture(images, name), asked)
    text = _shaped(said.texts[0], wanted, "format")
    pieces, nanoseconds = _pieces(text), time.perf_counter_ns() - started
    end = {"done": True, "done_reason": "stop", "total_duration": nanoseconds, "load_duration": 0}
    end |= {"prompt_eval_count": 1, "prompt_eval_duration": 0, "eval_count": len(pieces)}
    end |= {"eval_duration": int(said.milliseconds * 1e6)}
    if body.get("stream") is False:
        return JSONResponse(head | words(text) | end)
    lines = [head | words(piece) | {"done": False} for piece in pieces] + [head | words("") | end]
    content = _sent(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return StreamingResponse(content, media_type="application/x-ndjson")


def _ollama_picture(images: object, model: str) -> _Wish:
    if not isinstance(images, list) or len(images) != 1:
        got = f"{len(images)} pictures" if isinstance(images, list) else shown(images)
        raise Refused(400, f"got {got}; {model} captions one picture a request, in images")
    if not isinstance(images[0], str):
        raise Refused(400, f"images holds {shown(images[0])}; allowed is base64")
    if re.match(r"https?:", images[0], re.IGNORECASE):
        raise Refused(400, f"{shown(images[0])}: pictures by URL are not fetched; allowed is base64")
    data = images[0].rpartition(",")[2] if images[0].startswith("data:") else images[0]
    return _Wish(_from_base64(data))


def _from_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(re.sub(r"\s", "", text), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(400, f"illegal base64 data: {shown(text, 40)}", "messages", "invalid_base64") from None
    if not data:
        raise Refused(400, "an empty picture", "messages")
    return data


# OpenAI


def _add_openai(router: APIRouter, model: _Model) -> None:
    facts = {"id": model.bundle.name, "object": "model", "created": model.created, "owned_by": "fastcap"}

    @router.api_route("/v1/models", methods=["GET", "HEAD"])
    async def models() -> dict[str, Any]:
        """OpenAI's list, and ours beside it."""
        own = Model(**{name: getattr(model.bundle, name) for name in Model.model_fields})
        return {"object": "list", "data": [facts], "models": [own.model_dump()]}

    @router.api_route("/v1/models/{name:path}", methods=["GET", "HEAD"])
    async def retrieve(name: str) -> dict[str, Any]:
        model.check(name)
        return facts

    @router.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        with model.service.workers.places(1):
            body = await _body(request)
            name = model.check(body.get("model"))
            body["audio"] = "audio" in (body.get("modalities") or ())
            _refuse(body, name, ("tools", "functions", "audio", "logprobs"))
            wanted = body.get("response_format")
            _shaped("", wanted, "response_format")  # now, not once a picture was captioned
            count, most = body.get("n") or 1, model.bundle.decoding.max_candidates
            if type(count) is not int or not 1 <= count <= most:
                raise Refused(400, f"n is {shown(count)}; allowed are whole numbers from 1 to {most}", "n")
            messages = _messages(body)
            said = await model.says(_openai_picture(messages, model), model.asked(messages), count)
        texts = [_shaped(text, wanted, "response_format") for text in said.texts]
        head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}
        head |= {"system_fingerprint": f"fp_{model.digest[:10]}"}
        tokens = sum(len(_pieces(text)) for text in texts)
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
        if body.get("stream"):
            told = (body.get("stream_options") or {}).get("include_usage")
            return StreamingResponse(_events(head, texts, usage if told else None), media_type="text/event-stream")
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
            for index, text in enumerate(texts)
        ]
        return JSONResponse(head | {"object": "chat.completion", "choices": choices, "usage": usage})


def _openai_picture(messages: list[dict[str, Any]], model: _Model) -> _Wish:
    """The picture of the newest message that has any."""
    for message in reversed(messages):
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        if not all(isinstance(part, dict) for part in parts):
            raise Refused(400, "content is no list of parts", "messages")
        for part in parts:
            if part.get("type") not in ("text", "image_url", "refusal"):
                what = shown(part.get("type"))
                raise Refused(400, f"a part of type {what}; allowed are 'text' and 'image_url'", "messages")
        pictures = [part.get("image_url") for part in parts if part["type"] == "image_url"]
        if len(pictures) > 1:
            raise Refused(400, f"got {len(pictures)} pictures; allowed is one a message", "messages")
        if pictures:
            url = pictures[0].get("url") if isinstance(pictures[0], dict) else pictures[0]
            return _picture_of_url(url, model)
    raise Refused(400, f"no picture; {model.bundle.name} captions one, in a part of type 'image_url'", "messages")


def _picture_of_url(url: object, model: _Model) -> _Wish:
    if not isinstance(url, str):
        raise Refused(400, f"the picture's url is {shown(url)}; allowed is a data URL", "messages")
    if data := _DATA_URL.fullmatch(url):
        return _Wish(_from_base64(data[2]) if data[1] else unquote_to_bytes(data[2]))
    if re.fullmatch(r"[A-Za-z0-9+/=\s]{64,}", url):  # some clients leave out what stands before the data
        return _Wish(_from_base64(url))
    if model.service.fetches and re.match(r"https?:", url, re.IGNORECASE):
        return _Wish(url=url)
    told = "pictures by URL are not fetched; allowed is a data URL"
    raise Refused(400, f"{shown(url)}: {told}", "messages", "invalid_image_url")


def _events(head: dict[str, Any], texts: list[str], usage: dict[str, int] | None) -> AsyncIterator[str]:
    """Server-sent events: role, words, end of each choice; the usage, if wanted; the end of all."""
    head = head | {"object": "chat.completion.chunk"} | ({"usage": None} if usage else {})

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return head | {"choices": [choice]}

    chunks = []
    for index, text in enumerate(texts):
        chunks.append(chunk(index, {"role": "assistant", "content": ""}))
        chunks += [chunk(index, {"content": piece}) for piece in _pieces(text)]
        chunks.append(chunk(index, {}, "stop"))
    if usage:
        chunks.append(head | {"choices": [], "usage": usage})
    lines = [f"data: {json.dumps(each, ensure_ascii=False)}\n\n" for each in chunks]
    return _sent([*lines, "data: [DONE]\n\n"])


async def _sent(lines: Iterable[str]) -> AsyncIterator[str]:
    for line in lines:
        yield line
