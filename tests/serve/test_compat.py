"""Endpoints that other software speaks: Ollama's and OpenAI's clients get captions, and refusals in their own shape."""

# ruff: noqa: E501

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving import TOKEN, Server

NODE = Path(__file__).parents[1] / "web" / "vendor" / "node_modules"


@pytest.fixture(scope="session")
def compat(tiny_bundle: Path) -> Iterator[Server]:
    server = Server(tiny_bundle, "--compat", "--threads", "2", "--queue", "64", "--max-pixels", "1000000")
    yield server
    server.terminate()
    assert server.wait() == (0, "")


@pytest.fixture
def web(compat: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=compat.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def said(compat: Server, pictures: dict[str, bytes]) -> dict[str, str]:
    """What our own route says of each picture."""
    answers = {colour: httpx.post(f"{compat.url}/v1/caption", content=data) for colour, data in pictures.items()}
    return {colour: answer.json()["images"][0]["caption"] for colour, answer in answers.items()}


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def parts(*data: bytes, text: str = "What is this?") -> list[dict]:
    """A message with pictures, as OpenAI has it."""
    images = [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{b64(each)}"}} for each in data]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *images]}]


def test_without_the_option_there_are_no_such_routes(client):
    for path in ("/api/chat", "/api/tags", "/v1/chat/completions"):
        assert client.post(path, json={}).status_code == 404
    assert "object" not in client.get("/v1/models").json()


# Ollama


def test_ollama_generates_a_caption_at_once_or_word_by_word(web, pictures, said):
    body = {"model": "tiny", "prompt": "Is there a dog?", "images": [b64(pictures["red"])]}
    answer = web.post("/api/generate", json=body | {"stream": False}).json()
    assert (answer["response"], answer["done"], answer["done_reason"]) == (said["red"], True, "stop")
    assert answer["total_duration"] >= answer["eval_duration"] > 0
    streamed = web.post("/api/generate", json=body)
    assert streamed.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert "".join(line["response"] for line in lines) == said["red"]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert len(lines) > 3


def test_ollama_chats_about_the_newest_picture(web, pictures, said):
    first = {"role": "user", "content": "?", "images": [b64(pictures["red"])]}
    second = {"role": "user", "content": "?", "images": [b64(pictures["blue"])]}
    for messages, colour in (
        ([first], "red"),
        ([first, second], "blue"),
        ([first, {"role": "user", "content": "And?"}], "red"),
    ):
        answer = web.post("/api/chat", json={"model": "tiny:latest", "messages": messages, "stream": False}).json()
        assert answer["message"] == {"role": "assistant", "content": said[colour]}
        assert answer["model"] == "tiny:latest"


def test_ollama_lists_shows_and_loads_the_model(web):
    [model] = web.get("/api/tags").json()["models"]
    assert (model["name"], len(model["digest"])) == ("tiny:latest", 64)
    assert web.get("/api/ps").json()["models"][0]["name"] == "tiny:latest"
    assert web.post("/api/show", json={"model": "tiny"}).json()["capabilities"] == ["completion", "vision"]
    assert web.get("/api/version").json()["version"]
    assert web.head("/api/tags").status_code == 200
    assert web.post("/api/generate", json={"model": "tiny"}).json()["done_reason"] == "load"
    assert web.post("/api/generate", json={"model": "tiny", "keep_alive": 0}).json()["done_reason"] == "unload"
    assert web.post("/api/chat", json={"model": "tiny", "messages": []}).json()["done_reason"] == "load"


IMAGE = b64(b"\xff\xd8\xff")
OLLAMA_REFUSALS = {
    "another model": ({"model": "llava", "prompt": "?"}, 404, "model 'llava' not found; served is 'tiny'"),
    "no model": ({"prompt": "?"}, 400, "model is required"),
    "no picture": ({"model": "tiny", "prompt": "Hello"}, 400, "got 0 pictures; tiny captions one picture a request"),
    "several": ({"model": "tiny", "images": [IMAGE] * 2}, 400, "got 2 pictures; tiny captions one picture a request"),
    "no base64": ({"model": "tiny", "images": ["!"]}, 400, "illegal base64 data: '!'"),
    "empty": ({"model": "tiny", "images": [""]}, 400, "an empty picture"),
    "no picture's bytes": ({"model": "tiny", "images": [b64(b"hello")]}, 400, "image: holds text, not an image"),
    "damaged": ({"model": "tiny", "images": [IMAGE]}, 400, "image: damaged or cut short JPEG"),
    "a number": ({"model": "tiny", "images": [5]}, 400, "images holds 5; allowed is base64"),
    "no list": ({"model": "tiny", "images": "x"}, 400, "got 'x'; tiny captions one picture"),
    "a URL": (
        {"model": "tiny", "images": ["http://x.example/a.jpg"]},
        400,
        "'http://x.example/a.jpg': pictures by URL",
    ),
    "tools": ({"model": "tiny", "images": [IMAGE], "tools": [{}]}, 400, "tiny does not support tools"),
    "a schema": (
        {"model": "tiny", "images": [IMAGE], "format": {"type": "array"}},
        400,
        "format: a schema without a text",
    ),
    "thoughts": ({"model": "tiny", "images": [IMAGE], "think": True}, 400, "tiny does not support think"),
}


@pytest.mark.parametrize(("body", "status", "told"), OLLAMA_REFUSALS.values(), ids=OLLAMA_REFUSALS)
def test_ollama_refusals_are_one_text(web, body, status, told):
    answer = web.post("/api/generate", json=body)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(told)
    assert list(answer.json()) == ["error"]


# OpenAI


def test_openai_completes_with_a_caption_at_once_or_in_events(web, pictures, said):
    body = {"model": "tiny", "messages": parts(pictures["blue"]), "max_tokens": 300, "temperature": 0}
    answer = web.post("/v1/chat/completions", json=body).json()
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": said["blue"], "refusal": None}
    assert answer["choices"][0]["finish_reason"] == "stop"
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    streamed = web.post("/v1/chat/completions", json=body | {"stream": True, "stream_options": {"include_usage": True}})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *events, end = streamed.text.rstrip("\n").split("\n\n")
    assert end == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(each["delta"].get("content", "") for chunk in chunks for each in chunk["choices"]) == said["blue"]
    assert chunks[-1]["usage"] == usage
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"


def test_openai_takes_bare_base64_and_data_urls_of_any_type(web, pictures, said):
    for url in (
        b64(pictures["red"]),
        f"data:;base64,{b64(pictures['red'])}",
        f"data:image/png;base64,{b64(pictures['red'])}",
    ):
        messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}]
        answer = web.post("/v1/chat/completions", json={"model": "tiny", "messages": messages}).json()
        assert answer["choices"][0]["message"]["content"] == said["red"]


