"""Files of conversations: every form gives the same conversations, and what is wrong is named with file and record."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fastcap.data.conversations import load_conversations
from fastcap.errors import ConfigError, DataError
from fastcap.runtime.conversation import ASSISTANT, USER, Turn

EXPECTED = (Turn(USER, "what is this?"), Turn(ASSISTANT, "a dog"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "dog.png")
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    return tmp_path


def turns(*said: str, names: tuple[str, str] = ("human", "assistant")) -> list[dict[str, str]]:
    return [{"from": names[place % 2], "value": text} for place, text in enumerate(said)]


def write(folder: Path, content: Any, name: str = "train.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


SEED = {"image_path": "images/dog.png", "conversations": turns("What is this?", "A dog.")}
LLAVA = {
    "id": "1",
    "image": "dog.png",
    "conversations": turns("<image>\nWhat is this?", "A dog", names=("human", "gpt")),
}
PLAIN = {"image": "dog.png", "question": "What is this?", "answer": "a dog"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", [SEED]),
        ("a.json", SEED),
        ("a.json", [LLAVA]),
        ("a.json", [PLAIN]),
        ("a.jsonl", json.dumps(SEED) + "\n\n"),
        ("a.csv", 'image,question,answer\ndog.png,"What is this?",a dog\n'),
        ("a.tsv", "image_path\tquestion\tanswers\nimages/dog.png\tWhat is this?\ta cat|a dog|a dog\n"),
    ],
    ids=["seed", "one object", "LLaVA", "question and answer", "lines", "csv", "tsv"],
)
def test_every_form_gives_the_same_conversation(folder: Path, name: str, content: Any) -> None:
    (read,) = load_conversations(write(folder, content, name))
    assert read.turns == EXPECTED and read.image == folder / "images" / "dog.png"
    assert read.question == "what is this?"


def test_several_turns_several_answers_and_the_kind_are_kept(folder: Path) -> None:
    record = {**SEED, "conversations": turns("Is it a cat?", "no", "What is it?", "dog")}
    record |= {"answers": ["dog"] * 7 + ["puppy"] * 3, "answer_type": "other"}
    (read,) = load_conversations(write(folder, [record]))
    assert [turn.text for turn in read.turns] == ["is it a cat?", "no", "what is it?", "dog"]
    assert read.answers.count("puppy") == 3 and read.kind == "other" and read.question == "what is it?"


def test_a_tables_answers_may_be_a_json_list(folder: Path) -> None:
    text = 'image,question,answers,kind\ndog.png,What?,"[""a | b"", ""c"", ""c""]",other\n'
    (read,) = load_conversations(write(folder, text, "a.csv"))
    assert read.answers == ("a | b", "c", "c") and read.turns[-1].text == "c" and read.kind == "other"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"conversations": turns("What?", "dog")}, "has no picture; needed: its path"),
        ({**SEED, "image_path": 7}, "has the picture 7; needed: its path"),
        ({**SEED, "image_path": "images/cat.png"}, "cat.png is missing"),
        ({**SEED, "image_path": "images/broken.png"}, "broken.png"),
        ({**SEED, "conversations": turns(" ", "dog")}, "the question is empty"),
        ({**SEED, "conversations": turns("a" * 10_000, "dog")}, "10,000 characters; allowed: 1 to 1,000"),
        ({**SEED, "conversations": turns("What?")}, "ends with the user"),
        (
            {**SEED, "conversations": turns("What?", "dog", names=("human", "robot"))},
            "the role 'robot'; allowed: human",
        ),
        ({**SEED, "conversations": turns("<image> or <image>?", "dog")}, "<image> stands 2 times"),
        ({**SEED, "conversations": "What?"}, "got one text; needed: a list of turns"),
        ({**SEED, "answers": [7] * 10}, "answer 0 is 7; needed: a text"),
        ({**SEED, "answers": "dog"}, "answers is 'dog'; needed: a list of texts"),
        ({**SEED, "answers": []}, "needed: a list of texts"),
        ({"image": "dog.png"}, "no conversations or messages, and no question"),
        ({"image": "dog.png", "question": "What?"}, "the question has no answer"),
        ({"image": "dog.png", "question": 7, "answer": "dog"}, "turn 0 is the int 7"),
        (["dog.png"], "is no object; needed: a picture and a conversation"),
    ],
)
def test_a_bad_record_is_named_with_file_and_number(folder: Path, record: Any, told: str) -> None:
    path = write(folder, [SEED, record])
    with pytest.raises(DataError) as raised:
        load_conversations(path, decode_images=True)
    assert str(raised.value).startswith(f"{path}: conversation 2: ") and told in str(raised.value)
    skipped = load_conversations(path, decode_images=True, on_bad_data="skip", max_bad_share=0.5)
    assert len(skipped) == 1 and skipped.n_rows == 2 and told in skipped.bad_rows[0].problem


@pytest.mark.parametrize(
    ("name", "content", "error", "told"),
    [
        ("a.txt", "", ConfigError, "allowed: .json, .jsonl, .csv, .tsv"),
        ("a.json", "{", DataError, "not JSON"),
        ("a.json", "[]", DataError, "no conversations found"),
        ("a.jsonl", "{\n", DataError, "a.jsonl:1: not JSON"),
        ("a.csv", "image,caption\n", DataError, "needed: image, question, and answer or answers"),
        ("a.csv", "image,question,answer\ndog.png,What?\n", DataError, "a.csv:2: 2 columns, not 3"),
        ("a.csv", "image;question;answers\ndog.png;What?;[1\n", DataError, "a.csv:2: answers is no JSON list"),
    ],
)
def test_a_file_that_is_none_is_named(folder: Path, name: str, content: str, error: Any, told: str) -> None:
    path = write(folder, content, name)
    with pytest.raises(error, match="a\\.") as raised:
        load_conversations(path)
    assert told in str(raised.value)
    with pytest.raises(DataError, match="no such file"):
        load_conversations(folder / "none.json")


def test_too_many_bad_records_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 2 conversations are bad, more than max_bad_share=0\.1"):
        load_conversations(write(folder, [SEED, {}]), on_bad_data="skip")


@pytest.mark.parametrize(
    ("name", "count"),
    [("conversations_val", 4443), ("conversations_train", 5906), ("open_conversations_val", 244)],
)
def test_the_shared_questions_are_read(name: str, count: int) -> None:
    path = Path(os.environ.get("FASTCAP_DATA", "data")) / "coco" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    read = load_conversations(path)
    assert len(read) == count
    assert all(len(one.answers) == 10 for one in read) == name.startswith("open")
