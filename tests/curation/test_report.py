"""`fastcap data report`: what it finds, what it writes, and when it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from small_sets import CAPTIONS, read_table, scene, write_jsonl

from fastcap.cli import main
from fastcap.curation.advice import FAULTS, parse_faults
from fastcap.errors import ConfigError

FILES = {
    "report.html",
    "quality_summary.json",
    "per_example_scores.csv",
    "ranked_by_combined.csv",
    "object_counts.csv",
    "objects_below_50.csv",
    "reweighting_probs.csv",
    "same_pictures.csv",
    "top_failures",
}


def report(folder: Path, *options: str, model: str = "none") -> int:
    line = ["data", "report", str(folder), "--out", str(folder.parent / "out"), "--model", model, "--workers", "1"]
    return main([*line, *options])


def summary(folder: Path) -> dict:
    return json.loads((folder.parent / "out/quality_summary.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """The folder of a report on a small data set, judged by the bundled model."""
    rows = [{"image": f"{at}.jpg", "captions": list(CAPTIONS[at % len(CAPTIONS)])} for at in range(8)]
    folder = write_jsonl(tmp_path_factory.mktemp("judged") / "data", {"train": rows[:6], "val": rows[6:]})
    assert report(folder, "--plot", "--topk", "5", model="fastcap-base") == 0
    return folder.parent / "out"


# What is written


def test_the_files_that_the_seed_names_are_written(judged):
    assert {path.name for path in judged.iterdir() if path.suffix != ".svg"} - {".examined.jsonl"} == FILES
    assert {path.stem for path in judged.glob("*.svg")} >= {"lorenz", "object_frequency", "caption_lengths"}


def test_the_page_loads_nothing_and_escapes_what_it_shows(judged):
    text = (judged / "report.html").read_text("utf-8")
    assert not re.search(r"(src|href)=\"(?!data:)", text) and "<script" not in text
    assert text.count("<svg") == 5 and text.count("<img") >= 8


def test_every_caption_has_its_scores(judged):
    rows = read_table(judged / "per_example_scores.csv")
    assert len(rows) == 24
    for row in rows:
        assert -1 <= float(row["alignment"]) <= 1 and 0 <= float(row["agreement"]) <= 1
        assert row["image"] == f"images/{row['image_id']}.jpg" and row["fidelity"] == ""
    ranked = read_table(judged / "ranked_by_combined.csv")
    assert [int(row["rank"]) for row in ranked] == list(range(1, 25))
    assert [float(row["combined"]) for row in ranked] == sorted(float(row["combined"]) for row in rows)
    assert all(float(row["likelihood"]) < 0 for row in ranked[:5])  # of the worst, for people to read


def test_the_worst_pairs_are_pictures_and_lines(judged):
    lines = [json.loads(line) for line in (judged / "top_failures/failures.jsonl").read_text("utf-8").splitlines()]
    assert [line["rank"] for line in lines] == [1, 2, 3, 4, 5]
    for line in lines:
        Image.open(judged / "top_failures" / line["file"]).verify()


def test_probabilities_of_a_split_sum_to_one_and_favour_rare_objects(folder):
    rows = [{"image": f"{at}.jpg", "caption": "a dog on grass"} for at in range(60)]
    rows += [{"image": f"{at}.jpg", "caption": "a zebra on grass"} for at in range(60, 66)]
    folder = write_jsonl(folder.parent / "zebras", {"train": rows})
    assert report(folder) == 0
    found = {row["image"]: float(row["probability"]) for row in read_table(folder.parent / "out/reweighting_probs.csv")}
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    assert found["images/60.jpg"] / found["images/0.jpg"] == pytest.approx((50 / 6) ** 0.5, rel=1e-3)
    assert read_table(folder.parent / "out/objects_below_50.csv") == [{"object": "zebra", "pictures": "6"}]


# What is found


def test_a_copy_in_another_split_is_a_leak(folder):
    ImageOps.mirror(Image.open(folder / "images/0.jpg")).save(folder / "images/8.jpg", quality=60)
    shutil.copy(folder / "images/1.jpg", folder / "images/2.jpg")
    assert report(folder) == 0
    found = summary(folder)["duplicates"]
    assert (found["leaks"], found["within_splits"]) == (1, 1)
    assert [found["leaking"][0][key] for key in ("first", "second", "kind")] == ["train/0.jpg", "val/8.jpg", "mirrored"]
    told = [(row["first"], row["second"], row["leak"]) for row in read_table(folder.parent / "out/same_pictures.csv")]
    assert told == [("images/0.jpg", "images/8.jpg", "1"), ("images/1.jpg", "images/2.jpg", "0")]
    assert summary(folder)["next"][0].startswith("1 picture of one split can be seen in another")


def test_unreadable_pictures_and_rows_are_reported_and_do_not_end_it(folder):
    (folder / "images/0.jpg").write_bytes(b"\xff\xd8 none")
    (folder / "images/1.jpg").unlink()
    with (folder / "train.jsonl").open("a") as file:
        file.write('{"image": "2.jpg", "caption": 7}\n{"image": "2.jpg", "caption": " "}\nnone\n')
    assert report(folder) == 0
    found = summary(folder)
    assert found["unreadable"]["count"] == 1 + 3 + 3  # a picture, the captions of another one, three rows
    assert "the caption is int, not text" in "".join(found["unreadable"]["first"])
    assert found["splits"]["train"] == {"pictures": 7, "captions": 21, "bad_rows": 6}


def test_a_swapped_caption_is_among_the_worst(folder):
    lines = (folder / "train.jsonl").read_text().replace("two men ride bicycles on a road", "a cat sleeps on a sofa", 1)
    (folder / "train.jsonl").write_text(lines)
    assert report(folder) == 0
    assert read_table(folder.parent / "out/ranked_by_combined.csv")[0]["caption"] == "a cat sleeps on a sofa"


def test_transformed_captions_are_compared_with_their_originals(tmp_path):
    pairs = [("a man rides a horse", "a person rides a horse"), ("two women at a table", "a red bus on a street")]
    rows = [{"image": f"{at}.jpg", "caption": new, "original": old} for at, (old, new) in enumerate(pairs)]
    folder = write_jsonl(tmp_path / "data", {"train": rows})
    assert report(folder) == 0
    scores = [float(row["fidelity"]) for row in read_table(tmp_path / "out/per_example_scores.csv")]
    assert scores[0] > 0.6 and scores[1] == 0
    found = summary(folder)["bias"]
    assert found["share"] == 0 and found["originals"]["gender"]["captions"] == 2


def test_a_black_dog_states_no_race(tmp_path):
    rows = [
        {"image": "0.jpg", "caption": "a black dog and a white shirt"},
        {"image": "1.jpg", "caption": "a black man"},
    ]
    folder = write_jsonl(tmp_path / "data", {"train": rows})
    assert report(folder) == 0
    categories = summary(folder)["bias"]["categories"]
    assert categories["race_ethnicity"]["phrases"] == [["black", 1]] and categories["gender"]["captions"] == 1


# How it goes on and how it ends


def test_a_second_run_examines_only_what_changed(folder):
    assert report(folder) == 0
    notes = folder.parent / "out/.examined.jsonl"
    notes.write_text(notes.read_text() + '{"image": "cut sho')
    scene(99).save(folder / "images/3.jpg")
    os.utime(folder / "images/3.jpg", (1, 1))
    assert report(folder) == 0
    names = [Path(json.loads(line)["image"]).name for line in notes.read_text().splitlines() if line.endswith("}")]
    assert names[12:] == ["3.jpg"]


@pytest.mark.parametrize(
    ("faults", "status", "told"),
    [
        ("leak", 0, ""),
        ("unreadable,leak", 1, "unreadable: 1 rows or pictures that cannot be used, allowed are 0"),
        ("unreadable=1", 0, ""),
        ("bias=90%", 0, ""),
        ("bias=5%", 1, "bias: 41.67 % captions that state a protected attribute, allowed are 5.00 %"),
        ("imbalance=90%,duplicate", 0, ""),
    ],
)
def test_it_fails_on_what_it_is_told_to(faults, status, told, folder, capsys):
    (folder / "images/0.jpg").write_bytes(b"none")
    assert report(folder, "--fail-on", faults) == status
    said = capsys.readouterr().err
    assert said == "" if not told else f"fastcap: {told}" in said


def test_all_faults_are_known():
    assert set(parse_faults(",".join(FAULTS))) == set(FAULTS)
    for text in ("", "leaks", "bias=x%", "bias=-1", "leak=nan"):
        with pytest.raises(ConfigError, match="--fail-on"):
            parse_faults(text)


def test_wrong_folders_are_one_line(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for source, out in ((tmp_path / "none", "out"), (tmp_path / "empty", "out"), (folder, "file")):
        assert main(["data", "report", str(source), "--out", str(tmp_path / out), "--model", "none"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "fastcap: error: " in said


def test_a_full_disk_is_one_line_and_leaves_no_half_file(folder, capsys, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "report")

    monkeypatch.setattr("fastcap.curation.outputs.csv.writer", full)
    assert report(folder) == 1
    assert capsys.readouterr().err == "fastcap: error: report: No space left on device\n"
    assert [path.name for path in (folder.parent / "out").iterdir()] == [".examined.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a file that is always full is Linux's")
def test_a_disk_that_is_full_while_pictures_are_examined_names_the_file(folder, capsys):
    out = folder.parent / "out"
    out.mkdir()
    (out / ".examined.jsonl").symlink_to("/dev/full")
    assert report(folder) == 1
    assert capsys.readouterr().err == f"fastcap: error: {out}/.examined.jsonl: No space left on device\n"


def test_a_report_is_not_written_among_other_files(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "train.jsonl").write_text('{"image": "a.png", "caption": "A dog runs."}\n')
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="2"):
        main(["data", "report", str(tmp_path), "--out", str(tmp_path), "--model", "none"])
    assert "holds something else than a report" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
    for _ in range(2):  # a new folder, then an earlier report
        assert main(["data", "report", str(tmp_path), "--out", str(tmp_path / "report"), "--model", "none"]) == 0
