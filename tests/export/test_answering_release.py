"""A model that answers is released: its answers are measured, gated, calibrated, recorded, and checked once it is
built."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from rich.console import Console

from fastcap.checkpoint import save_checkpoint
from fastcap.cli import main
from fastcap.errors import ConfigError, DataError, FastcapError, ModelFileError
from fastcap.evaluation.vqa import VqaEvaluation, VqaRow
from fastcap.release import pipeline
from fastcap.release.adapters import ASKED, read_record
from fastcap.release.answers import answer_facts
from fastcap.release.build import build
from fastcap.release.drawn import drawn, reading
from fastcap.release.gate import Measured, check_gate
from fastcap.release.settings import ExportSettings
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.contract import Calibration
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """`best`, a checkpoint that answers; `dumb`, one that does not; a data set and a file of questions."""
    root = tmp_path_factory.mktemp("answering")
    language_model = write_language_model(root / "language", hidden_size=128, intermediate_size=192)
    eye = write_tower(root / "eye")
    for name, tokens in (("best", 60), ("dumb", 0)):
        model, tokenizer = prefix_model(prefix_config(language_model, eye, question_tokens=tokens))
        save_checkpoint(root / name, model.config, model.state_dict(), tokenizer)
    (root / "data" / "images").mkdir(parents=True)
    rows, questions = "", []
    for index in range(4):
        Image.fromarray(drawn(index, 96)).save(root / "data" / "images" / f"{index}.png")
        rows += f"{index}.png,a red ball\n{index}.png,a dog runs over blue grass\n"
        questions += [
            {"image": f"{index}.png", "question": f"is it {colour}?", "answer": "no"} for colour in ("red", "blue")
        ]
    for split in ("train", "val"):
        (root / "data" / f"{split}.csv").write_text(f"image,caption\n{rows}")
    (root / "data" / "questions.json").write_text(json.dumps(questions))
    return root


def shipped(root: Path, out: Path, checkpoint: str = "best", **settings) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        times = {"fp32": 2.0, "int8": 1.0}  # random models are too small for integers to be faster each time
        patch.setattr(pipeline, "network_milliseconds", lambda graphs, *_: times[graphs.name])
        given = {"questions": (root / "data" / "questions.json",), **settings}
        settings = ExportSettings(dataset="csv", calibration=4, max_loss=1000, **given)
        pipeline.ship(root / checkpoint, out, root / "data", settings)
    return out


@pytest.fixture(scope="module")
def adapters(root) -> Path:
    return shipped(root, root / "tiny")


def test_the_record_holds_answers_and_how_sure_they_may_be(adapters):
    record = read_record(adapters)
    assert len(record.captions) == len(record.answers) == 8
    assert all(said.question in ASKED and said.log_p < 0 for said in record.answers.values())
    assert record.facts["answering"] != (1.0, 0.0)
    quality = record.facts["quality"]
    assert quality["questions"] == 8 and quality["questions_from"] == "questions.json"
    assert {"vqa_accuracy", "vqa_accuracy_fp32", "answer_calibration_error"} <= quality.keys()


def test_what_is_built_answers_as_recorded(adapters, tmp_path, capsys):
    assert main(["build", str(adapters), "--out", str(tmp_path / "built")]) == 0
    assert "8 of 8 answers as recorded" in " ".join(capsys.readouterr().err.split())
    questions = Bundle.open(tmp_path / "built").questions
    assert questions is not None and (questions.scale, questions.offset) == read_record(adapters).facts["answering"]
    seed, said = next(iter(read_record(adapters).answers.items()))
    assert Captioner.open(tmp_path / "built").ask(drawn(seed, 64), said.question).text == said.text


def test_a_model_that_answers_otherwise_than_recorded_is_refused(adapters, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in adapters.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    record = json.loads((copy / "record.json").read_text())
    seed = next(iter(record["answers"]))
    record["answers"][seed]["log_p"] -= 1
    (copy / "record.json").write_text(json.dumps(record))
    with pytest.raises(FastcapError, match="mean log-probability"):
        build(copy, tmp_path / "built")
    assert not (tmp_path / "built").exists()
    settings = json.loads((copy / "config.json").read_text())
    settings["decoder"]["question_tokens"] = 0
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match="holds answers"):
        build(copy, tmp_path / "built")


def test_a_model_that_answers_is_asked_and_no_other(root, tmp_path):
    with pytest.raises(ConfigError, match="--questions FILE"):
        shipped(root, tmp_path / "out", questions=())
    with pytest.raises(ConfigError, match="was not trained to answer"):
        shipped(root, tmp_path / "out", checkpoint="dumb")
    with pytest.raises(DataError, match="have 3; needed: 4"):
        shipped(root, tmp_path / "out", question_limit=3)
    assert not (tmp_path / "out").exists()


def asked(right: list[float], sure: list[float]) -> VqaEvaluation:
    rows = [
        VqaRow(Path("a.png"), "a dog?", "existence", ("yes",), {"model": "yes"}, {"model": accuracy}, confidence)
        for accuracy, confidence in zip(right, sure, strict=True)
    ]
    return VqaEvaluation(tuple(rows), {})


def test_the_gate_refuses_answers_that_got_worse(tmp_path):
    captions, measured = SimpleNamespace(metrics={"cider": 50.0}, rows=[SimpleNamespace(cider=50.0, caption="a")]), []
    for name, right in (("fp32", [1.0, 1.0, 1.0, 0.0]), ("int8", [1.0, 0.0, 1.0, 0.0])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(bytes(200 if name == "fp32" else 100))
        measured.append(Measured(tmp_path / name, tmp_path / name, captions, asked(right, [0.5] * 4)))
    console = Console(record=True, quiet=False, width=300)
    with pytest.raises(FastcapError, match=r"answers 25.00 points worse, allowed: max_loss=1 \(known to within"):
        check_gate(*measured, (2.0, 1.0), ExportSettings(), console)
    assert "VQA accuracy -25.00 points" in console.export_text()
    check_gate(*measured, (2.0, 1.0), ExportSettings(max_loss=30), console)


def test_the_confidence_of_answers_is_fitted_to_how_often_they_are_right():
    right = [1.0, 1.0, 0.0, 0.0] * 50  # half of them, however sure it is
    evaluation = asked(right, ([0.99] * 4 + [0.9] * 4) * 25)
    (scale, offset), facts = answer_facts(evaluation, evaluation)
    assert Calibration(scale, offset).confidence(0.99) == pytest.approx(0.5, abs=0.03)
    assert facts["answer_calibration_error"] < 0.03 and facts["vqa_accuracy"] == 50.0
    assert evaluation.as_json()["calibration_error"] == pytest.approx(0.445, abs=0.01)


def test_a_model_that_answers_is_rounded_by_questions_too():
    pictures, captions = reading(str.split, 64, 6)
    assert max(map(len, captions)) == 6 and not any("answer:" in text for text in captions)
    _, both = reading(str.split, 64, 6, "question: {question} answer:")
    assert both[: len(captions)] == captions and len(both) % len(pictures) == 0
    assert ["question:", "is", "the", "man", "wearing", "a", "hat?", "answer:", "yes"] in both[len(captions) :]
    assert all(text[0] == "question:" and text[-1] != "answer:" for text in both[len(captions) :])
