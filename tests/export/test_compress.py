"""A model of any family is made to fit a size, by one command, or nothing is written."""

from __future__ import annotations

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.cli import main
from fastcap.compression import pipeline
from fastcap.compression.pipeline import compress
from fastcap.compression.source import as_checkpoint
from fastcap.errors import ConfigError, FastcapError, ModelFileError
from fastcap.export.weights import restore
from fastcap.model.shrinking import groups_of
from fastcap.quantization.bits import Option
from fastcap.quantization.pruning import sort_units
from fastcap.quantization.scales import quantised_layers
from fastcap.release import ExportSettings
from fastcap.release.search import RECOVERED, Shape, frozen_parameters, original, recovered, shapes_of
from fastcap.release.sizes import directory_size
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.training.trainer import train
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

SIZES = {"dataset": "csv", "calibration": 16, "limit": 4, "max_loss": 1000.0}  # random captions are worth nothing


@pytest.fixture
def data(pictures, tmp_path) -> Path:
    """A data set of sixteen pictures."""
    (tmp_path / "images").mkdir()
    for index in range(16):
        Image.fromarray(np.roll(pictures[index % 12], index, axis=1)).save(tmp_path / "images" / f"{index}.png")
    texts = ("a red ball lies on the grass", "two dogs run along a beach")
    rows = "".join(f"{index}.png,{text}\n" for index in range(16) for text in texts)
    for split in ("train", "val"):
        (tmp_path / f"{split}.csv").write_text(f"image,caption\n{rows}")
    return tmp_path


@pytest.fixture
def checkpoint(wide_model, tokenizer, data) -> Path:
    save_checkpoint(data / "best", wide_model.config, wide_model.state_dict(), tokenizer)
    return data / "best"


@pytest.fixture
def always_faster(monkeypatch) -> None:
    """Networks of this size take no time that could be told apart."""
    times = iter(range(100, 0, -1))
    monkeypatch.setattr(pipeline, "network_milliseconds", lambda *_: float(next(times)))


def test_a_model_is_pruned_and_quantised_to_a_size(checkpoint, data, always_faster, capsys):
    out = data / "small"
    line = ["compress", "--model", str(checkpoint), "--out", str(out), "--root", str(data), "--dataset", "csv"]
    line += ["--calibration", "16", "--limit", "4", "--max-loss", "1000"]
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*line, "--target-size", "1kB"])
    told = capsys.readouterr().err
    assert "target size is 1000 bytes; the nearest that can be reached is" in told
    assert not out.exists()
    nearest = int(told.split("can be reached is ")[1].split()[0])

    measured = (data / "small.compress" / "measured.json").read_bytes()
    assert main([*line, "--target-size", str(nearest + 20_000)]) == 0
    assert (data / "small.compress" / "measured.json").stat().st_size >= len(measured)  # nothing was measured anew
    assert directory_size(out) <= nearest + 20_000
    bundle = Bundle.open(out)
    assert bundle.quality["command"].startswith("fastcap compress") or bundle.quality["command"]
    assert Captioner.open(out).caption(data / "images" / "0.png").text
    report = json.loads((data / "small.compress.json").read_text())
    assert report["tried"][-1]["refused"] == "" and report["tried"][-1]["shape"] != "whole"
    assert report["whole"]["bytes"] > report["tried"][-1]["bytes"]
    assert (data / "small.compress.png").stat().st_size > 1000
    architecture = json.loads((out / "model.json").read_text())["architecture"]
    assert architecture["pruned"]
    assert as_checkpoint(out, data / "again", Console(quiet=True)).is_dir()  # what ships can be trained on


def test_a_model_that_was_pruned_before_is_refused_and_nothing_is_left(data):
    settings = ExportSettings(**SIZES, target_size="5.5MB")
    with pytest.raises(ConfigError, match="fastcap-base was pruned before; allowed: what it was pruned from"):
        compress("fastcap-base", data / "small", data, settings)
    assert not (data / "small.compress").exists()
    (data / "small.compress").mkdir()
    (data / "small.compress" / "measured.json").write_text("{}")
    with pytest.raises(ConfigError, match="was pruned before"):
        compress("fastcap-base", data / "small", data, settings)
    assert [path.name for path in (data / "small.compress").iterdir()] == ["measured.json"]  # of another call


def test_what_loses_too_much_is_refused_and_reported(checkpoint, data, always_faster, monkeypatch):
    monkeypatch.setattr(pipeline, "ATTEMPTS", 2)
    settings = ExportSettings(**{**SIZES, "max_loss": -1000.0}, target_size="2MB")
    with pytest.raises(
        FastcapError, match=r"nothing of at most 2000000 bytes is good enough \(whole: it loses .* points"
    ):
        compress(checkpoint, data / "small", data, settings)
    assert not (data / "small").exists()
    report = json.loads((data / "small.compress.json").read_text())
    assert len(report["tried"]) == 2 and all("allowed: max_loss=-1000" in row["refused"] for row in report["tried"])


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    pytest.importorskip("transformers"), pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("parts")
    wide = {"hidden_size": 128, "intermediate_size": 256}
    return write_language_model(root / "words", "llama", **wide), write_tower(root / "eye")


