"""Evaluating answers: each reader sees what it should, accuracies are of the right rows, the page and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from fastcap.errors import DataError
from fastcap.evaluation.vqa import evaluate_answers, kind_of
from fastcap.evaluation.vqa_page import render_answers
from fastcap.runtime.conversation import ASSISTANT, USER, Conversation, Turn


def asked(image: str, question: str, answer: str, answers: tuple[str, ...] = (), kind: str = "") -> Conversation:
    return Conversation(Path(image), (Turn(USER, question), Turn(ASSISTANT, answer)), answers, kind)


CONVERSATIONS = [
    asked("red.png", "what color is it?", "red", ("red",) * 8 + ("pink",) * 2),
    asked("red.png", "is it red?", "yes", kind="existence"),
    asked("blue.png", "what color is it?", "blue"),
    asked("blue.png", "is it red?", "no", kind="existence"),
    asked("blue.png", "how many?", "1"),
]
TRAIN = [asked("x.png", "is it red?", "no")] * 4 + [asked("x.png", "what color is it?", "blue")] * 3


class Knowing:
    """Answers by the picture's name; notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...], tuple[Turn, ...]]] = []

    def ask(self, image, questions, history=()):
        self.calls.append((Path(image).name, tuple(questions), tuple(history)))
        colour = Path(image).stem
        return [
            ("yes" if colour == "red" else "no") if "red?" in q else colour if "color" in q else "2" for q in questions
        ]


def test_each_reader_sees_what_it_should():
    asker, pictures = Knowing(), []
    evaluation = evaluate_answers(asker, CONVERSATIONS, train=TRAIN, on_picture=lambda: pictures.append(1))
    assert [call[0] for call in asker.calls] == ["red.png", "blue.png", "blue.png", "red.png"]  # own, then the other's
    assert asker.calls[0][1] == ("what color is it?", "is it red?") and len(pictures) == 4
    assert evaluation.readers == ["model", "majority", "question", "other_picture"]
    assert evaluation.accuracy() == pytest.approx(4 / 5)
    assert evaluation.accuracy("majority") == pytest.approx(1 / 5)  # "no"
    assert evaluation.accuracy("question") == pytest.approx(2 / 5)  # "no" and "blue"
    assert evaluation.accuracy("other_picture") == 0
    assert [row.accuracy["model"] for row in evaluation.rows] == [1, 1, 1, 1, 0]


def test_accuracies_are_told_by_kind():
    record = evaluate_answers(Knowing(), CONVERSATIONS, train=TRAIN).as_json()
    assert record["kinds"].keys() == {"other", "existence", "number"}
    assert record["kinds"]["existence"] == {
        "questions": 2, "model": 100.0, "majority": 50.0, "question": 50.0, "other_picture": 0.0}  # fmt: skip
    assert record["kinds"]["number"]["model"] == 0
    assert record["questions"] == 5 and record["pictures"] == 2 and record["margin"] > 0
    json.dumps(record)


@pytest.mark.parametrize(
    ("answer", "kind"), [("Yes", "yes/no"), ("no.", "yes/no"), ("three", "number"), ("a dog", "other")]
)
def test_a_question_without_a_kind_has_that_of_its_answer(answer, kind):
    assert kind_of(asked("a.png", "what?", answer)) == kind


def test_turns_before_the_last_question_are_its_history():
    first = (Turn(USER, "is it red?"), Turn(ASSISTANT, "yes"))
    longer = Conversation(Path("red.png"), (*first, Turn(USER, "what color is it?"), Turn(ASSISTANT, "red")))
    asker = Knowing()
    evaluation = evaluate_answers(asker, [longer, CONVERSATIONS[0]], other_pictures=False)
    assert asker.calls == [("red.png", ("what color is it?",), first), ("red.png", ("what color is it?",), ())]
    assert evaluation.accuracy() == 1 and evaluation.readers == ["model"]


def test_nothing_to_ask_is_refused():
    with pytest.raises(DataError, match="no questions to ask"):
        evaluate_answers(Knowing(), [])


def test_the_page_shows_pictures_questions_and_answers(tmp_path):
    for name in ("red", "blue"):
        Image.new("RGB", (30, 20), name).save(tmp_path / f"{name}.png")
    mine = [
        asked(str(tmp_path / c.image), c.question, c.turns[-1].text + " <b>", c.answers, c.kind) for c in CONVERSATIONS
    ]
    page = render_answers(evaluate_answers(Knowing(), mine, train=TRAIN))
    assert page.count("<img ") == 5 and page.count("<!doctype html>") == 1
    assert "<b>" not in page and "what color is it?" in page and "somebody else&#x27;s picture" in page
    assert "http" not in page
    assert page.index('data-right="no"') < page.index('data-right="yes"')


def test_the_command_measures_a_checkpoint(tmp_path, capsys):
    pytest.importorskip("peft")
    from fastcap.checkpoint import save_checkpoint
    from fastcap.cli import main
    from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

    config = prefix_config(write_language_model(tmp_path / "l"), write_tower(tmp_path / "e"), question_tokens=60)
    model, tokenizer = prefix_model(config)
    save_checkpoint(tmp_path / "model", model.config, model.state_dict(), tokenizer)
    rows = []
    for name in ("red", "blue"):
        Image.new("RGB", (64, 64), name).save(tmp_path / f"{name}.png")
        rows += [{"image": f"{name}.png", "question": "Is it red?", "answer": "no"}]
    (tmp_path / "q.json").write_text(json.dumps(rows))
    told = ["evaluate", "--task", "vqa", "--dataset", str(tmp_path / "q.json"), "--model", str(tmp_path / "model")]
    report = tmp_path / "page.html"
    assert main([*told, "--train", str(tmp_path / "q.json"), "--json", "--report", str(report)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accuracy"]["majority"] == record["accuracy"]["question"] == 100
    assert record["kind"] == "vqa" and "Is it red" not in report.read_text() and "is it red?" in report.read_text()
    assert main([*told, "--once"]) == 0
    assert "VQA accuracy in percent" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["evaluate", "--dataset", "flickr8k", "--root", str(tmp_path), "--train", "x.json"])
    assert "--train and --once go with --task vqa" in capsys.readouterr().err
    assert main([*told[:-1], str(tmp_path / "none")]) == 1
