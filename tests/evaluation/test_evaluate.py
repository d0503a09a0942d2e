"""`fastcap evaluate`: a tiny model's figures on two pictures, the page, and what a user can get wrong."""

from __future__ import annotations

import json
import random
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fastcap.cli import main
from fastcap.data.readers import load_dataset
from fastcap.errors import DataError, ImageError
from fastcap.evaluation.calibration import calibration_error, support
from fastcap.evaluation.evaluate import evaluate_model
from fastcap.evaluation.metrics import UNITS, score_captions
from fastcap.evaluation.page import PICTURES, render_page
from fastcap.evaluation.sample import margin, small_sample
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.neutral import gendered_words


@pytest.fixture
def captioner(tiny_bundle: Path) -> Captioner:
    return Captioner(Bundle.open(tiny_bundle))


@pytest.fixture
def evaluation(captioner, pictures):
    return evaluate_model(captioner, load_dataset("jsonl", pictures, "val"))


def test_rows_hold_what_the_model_said_of_each_picture(evaluation):
    blue, red = evaluation.rows
    assert blue.caption.startswith("A blue boat")
    assert red.caption.startswith("A red barn")
    assert red.references == ("A red barn stands.", "A red barn stands under trees.")
    assert red.cider > blue.cider == 0
    assert 0 <= red.confidence <= 1
    assert red.milliseconds > 0


def test_metrics_are_those_of_the_captions(evaluation):
    scores = score_captions(
        {row.image_id: row.caption for row in evaluation.rows},
        {row.image_id: row.references for row in evaluation.rows},
    )
    assert evaluation.metrics == scores.metrics
    assert {row.image_id: row.cider for row in evaluation.rows} == scores.cider


def test_the_asked_length_is_the_measured_one(captioner, pictures):
    examples = load_dataset("jsonl", pictures, "val")
    short, long = (evaluate_model(captioner, examples, length=name).metrics for name in ("short", "long"))
    assert short["mean_length"] < long["mean_length"]


def test_neutral_captions_are_compared_with_neutral_references(captioner, pictures):
    examples = load_dataset("jsonl", pictures, "val")
    free = evaluate_model(captioner, examples, length=24)
    neutral = evaluate_model(captioner, examples, length=24, neutral=True)
    assert (free.facts["gendered_captions"], neutral.facts["gendered_captions"]) == (1, 0)
    assert not [text for row in neutral.rows for text in row.references if gendered_words(text)]


def test_the_calibration_error_is_that_of_the_rows(evaluation):
    found = evaluation.as_json()["calibration"]
    confidences, supports = evaluation.calibration()
    assert found["error"] == pytest.approx(calibration_error(confidences, supports), abs=1e-4)
    assert [row.support for row in evaluation.rows] == [support(row.caption, row.references) for row in evaluation.rows]