@pytest.fixture
def prefix(parts, data) -> Path:
    """A checkpoint of a prefix model whose matrices are large enough to be quantised."""
    model, tokenizer = prefix_model(prefix_config(*parts))
    save_checkpoint(data / "best", model.config, model.state_dict(), tokenizer)
    return data / "best"


def test_a_language_model_is_pruned_and_has_bits_for_each_layer(prefix, data, always_faster):
    settings = ExportSettings(**SIZES, target_size=1)
    with pytest.raises(ConfigError, match="the nearest that can be reached is") as refused:
        compress(prefix, data / "small", data, settings)
    nearest = int(str(refused.value).split("can be reached is ")[1].split()[0])
    settings = dataclasses.replace(settings, target_size=nearest + 20_000)
    bundle = compress(prefix, data / "small", data, settings)
    assert bundle.kind == "prefix" and directory_size(bundle.folder) <= nearest + 20_000
    assert Captioner.open(bundle.folder).caption(data / "images" / "0.png").text is not None
    report = json.loads((data / "small.compress.json").read_text())
    assert report["tried"][-1]["shares"] and report["tried"][-1]["layers_by_bits"]
    with pytest.raises(ModelFileError, match=r"its adapters are merged, and cannot be told from the language model"):
        compress(bundle.folder, data / "again", data, settings)
    assert not (data / "again").exists()


def test_all_layers_of_a_language_model_learn_again(prefix, data, always_faster, monkeypatch):
    """Adapters alone bring little of it back."""
    trained = []
    monkeypatch.setattr(pipeline, "train", lambda config: trained.append(config) or train(config))
    settings = ExportSettings(**SIZES, target_size="590kB")
    bundle = compress(prefix, data / "small", data, settings, optimization=pipeline.OPTIMIZATIONS, steps=2)
    (config,) = trained
    assert config.model.decoder.unfreeze_layers == 3 and config.model.pruned and config.stages[0].quantized
    before, after = (load_checkpoint(folder)[0] for folder in (config.init, Path(config.output) / "best"))
    moved = {name for name, weight in after.named_parameters() if not torch.equal(weight, before.get_parameter(name))}
    assert {name.split(".")[-2] for name in moved if "mlp" in name and "lora" not in name} == {"base_layer"}
    assert not any(name.startswith("backbone") or "embed_tokens" in name for name in moved)
    assert Captioner.open(bundle.folder).caption(data / "images" / "0.png").text is not None


def test_layers_have_other_names_where_layers_are_gone():
    shape = Shape({"layers": 0.5}, {"decoder.layers:layers": [1, 3]})
    assert original("decoder.layers.1.self_attention.project_in", shape) == "decoder.layers.3.self_attention.project_in"
    assert original("decoder.embedding", shape) == "decoder.embedding" and shape.name == "layers -50%"


def test_shapes_have_fewer_units_of_kinds_that_the_model_has(wide_model):
    importance = {name: torch.arange(group.size, 0.0, -1) for name, group in groups_of(wide_model).items()}
    shapes = shapes_of(wide_model, sort_units(wide_model, importance))
    assert shapes[0].kept == {} and len({shape.name for shape in shapes}) == len(shapes) > 8
    halved = next(shape for shape in shapes if shape.name == "units -50%")
    assert all(units == list(range(len(units))) for units in halved.kept.values())  # the first are worth most


@pytest.mark.parametrize(
    ("optimization", "size", "reason"),
    [
        (["magic"], "9MB", "optimization is magic; allowed: any of quantization, pruning, distillation"),
        (["distillation"], "9MB", "optimization is distillation alone; allowed: with quantization or pruning"),
        (["pruning"], None, "there is no target size; needed: one, such as 100MB"),
    ],
)
def test_what_cannot_be_done_is_told(data, optimization, size, reason):
    with pytest.raises(ConfigError, match=reason):
        compress(data, data / "small", data, ExportSettings(target_size=size), optimization=optimization)


def test_a_folder_that_is_no_model_is_told(data):
    with pytest.raises(ModelFileError, match="is no model; allowed: a checkpoint directory, a folder of adapters, or"):
        compress(data / "images", data / "small", data, ExportSettings(target_size="9MB", dataset="csv"))
    assert not (data / "small").exists()


