"""`benchmarks/distilled.py` compares models question by question, and asks none twice."""

from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from conftest import load_script

SCORES = {
    "start": {"asked": [0.0, 0.0, 100.0, 100.0], "captions": [10.0, 30.0]},
    "people": {"asked": [0.0, 0.0, 100.0, 100.0], "captions": [20.0, 40.0]},
    "teacher": {"asked": [100.0, 0.0, 100.0, 100.0], "captions": [20.0, 40.0]},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The script, with what it has measured before."""

    def run(scores) -> dict:
        script, work = load_script("distilled"), tmp_path / "work"
        work.mkdir()
        for name, by in scores.items():
            for task, points in by.items():
                (work / f"{name}-{task}.json").write_text(json.dumps(points))
        models = [f"--model={name}={tmp_path / 'not here'}" for name in SCORES]
        asked = ["--questions", f"asked={tmp_path / 'asked.json'}", "--flickr8k", str(tmp_path)]
        kept = ["--work", str(work), "--out", str(tmp_path / "out.json")]
        monkeypatch.setattr(sys, "argv", ["benchmarks/distilled.py", "measure", *models, *asked, *kept])
        code = script.main()
        return {"code": code, **(json.loads((tmp_path / "out.json").read_text()) if not code else {})}

    return run


def test_differences_are_those_of_pairs(run):
    record = run(SCORES)
    start, _, teacher = record["rows"]
    assert start["asked"] == {"number": 4, "mean": 50.0, "margin": pytest.approx(56.58, abs=0.01)}
    assert teacher["asked"]["mean"] == 75.0
    by_pair = {(row["model"], row["against"]): row for row in record["differences"]}
    assert by_pair["people", "start"]["captions"] == {"number": 2, "mean": 10.0, "margin": 0.0}  # each by the same
    assert by_pair["people", "start"]["asked"]["margin"] == 0.0
    assert by_pair["teacher", "people"]["asked"] == {"number": 4, "mean": 25.0, "margin": 49.0}


def test_a_model_that_is_missing_is_told_in_one_line(run, capsys):
    assert run({"start": SCORES["start"]})["code"] == 1
    assert "not here" in capsys.readouterr().err.strip().splitlines()[-1]


def test_pictures_are_drawn_with_all_that_is_asked_and_said_of_them(tmp_path, monkeypatch):
    pictures = [tmp_path / f"{place}.png" for place in range(6)]
    for picture in pictures:
        Image.new("RGB", (8, 8)).save(picture)
    rows = [
        {"image": str(picture), "question": text, "answer": "no"} for picture in pictures for text in ("Is it?", "Why?")
    ]
    (tmp_path / "asked.json").write_text(json.dumps(rows))
    (tmp_path / "train.jsonl").write_text(
        "".join(json.dumps({"image": str(picture), "caption": "a box"}) + "\n" for picture in pictures[:3])
    )
    asked = ["--questions", f"4={tmp_path / 'asked.json'}", "--captions", f"jsonl:train={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["benchmarks/distilled.py", "draw", *asked, "--out", str(tmp_path / "drawn")])
    assert load_script("distilled").main() == 0
    drawn = json.loads((tmp_path / "drawn" / "conversations.json").read_text())
    images = {row["image"] for row in drawn}
    assert len(images) == 4 and len(drawn) == 8
    said = {json.loads(line)["image"] for line in (tmp_path / "drawn" / "captions.jsonl").read_text().splitlines()}
    assert said == images & set(map(str, pictures[:3]))
