"""Prompts for rare objects, and the way of their pictures into a data set."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from fastcap.cli import main
from fastcap.curation.bias import mentions
from fastcap.curation.rare import make_prompts
from fastcap.data.readers import load_dataset
from fastcap.errors import ConfigError

COUNTS = {
    "dog": 900,
    "yak": 3,
    "kite": 44,
    "jeans": 12,
    "snow": 20,
    "woman": 7,
    "fire hydrant": 9,
    "nurse": 5,
    "pier": 2,
}


def test_rare_objects_get_what_they_lack_rarest_first():
    made = make_prompts(COUNTS, threshold=50, per_object=10)
    counts = {
        name: sum(row.object == name for row in made.prompts) for name in dict.fromkeys(r.object for r in made.prompts)
    }
    assert list(counts) == ["pier", "yak", "nurse", "fire hydrant", "jeans", "snow", "kite"]
    assert counts["kite"] == 6 and counts["yak"] == 10
    assert made.skipped == ["woman"]
    assert not make_prompts({"victory": 3, "dog ran": 3}).prompts  # no picture shows them
    assert {row.object for row in make_prompts(COUNTS, max_objects=2).prompts} == {"pier", "yak"}


def test_prompts_are_sentences_with_the_object_and_no_protected_term():
    rows = make_prompts(COUNTS, threshold=50, per_object=20).prompts
    for row in rows:
        assert row.object in row.caption and row.prompt.startswith(row.caption[:-1])
        assert row.caption[0].isupper() and row.caption.endswith(".") and "{" not in row.prompt
        assert not mentions(row.prompt), row.prompt
        assert not re.search(r"\b[Aa] [aeio]|\b[Aa]n [^aeiou]", row.caption), row.caption
    texts = {row.object: row.caption for row in rows}
    assert "pair of jeans" in texts["jeans"].lower() and "some snow" in texts["snow"].lower()


def test_prompts_differ_from_one_another():
    rows = make_prompts(COUNTS, threshold=60, per_object=40).prompts
    assert len({row.prompt for row in rows}) == len(rows) == len({row.id for row in rows})
    for name in COUNTS:
        bags = [set(row.prompt.lower().replace(",", "").rstrip(".").split()) for row in rows if row.object == name]
        assert all(len(one & other) <= 0.8 * len(one | other) for one, other in combinations(bags, 2))
    yaks = [row.caption for row in rows if row.object == "yak"]
    assert len(yaks) == 40 and len(set(yaks)) == 12


def test_the_same_seed_gives_the_same_file_and_another_another():
    assert make_prompts(COUNTS, seed=3) == make_prompts(dict(reversed(COUNTS.items())), seed=3)
    assert make_prompts(COUNTS, seed=3) != make_prompts(COUNTS, seed=4)
    with pytest.raises(ConfigError, match="per_object is 0"):
        make_prompts(COUNTS, per_object=0)


def test_pictures_come_back_as_a_data_set_with_their_captions(tmp_path, capsys):
    counts = tmp_path / "object_counts.csv"
    counts.write_text("object,pictures,captions,share\nyak,3,4,0.1\nkite,48,90,0.2\ndog,900,1800,0.5\n")
    prompts = tmp_path / "drawn" / "synthetic_prompts.jsonl"
    assert main(["data", "prompts", str(tmp_path), "--out", str(prompts), "--per-object", "4", "--at-least", "2"]) == 0
    assert "6 prompts for 2 objects" in capsys.readouterr().out
    rows = [json.loads(line) for line in prompts.read_text().splitlines()]
    for row in rows[:5]:  # the sixth was not drawn
        path = prompts.parent / row["image"]
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), row["seed"] % 0xFFFFFF).save(path)
    examples = load_dataset("jsonl", prompts.parent, "synthetic_prompts", on_bad_data="skip", max_bad_share=0.9)
    assert [(one.image.name, one.captions) for one in examples] == [
        (Path(row["image"]).name, (row["caption"],)) for row in rows[:5]
    ]


def test_a_folder_is_counted(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "b.png")
    lines = [{"image": name, "caption": "A yak stands beside a fence."} for name in ("a.png", "b.png")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "prompts.jsonl"
    assert main(["data", "prompts", str(tmp_path), "--out", str(out), "--per-object", "1", "--at-least", "2"]) == 0
    assert {json.loads(line)["object"] for line in out.read_text().splitlines()} == {"yak", "fence"}


@pytest.mark.parametrize(
    ("content", "options", "told", "status"),
    [
        ("thing,n\nx,1\n", [], "needed: the columns 'object' and 'pictures'", 1),
        ("object,pictures\nx,many\n", [], "row 1: 'x', 'many'; needed", 1),
        ("object,pictures\ndog,900\n", [], "no object in 5 to 49 pictures", 1),
        ("object,pictures\nx,3\n", ["--out", "x.csv"], "needed: a name that ends in .jsonl", 2),
        ("object,pictures\nx,3\n", ["--at-least", "50"], "allowed: less than the latter", 2),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(tmp_path, capsys, content, options, told, status):
    (tmp_path / "object_counts.csv").write_text(content)
    line = ["data", "prompts", str(tmp_path / "object_counts.csv"), "--out", str(tmp_path / "p.jsonl"), *options]
    if status == 2:
        with pytest.raises(SystemExit, match="2"):
            main(line)
    else:
        assert main(line) == status
    assert told in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