def test_a_picture_that_cannot_be_read_stops_the_evaluation(captioner, pictures):
    examples = load_dataset("jsonl", pictures, "val")
    (pictures / "red.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"red\.jpg"):
        evaluate_model(captioner, examples)
    with pytest.raises(DataError, match="at least one picture"):
        evaluate_model(captioner, [])


class Page(HTMLParser):
    """Tags that were opened and not closed, and what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict] = []
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.loads += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(attributes)
        elif tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_escapes_text(evaluation):
    text = render_page(evaluation)
    assert "&lt;b&gt;Fish &amp; chips&lt;/b&gt;" in text
    assert "b" not in Page(text).tags


def test_the_page_is_whole_and_loads_nothing(evaluation):
    page = Page(render_page(evaluation))
    assert page.open == []
    assert len(page.images) == 2
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.loads)


def test_the_page_is_accessible(evaluation):
    text = render_page(evaluation)
    assert '<html lang="en">' in text
    assert all(image["alt"] for image in Page(text).images)
    assert "prefers-color-scheme: dark" in text
    assert text.count("<select") == text.count("<label>") == 2


def test_the_page_shows_the_worst_first_and_names_the_groups_of_each(evaluation):
    values = [float(value) for value in re.findall(r'data-cider="([\d.]+)"', render_page(evaluation))]
    assert values == sorted(values)


def test_a_large_data_set_gives_a_page_of_bounded_size(evaluation):
    from dataclasses import replace

    blue, red = evaluation.rows
    rows = [replace(blue, cider=float(n), image_id=str(n)) for n in range(1000)]
    copies = []
    for n, row in enumerate(rows):
        path = red.image.with_name(f"{n}.jpg")
        path.symlink_to(red.image)
        copies.append(replace(row, image=path))
    text = render_page(replace(evaluation, rows=tuple(copies)))
    assert 2 * PICTURES < len(Page(text).images) <= 3 * PICTURES
    assert text == render_page(replace(evaluation, rows=tuple(copies)))


def run(*arguments: object) -> int:
    return main(["evaluate", *map(str, arguments)])


def test_the_table_names_every_unit(tiny_bundle, pictures, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run("--model", tiny_bundle, "--dataset", pictures / "val.jsonl") == 0
    out = capsys.readouterr().out
    for unit in UNITS.values():
        assert unit in out
    assert "p95" in out and "threads 1" in out


def test_json_is_only_json_with_figures_and_facts(tiny_bundle, pictures, capsys):
    assert run("--model", tiny_bundle, "--dataset", "jsonl", "--root", pictures, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 2
    assert set(figures["metrics"]) == set(figures["units"]) == set(UNITS)
    assert figures["latency"]["p50_ms"] <= figures["latency"]["p95_ms"]
    manifest = json.loads((tiny_bundle / "model.json").read_text(encoding="utf-8"))
    assert figures["model"]["sha256"] == manifest["files"]["model.onnx"]["sha256"]
    assert figures["data"] == {"name": "jsonl", "split": "val"}
    assert figures["threads"] == 1
    assert figures["machine"]["cores"] >= 1


def test_json_and_the_page_go_to_files(tiny_bundle, pictures, tmp_path, capsys):
    page, figures = tmp_path / "page.html", tmp_path / "figures.json"
    assert run(
        "--model", tiny_bundle, "--dataset", pictures / "val.jsonl", "--report", page, "--json", figures
    ) == 0  # fmt: skip
    assert Page(page.read_text(encoding="utf-8")).images
    assert json.loads(figures.read_text(encoding="utf-8"))["kind"] == "evaluation"


def test_limit_takes_the_first_pictures(tiny_bundle, pictures, capsys):
    assert run("--model", tiny_bundle, "--dataset", pictures / "val.jsonl", "--limit", 1, "--json") == 0
    assert json.loads(capsys.readouterr().out)["images"] == 1


def test_captions_files_of_other_formats_are_read(tiny_bundle, pictures, capsys):
    (pictures / "mine.csv").write_text("image,caption\nred.jpg,A red barn.\n", encoding="utf-8")
    coco = {
        "images": [{"id": 1, "file_name": "red.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "caption": "A red barn."}],
    }
    (pictures / "captions_own.json").write_text(json.dumps(coco), encoding="utf-8")
    for name in ("mine.csv", "captions_own.json"):
        assert run("--model", tiny_bundle, "--dataset", pictures / name, "--json") == 0
        assert json.loads(capsys.readouterr().out)["images"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "flickr8k"], "--root is missing"),
        (["--dataset", "flickr9k", "--root", "."], "did you mean 'flickr8k'"),
        (
            ["--dataset", "flickr8k", "--root", ".", "--limit", "0"],
            "--limit: got '0'; allowed are whole numbers of 1 or more",
        ),
        (
            ["--dataset", "flickr8k", "--root", ".", "--threads", "65"],
            "--threads: got '65'; allowed are whole numbers from 1 to 64",
        ),
        (["--dataset", "flickr8k", "--root", ".", "--length", "huge"], "length is 'huge'"),
        (["--dataset", "flickr8k", "--root", ".", "--candidates", "99"], "candidates is 99"),
        (["--dataset", "notes.json"], "no such file"),
        ([], "--dataset"),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments, message, tiny_bundle, capsys):
    try:
        status = run("--model", tiny_bundle, *arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == (1 if message == "no such file" else 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_missing_file_is_named(tiny_bundle, tmp_path, capsys):
    for arguments, message in (
        (["--dataset", "flickr8k", "--root", tmp_path / "nowhere"], "nowhere"),
        (["--dataset", "flickr8k", "--root", tmp_path], "captions.txt"),
        (["--dataset", "flickr8k", "--root", tmp_path, "--report", tmp_path / "no" / "a.html"], "--report"),
        (["--dataset", "flickr8k", "--root", tmp_path, "--json", tmp_path / "no" / "a.json"], "--json"),
    ):
        assert run("--model", tiny_bundle, *arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], "0 pictures, a small sample: says little"),
        ([50.0], "1 picture, a small sample: says little"),
        ([0.0, 100.0], "2 pictures, a small sample: known to within ±98.0 points"),
        ([50.0] * 10, "10 pictures, a small sample: says little"),
        ([0.0, 100.0] * 25, "50 pictures, a small sample: known to within ±14.0 points"),
        ([0.0, 100.0] * 99, "198 pictures, a small sample: known to within ±7.0 points"),
        ([0.0, 100.0] * 100, ""),
        ([0.0, 100.0] * 500, ""),
    ],
)
def test_few_pictures_are_called_a_small_sample(scores, said):
    assert small_sample(scores) == said


def test_the_margin_holds_the_mean_of_all_pictures_nineteen_times_in_twenty():
    rng = random.Random(0)
    everything = [rng.expovariate(1 / 50) for _ in range(20_000)]  # as CIDEr lies: many low, few high
    mean, held = statistics.fmean(everything), 0
    for _ in range(1000):
        sample = rng.sample(everything, 100)
        width = margin(sample)
        held += width is not None and abs(statistics.fmean(sample) - mean) <= width
    assert 925 <= held <= 970


def test_the_report_of_few_pictures_says_so_everywhere(evaluation, tiny_bundle, pictures, capsys):
    said = "CIDEr of 2 pictures, a small sample: known to within ±"
    assert said in render_page(evaluation)
    assert main(["evaluate", "--model", str(tiny_bundle), "--dataset", str(pictures / "val.jsonl")]) == 0
    assert said in capsys.readouterr().out
    facts = evaluation.as_json()
    assert facts["cider_margin"] == pytest.approx(0.98 * abs(facts["metrics"]["cider"] * 2), abs=0.02)
