"""Data as distributed: delimiters, encodings, columns, spellings, folders, ids; a bad row stops its own split."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from fastcap.cli import main
from fastcap.data import load_dataset
from fastcap.errors import DataError, FastcapError

NFC, NFD = (unicodedata.normalize(form, "Café à Łódź.jpg") for form in ("NFC", "NFD"))


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4)).save(path)
    return path


def captions(name: str, root: Path, split: str, **settings: object) -> dict[str, tuple[str, ...]]:
    return {example.image.name: example.captions for example in load_dataset(name, root, split, **settings)}


# Tables

EXPECTED = {"a.jpg": ("A dog, running.", "Zwei Hunde; süß."), "b.jpg": ("A ball\nof two lines.",)}
QUOTED = '{0}"A dog, running."\n{0}"Zwei Hunde; süß."\n{1}"A ball\nof two lines."\n'
TABLES = {
    "commas": ("image,caption\n" + QUOTED.format("a.jpg,", "b.jpg,"), "utf-8"),
    "semicolons": ("image;caption\n" + QUOTED.format("a.jpg;", "b.jpg;"), "utf-8"),
    "tabs": ("image\tcaption\n" + QUOTED.format("a.jpg\t", "b.jpg\t"), "utf-8"),
    "a mark of UTF-8": ("image,caption\n" + QUOTED.format("a.jpg,", "b.jpg,"), "utf-8-sig"),
    "UTF-16, as spreadsheets save it": ("image\tcaption\n" + QUOTED.format("a.jpg\t", "b.jpg\t"), "utf-16"),
    "UTF-16 of the other order": ("\ufeffimage,caption\n" + QUOTED.format("a.jpg,", "b.jpg,"), "utf-16-be"),
    "UTF-16 with a mark": ("\ufeffimage;caption\n" + QUOTED.format("a.jpg;", "b.jpg;"), "utf-16-le"),
    "UTF-16 without a mark": ("image,caption\n" + QUOTED.format("a.jpg,", "b.jpg,"), "utf-16-le"),
    "UTF-16 of the other order without a mark": ("image;caption\n" + QUOTED.format("a.jpg;", "b.jpg;"), "utf-16-be"),
    "a spreadsheet's hint": ("sep=;\nimage;caption\n" + QUOTED.format("a.jpg;", "b.jpg;"), "utf-8"),
    "Hugging Face's columns": ("file_name,text\n" + QUOTED.format("a.jpg,", "b.jpg,"), "utf-8"),
    "columns in capitals and quotes": ('"Image_Name";"Caption"\n' + QUOTED.format("a.jpg;", "b.jpg;"), "utf-8"),
    "more columns": ("id,file_name,text\n" + QUOTED.format("7,a.jpg,", "8,b.jpg,"), "utf-8"),
    "Windows' line ends": ("image,caption\r\n" + QUOTED.format("a.jpg,", "b.jpg,").replace('"\n', '"\r\n'), "utf-8"),
    "Windows' paths": ("image,caption\n" + QUOTED.format(".\\\\a.jpg,", "images\\b.jpg,"), "utf-8"),
    "no line end": ("image,caption\n" + QUOTED.format("a.jpg,", "b.jpg,").rstrip("\n"), "utf-8"),
}


ROWS = [
    ("a.jpg", "A dog.", "train"),
    ("b.jpg", "A cat.", "Val"),
    ("c.jpg", "A cow.", "test"),
    ("b.jpg", "Cats.", "val"),
]
WITH_SPLITS = {
    "captions.csv": "image,caption,split",
    "captions.tsv": "image\tcaption\tsplit",
    "metadata.csv": "file_name;text;Split",
    "dataset.csv": '"image","caption","split"',
    "val.csv": "image,caption,split",
    "val/metadata.csv": "file_name,text,split",
}


@pytest.mark.parametrize("file", WITH_SPLITS)
def test_a_table_that_says_which_split_a_row_is_of_is_obeyed(file: str, tmp_path: Path, capsys) -> None:
    header = WITH_SPLITS[file]
    between = next(mark for mark in ",\t;" if mark in header)
    path = tmp_path / file
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture(path.parent / name)
    path.write_text("\n".join([header, *map(between.join, ROWS)]))
    expected = {"b.jpg": ("A cat.", "Cats.")}
    assert captions("csv", tmp_path, "val") == captions("csv", path, "val") == expected
    assert captions("csv", path, "all").keys() == {"a.jpg", "b.jpg", "c.jpg"}
    with pytest.raises(DataError, match="no split 'restval' in its column 'split'; it has test, train, val"):
        load_dataset("csv", path, "restval")


@pytest.mark.parametrize(
    ("written", "asked"), [("dev", "val"), ("validation", "val"), ("training", "train"), ("x", "x")]
)
def test_a_split_is_known_by_its_usual_names(written: str, asked: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "captions.csv").write_text(f"image,caption,split\na.jpg,A dog.,{written}\n")
    assert captions("csv", tmp_path, asked) == {"a.jpg": ("A dog.",)}


@pytest.mark.parametrize("name", ["captions.txt", "results.csv"])
def test_a_flickr_table_with_splits_needs_no_lists(name: str, tmp_path: Path) -> None:
    for row in ROWS:
        picture(tmp_path / "Images" / row[0])
    (tmp_path / name).write_text("\n".join(["image,caption,split", *map(",".join, ROWS)]))
    assert captions("flickr30k", tmp_path, "val") == {"b.jpg": ("A cat.", "Cats.")}


def test_a_bad_row_of_a_table_with_splits_stops_its_own_alone(tmp_path: Path) -> None:
    for row in ROWS:
        picture(tmp_path / row[0])
    path = tmp_path / "captions.csv"
    path.write_text("\n".join(["image,caption,split", *map(",".join, ROWS), "c.jpg,A cow, a dog,test"]))
    assert captions("csv", tmp_path, "val") == {"b.jpg": ("A cat.", "Cats.")}
    with pytest.raises(DataError, match="4 columns, not 3"):
        load_dataset("csv", tmp_path, "test")


@pytest.mark.parametrize("file", ["train.csv", "train.tsv", "train/metadata.csv"])
@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_every_origin_read_to_the_same_captions(kind: str, file: str, tmp_path: Path) -> None:
    text, encoding = TABLES[kind]
    folder = (tmp_path / file).parent
    for name in ("a.jpg", "images/b.jpg"):
        picture(folder / name)
    (tmp_path / file).write_bytes(text.encode(encoding))
    assert captions("csv", tmp_path, "train") == EXPECTED


@pytest.mark.parametrize(
    "keys", [("image", "caption"), ("file_name", "text"), ("image_path", "caption"), ("filename", "captions")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("file", ["train.jsonl", "train/metadata.jsonl"])
def test_json_lines_of_every_origin_read_to_the_same_captions(
    keys: tuple[str, str], encoding: str, file: str, tmp_path: Path
) -> None:
    image, caption = keys
    picture((tmp_path / file).parent / "a.jpg")
    value = ["A dog.", "Süß."] if caption == "captions" else "A dog."
    (tmp_path / file).write_bytes(
        (json.dumps({image: "a.jpg", caption: value}, ensure_ascii=False) + "\n").encode(encoding)
    )
    assert captions("jsonl", tmp_path, "train") == {"a.jpg": tuple(value) if caption == "captions" else (value,)}


@pytest.mark.parametrize("file", ["val.jsonl", "val/metadata.jsonl", "synthetic.jsonl"])
def test_json_lines_that_say_which_split_they_are_of_are_obeyed(file: str, tmp_path: Path) -> None:
    for row in ROWS:
        picture((tmp_path / file).parent / row[0])
    rows = [dict(zip(("image", "caption", "split"), row, strict=True)) for row in ROWS]
    (tmp_path / file).write_text("\n".join(map(json.dumps, [*rows, {"image": "a.jpg", "caption": "Of any."}])))
    split = "val" if "val" in file else "synthetic"
    kept = {"b.jpg": ("A cat.", "Cats.")} if split == "val" else {}
    assert captions("jsonl", tmp_path, split) == {**kept, "a.jpg": ("Of any.",)}


def test_json_lines_without_one_of_the_split_say_which_there_are(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "val.jsonl").write_text('{"image": "a.jpg", "caption": "A dog.", "split": "train"}\n')
    with pytest.raises(DataError, match="no split 'val' in its key 'split'; it has train"):
        load_dataset("jsonl", tmp_path, "val")


@pytest.mark.parametrize(
    ("header", "twice"),
    [
        ("image,caption,caption", "caption"),
        ("image,image,caption", "image"),
        ("image,caption,split,split", "split"),
        ("image;Caption;caption ", "caption"),
        ('"image","caption","caption"', "caption"),
        ("image\tcaption\tcaption", "caption"),
        ("file_name,text,text", "text"),
        ("image,caption,original,original", "original"),
        ("image,comment,comment,image", "image, comment"),
        ("image_name| comment| comment", "comment"),
    ],
)
def test_a_column_that_is_there_twice_is_refused(header: str, twice: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(f"{header}\n")
    with pytest.raises(DataError, match=f"; {twice} may be there once only"):
        load_dataset("csv", tmp_path, "train")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("caf\xe9.jpg,A dog.", r"image .*caf\\udce9\.jpg is missing; the file is not UTF-8"),
        ("a.jpg,Un caf\xe9.", "the caption is not valid UTF-8; the file is not UTF-8"),
    ],
)
def test_a_table_in_another_encoding_is_called_one(row: str, told: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    (tmp_path / "train.csv").write_bytes(f"image,caption\n{row}\n".encode("latin-1"))
    with pytest.raises(DataError, match=told):
        load_dataset("csv", tmp_path, "train")


WRONG_VALUES = {
    "image: a number": ("jsonl", {"image": 7, "caption": "x"}, "image is 7, not a text"),
    "image: null": ("jsonl", {"image": None, "caption": "x"}, "image is null, not a text"),
    "image: a list": ("jsonl", {"file_name": ["a.jpg"], "text": "x"}, r"file_name is \['a.jpg'\], not a text"),
    "image: true": ("jsonl", {"filename": True, "text": "x"}, "filename is true, not a text"),
    "no image": ("jsonl", {"picture": "a.jpg"}, 'not a JSON object with "image"'),
    "captions: a text": ("jsonl", {"image": "a.jpg", "captions": "x"}, "\"captions\" is 'x', not a list of texts"),
    "captions: null": ("jsonl", {"image": "a.jpg", "captions": None}, '"captions" is null, not a list of texts'),
    "id: null": ("coco", {"id": None, "file_name": "a.jpg"}, "image id null is no number or text"),
    "file_name: a list": ("coco", {"id": 1, "file_name": ["a.jpg"]}, r"file_name is \['a.jpg'\], not a text"),
    "file_name: a number": ("coco", {"id": 1, "file_name": 7}, "file_name is 7, not a text"),
    "no file_name": ("coco", {"id": 1}, "no file_name"),
    "filename: null": ("karpathy", {"split": "val", "filename": None, "sentences": []}, "filename is null, not a text"),
    "no filename": ("karpathy", {"split": "val", "sentences": []}, "no filename"),
    "sentences: a text": (
        "karpathy",
        {"split": "val", "filename": "a.jpg", "sentences": "x"},
        "sentences is 'x', not a l",
    ),
}


@pytest.mark.parametrize("kind", WRONG_VALUES)
def test_a_value_of_the_wrong_kind_is_shown_as_the_file_has_it(kind: str, tmp_path: Path) -> None:
    name, record, told = WRONG_VALUES[kind]
    picture(tmp_path / "a.jpg")
    text = json.dumps(record if name == "jsonl" else {"images": [record], "annotations": []})
    (tmp_path / {"jsonl": "val.jsonl", "coco": "captions_val.json", "karpathy": "dataset.json"}[name]).write_text(text)
    with pytest.raises(DataError, match=told):
        load_dataset(name, tmp_path, "val")


def test_half_a_letter_of_utf_16_spoils_its_row_alone(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    data = "\ufeffimage,caption\na.jpg,A dog\ud83d.\na.jpg,A ball.\n".encode("utf-16-le", "surrogatepass")
    (tmp_path / "train.csv").write_bytes(data)
    loaded = load_dataset("csv", tmp_path, "train", on_bad_data="skip", max_bad_share=0.5)
    assert loaded[0].captions == ("A ball.",)
    assert loaded.bad_rows[0].problem == "the caption is not valid UTF-8"


def test_a_quote_that_is_never_closed_takes_no_other_row(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg")
    rows = ["a.jpg,A dog.", 'a.jpg,"A ball.', *[f"a.jpg,Row {number}." for number in range(40)], 'a.jpg,"The last.']
    (tmp_path / "train.csv").write_text("image,caption\n" + "\n".join(rows))
    loaded = load_dataset("csv", tmp_path, "train", on_bad_data="skip")
    assert loaded[0].captions == ("A dog.", *(f"Row {number}." for number in range(40)))
    assert [row.where.rpartition(":")[2] for row in loaded.bad_rows] == ["3", "44"]


# Spellings

SPELLINGS = [(NFC, NFD), (NFD, NFC), (NFC, NFC), (NFD, NFD), ("a b.jpg", "a b.jpg"), ("日本.jpg", "日本.jpg")]
for name in ("가나다.jpg", "Ångström.jpg", "tiếng Việt.jpg"):
    one, other = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    SPELLINGS += [(one, other), (other, one)]


@pytest.mark.parametrize(("named", "stored"), SPELLINGS)
def test_a_name_is_found_however_its_letters_are_spelt(named: str, stored: str, tmp_path: Path) -> None:
    picture(tmp_path / "images" / stored)
    (tmp_path / "train.csv").write_text(f"image,caption\n{named},A dog.\n", encoding="utf-8")
    (tmp_path / "captions.txt").write_text(f"image,caption\n{named},A dog.\n", encoding="utf-8")
    (tmp_path / "train.txt").write_text(f"{stored}\n", encoding="utf-8")
    (tmp_path / "captions_train.json").write_text(
        json.dumps({"images": [{"id": 1, "file_name": named}], "annotations": [{"image_id": 1, "caption": "A dog."}]})
    )
    for name in ("csv", "flickr8k", "coco"):
        assert captions(name, tmp_path, "train") == {stored: ("A dog.",)}


# Folders and ids of COCO


@pytest.mark.parametrize("annotations", ["annotations/captions_val2017.json", "captions_val2017.json"])
@pytest.mark.parametrize(
    "folder", ["val2017", "images/val2017", "images", "", "val2014", "images/val2014", "Images", "images/train2017"]
)
def test_coco_is_found_where_people_unpack_it(folder: str, annotations: str, tmp_path: Path) -> None:
    picture(tmp_path / folder / "000000000139.jpg")
    (tmp_path / annotations).parent.mkdir(exist_ok=True)
    content = {"images": [{"id": 139, "file_name": "000000000139.jpg"}]}
    content["annotations"] = [{"id": 1, "image_id": 139, "caption": "A room."}]
    (tmp_path / annotations).write_text(json.dumps(content))
    for split in ("val", "val2017"):
        assert captions("coco", tmp_path, split) == {"000000000139.jpg": ("A room.",)}


@pytest.mark.parametrize("filepath", ["val2014", "", "coco/val2014"])
@pytest.mark.parametrize("place", ["", "images"])
def test_karpathys_file_finds_its_pictures_in_images_too(filepath: str, place: str, tmp_path: Path) -> None:
    picture(tmp_path / place / filepath / "a.jpg")
    image = {"filepath": filepath, "filename": "a.jpg", "split": "val", "sentences": [{"raw": "A dog."}], "cocoid": 7}
    odd = [{"split": ["val"]}, {"split": {}}, 7, {"split": "test", "filename": 7}]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": [*odd, image]}))
    assert captions("karpathy", tmp_path, "val") == {"a.jpg": ("A dog.",)}


@pytest.mark.parametrize(
    ("image_id", "asked", "is_found"),
    [
        (1, 1, True), ("1", 1, True), (1.0, "1", True), ("abc", "abc", True), (2**70, 2**70, True),
        ([1], [1], False), ({"a": 1}, {"a": 1}, False), (None, None, False), (True, True, False), (1.5, 1.5, False),
        (1, 2, False), (1, [1], False),
    ],
)  # fmt: skip
def test_an_id_is_a_number_or_a_text(image_id: object, asked: object, is_found: bool, tmp_path: Path, capsys) -> None:
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    images = [{"id": image_id, "file_name": "a.jpg"}, {"id": "good", "file_name": "b.jpg"}]
    rows = [{"id": 1, "image_id": asked, "caption": "x"}, {"id": 2, "image_id": "good", "caption": "y"}]
    (tmp_path / "captions_val.json").write_text(json.dumps({"images": images, "annotations": rows}))
    if is_found:
        assert set(captions("coco", tmp_path, "val")) == {"a.jpg", "b.jpg"}
        return
    with pytest.raises(DataError, match=r"is no number or text|is not among the file's images"):
        load_dataset("coco", tmp_path, "val")
    kept = captions("coco", tmp_path, "val", on_bad_data="skip", max_bad_share=0.9)
    assert kept == {"b.jpg": ("y",)}
    assert main(["evaluate", "--dataset", str(tmp_path / "captions_val.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


# A bad row stops only the split it is in


def flickr(root: Path, rows: str, file: str) -> None:
    for name in ("1.jpg", "2.jpg"):
        picture(root / "images" / name)
    (root / file).write_text(rows, encoding="utf-8", errors="surrogateescape")
    (root / "val.txt").write_text("1.jpg\n")
    (root / "test.txt").write_text("2\n")


HEADER = "image_name| comment_number| comment\n1.jpg| 0| A green field .\n"
BROKEN = {
    "Flickr30k, as it is distributed": ("results.csv", HEADER + "2.jpg| 4   Something else .\n"),
    "a bar too many": ("results.csv", HEADER + "2.jpg| 4| Something | else .\n"),
    "a comma without quotes": ("captions.txt", "image,caption\n1.jpg,A field .\n2.jpg,Something , else .\n"),
    "a quote that is not closed": ("captions.txt", 'image,caption\n1.jpg,A field .\n2.jpg,"Something else .\n'),
    "a quote before the name": ("captions.txt", 'image,caption\n1.jpg,A field .\n"2.jpg,Something else .\n'),
    "no tab": ("Flickr8k.token.txt", "1.jpg#0\tA field .\n2.jpg#1 Something else .\n"),
    "no number": ("Flickr8k.token.txt", "1.jpg#0\tA field .\n2.jpg\tSomething else .\n"),
    "an empty caption": ("Flickr8k.token.txt", "1.jpg#0\tA field .\n2.jpg#0\t\n"),
    "a caption that is no text": ("captions.txt", "image,caption\n1.jpg,A field .\n2.jpg,caf\udce9\n"),
    "no caption at all": ("captions.txt", "image,caption\n1.jpg,A field .\n"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_row_stops_only_the_split_it_is_in(kind: str, tmp_path: Path, capsys) -> None:
    file, rows = BROKEN[kind]
    flickr(tmp_path, rows, file)
    assert set(captions("flickr30k", tmp_path, "val")) == {"1.jpg"}
    with pytest.raises(FastcapError):
        load_dataset("flickr30k", tmp_path, "test")
    line = ["evaluate", "--dataset", "flickr30k", "--root", str(tmp_path), "--split"]
    assert main([*line, "val"]) == 0
    assert main([*line, "test"]) == 1
    assert "--on-bad-data skip leaves such rows out" in capsys.readouterr().err


# --on-bad-data, wherever a data set is read


def test_evaluate_leaves_bad_rows_out_where_it_is_asked_to(tmp_path: Path, capsys) -> None:
    for number in range(20):
        picture(tmp_path / f"{number}.jpg")
    (tmp_path / "19.jpg").write_bytes((tmp_path / "0.jpg").read_bytes()[:200])
    lines = [json.dumps({"image": f"{number}.jpg", "caption": "A dog."}) for number in range(20)]
    (tmp_path / "val.jsonl").write_text("\n".join([*lines, "{}"]))
    line = ["evaluate", "--dataset", str(tmp_path / "val.jsonl"), "--json"]
    assert main(line) == 1
    assert "val.jsonl:21: not a JSON object" in capsys.readouterr().err
    assert main([*line, "--on-bad-data", "skip"]) == 0
    shown = capsys.readouterr()
    figures = json.loads(shown.out)
    assert (figures["images"], figures["data"]["bad_rows"]) == (19, 2)
    assert shown.err.startswith(f"fastcap: 2 of 21 rows left out, the first: {tmp_path / 'val.jsonl'}:20: ")
    assert "damaged or cut short JPEG" in shown.err


@pytest.mark.parametrize(
    ("verb", "choices"),
    [("evaluate", "raise|skip"), ("export", "raise|skip"), ("train", "raise|skip|quarantine")],
)
def test_every_verb_that_reads_a_data_set_has_the_option(verb: str, choices: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert f"--on-bad-data {choices}" in " ".join(capsys.readouterr().out.split())


def test_the_share_that_may_be_left_out_has_a_flag_and_messages_name_flags(tmp_path: Path, capsys) -> None:
    picture(tmp_path / "a.jpg")
    path = tmp_path / "val.csv"
    path.write_text("image,caption\na.jpg,A dog.\nb.jpg,A cat.\n")
    assert main(["evaluate", "--dataset", str(path)]) == 1
    assert "b.jpg is missing; --on-bad-data skip leaves such rows out" in capsys.readouterr().err
    line = ["evaluate", "--dataset", str(path), "--on-bad-data", "skip"]
    assert main(line) == 1
    assert "1 of 2 rows are bad, more than --max-bad-share 0.1 allows" in capsys.readouterr().err
    assert main([*line, "--max-bad-share", "0.5"]) == 0
    assert "1 of 2 rows left out" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "export", "train"])
def test_every_verb_that_skips_says_how_much(verb: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert "--max-bad-share SHARE" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["nope", "flickr9k", "data/flickr8k"])
def test_a_data_set_that_is_not_known_is_named_before_anything_else_is_asked(name: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--dataset", name])
    said = capsys.readouterr().err
    assert f"unknown data set '{name}'" in said
    assert "flickr8k, flickr30k, coco" in said
    assert "--root" not in said
