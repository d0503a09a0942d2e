"""`fastcap compare`: captions before and after on the same pictures, from models and from files, as one page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fastcap.cli import main
from fastcap.errors import DataError
from fastcap.evaluation.compare import compare_captions, read_captions, same_pictures
from fastcap.evaluation.metrics import score_captions


@pytest.fixture
def said(pictures: Path, tmp_path: Path) -> Path:
    """A file of captions, as `fastcap caption --json` prints them; one picture failed."""
    rows = [
        {"image": str(pictures / "red.jpg"), "caption": "A <red> barn & more.", "confidence": 0.5},
        {"image": str(pictures / "blue.jpg"), "caption": "Fish on a plate.", "confidence": 0.5},
        {"image": "broken.jpg", "error": "no picture"},
    ]
    path = tmp_path / "said.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_and_a_model_are_compared_on_the_pictures_of_the_file(said, tiny_bundle, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["compare", str(said), str(tiny_bundle), "--out", str(page)]) == 0
    assert capsys.readouterr().out.startswith("2 pictures: 2 other; ")
    html = page.read_text()
    assert "A &lt;red&gt; barn &amp; more." in html and "A red barn stands" in html and "A blue boat floats" in html
    assert html.count("data:image/jpeg;base64,") == 2 and not re.search(r'(?:src|href)="(?!data:)', html)
    assert str(said) in html and str(tiny_bundle) in html


def test_with_references_every_change_is_better_or_worse(said, tiny_bundle, pictures, tmp_path, capsys):
    command = ["compare", str(said), str(tiny_bundle), "--dataset", str(pictures / "val.jsonl"), "--json"]
    assert main([*command, "--out", str(tmp_path / "page.html")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pictures"] == 2 and sum(facts["changes"].values()) == 2
    assert facts["changes"]["worse"] == 1  # fish is what people say of the blue one
    texts = {str(pictures / f"{colour}.jpg"): text for colour, text in
             (("red", "A <red> barn & more."), ("blue", "Fish on a plate."))}  # fmt: skip
    references = {str(pictures / json.loads(line)["image"]): json.loads(line)["captions"]
                  for line in (pictures / "val.jsonl").read_text().splitlines()}  # fmt: skip
    cider, _ = facts["figures"]["cider"]
    assert cider == pytest.approx(score_captions(texts, references).metrics["cider"], abs=1e-4)
    assert "CIDEr" in (tmp_path / "page.html").read_text()


def test_what_changed_most_comes_first_and_equal_captions_last():
    before = {"a": "a dog", "b": "a cat on a mat", "c": "a man runs"}
    after = {"a": "a dog", "b": "a boat at sea", "c": "a man walks"}
    comparison = compare_captions(before, after)
    assert [row.image for row in comparison.rows] == ["b", "c", "a"]
    assert [row.change for row in comparison.rows] == ["other", "other", "same"]
    assert comparison.figures["mean_length"] == (10 / 3, 9 / 3) and "cider" not in comparison.figures


def test_two_models_need_pictures(tiny_bundle, pictures, tmp_path, capsys):
    command = ["compare", str(tiny_bundle), str(tiny_bundle), "--out", str(tmp_path / "page.html")]
    with pytest.raises(SystemExit, match=r"^2$"):
        main(command)
    assert "--images or --dataset is missing" in capsys.readouterr().err
    assert main([*command, "--images", str(pictures / "red.jpg"), str(pictures / "blue.jpg")]) == 0
    assert capsys.readouterr().out.startswith("2 pictures: 2 same; ")
    assert main([*command, "--images", str(tmp_path / "none")]) == 1
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*command, "--images", "x.jpg", "--dataset", str(pictures / "val.jsonl")])


def test_pictures_that_moved_are_found_by_name_and_missing_ones_named(said, tmp_path):
    captions = read_captions(said)
    assert same_pictures(captions, ["elsewhere/red.jpg"], "said") == {"elsewhere/red.jpg": "A <red> barn & more."}
    with pytest.raises(DataError, match=r"said has no caption for 1 of 2 pictures, among them green\.jpg"):
        same_pictures(captions, ["red.jpg", "green.jpg"], "said")
    with pytest.raises(DataError, match=r"said has 2 pictures of the name 'red\.jpg': which is c/red\.jpg\?"):
        same_pictures({"a/red.jpg": "one", "b/red.jpg": "two"}, ["c/red.jpg"], "said")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", "{", "cannot be read as captions"),
        ("a.jsonl", "", "holds no caption"),
        ("a.jsonl", '{"image": "x.jpg"}\n', "row 1: needed are an image and a caption"),
        ("a.csv", "picture,caption\nx.jpg,a dog\n", "row 1: needed are an image and a caption"),
    ],
)
def test_files_that_hold_no_captions_are_refused(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=told):
        read_captions(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read as captions"):
        read_captions(tmp_path / "absent.jsonl")


def test_tables_are_read_too_and_a_missing_picture_says_how_to_go_on(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("image,caption\nx.jpg,a dog\n")
    assert read_captions(tmp_path / "a.csv") == {"x.jpg": "a dog"}
    assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "a.csv"), "--out", str(tmp_path / "p.html")]) == 1
    assert "picture x.jpg is not here; --images says where" in capsys.readouterr().err


def test_captions_of_other_pictures_are_not_compared():
    with pytest.raises(DataError, match="needed: captions of the same pictures"):
        compare_captions({"a": "x"}, {"b": "x"})