def test_openai_gives_as_many_wordings_as_are_wanted(web, pictures):
    answer = web.post("/v1/chat/completions", json={"model": "tiny", "messages": parts(pictures["red"]), "n": 2}).json()
    texts = [choice["message"]["content"] for choice in answer["choices"]]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert len(set(texts)) == 2


SCHEMA = {
    "type": "object",
    "properties": {
        "ImageCaption": {"type": "string"},
        "keywords": {"type": "object", "properties": {"animals": {"type": "array", "items": {"type": "string"}}}},
        "place": {"type": ["string", "null"]},
        "rating": {"type": "integer"},
    },
}


def test_a_caption_comes_in_the_json_that_plug_ins_ask_for(web, pictures, said):
    filled = {"ImageCaption": said["red"], "keywords": {"animals": []}, "place": "", "rating": 0}
    body = {"model": "tiny", "messages": parts(pictures["red"])}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    answer = web.post("/v1/chat/completions", json=body | {"response_format": wanted}).json()
    assert json.loads(answer["choices"][0]["message"]["content"]) == filled
    body = {"model": "tiny", "images": [b64(pictures["red"])], "stream": False}
    assert json.loads(web.post("/api/generate", json=body | {"format": SCHEMA}).json()["response"]) == filled
    plain = web.post("/api/generate", json=body | {"format": "json", "think": "false"}).json()["response"]
    assert json.loads(plain) == {"caption": said["red"]}


def test_openai_lists_the_model_and_ours_is_still_there(web):
    answer = web.get("/v1/models").json()
    assert (answer["object"], answer["data"][0]["id"]) == ("list", "tiny")
    assert answer["models"][0]["name"] == "tiny"
    assert web.get("/v1/models/tiny").json()["object"] == "model"
    assert web.get("/v1/models/gpt-4o").json()["error"]["code"] == "model_not_found"