def test_the_seed_s_command_is_this_one(monkeypatch, tmp_path):
    script = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "optimize_model.py"))
    (tmp_path / "model.pt").write_bytes(b"")
    line = [
        "--model_path",
        str(tmp_path / "model.pt"),
        "--optimization",
        "quantization",
        "pruning",
        "--target_size",
        "100",
    ]
    assert script["translated"](line) == [
        "--model", str(tmp_path), "--optimization", "quantization", "pruning", "--target-size", "100MB",
        "--out", "models/optimized", "--root", "data/flickr8k",
    ]  # fmt: skip
    assert script["translated"](["--target_size=70"])[:2] == ["--target-size", "70MB"]


def test_an_interrupted_compression_leaves_nothing_and_goes_on(checkpoint, data, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "measure", pressed)  # what comes after the layers
    settings, kept = ExportSettings(**SIZES, target_size="2MB"), data / "small.compress" / "measured.json"
    written = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compress(checkpoint, data / "small", data, settings, optimization=["quantization"])
        assert not (data / "small").exists() and not list(data.glob(".small*"))
        written.append(kept.stat().st_mtime_ns)
    assert written[0] == written[1]  # nothing was measured again


@pytest.mark.parametrize("phase", ["load_checkpoint", "train", "quantised_graphs", "write_report", "write_bundle"])
def test_an_interrupt_leaves_nothing_half_written_whatever_it_meets(
    phase, checkpoint, data, always_faster, monkeypatch
):
    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "train", lambda _: checkpoint)  # a training that took no time
    monkeypatch.setattr(pipeline, phase, pressed)
    settings = ExportSettings(**SIZES, target_size="2MB")
    with pytest.raises(KeyboardInterrupt):
        compress(checkpoint, data / "small", data, settings, optimization=["quantization", "distillation"])
    assert not (data / "small").exists()
    assert list(data.rglob(".*")) == []  # nothing that was being written aside


def test_a_folder_that_is_no_data_set_is_told_before_anything_is_written(data):
    with pytest.raises(FastcapError):
        compress("fastcap-base", data / "small", data / "nowhere", ExportSettings(target_size="9MB", dataset="csv"))
    assert not list(data.glob("small*"))


def test_a_pruned_model_learns_from_the_whole_one(checkpoint, data, always_faster, monkeypatch):
    """The ordinary trainer, whose run is kept: the same command does not train again."""
    trained = []
    monkeypatch.setattr(pipeline, "train", lambda config: trained.append(config) or train(config))
    settings = ExportSettings(**SIZES, target_size="1100kB")
    kinds = ["pruning", "distillation"]
    bundle = compress(checkpoint, data / "small", data, settings, optimization=kinds, steps=2)
    (config,) = trained
    assert (
        Path(config.init).parent == data / "small.compress" and Path(config.output).parent == Path(config.init).parent
    )
    (stage,) = config.stages
    assert (stage.steps, stage.teachers[0].names) == (2, (str(checkpoint),)) and config.model.pruned
    assert json.loads((bundle.folder / "model.json").read_text())["architecture"]["pruned"] == list(config.model.pruned)


def test_what_training_rounded_is_what_ships(checkpoint, data, always_faster, monkeypatch):
    """Nothing is pruned: the weights that were trained with few bits are on the grid of the graphs."""
    trained = []
    monkeypatch.setattr(pipeline, "train", lambda config: trained.append(config) or train(config))
    settings = ExportSettings(**SIZES, target_size="900kB")
    kinds = ["quantization", "distillation"]
    bundle = compress(checkpoint, data / "small", data, settings, optimization=kinds, steps=2)
    (stage,) = trained[0].stages
    bits = json.loads(Path(stage.bits).read_text())
    assert stage.quantized and stage.freeze == "convolutions" and 4 in bits.values()
    best, _ = load_checkpoint(Path(trained[0].output) / "best")
    shipped, before = restore(bundle.folder), load_checkpoint(checkpoint)[0]
    for name, layer in quantised_layers(best).items():
        if bits.get(name, 8) == 16:
            continue
        for parameter in layer.parameters:
            exact, found = (model.get_parameter(parameter).detach() for model in (best, shipped))
            torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-5, msg=parameter)
    moved = [name for name, weight in best.named_parameters() if not torch.equal(weight, before.get_parameter(name))]
    assert any(name.startswith("decoder") for name in moved)


def test_layers_that_learn_rather_have_few_bits_than_frozen_ones(wide_model):
    frozen = frozen_parameters(wide_model)
    assert {name.split(".")[1] for name in frozen} == {"stem", "to_stride_16"}
    options = recovered({4: Option(10, 1.0), 8: Option(20, 0.2)})
    assert options == {4: Option(10, 1 - RECOVERED), 8: Option(20, 0.2 * (1 - RECOVERED))}
