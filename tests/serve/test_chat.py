"""Chats with a model that answers: a question gets its answer, anything else a caption."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from fastcap.checkpoint import save_checkpoint
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError
from fastcap.runtime.conversation import ASSISTANT, USER, Turn
from fastcap.serve.chat import asked_of, is_question
from fastcap.serve.service import newest_fitting
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

testing = pytest.importorskip("fastapi.testclient")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chatting")
    config = prefix_config(write_language_model(folder / "l"), write_tower(folder / "e"), question_tokens=60)
    model, tokenizer = prefix_model(config)
    save_checkpoint(folder / "tiny", model.config, model.state_dict(), tokenizer)
    (folder / "tiny" / "model.json").write_text("{}")  # whose age is the model's
    return checkpoint_captioner(folder / "tiny")


@pytest.fixture(scope="module")
def client(captioner):
    from fastcap.serve.app import create_app

    with testing.TestClient(create_app(captioner, compat=True)) as client:
        yield client


@pytest.fixture(scope="module")
def photo():
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    return file.getvalue()


def user(text: str, *images: bytes) -> dict:
    """A message of OpenAI's."""
    urls = [f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in images]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"role": "user", "content": [{"type": "text", "text": text}, *parts]}


def completed(client, *messages: dict, **more) -> dict:
    return client.post("/v1/chat/completions", json={"model": "tiny", "messages": list(messages), **more}).json()


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("Is there a dog?", True), ("how many people are there", True), ("A dog?", True), ("What is this?", True),
        ("Describe this image.", False), ("Write a caption with one sentence", False), ("", False),
        ("What's in this image?", False), ("Can you describe the photo?", False), ("what do you see?", False),
        ("What is in the box?", True), ("Isabel.", False),
    ],
)  # fmt: skip
def test_a_question_is_what_a_description_would_not_answer(text, asks):
    assert is_question(text) == asks


def test_the_turns_from_the_newest_picture_on_are_read():
    told = {"role": "assistant", "content": "a red barn"}
    older, newer = user("is it old?", b"1"), user("and this?", b"2")
    assert asked_of([older]) == ("is it old?", ())
    assert asked_of([{"role": "system", "content": "be brief"}, older, told, newer]) == ("and this?", ())
    history = (Turn(USER, "and this?"), Turn(ASSISTANT, "a red barn"))
    assert asked_of([older, told, newer, told, {"role": "user", "content": "why?"}]) == ("why?", history)
    assert asked_of([{"role": "user", "content": "<image> a dog?", "images": ["x"]}]) == ("a dog?", ())
    for nothing in ([], [told], [{"role": "user", "content": None, "images": ["x"]}], [{"role": 7, "content": "why?"}]):
        assert asked_of(nothing) == ("", ())


def test_openai_s_clients_get_answers_and_captions(client, captioner, photo):
    answer = completed(client, user("Is there a red ball?", photo))["choices"][0]["message"]["content"]
    assert answer == captioner.ask(photo, "is there a red ball?").text
    caption = completed(client, user("Describe this image.", photo))["choices"][0]["message"]["content"]
    assert caption == captioner.caption(photo).text != answer
    shaped = completed(client, user("A dog?", photo), response_format={"type": "json_object"})
    assert json.loads(shaped["choices"][0]["message"]["content"]) == {"caption": captioner.ask(photo, "a dog?").text}
    history = [Turn(USER, "is it dark?"), Turn(ASSISTANT, "there is one box")]
    later = completed(
        client,
        user("Is it dark?", photo),
        {"role": "assistant", "content": "There is one box."},
        {"role": "user", "content": "A dog?"},
    )
    told = later["choices"][0]["message"]["content"]
    assert told == captioner.ask(photo, "a dog?", history=history).text


def test_ollama_s_clients_get_answers(client, captioner, photo):
    images, expected = [base64.b64encode(photo).decode()], captioner.ask(photo, "a dog?").text
    body = {"model": "tiny", "stream": False}
    assert (
        client.post("/api/generate", json=body | {"prompt": "A dog?", "images": images}).json()["response"] == expected
    )
    messages = [{"role": "user", "content": "A dog?", "images": images}]
    answer = client.post("/api/chat", json=body | {"messages": messages}).json()
    assert answer["message"]["content"] == expected and answer["eval_duration"] > 0
    told = client.post("/api/generate", json=body | {"images": images}).json()["response"]
    assert told == captioner.caption(photo).text


def test_turns_for_which_there_is_no_room_are_left_out(captioner):
    pair = [Turn(USER, "is it a red ball in the dark?"), Turn(ASSISTANT, "there is one box")]
    history = newest_fitting(captioner, "a dog?", pair * 20)
    assert 0 < len(history) < 40 and len(history) % 2 == 0
    captioner.check_question("a dog?", history)
    with pytest.raises(ConfigError):
        captioner.check_question("a dog?", [*pair, *history])


@pytest.mark.parametrize(
    ("message", "more", "told"),
    [
        ("x" * 9_999 + "?", {}, "10,000 characters"),
        ("a dog?", {"n": 2}, "a question has one answer"),
        ("is <image> a <image> dog?", {}, "<image> stands 2 times"),
    ],
)
def test_what_cannot_be_asked_is_refused(client, photo, message, more, told):
    answer = completed(client, user(message, photo), **more)
    assert told in answer["error"]["message"] and answer["error"]["type"] == "invalid_request_error"


def test_a_damaged_picture_is_refused(client):
    assert completed(client, user("a dog?", b"no picture"))["error"]["code"] == "image_parse_error"
