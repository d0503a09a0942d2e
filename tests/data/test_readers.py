"""Readers, on small folders laid out exactly as the data sets are published."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastcap.config import load_config
from fastcap.data import READERS, Examples, load_dataset
from fastcap.errors import ConfigError, DataError

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "dataset").glob("*.yaml"))
PIXELS = np.zeros((4, 4, 3), np.uint8)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path)
    return path


def captions_of(examples: Examples) -> dict[str, tuple[str, ...]]:
    return {example.image.name: example.captions for example in examples}


# --- formats: each builder lays out a data set whose train split is EXPECTED, with one more image in val ---

EXPECTED = {"a.jpg": ("A dog , running .", "A second dog ."), "b.jpg": ("A red ball .",)}


def flickr_kaggle(root: Path) -> None:
    for name in "abv":
        picture(root / "images" / f"{name}.jpg")
    (root / "captions.txt").write_bytes(
        b'image,caption\r\na.jpg,"A dog , running ."\r\na.jpg,A second dog .\r\nb.jpg,A red ball .\r\nv.jpg,Val .\r\n'
    )
    (root / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (root / "Flickr_8k.devImages.txt").write_text("v.jpg\n")


def flickr_classic(root: Path) -> None:
    for name in "abv":
        picture(root / "Flicker8k_Dataset" / f"{name}.jpg")
    (root / "Flickr8k.token.txt").write_text(
        "a.jpg#0\tA dog , running .\na.jpg#1\tA second dog .\nb.jpg#0\tA red ball .\nv.jpg#0\tVal .\n"
    )
    (root / "Flickr_8k.trainImages.txt").write_text("a.jpg\nb.jpg\n")
    (root / "Flickr_8k.devImages.txt").write_text("v.jpg\n")


def flickr30k_piped(root: Path) -> None:
    for name in "abv":
        picture(root / "flickr30k_images" / "flickr30k_images" / f"{name}.jpg")
    (root / "results.csv").write_text(
        "image_name| comment_number| comment\na.jpg| 0| A dog , running .\na.jpg| 1| A second dog .\n"
        "b.jpg| 0| A red ball .\nv.jpg| 0| Val .\n"
    )
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("v\n")


def flickr30k_token(root: Path) -> None:
    for name in "abv":
        picture(root / "flickr30k-images" / f"{name}.jpg")
    (root / "results_20130124.token").write_text(
        "a.jpg#0\tA dog , running .\na.jpg#1\tA second dog .\nb.jpg#0\tA red ball .\nv.jpg#0\tVal .\n"
    )
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("v\n")


def coco(root: Path) -> None:
    def annotations(rows: list[tuple[int, str]], names: dict[int, str]) -> str:
        return json.dumps(
            {
                "info": {},
                "licenses": [],
                "images": [{"id": i, "file_name": name, "width": 4, "height": 4} for i, name in names.items()],
                "annotations": [{"id": n, "image_id": i, "caption": text} for n, (i, text) in enumerate(rows)],
            }
        )

    (root / "annotations").mkdir()
    for name in "ab":
        picture(root / "train2014" / f"{name}.jpg")
    picture(root / "val2014" / "v.jpg")
    rows = [(1, "A dog , running ."), (2, "A red ball ."), (1, "A second dog .")]
    names = {1: "a.jpg", 2: "b.jpg", 3: "without_captions.jpg"}
    (root / "annotations" / "captions_train2014.json").write_text(annotations(rows, names))
    (root / "annotations" / "captions_val2014.json").write_text(annotations([(9, "Val .")], {9: "v.jpg"}))


def coco_machine(root: Path) -> None:
    for name in "abv":
        picture(root / "images" / f"{name}.jpg")
    rows = [("a", "A dog , running ."), ("a", "A second dog ."), ("b", "A red ball .")]
    lines = [{"image": f"{i}.jpg", "caption": c, "confidence": 0.5, "model": "m"} for i, c in rows]
    (root / "machine_captions_train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (root / "machine_captions_val.jsonl").write_text('{"image": "v.jpg", "caption": "Val ."}\n')


def karpathy(root: Path) -> None:
    def entry(n: int, name: str, split: str, *captions: str) -> dict:
        sentences = [{"tokens": c.lower().split(), "raw": c, "imgid": n, "sentid": n} for c in captions]
        return {
            "filepath": "val2014",
            "filename": name,
            "imgid": n,
            "cocoid": 100 + n,
            "split": split,
            "sentids": [n],
            "sentences": sentences,
        }

    for name in "abvt":
        picture(root / "val2014" / f"{name}.jpg")
    images = [
        entry(0, "a.jpg", "train", "A dog , running .", "A second dog ."),
        entry(1, "v.jpg", "val", "Val ."),
        entry(2, "b.jpg", "train", "A red ball ."),
        entry(3, "t.jpg", "restval", "Rest ."),
    ]
    (root / "dataset_coco.json").write_text(json.dumps({"images": images, "dataset": "coco"}))


def jsonl(root: Path) -> None:
    for name in "abv":
        picture(root / f"{name}.jpg")
    (root / "train.jsonl").write_text(
        '{"image": "a.jpg", "captions": ["A dog , running .", "A second dog ."]}\n\n'
        '{"image": "b.jpg", "caption": "A red ball ."}\n'
    )
    (root / "val.jsonl").write_text('{"image": "v.jpg", "caption": "Val ."}\n')


def csv(root: Path) -> None:
    for name in "abv":
        picture(root / "pictures" / f"{name}.jpg")
    (root / "train.csv").write_text(
        '\ufeffcaption,image,by\n"A dog , running .",pictures/a.jpg,me\nA second dog .,pictures/a.jpg,me\n'
        "A red ball .,pictures/b.jpg,you\n",
        encoding="utf-8",
    )
    (root / "val.csv").write_text("image,caption\npictures/v.jpg,Val .\n")


LAYOUTS: list[tuple[str, Callable[[Path], None]]] = [
    ("flickr8k", flickr_kaggle),
    ("flickr8k", flickr_classic),
    ("flickr30k", flickr30k_piped),
    ("flickr30k", flickr30k_token),
    ("coco", coco),
    ("coco_machine", coco_machine),
    ("karpathy", karpathy),
    ("jsonl", jsonl),
    ("csv", csv),
]


@pytest.mark.parametrize(("name", "lay_out"), LAYOUTS, ids=lambda value: getattr(value, "__name__", value))
def test_each_published_layout_reads_to_the_same_examples(
    name: str, lay_out: Callable[[Path], None], tmp_path: Path
) -> None:
    lay_out(tmp_path)
    train = load_dataset(name, tmp_path, "train")
    assert captions_of(train) == EXPECTED
    assert (train.n_rows, train.bad_rows) == (3, ())
    assert all(example.image.is_file() and example.source == name for example in train)
    assert captions_of(load_dataset(name, tmp_path, "val")) == {"v.jpg": ("Val .",)}
    with pytest.raises(DataError, match="test"):
        load_dataset(name, tmp_path, "test")


def test_every_reader_has_a_layout_above() -> None:
    assert {name for name, _ in LAYOUTS} == set(READERS)


def test_flickr_without_split_lists_is_read_as_all(tmp_path: Path) -> None:
    flickr_kaggle(tmp_path)
    assert set(captions_of(load_dataset("flickr8k", tmp_path, "all"))) == {"a.jpg", "b.jpg", "v.jpg"}


def test_karpathy_splits_add_up(tmp_path: Path) -> None:
    karpathy(tmp_path)
    both = load_dataset("karpathy", tmp_path, "train+restval")
    assert set(captions_of(both)) == {"a.jpg", "b.jpg", "t.jpg"}
    assert both[0].image_id == "100"


# --- bad rows ----------------------------------------------------------------------------------------------


@pytest.fixture
def own_data(tmp_path: Path) -> Callable[..., Path]:
    """A JSONL data set of 20 good rows and the given raw lines."""

    def build(*bad_lines: str | bytes) -> Path:
        lines = []
        for n in range(20):
            picture(tmp_path / f"{n}.png")
            lines.append(json.dumps({"image": f"{n}.png", "caption": f"picture {n}"}).encode())
        raw = [line.encode() if isinstance(line, str) else line for line in bad_lines]
        (tmp_path / "train.jsonl").write_bytes(b"\n".join(lines[:10] + raw + lines[10:]) + b"\n")
        return tmp_path

    return build


BAD_LINES = {
    "image gone.png is missing": '{"image": "gone.png", "caption": "a dog"}',
    "0 bytes": '{"image": "empty.png", "caption": "a dog"}',
    "caption is empty": '{"image": "1.png", "caption": "  "}',
    "caption is NoneType": '{"image": "1.png"}',
    "caption is int": '{"image": "1.png", "caption": 7}',
    "not JSON": '{"image": "1.png", "caption": ',
    "not a JSON object": '["1.png", "a dog"]',
    "not a list of texts": '{"image": "1.png", "captions": "a dog"}',
    "not valid UTF-8": b'{"image": "1.png", "caption": "caf\xe9"}',
    "not valid UTF-8 ": '{"image": "1.png", "caption": "half a pair \\ud83d"}',
    "a\\x00b.png is missing": '{"image": "a\\u0000b.png", "caption": "a dog"}',
    "not a usable path": '{"image": "' + "a" * 5000 + '", "caption": "a dog"}',
}


@pytest.mark.parametrize(("problem", "line"), BAD_LINES.items(), ids=BAD_LINES)
def test_a_bad_row_is_named_by_file_line_and_problem(
    problem: str, line: str | bytes, own_data: Callable[..., Path]
) -> None:
    root = own_data(line)
    (root / "empty.png").touch()
    problem = problem.strip().replace("image gone.png", f"image {root / 'images' / 'gone.png'}")
    with pytest.raises(DataError) as caught:
        load_dataset("jsonl", root, "train")
    assert problem in str(caught.value)
    assert f"{root / 'train.jsonl'}:11:" in str(caught.value)

    kept = load_dataset("jsonl", root, "train", on_bad_data="skip")
    assert len(kept) == 20
    assert kept.n_rows == 21
    assert [problem in row.problem for row in kept.bad_rows] == [True]


def test_quarantine_keeps_the_bad_rows_for_a_look(own_data: Callable[..., Path]) -> None:
    root = own_data('{"image": "gone.png", "caption": "a dog"}', b"\xff")
    file = root / "quarantine" / "bad.jsonl"
    kept = load_dataset("jsonl", root, "train", on_bad_data="quarantine", quarantine_file=file)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert len(kept) == 20
    assert [row["where"] for row in rows] == [f"{root / 'train.jsonl'}:{n}" for n in (11, 12)]
    assert rows[0]["caption"] == "a dog"
    assert all(set(row) == {"where", "image", "caption", "problem"} for row in rows)


def test_quarantine_of_good_data_writes_nothing(own_data: Callable[..., Path], tmp_path: Path) -> None:
    load_dataset("jsonl", own_data(), "train", on_bad_data="quarantine", quarantine_file=tmp_path / "bad")
    assert not (tmp_path / "bad").exists()


def test_too_many_bad_rows_mean_a_wrong_path_not_bad_luck(own_data: Callable[..., Path]) -> None:
    root = own_data(*["{}"] * 3)  # 3 of 23: 13 %
    with pytest.raises(DataError, match=r"3 of 23 rows are bad, more than max_bad_share=0\.1"):
        load_dataset("jsonl", root, "train", on_bad_data="skip")
    assert len(load_dataset("jsonl", root, "train", on_bad_data="skip", max_bad_share=0.2)) == 20


def test_a_wholly_bad_or_empty_set_is_never_returned(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("")
    with pytest.raises(DataError, match="no captions found"):
        load_dataset("jsonl", tmp_path, "train", on_bad_data="skip")
    (tmp_path / "train.jsonl").write_text('{"image": "gone.png", "caption": "a dog"}\n')
    with pytest.raises(DataError, match="1 of 1 rows are bad"):
        load_dataset("jsonl", tmp_path, "train", on_bad_data="skip", max_bad_share=0.99)


def test_a_truncated_picture_is_found_when_asked(own_data: Callable[..., Path]) -> None:
    root = own_data('{"image": "half.png", "caption": "a dog"}')
    whole = picture(root / "0.png").read_bytes()
    (root / "half.png").write_bytes(whole[: len(whole) // 2])
    assert len(load_dataset("jsonl", root, "train")) == 21
    kept = load_dataset("jsonl", root, "train", on_bad_data="skip", decode_images=True)
    assert len(kept) == 20
    assert "half.png" in kept.bad_rows[0].problem


def test_the_unreadable_row_of_flickr30ks_csv_spoils_no_other(tmp_path: Path) -> None:
    flickr30k_piped(tmp_path)
    with (tmp_path / "results.csv").open("a") as file:
        file.write("b.jpg| 4   A dog runs across the grass .\n")  # as published: a bar is missing
    with pytest.raises(DataError, match="2 columns, not 3"):
        load_dataset("flickr30k", tmp_path, "train")
    kept = load_dataset("flickr30k", tmp_path, "train", on_bad_data="skip", max_bad_share=0.5)
    assert captions_of(kept) == EXPECTED


def test_an_unclosed_quote_swallows_no_other_row(tmp_path: Path) -> None:
    csv(tmp_path)
    with (tmp_path / "train.csv").open("a") as file:
        file.write('"A ball,pictures/b.jpg,me\nA fourth .,pictures/b.jpg,me\n')
    kept = load_dataset("csv", tmp_path, "train", on_bad_data="skip", max_bad_share=0.5)
    assert captions_of(kept)["b.jpg"] == ("A red ball .", "A fourth .")
    assert ["not CSV" in row.problem for row in kept.bad_rows] == [True]


def test_a_listed_flickr_image_without_captions_is_reported(tmp_path: Path) -> None:
    flickr_kaggle(tmp_path)
    with (tmp_path / "Flickr_8k.trainImages.txt").open("a") as file:
        file.write("c.jpg\n")
    with pytest.raises(DataError, match=r"trainImages\.txt:3: image c is listed but captions\.txt has no"):
        load_dataset("flickr8k", tmp_path, "train")


def test_a_coco_annotation_of_an_unknown_image_is_bad(tmp_path: Path) -> None:
    coco(tmp_path)
    file = tmp_path / "annotations" / "captions_val2014.json"
    content = json.loads(file.read_text())
    content["annotations"].append({"id": 77, "image_id": 5, "caption": "Lost ."})
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 77: image_id 5 is not among"):
        load_dataset("coco", tmp_path, "val")


# --- wrong files and settings ------------------------------------------------------------------------------


def test_wrong_columns_name_what_was_found_and_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("file,text\na.jpg,A dog\n")
    with pytest.raises(DataError, match=r"columns are \['file', 'text'\]; needed: image and caption"):
        load_dataset("csv", tmp_path, "train", on_bad_data="skip")


def test_a_missing_file_names_the_folder_and_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"looked for captions\.txt, Flickr8k\.token\.txt"):
        load_dataset("flickr8k", tmp_path, "train")
    with pytest.raises(DataError, match="is not a folder"):
        load_dataset("flickr8k", tmp_path / "nowhere", "train")


@pytest.mark.parametrize("content", ["", "[", "[]", '{"images": 3}', '{"images": [1]}', "[" * 100_000])
def test_a_json_file_of_another_kind_is_one_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "captions_train.json").write_text(content)
    with pytest.raises(DataError, match=r"captions_train\.json"):
        load_dataset("coco", tmp_path, "train", on_bad_data="skip")


def test_wrong_settings_name_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'flickr8k'\?"):
        load_dataset("flicker8k", tmp_path, "train")
    with pytest.raises(ConfigError, match="raise, skip, quarantine"):
        load_dataset("csv", tmp_path, "train", on_bad_data="ignore")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="quarantine_file"):
        load_dataset("csv", tmp_path, "train", on_bad_data="quarantine")
    with pytest.raises(ConfigError, match="max_bad_share"):
        load_dataset("csv", tmp_path, "train", max_bad_share=1.0)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_dataset_config_builds_and_names_a_reader(path: Path) -> None:
    data = load_config(path).data
    assert {source.name for source in (*data.train, *data.val)} <= set(READERS)
    assert all(source.split == "train" for source in data.train)
    assert all(source.split == "val" for source in data.val)


# --- the real data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder", "split", "n_images", "n_captions"),
    [
        ("flickr8k", "flickr8k", "train", 6000, 30000),
        ("flickr8k", "flickr8k", "val", 1091, 5455),
        ("coco", "coco", "train", 2003, 10018),
        ("coco", "coco", "val", 1017, 5087),
        ("coco_machine", "coco", "train", 6098, 6098),
    ],
)
def test_the_public_data_reads_whole(
    name: str, folder: str, split: str, n_images: int, n_captions: int, data_root: Path
) -> None:
    examples = load_dataset(name, data_root / folder, split)
    assert (len(examples), sum(len(example.captions) for example in examples)) == (n_images, n_captions)
    assert (examples.n_rows, examples.bad_rows) == (n_captions, ())
