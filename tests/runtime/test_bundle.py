"""A model directory is read strictly: every fault is named with its file, and nothing in it is executed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import tracemalloc
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tiny_bundle import MAX_LENGTH, sign, write_tiny_bundle

from fastcap.errors import ConfigError, ModelFileError
from fastcap.runtime import bundle as bundle_module
from fastcap.runtime.bundle import Bundle, available_models, find_model
from fastcap.runtime.contract import MODEL


def values_of(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


def message(folder: Path) -> str:
    """What is said about a bad directory, whether its manifest, its graph or its tokenizer is at fault."""
    with pytest.raises(ModelFileError) as caught:
        opened = Bundle.open(folder)
        opened.open_graph(MODEL)
        opened.tokenizer()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_valid_directory_opens_with_its_facts(tiny_bundle):
    opened = Bundle.open(tiny_bundle)
    assert (opened.name, opened.kind, opened.licence) == ("tiny", "parallel", "Apache-2.0")
    assert (opened.preprocessing.width, opened.preprocessing.height) == (224, 224)
    assert opened.decoding.lengths == {"short": (4, 8), "normal": (4, 24), "long": (13, 24)}
    assert opened.bytes == sum((tiny_bundle / name).stat().st_size for name in ("model.onnx", "tokenizer.json"))
    assert opened.quality["cider"] == 45.25
    assert opened.tokenizer().get_vocab_size() == opened.vocabulary.size


def test_threads_sleep_when_idle_and_stay_in_range(tiny_bundle):
    opened = Bundle.open(tiny_bundle)
    options = opened.open_graph(MODEL, 2).get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    for threads in (0, -1, 65, 1.0, True, "2"):
        with pytest.raises(ConfigError, match="allowed are whole numbers from 1 to 64"):
            opened.open_graph(MODEL, threads)


def test_every_damaged_file_is_named(own_bundle):
    (own_bundle / "tokenizer.json").unlink()
    with (own_bundle / "model.onnx").open("ab") as file:
        file.write(b"x")
    size = values_of(own_bundle)["files"]["model.onnx"]["bytes"]
    assert message(own_bundle).endswith(
        f"is damaged: model.onnx: {size + 1} bytes, expected {size}; tokenizer.json: missing"
    )


def test_a_changed_byte_is_noticed(own_bundle):
    data = bytearray((own_bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (own_bundle / "model.onnx").write_bytes(data)
    assert "model.onnx: its content has changed" in message(own_bundle)


def test_a_folder_in_place_of_a_file_is_named(own_bundle):
    (own_bundle / "model.onnx").unlink()
    (own_bundle / "model.onnx").mkdir()
    assert "model.onnx: not a file" in message(own_bundle)


def test_wrong_places_say_what_was_expected(tmp_path):
    assert message(tmp_path / "none") == f"{tmp_path}/none: no such folder"
    assert message(tmp_path) == f"{tmp_path}/model.json: missing; {tmp_path} is not a model directory"
    (tmp_path / "file").touch()
    assert message(tmp_path / "file") == f"{tmp_path}/file: not a folder"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"[1, 2]", "holds [1, 2]; expected a JSON object"),
        (b" " * (2**20 + 1), "larger than 1048576 bytes"),
    ],
)
def test_a_manifest_that_is_no_json_object_says_so(own_bundle, content, reason):
    (own_bundle / "model.json").write_bytes(content)
    assert reason in message(own_bundle)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("format", None, "format is missing; expected 2, the format this version of fastcap reads"),
        ("format", 1, "format is 1; expected 2"),
        ("format", True, "format is True; expected 2"),
        ("kind", "diffusion", "kind is 'diffusion'; expected 'parallel'"),
        ("kind", None, "kind is missing; expected 'parallel'"),
        ("name", 5, "name is 5; expected a text"),
        ("licence", 5, "licence is 5; expected a text"),
        ("preprocessing", None, "preprocessing is missing; expected an object"),
        ("preprocessing", [224, 224], "preprocessing is [224, 224]; expected an object"),
        (
            "preprocessing.width",
            10**9,
            "preprocessing.width is 1000000000; expected a whole number from 16 to",
        ),
        ("preprocessing.width", "224", "preprocessing.width is '224'; expected a whole number"),
        ("preprocessing.height", 192.5, "preprocessing.height is 192.5; expected a whole number"),
        ("preprocessing.resize", "crop", "preprocessing.resize is 'crop'; expected 'squash'"),
        ("preprocessing.resample", "nearest", "preprocessing.resample is 'nearest'; expected 'bilinear'"),
        ("vocabulary.size", 0, "vocabulary.size is 0; expected a whole number from 6"),
        ("vocabulary.size", 50, "tokens; model.json states 50"),
        ("vocabulary.mask_id", -1, "vocabulary.mask_id is -1"),
        ("vocabulary.mask_id", 0, "expected different ids"),
        ("vocabulary.mask_id", 9, "id of <mask> is 3; model.json states 9"),
        (
            "decoding.max_length",
            10**6,
            "decoding.max_length is 1000000; expected a whole number from 1 to 512",
        ),
        ("decoding.min_length", 25, "decoding.min_length is 25; expected a whole number from 1 to 24"),
        ("decoding.default_candidates", 9, "expected a whole number from 1 to 8"),
        ("decoding.lengths.short", [8, 4], "decoding.lengths.short is [8, 4]; expected [smallest, largest]"),
        ("decoding.lengths.short", [4, 99], "between 4 and 24"),
        ("decoding.lengths.long", None, "decoding.lengths.long is missing"),
        ("decoding.lenghts", {}, "unknown key 'decoding.lenghts' (did you mean 'lengths'?)"),
        ("licens", "MIT", "unknown key 'licens' (did you mean 'licence'?)"),
        ("files", None, "files is missing"),
        ("quality", 3, "quality is 3; expected an object"),
    ],
)
def test_every_wrong_value_is_named_with_what_is_allowed(own_bundle, path, value, reason):
    values = values_of(own_bundle)
    *parents, key = path.split(".")
    table = values
    for parent in parents:
        table = table[parent]
    if value is None:
        del table[key]
    else:
        table[key] = value
    (own_bundle / "model.json").write_text(json.dumps(values))
    assert reason in message(own_bundle)


@pytest.mark.parametrize(
    "name",
    ["../model.onnx", "/etc/passwd", "a/b.onnx", "..\\model.onnx", "train.py", ".hidden.json", "weights.pkl"],
)
def test_file_names_that_leave_the_folder_or_hold_code_are_refused(own_bundle, name):
    values = values_of(own_bundle)
    values["files"][name] = values["files"]["model.onnx"]
    (own_bundle / "model.json").write_text(json.dumps(values))
    assert "expected a plain file name that ends in .onnx, .data, .json or .npz" in message(own_bundle)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_required_file_must_be_in_the_manifest(own_bundle, name):
    values = values_of(own_bundle)
    del values["files"][name]
    (own_bundle / "model.json").write_text(json.dumps(values))
    assert f"files.{name} is missing; expected its bytes and sha256" in message(own_bundle)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", b"not a graph", "model.onnx: not a valid ONNX model"),
        ("model.onnx", b"\x12\xff\xfe" * 9, "model.onnx: not a valid ONNX model"),
        ("tokenizer.json", b"{}", "tokenizer.json: not a valid tokenizer"),
    ],
)
def test_a_signed_file_of_the_wrong_kind_is_named_and_nothing_is_printed(own_bundle, capfd, name, content, reason):
    (own_bundle / name).write_bytes(content)
    sign(own_bundle, values_of(own_bundle))
    assert reason in message(own_bundle)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_is_no_captioner_says_what_it_has(own_bundle):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "other",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (own_bundle / "model.onnx").write_bytes(model.SerializeToString())
    sign(own_bundle, values_of(own_bundle))
    assert "inputs are {'x': 'tensor(float)'}; expected {'images': 'tensor(uint8)'" in message(own_bundle)


def test_a_graph_of_another_picture_size_says_so(own_bundle):
    values = values_of(own_bundle)
    values["preprocessing"]["width"] = 192
    sign(own_bundle, values)
    assert "the shape of images is ['B', 224, 224, 3]; expected [1, 224, 192, 3]" in message(own_bundle)


def test_a_graph_whose_names_are_not_unicode_is_named(own_bundle):
    data = (own_bundle / "model.onnx").read_bytes()
    (own_bundle / "model.onnx").write_bytes(data.replace(b"\x12\x01B", b"\x12\x01\xb7"))
    sign(own_bundle, values_of(own_bundle))
    assert "model.onnx: not a valid ONNX model" in message(own_bundle)


def keep_rows_in(folder: Path, location: str) -> None:
    """Let the tiny graph read its captions out of another file: external weights are the one way in which an ONNX file
    names another file."""
    model = onnx.load(str(folder / "model.onnx"))
    rows = next(tensor for tensor in model.graph.initializer if tensor.name == "rows")
    path = folder / location
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(rows.raw_data)
    rows.ClearField("raw_data")
    rows.data_location = TensorProto.EXTERNAL
    for key, text in (("location", location), ("offset", "0"), ("length", str(3 * MAX_LENGTH * 8))):
        entry = rows.external_data.add()
        entry.key, entry.value = key, text
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign(folder, values_of(folder))


def test_a_graph_cannot_read_other_files_of_the_machine(own_bundle):
    keep_rows_in(own_bundle, "../secret.bin")
    assert "model.onnx: not a valid ONNX model" in message(own_bundle)


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("extra.bin", "extra.bin"),
        ("sub/extra.bin", "sub"),
        ("./.hidden", ".hidden"),
        ("größe.bin", "größe.bin"),
        ("model.json", "model.json"),
    ],
)
def test_a_graph_cannot_read_what_the_manifest_does_not_list(own_bundle, location, named):
    """Whoever changed such a file would change the captions, and no hash would tell."""
    keep_rows_in(own_bundle, location)
    assert message(own_bundle) == (
        f"model directory {own_bundle} is damaged: model.onnx: may read {named!r}; allowed are the files that "
        "model.json lists, so move that elsewhere"
    )


def test_a_name_is_found_in_any_spelling_and_where_blocks_meet(own_bundle):
    """Some file systems tell no capitals from small letters; a graph is read in blocks of a MiB."""
    keep_rows_in(own_bundle, "extra.bin")
    (own_bundle / "extra.bin").rename(own_bundle / "EXTRA.BIN")
    assert "may read 'EXTRA.BIN'" in message(own_bundle)
    data = (own_bundle / "model.onnx").read_bytes()
    padding = 2**20 - data.index(b"extra.bin") - 5
    field = b"\x82\x08" + bytes([(padding - 5) & 0x7F | 0x80, (padding - 5) >> 7 & 0x7F | 0x80, padding - 5 >> 14])
    (own_bundle / "model.onnx").write_bytes(field + bytes(padding - 5) + data)  # a field that no reader knows
    sign(own_bundle, values_of(own_bundle))
    assert "may read 'EXTRA.BIN'" in message(own_bundle)


def test_a_graph_may_keep_weights_in_a_file_that_is_listed(own_bundle):
    """As `encode.onnx` and `step.onnx` keep theirs in `model.onnx`."""
    values = values_of(own_bundle)
    values["files"]["rows.onnx"] = {}
    (own_bundle / "model.json").write_text(json.dumps(values))
    keep_rows_in(own_bundle, "rows.onnx")
    signed = (own_bundle / "rows.onnx").read_bytes()
    values = values_of(own_bundle)
    values["files"]["rows.onnx"] = {"bytes": len(signed), "sha256": hashlib.sha256(signed).hexdigest()}
    (own_bundle / "model.json").write_text(json.dumps(values))
    Bundle.open(own_bundle).open_graph(MODEL)
    (own_bundle / "rows.onnx").write_bytes(signed[::-1])
    assert "rows.onnx: its content has changed" in message(own_bundle)


def test_files_that_no_graph_names_may_lie_there(own_bundle):
    """Finder, git and the hub leave such, and people write notes."""
    for name in (".DS_Store", ".gitattributes", "README.md", "LICENSE"):
        (own_bundle / name).touch()
    for name in (".git", ".cache", "__pycache__"):
        (own_bundle / name).mkdir()
    Bundle.open(own_bundle).open_graph(MODEL)


def with_file(folder: Path, size: int, stated: int, sha256: str = "0") -> Path:
    """The directory with one more file, of `size` zeros that take no room on the disk."""
    with (folder / "weights.onnx").open("wb") as file:
        file.truncate(size)
    values = values_of(folder)
    values["files"]["weights.onnx"] = {"bytes": stated, "sha256": sha256}
    (folder / "model.json").write_text(json.dumps(values))
    return folder


def test_a_file_may_be_as_large_as_the_manifest_says(own_bundle):
    sha256 = "a3e2acbb469e4e59dde406f912e754c933c1ac0fb0092a3634d61d5073309c0c"
    tracemalloc.start()
    opened = Bundle.open(with_file(own_bundle, 513 * 2**20, 513 * 2**20, sha256))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert opened.files["weights.onnx"].bytes == 513 * 2**20
    assert peak < 16 * 2**20


@pytest.mark.parametrize(("size", "stated"), [(3, 2**34), (2**34, 3)])
def test_a_size_that_is_a_lie_is_noticed_before_anything_is_read(own_bundle, size, stated):
    reason = f"is damaged: weights.onnx: {size} bytes, expected {stated}"
    assert message(with_file(own_bundle, size, stated)).endswith(reason)


def test_no_file_may_be_larger_than_16_gib(own_bundle):
    assert message(with_file(own_bundle, 3, 2**34 + 1)).endswith(
        "files.weights.onnx.bytes is 17179869185; expected a whole number from 1 to 17179869184"
    )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def scratch():
    folder = Path(tempfile.mkdtemp())
    write_tiny_bundle(folder)
    yield folder
    shutil.rmtree(folder)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), value=JSON_VALUES)
def test_any_value_in_the_manifest_is_used_or_named(scratch, data, value):
    values = values_of(scratch)
    original = (scratch / "model.json").read_bytes()
    table = values
    while True:
        key = data.draw(st.sampled_from(sorted(table)))
        if not isinstance(table[key], dict) or not table[key] or data.draw(st.booleans()):
            break
        table = table[key]
    table[key] = value
    (scratch / "model.json").write_text(json.dumps(values))
    try:
        Bundle.open(scratch)
    except ModelFileError as error:
        assert str(scratch) in str(error)
    finally:
        (scratch / "model.json").write_bytes(original)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["model.json", "tokenizer.json", "model.onnx"]),
    at=st.integers(0, 10**6),
    byte=st.integers(1, 255),
)
def test_any_mutated_byte_is_noticed_or_harmless(scratch, name, at, byte):
    original = (scratch / name).read_bytes()
    changed = bytearray(original)
    changed[at % len(changed)] ^= byte
    (scratch / name).write_bytes(changed)
    try:
        opened = Bundle.open(scratch)
        opened.tokenizer()
    except ModelFileError as error:
        assert str(scratch) in str(error)
    else:
        assert name == "model.json"  # a letter of a description, a digit of a figure
    finally:
        (scratch / name).write_bytes(original)


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_a_signed_but_mutated_tokenizer_never_crashes(scratch, at, byte):
    original, manifest = (scratch / "tokenizer.json").read_bytes(), values_of(scratch)
    changed = bytearray(original)
    changed[at % len(changed)] ^= byte
    (scratch / "tokenizer.json").write_bytes(changed)
    try:
        sign(scratch, values_of(scratch))
        Bundle.open(scratch).tokenizer().decode([5, 6, 7])
    except ModelFileError as error:
        assert "tokenizer.json" in str(error)
    finally:
        (scratch / "tokenizer.json").write_bytes(original)
        sign(scratch, manifest)


# Finding a model


@pytest.fixture
def installed(tiny_bundle, tmp_path, monkeypatch) -> Path:
    """The tiny model, bundled under the name fastcap-tiny."""
    shutil.copytree(tiny_bundle, tmp_path / "models" / "fastcap-tiny")
    monkeypatch.setattr(bundle_module, "_MODELS", tmp_path / "models")
    return tmp_path / "models"


def test_models_are_found_by_name_and_by_folder(installed, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fastcap-tiny").mkdir()
    assert available_models() == ["fastcap-tiny"]
    assert find_model("fastcap-tiny") == installed / "fastcap-tiny"  # not the folder of that name
    assert find_model("./fastcap-tiny") == Path("fastcap-tiny")
    assert find_model(tiny_bundle) == tiny_bundle


def test_an_unknown_name_is_told_the_nearest_and_all_known(installed):
    with pytest.raises(ConfigError) as caught:
        find_model("fastcap-tni")
    assert str(caught.value) == (
        "unknown model 'fastcap-tni' (did you mean 'fastcap-tiny'?); bundled are: fastcap-tiny"
    )


def test_a_model_that_was_built_is_given_by_its_path(installed, tiny_bundle, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    shutil.copytree(tiny_bundle, Path("models", "mine"))
    with pytest.raises(ConfigError, match=re.escape(f"; {Path('models', 'mine')} was built, and is given by its path")):
        find_model("mine")


def test_a_model_whose_adapters_ship_is_told_how_it_is_made(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bundle_module, "ADAPTERS", tmp_path / "adapters")
    told = re.escape(f"; 'fastcap build eye' makes it, as {Path('models', 'eye')}")
    with pytest.raises(ConfigError, match=r"bundled are: fastcap-tiny$"):  # as a wheel leaves them out
        find_model("eye")
    (tmp_path / "adapters" / "eye").mkdir(parents=True)
    (tmp_path / "adapters" / "eye" / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=f"{told}$"):
        find_model("eye")


def test_a_missing_model_folder_says_so(installed, tmp_path):
    with pytest.raises(ModelFileError, match="no such folder; expected a model directory"):
        find_model(tmp_path / "none")


@pytest.mark.parametrize("path", ["a/" + "x" * 5000, Path("x" * 300), "a/\0"])
def test_a_path_that_cannot_be_is_no_folder(path):
    for find in (find_model, Bundle.open):
        with pytest.raises(ModelFileError, match="no such folder"):
            find(path)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name is Unicode")
def test_a_folder_whose_name_is_not_utf_8_says_so(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle, tmp_path / os.fsdecode(b"m\xff"))
    with pytest.raises(ModelFileError, match=r"m\\udcff': not UTF-8; expected a path that is"):
        Bundle.open(find_model(folder))
