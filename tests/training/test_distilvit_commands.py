"""The commands of distilvit: its recipes at tiny random sizes, its flags, its Makefile."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import save_file

from fastcap.backbone.convolutional import ConvolutionalTower, named_convolutions
from fastcap.checkpoint import load_checkpoint
from fastcap.cli import main
from fastcap.config import TrainConfig, load_config
from fastcap.errors import ConfigError
from fastcap.training.pools import limited, steps_of
from tiny_parts import write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")

ROOT = Path(__file__).parents[2]
PARTS = {
    "distilvit": ("efficientnet-lite2", "efficientnet-lite0", "smollm2-135m-instruct"),
    "distilvit_quick": ("efficientnet-lite0", "smollm2-135m-instruct"),
    "distilvit_modern": ("siglip2-base", "smollm2-360m-instruct"),
    "distilvit_large": ("siglip-so400m", "HuggingFaceTB--SmolLM2-1.7B-Instruct"),
}


@pytest.fixture(scope="module")
def tiny_parts(tmp_path_factory):
    """A folder of parts of the names that the recipes give, tiny and random."""
    root = tmp_path_factory.mktemp("parts")
    for name in {name for names in PARTS.values() for name in names}:
        if name.startswith("efficientnet"):
            (root / name).mkdir()
            layers = named_convolutions(ConvolutionalTower(name)).items()
            weights = {
                f"{key}.{part}": getattr(layer, part).detach() for key, layer in layers for part in ("weight", "bias")
            }
            save_file(weights, root / name / "model.safetensors")
        elif name.startswith("siglip"):
            write_tower(root / name)
        else:
            write_language_model(root / name)
    return root


# --- recipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PARTS)
def test_a_recipe_trains_at_a_tiny_size(name, tiny_parts, toy_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FASTCAP_PARTS", str(tiny_parts))
    monkeypatch.chdir(tmp_path)
    smaller = [
        "model.image_size=64", "model.decoder.image_tokens=4", "model.max_length=20", "model.generation.min_length=2",
        f"data.root={toy_data}", "data.train=[{name: flickr8k, root: toy}]", "data.val_limit=2", "accumulate=1",
        "data.val=[{name: flickr8k, root: toy, split: val}]", "evaluate_every=1000", "threads=1",
    ]  # fmt: skip
    for index, _ in enumerate(load_config(name).stages):
        smaller += [f"stages.{index}.steps=2", f"stages.{index}.images=4", f"stages.{index}.warmup=1"]
    assert main(["train", "--config", name, *smaller]) == 0
    shown = capsys.readouterr()
    model, _ = load_checkpoint(Path(shown.out.strip()))
    assert model.config.kind == "prefix" and len(model.config.backbone.sha256) == len(PARTS[name]) - 1
    assert "parameters are trained (" in shown.err


def test_the_default_is_small_and_the_larger_ones_are_the_seed_s():
    modern, large = (load_config(name).model for name in ("distilvit_modern", "distilvit_large"))
    assert modern.backbone.names == ("siglip2-base",) and modern.decoder.language_model == "smollm2-360m-instruct"
    assert large.backbone.names == ("siglip-so400m",) and "SmolLM2-1.7B" in large.decoder.language_model
    assert large.image_size == 384 and (large.decoder.rank, large.decoder.alpha) == (16, 16)
    assert load_config("distilvit_modern").stages[0].adapter_rate * 1e-3 == pytest.approx(5e-5)


# --- flags --------------------------------------------------------------------------------------------------


@pytest.fixture
def trained_by(monkeypatch, tmp_path):
    """Run `fastcap train`, and give the recipe that it would train by."""
    monkeypatch.chdir(tmp_path)

    def run(*line: str) -> TrainConfig:
        seen: list[TrainConfig] = []
        monkeypatch.setattr("fastcap.training.trainer.train", lambda config, **_: seen.append(config) or Path("best"))
        assert main(["train", *line]) == 0
        return seen[0]

    return run


def test_the_seed_s_flags_are_settings(trained_by):
    line = "--config distilvit --dataset flickr --lora-r 32 --lora-alpha 16 --projection-lr 1e-3 --lora-lr 5e-5"
    config = trained_by(*line.split(), "--clip-loss-weight", "0.1", "--clip-model", "openai/clip-vit-base-patch32")
    first = config.stages[0]
    assert (config.model.decoder.rank, config.model.decoder.alpha) == (32, 16)
    assert first.learning_rate == 1e-3 and first.learning_rate * first.adapter_rate == pytest.approx(5e-5)
    assert (first.clip_loss, first.clip_model) == (0.1, "openai/clip-vit-base-patch32")
    assert [dataset.root for dataset in config.data.train] == ["flickr8k"]
    everything = trained_by("--config", "distilvit", "--dataset", "all")
    assert [d.name for d in everything.data.train] == ["flickr8k", "flickr30k", "coco", "coco_machine"]
    assert trained_by("--config", "distilvit") == load_config("distilvit")
    one = trained_by("--config", "distilvit", "--lora-lr", "1e-4", "stages.0.learning_rate=2e-3").stages[0]
    assert one.learning_rate == 2e-3 and one.adapter_rate == pytest.approx(0.05)


def test_the_seed_s_script_needs_a_data_set_alone(monkeypatch):
    import runpy

    lines: list[list[str]] = []
    monkeypatch.setattr("fastcap.cli.main", lambda line: lines.append(line) or 0)
    for words in (["--dataset", "flickr", "--lora-r", "32"], ["--dataset=all"], ["--config", "pretrain"], []):
        monkeypatch.setattr("sys.argv", ["train.py", *words])
        with pytest.raises(SystemExit):
            runpy.run_path(str(ROOT / "scripts" / "train.py"), run_name="__main__")
    assert lines == [
        ["train", "--config", "distilvit", "--dataset", "flickr", "--lora-r", "32"],
        ["train", "--config", "distilvit", "--dataset=all"],
        ["train", "--config", "pretrain"],
        ["train"],
    ]


def test_epochs_are_counted_in_pictures(trained_by, toy_data):
    data = [f"data.root={toy_data}", "data.train=[{name: flickr8k, root: toy}]"]  # twelve pictures
    config = trained_by("--config", "distilvit", "--epochs", "5", "stages.0.images=8", *data)
    assert config.stages[0].steps == 8  # five times twelve by eights, rounded up
    assert config.stages[1] == load_config("distilvit").stages[1]
    limited_too = trained_by("--config", "distilvit", "--epochs", "5", "stages.0.images=8", "data.train_limit=4", *data)
    assert limited_too.stages[0].steps == 3
    with pytest.raises(ConfigError, match=r"epochs are given; allowed: stages\.0\.steps alone"):
        steps_of(load_config("streaming").data, 8, 1)


def test_a_limit_takes_pictures_evenly_with_all_their_captions():
    from fastcap.data.readers import Example

    human = [Example(Path(f"{i}.jpg"), (f"one {i}", f"two {i}"), str(i), "a") for i in range(10)]
    machine = [Example(Path(f"{i}.jpg"), (f"three {i}",), str(i), "b") for i in range(5, 12)]
    parts = limited([("human", human), ("machine", machine)], 4)
    assert [[example.image.stem for example in examples] for _, examples in parts] == [["0", "3", "6", "9"], ["6", "9"]]
    assert limited([("human", human)], 0) == limited([("human", human)], 99) == [("human", human)]


def test_a_data_set_that_nobody_knows_is_named(wrong_usage):
    assert "no data set 'flicker' (did you mean 'flickr'?); known: all, coco," in wrong_usage(
        "train", "--config", "distilvit", "--dataset", "flicker"
    )
    assert "--lora-r: got 'many'; allowed are whole numbers of 0 or more" in wrong_usage(
        "train", "--config", "distilvit", "--lora-r", "many"
    )


# --- the Makefile -------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train-quick"],
         ["download efficientnet-lite0", "download smollm2-135m-instruct", "train --config distilvit_quick"]),
        (["train", "DATASET=flickr", "EPOCHS=5"],
         ["download efficientnet-lite2", "download efficientnet-lite0", "download smollm2-135m-instruct",
          "train --config distilvit --dataset flickr --epochs 5"]),
        (["train"], ["train --config pretrain"]),
        (["train-modern"],
         ["download siglip2-base", "download smollm2-360m-instruct", "train --config distilvit_modern"]),
        (["train-large", "EPOCHS=2"],
         ["download siglip-so400m",
          "download HuggingFaceTB/SmolLM2-1.7B-Instruct@31b70e2e869a7173562077fd711b654946d38674",
          "train --config distilvit_large --epochs 2"]),
        (["train-all"],
         ["download efficientnet-lite2", "download efficientnet-lite0", "download smollm2-135m-instruct",
          "train --config distilvit --dataset all"]),
    ],
)  # fmt: skip
def test_make_gets_the_parts_and_trains(words, expected, tmp_path):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    fake = tmp_path / ".venv" / "bin" / "fastcap"
    fake.write_text('#!/bin/sh\necho "$@" >>called\n')
    fake.chmod(0o755)
    (tmp_path / ".venv" / ".stamp").touch()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", *words], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "called").read_text().splitlines() == expected


def test_the_parts_that_make_gets_are_those_of_the_recipes():
    for name, folders in PARTS.items():
        model = load_config(name).model
        named = [*model.backbone.names, model.decoder.language_model]
        assert [part.partition("@")[0].replace("/", "--") for part in named] == list(folders)