TEXT = [{"role": "user", "content": "Hello"}]
REMOTE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.jpg"}}]}]
SOUND = [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]
OPENAI_REFUSALS = {
    "another model": ({"model": "gpt-4o", "messages": TEXT}, 404, "model 'gpt-4o' not found", "model_not_found"),
    "no messages": ({"model": "tiny"}, 400, "messages is []; allowed is a list", None),
    "no picture": ({"model": "tiny", "messages": TEXT}, 400, "no picture; tiny captions one", None),
    "several": ({"model": "tiny", "messages": parts(b"x", b"y")}, 400, "got 2 pictures; allowed is one", None),
    "damaged": ({"model": "tiny", "messages": parts(b"hello")}, 400, "image: holds text", "image_parse_error"),
    "a URL": ({"model": "tiny", "messages": REMOTE}, 400, "'https://x.example/a.jpg': pictures by URL are not fetched", "invalid_image_url"),
    "sound": ({"model": "tiny", "messages": SOUND}, 400, "a part of type 'input_audio'; allowed are", None),
    "tools": ({"model": "tiny", "messages": TEXT, "tools": [{}]}, 400, "tiny does not support tools", "unsupported_parameter"),
    "a schema": ({"model": "tiny", "messages": TEXT, "response_format": {"type": "json_schema"}}, 400, "a schema of a kind that is not filled", None),
    "a voice": ({"model": "tiny", "messages": TEXT, "modalities": ["audio"]}, 400, "tiny does not support audio", "unsupported_parameter"),
    "too many": ({"model": "tiny", "messages": parts(b"x"), "n": 99}, 400, "n is 99; allowed are whole numbers from 1 to 8", None),
}  # fmt: skip


@pytest.mark.parametrize(("body", "status", "told", "code"), OPENAI_REFUSALS.values(), ids=OPENAI_REFUSALS)
def test_openai_refusals_have_its_shape(web, body, status, told, code):
    answer = web.post("/v1/chat/completions", json=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["message"].startswith(told)
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[1]", b'"x"', b"{" * 2000, b"\xff"])
def test_what_is_no_json_object_is_refused_in_both_shapes(web, content):
    assert "is no JSON" in (said := web.post("/api/chat", content=content).json()["error"]) or "the body is" in said
    assert web.post("/v1/chat/completions", content=content).json()["error"]["type"] == "invalid_request_error"
    assert web.post("/api/chat", content=content).status_code == 400


def test_limits_of_the_server_hold_and_are_told_in_both_shapes(tiny_bundle, start, pictures):
    server = start("--compat", "--max-bytes", "2048")
    big = {"model": "tiny", "images": ["A" * 4000], "messages": TEXT}
    assert "at most 2048 bytes" in httpx.post(f"{server.url}/api/generate", json=big).json()["error"]
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=big)
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")
    assert answer.headers["cache-control"] == "no-store"


# The official clients


def test_the_python_client_of_ollama(compat, pictures, said):
    ollama = pytest.importorskip("ollama", reason="the client of Ollama is not installed")
    client = ollama.Client(compat.url)
    assert [model.model for model in client.list().models] == ["tiny:latest"]
    assert client.show("tiny").capabilities == ["completion", "vision"]
    assert client.ps().models[0].model == "tiny:latest"
    assert client.generate("tiny", "Describe it.", images=[pictures["red"]]).response == said["red"]
    message = {"role": "user", "content": "Describe it.", "images": [pictures["blue"]]}
    assert client.chat("tiny", [message]).message.content == said["blue"]
    streamed = client.chat("tiny", [message], stream=True)
    assert "".join(part.message.content for part in streamed) == said["blue"]
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        client.generate("llava", "?")
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        client.chat("tiny", [message], tools=[{"type": "function", "function": {"name": "x"}}])


def test_the_python_client_of_openai(compat, start, pictures, said):
    openai = pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    client = openai.OpenAI(base_url=f"{compat.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["tiny"]
    done = client.chat.completions.create(model="tiny", messages=parts(pictures["red"]))
    assert done.choices[0].message.content == said["red"]
    chunks = client.chat.completions.create(model="tiny", messages=parts(pictures["red"]), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said["red"]
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=parts(pictures["red"]))
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="pictures by URL are not fetched"):
        client.chat.completions.create(model="tiny", messages=REMOTE)


def test_a_token_is_what_clients_of_openai_call_a_key(tiny_bundle, pictures, said):
    openai = pytest.importorskip("openai", reason="the client of OpenAI is not installed")
    server = Server(tiny_bundle, "--compat", FASTCAP_TOKEN=TOKEN)
    try:
        for key in (TOKEN, "a-wrong-key"):
            client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)
            if key == TOKEN:
                done = client.chat.completions.create(model="tiny", messages=parts(pictures["red"]))
                assert done.choices[0].message.content == said["red"]
            else:
                with pytest.raises(openai.AuthenticationError) as caught:
                    client.models.list()
                assert caught.value.code == "invalid_api_key"
    finally:
        server.terminate()
        server.wait()


