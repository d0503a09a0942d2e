"""`fastcap data merge`: no picture on two sides, the same tables anywhere, nothing half-written, nothing left out."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fake_hub import FakeHub, fake_hub
from PIL import Image, ImageOps
from small_sets import CAPTIONS, scene, write_jsonl

from fastcap.cli import main
from fastcap.curation.merge import Source, merge
from fastcap.data.shards import find_shards, read_shard
from fastcap.errors import ConfigError, DataError

parquet = pytest.importorskip("pyarrow.parquet")


def rows(names: Sequence[str]) -> list[dict[str, object]]:
    return [{"image": f"{name}.jpg", "captions": list(CAPTIONS[at % 4])} for at, name in enumerate(names)]


@pytest.fixture
def two(tmp_path: Path) -> list[Source]:
    """Two sources of six and five pictures, all different."""
    one = write_jsonl(tmp_path / "one", {"train": rows("abcd"), "val": rows("ef")})
    other = write_jsonl(tmp_path / "other", {"train": rows("abc"), "test": rows("xy")})
    for number, path in enumerate(sorted((other / "images").iterdir())):
        scene(500 + number).save(path)
    return [Source("one", one), Source("other", other)]


def merged(out: Path) -> dict[str, list[dict]]:
    """The rows of each side."""
    found: dict[str, list[dict]] = {"train": [], "val": [], "test": []}
    for path in sorted((out / "data").iterdir()):
        found[path.name.partition("-")[0]] += parquet.read_table(path).to_pylist()
    return found


def names(out: Path) -> dict[str, list[str]]:
    return {side: [f"{row['source']}/{row['source_id']}" for row in part] for side, part in merged(out).items()}


# What comes out


def test_rows_keep_their_captions_their_file_and_where_they_are_from(two, tmp_path):
    merge(two, tmp_path / "out", workers=1)
    row = merged(tmp_path / "out")["val"][0]
    assert (row["source"], row["source_id"], row["licence"]) == ("one", "e", "unknown")
    assert row["captions"] == list(CAPTIONS[0]) and (row["width"], row["height"]) == (224, 224)
    assert row["image"]["bytes"] == (two[0].root / "images/e.jpg").read_bytes()


def test_training_reads_what_comes_out(two, tmp_path):
    merge(two, tmp_path / "out", workers=1)
    (shard,) = find_shards("parquet", str(tmp_path / "out/data/train-*.parquet"))
    samples = list(read_shard(shard))
    assert len(samples) == 7 and list(samples[0].captions) == list(CAPTIONS[0])


def test_the_hub_is_told_what_the_columns_are(two, tmp_path):
    record = merge(two, tmp_path / "out", workers=1)
    schema = parquet.read_schema(next((tmp_path / "out/data").glob("train-*")))
    assert json.loads(schema.metadata[b"huggingface"])["info"]["features"]["image"] == {"_type": "Image"}
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlicense: ") and "path: data/train-*" in card and "| other | 3 | 0 | 2 | 15 |" in card
    told = json.loads((tmp_path / "out/croissant.json").read_text())
    assert [each["sha256"] for each in told["distribution"]] == [table["sha256"] for table in record["tables"]]
    assert {field["name"] for field in told["recordSet"][0]["field"]} == set(schema.names)


def test_a_sample_is_drawn_by_ids_from_every_source(two, tmp_path):
    merge(two, tmp_path / "out", sample=3, workers=1)
    first = names(tmp_path / "out")
    assert sorted(name.partition("/")[0] for part in first.values() for name in part) == ["one"] * 3 + ["other"] * 3
    merge(list(reversed(two)), tmp_path / "again", sample=3, workers=1)
    assert names(tmp_path / "again") == first


def test_a_merge_can_be_reported_on_and_merged_again(two, tmp_path, capsys):
    two[0].root.joinpath("train.jsonl").write_text(
        json.dumps({"image": "a.jpg", "caption": "a person runs", "original": "a man runs"}) + "\n"
    )
    merge(two, tmp_path / "out", workers=1)
    line = ["data", "report", str(tmp_path / "out"), "--out", str(tmp_path / "report"), "--model", "none"]
    assert main([*line, "--workers", "1"]) == 0
    found = json.loads((tmp_path / "report/quality_summary.json").read_text())
    assert {split: part["pictures"] for split, part in found["splits"].items()} == {"train": 4, "val": 2, "test": 2}
    assert found["fit"]["fidelity"]["pairs"] == 1
    assert main(["data", "merge", f"again={tmp_path / 'out'}", "--out", str(tmp_path / "twice"), "--workers", "1"]) == 0
    ids = {side: [name.partition("/")[2] for name in part] for side, part in names(tmp_path / "twice").items()}
    assert {side: len(part) for side, part in ids.items()} == {"train": 4, "val": 2, "test": 2}
    assert "e" in ids["val"]


# No leak


CHANGES = {
    "as it is": lambda picture, _: picture,
    "encoded again": lambda picture, _: picture,
    "mirrored": lambda picture, _: ImageOps.mirror(picture),
    "cropped": lambda picture, rng: picture.crop((rng.randrange(11), rng.randrange(11), 213, 213)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_stands_on_one_side_and_test_stays_test(change, two, tmp_path):
    original, copy = two[1].root / "images/x.jpg", two[0].root / "images/a.jpg"
    if change == "as it is":
        shutil.copy(original, copy)
    else:
        CHANGES[change](Image.open(original), random.Random(1)).save(copy, quality=60)
    record = merge(two, tmp_path / "out", workers=1)
    found = names(tmp_path / "out")
    assert found["test"] == ["one/a", "other/x", "other/y"] and "one/a" not in found["train"]
    kind = {"as it is": "file", "mirrored": "mirrored"}.get(change, "copy")
    assert record["same_picture"]["first"] == [["one/a", "other/x", "train and test", kind]]
    assert record["same_picture"]["moved"] == {"train to test": 1} and record["same_picture"]["across_splits"] == 0


def test_a_picture_of_two_splits_is_one_row_with_all_its_captions(tmp_path):
    both = write_jsonl(tmp_path / "both", {"train": rows("ab"), "val": [{"image": "a.jpg", "caption": "a new one"}]})
    merge([Source("both", both)], tmp_path / "out", workers=1)
    found = merged(tmp_path / "out")
    assert [row["captions"] for row in found["val"]] == [[*CAPTIONS[0], "a new one"]]
    assert names(tmp_path / "out")["train"] == ["both/b"]


def test_a_source_without_splits_is_split_by_ids(tmp_path):
    ids = [f"{at:03}" for at in range(60)]
    folder = write_jsonl(tmp_path / "all", {"test": rows(ids)})
    merge([Source("all", folder, unsplit=True)], tmp_path / "out", workers=1)
    sizes = {side: len(part) for side, part in names(tmp_path / "out").items()}
    assert sum(sizes.values()) == 60 and sizes["train"] > 35 and min(sizes.values()) >= 2


# The same anywhere


def test_order_and_sides_do_not_depend_on_where_and_when(two, tmp_path):
    merge(two, tmp_path / "out", workers=1)
    moved = [Source(source.name, shutil.copytree(source.root, tmp_path / f"moved-{source.name}")) for source in two]
    merge(list(reversed(moved)), tmp_path / "elsewhere/out", workers=2)
    for path in (tmp_path / "out").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "elsewhere/out" / path.relative_to(tmp_path / "out")).read_bytes()


# Bad input, and interruptions


def test_a_missing_source_is_an_error_and_no_empty_part(two, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no data/coco
    with pytest.raises(DataError, match=r"source gone: .* is no folder; a missing source is never left out"):
        merge([*two, Source("gone", tmp_path / "gone")], tmp_path / "out")
    for words, told in (
        (["cooc"], "unknown source 'cooc' (did you mean 'coco'?); allowed: coco, flickr, "),
        (["coco"], "source coco: not in data/coco, and not on the hub; put its folder there"),
        (["mine=gone"], "source 'mine=gone': gone is no folder"),
    ):
        try:
            assert main(["data", "merge", *words, "--out", str(tmp_path / "out")]) == 1
        except SystemExit as error:
            assert error.code == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_bad_is_an_error_or_left_out_and_counted(two, tmp_path):
    (two[0].root / "images/a.jpg").write_bytes(b"none")
    with (two[0].root / "train.jsonl").open("a") as file:
        file.write('{"image": "b.jpg", "caption": 7}\n')
    with pytest.raises(DataError, match=r"source one: 1 of 13 rows are bad, .*: the caption is int, not text"):
        merge(two, tmp_path / "out", workers=1)
    record = merge(two, tmp_path / "out", on_bad_data="skip", workers=1)
    assert record["left_out"] == {"rows": 1, "pictures": 1}
    assert names(tmp_path / "out")["train"][0] == "one/b"


def test_nothing_else_is_ever_replaced(two, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/letters.txt").touch()
    with pytest.raises(ConfigError, match="holds something else than a merge"):
        merge(two, tmp_path / "out")
    with pytest.raises(ConfigError, match="two sources are called 'one'"):
        merge([two[0], two[0]], tmp_path / "new")


def test_an_interrupted_merge_goes_on(two, tmp_path, monkeypatch):
    from fastcap.curation import merge as module

    merge(two, tmp_path / "whole", workers=1)
    write, written = module._write_table, []

    def interrupted(path: Path, part: Sequence[object]) -> None:
        if written:
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        write(path, part)
        written.append(path)

    monkeypatch.setattr(module, "_write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        merge(two, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(module, "_write_table", lambda *args: (written.append(args[0]), write(*args)))
    monkeypatch.setattr("fastcap.curation.examine.WorkerPool", None)  # no picture is examined again
    merge(two, tmp_path / "out", workers=1)
    assert len(written) == 1 + 2  # the first table was kept
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_full_disk_is_said_before_anything_is_written(two, tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("fastcap.curation.merge.shutil.disk_usage", lambda _: usage._replace(free=10))
    line = ["data", "merge", *(f"{source.name}={source.root}" for source in two), "--out", str(tmp_path / "out")]
    assert main([*line, "--workers", "1"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and not (tmp_path / "out").exists()


# The hub


@pytest.fixture
def hub(monkeypatch) -> Iterator[FakeHub]:
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


def table(columns: dict[str, list]) -> bytes:
    import pyarrow as pa

    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


def pictures(count: int) -> list[dict[str, object]]:
    found = []
    for number in range(count):
        file = io.BytesIO()
        scene(700 + number).save(file, "JPEG")
        found.append({"bytes": file.getvalue(), "path": None})
    return found


def take(source: str, tmp_path: Path, *options: str) -> int:
    line = ["data", "merge", source, "--out", str(tmp_path / "out"), "--root", str(tmp_path), "--workers", "1"]
    return main([*line, *options])


def test_a_source_that_is_not_here_comes_from_the_hub(hub, tmp_path):
    texts = [[f"a dog {n}", f"a brown dog {n}"] for n in range(4)]
    hub.tables["lmms-lab/TextCaps"] = {
        "train": [table({"image": pictures(4)[:2], "caption_str": texts[:2]})],
        "test": [table({"image": pictures(4)[2:], "caption_str": texts[2:]})],
    }
    assert take("textcaps", tmp_path) == 0
    found = merged(tmp_path / "out")
    assert [row["captions"] for row in found["train"]] == texts[:2]
    assert [row["captions"] for row in found["test"]] == texts[2:]
    assert found["train"][0]["licence"] == "CC-BY-4.0" and set(hub.tokens) == {"Bearer hf_secret"}


def test_a_report_can_be_on_a_data_set_of_the_hub(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.tables["lmms-lab/TextCaps"] = {"train": [table({"image": pictures(2), "caption_str": [["a"], ["b c"]]})]}
    line = ["data", "report", "lmms-lab/TextCaps", "--out", "report", "--model", "none", "--workers", "1"]
    assert main(line) == 0 and main(line) == 0
    assert json.loads((tmp_path / "report/quality_summary.json").read_text())["pictures"]["count"] == 2
    assert len(hub.asked) == 2  # the listing and the table, once


def test_documents_get_their_caption_and_others_are_left(hub, tmp_path):
    hub.tables["mozilla/docornot"] = {"train": [table({"image": pictures(3), "is_document": [1, 0, 1]})]}
    assert take("docornot", tmp_path) == 0
    assert [row["captions"] for row in merged(tmp_path / "out")["train"]] == [["A page of a document with text."]] * 2


@pytest.mark.parametrize(
    ("refusals", "told"),
    [
        ([401], "answers 401; set HF_TOKEN to a token that may read it"),
        ([404], "answers 404; it is not there, or HF_TOKEN may not see it"),
        ([429, 429, 429], "answers 429; it was asked 3 times, try again later"),
        ([500], "answers 500"),
    ],
)
def test_a_refusal_is_one_line(refusals, told, hub, tmp_path, capsys):
    hub.refusals = list(refusals)
    assert take("textcaps", tmp_path) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and told in said and "source textcaps: not in " in said and "hf_secret" not in said
    assert not (tmp_path / "out").exists()


def test_a_hub_that_was_asked_too_often_is_asked_again(hub, tmp_path):
    hub.tables["lmms-lab/TextCaps"] = {"train": [table({"image": pictures(1), "caption_str": [["a dog"]]})]}
    hub.refusals = [429, 429]
    assert take("textcaps", tmp_path) == 0


def test_a_table_on_another_server_is_not_fetched_nor_sent_the_token(hub, tmp_path, capsys):
    hub.tables["lmms-lab/TextCaps"] = {"train": [b""]}
    hub.elsewhere = "http://127.0.0.1:9"
    assert take("textcaps", tmp_path) == 1
    assert "has a table elsewhere, http://127.0.0.1:9/tables/" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [{"image": [1], "caption_str": [["x"]]}, {"other": [1]}])
def test_a_table_of_something_else_is_one_line(columns, hub, tmp_path, capsys):
    hub.tables["lmms-lab/TextCaps"] = {"train": [table(columns)]}
    assert take("textcaps", tmp_path) == 1
    assert "00000.parquet of lmms-lab/TextCaps is no table of captioned pictures" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert take("textcaps", tmp_path) == 1
    assert "cannot be reached" in capsys.readouterr().err


def test_a_merge_is_uploaded_whole(two, hub, tmp_path):
    pytest.importorskip("huggingface_hub")
    assert take(str(two[0].root), tmp_path, "--push-to-hub", "own/merged", "--private") == 0
    here = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")
    }
    assert {name: data for name, data in hub.files.items() if name in here} == here and hub.private is True


@pytest.mark.parametrize(
    ("status", "told"), [(401, "401: set HF_TOKEN to a token that may write"), (404, "404;"), (429, "429;")]
)
def test_a_refused_upload_loses_nothing(status, told, two, hub, tmp_path, capsys):
    pytest.importorskip("huggingface_hub")
    hub.refusals = [status] * 20
    assert take(str(two[0].root), tmp_path, "--push-to-hub", "own/merged") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"own/merged: the hub answers {told}" in said and "is whole" in said
    assert (tmp_path / "out/merge.json").is_file()


def test_an_upload_without_an_answer_loses_nothing(two, tmp_path, monkeypatch, capsys):
    pytest.importorskip("huggingface_hub")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert take(str(two[0].root), tmp_path, "--push-to-hub", "own/merged") == 1
    assert "own/merged: the hub cannot be reached" in capsys.readouterr().err