JAVASCRIPT = """
import { Ollama } from 'ollama';
import OpenAI from 'openai';
const [url, red] = process.argv.slice(2);
const ollama = new Ollama({ host: url });
const said = [(await ollama.list()).models[0].name];
said.push((await ollama.generate({ model: 'tiny', prompt: '?', images: [red] })).response);
const messages = [{ role: 'user', content: '?', images: [red] }];
said.push((await ollama.chat({ model: 'tiny', messages })).message.content);
let streamed = '';
for await (const part of await ollama.chat({ model: 'tiny', messages, stream: true })) streamed += part.message.content;
said.push(streamed, await ollama.generate({ model: 'llava', prompt: '?' }).catch((error) => error.message));
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
const content = [{ type: 'image_url', image_url: { url: `data:image/jpeg;base64,${red}` } }];
const asked = { model: 'tiny', messages: [{ role: 'user', content }] };
said.push((await openai.models.list()).data[0].id, (await openai.chat.completions.create(asked)).choices[0].message.content);
streamed = '';
for await (const chunk of await openai.chat.completions.create({ ...asked, stream: true }))
    streamed += chunk.choices[0].delta.content ?? '';
said.push(streamed, await openai.chat.completions.create({ ...asked, model: 'x' }).catch((error) => error.code));
console.log(JSON.stringify(said));
"""


def test_the_javascript_clients_of_both(compat, pictures, said, tmp_path):
    node, packages = shutil.which("node"), Path(os.environ.get("FASTCAP_NODE_MODULES", NODE))
    if not node or not (packages / "ollama").is_dir() or not (packages / "openai").is_dir():
        pytest.skip("Node.js, or the npm packages ollama and openai, are missing: make test-web fetches these")
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "ask.mjs").write_text(JAVASCRIPT)
    line = [node, "ask.mjs", compat.url, b64(pictures["red"])]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    red = said["red"]
    missing = "model 'llava' not found; served is 'tiny'"
    assert json.loads(done.stdout) == ["tiny:latest", red, red, red, missing, "tiny", red, red, "model_not_found"]


@pytest.mark.slow
def test_no_answer_is_lost_or_swapped_in_20000_requests(compat, pictures, said):
    rng = random.Random(0)
    tasks = [(rng.choice(list(said)), rng.randrange(4)) for _ in range(20_000)]
    bodies = {
        colour: (
            ("/api/generate", {"model": "tiny", "prompt": "?", "images": [b64(data)], "stream": False}),
            ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "images": [b64(data)]}], "stream": True}),
            ("/v1/chat/completions", {"model": "tiny", "messages": parts(data)}),
            ("/v1/chat/completions", {"model": "tiny", "messages": parts(data), "stream": True}),
        )
        for colour, data in pictures.items()
    }

    def ask(part: list[tuple[str, int]]) -> int:
        right = 0
        with httpx.Client(base_url=compat.url, timeout=60) as client:
            for colour, way in part:
                path, body = bodies[colour][way]
                text = client.post(path, json=body).text
                lines = [line.removeprefix("data: ") for line in text.splitlines() if line and "[DONE]" not in line]
                right += "".join(map(words, map(json.loads, lines))) == said[colour]
        return right

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, (tasks[start::8] for start in range(8)))) == len(tasks)


def words(answer: dict) -> str:
    """The text of an answer, or of a piece of one, of either kind."""
    if "choices" in answer:
        choice = answer["choices"][0]
        return (choice.get("message") or choice["delta"]).get("content") or ""
    return answer["response"] if "response" in answer else answer["message"]["content"]
