"""A step's batch shared out among micro-batches and processes gives what it gives in one piece."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from toy_recipe import stage

from fastcap.config import ForcingConfig, ResNetViTConfig, RopeDecoderConfig, TrainConfig
from fastcap.errors import ConfigError
from fastcap.training.batch import Batch, unit
from fastcap.training.trainer import Trainer, train
from fastcap.training.zero import freeze_unused, import_deepspeed
from tiny_parts import prefix_config, write_language_model, write_tower

# Five images cannot be shared out evenly, and captions differ in length; what is not a mean is left out.
SHARED = stage(
    steps=6,
    consistency=0.5,
    balance=0.0,
    forcing=ForcingConfig("linear"),
)
# Two stages, across the edges of epochs.
DIVIDED = (SHARED, dataclasses.replace(SHARED, name="all", steps=2, freeze="none"))


def exact(config: TrainConfig, **settings: Any) -> TrainConfig:
    """A recipe without dropout, whose masks every share draws for itself."""
    parts = {
        name: dataclasses.replace(part, dropout=0.0)
        for name, part in (("backbone", config.model.backbone), ("decoder", config.model.decoder))
        if hasattr(part, "dropout")
    }
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **parts), **settings)


def autoregressive(config: TrainConfig, **decoder: Any) -> TrainConfig:
    """A recipe of the other family."""
    model = dataclasses.replace(
        config.model,
        backbone=ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48),
        decoder=RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=16, **decoder),
    )
    stages = tuple(dataclasses.replace(each, masked=None, length=None) for each in config.stages)
    return dataclasses.replace(config, model=model, stages=stages)


def gradients(config: TrainConfig, at: int = 3) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of one step by a model whose weights are drawn anew."""
    made = Trainer(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    made.position = made.position.at(at)
    made.prepare_stage(made.config.stages[0])
    losses = made.gradients(*made.draw())
    found = {name: each.grad for name, each in made.model.named_parameters() if each.grad is not None}
    return {name: value.item() for name, value in losses.items()}, found


def assert_equal(found: Any, expected: Any) -> None:
    """Two answers of `gradients`, up to rounding."""
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(
            found[1][name], gradient, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


# Micro-batches


def test_the_shares_of_a_batch_are_the_batch():
    lengths = torch.tensor([3, 1, 2, 5, 4, 2, 1, 1, 6, 3])
    tensors = {"lengths": lengths, "masked": torch.arange(60).view(10, 6) % 3 == 0, "pixels": torch.rand(5, 2, 2)}
    whole = Batch.whole(tensors, np.arange(10, 15))
    shares = [whole.share(index, 3) for index in range(3)]
    assert [share.images.tolist() for share in shares] == [[10, 13], [11, 14], [12]]
    assert shares[0].tensors["lengths"].tolist() == [3, 1, 1, 1]
    assert torch.equal(shares[1].tensors["pixels"], tensors["pixels"][[1, 4]])
    for name in ("images", "tokens", "masked"):
        assert sum(share.fractions()[name] for share in shares) == pytest.approx(1)
    assert whole.fractions() == {"images": 1, "tokens": 1, "masked": 1}
    assert shares[2].share(0, 1).fractions()["images"] == pytest.approx(1 / 5)


@pytest.mark.parametrize("parts", [2, 5])
def test_micro_batches_give_the_losses_and_gradients_of_one_batch(recipe, parts):
    expected = gradients(exact(recipe(stages=(SHARED,))))
    assert {"causal", "masked", "consistency", "agreement", "length"} <= expected[0].keys()
    assert_equal(gradients(exact(recipe(stages=(SHARED,)), accumulate=parts)), expected)


def test_every_loss_but_a_contrast_and_a_balance_is_the_mean_over_its_unit():
    units = {name: unit(name) for name in ("masked", "consistency", "causal", "logits_1", "length", "features_0")}
    assert list(units.values()) == ["masked", "masked", "tokens", "tokens", "images", "images"]


def test_more_shares_than_images_are_refused(recipe):
    with pytest.raises(
        ConfigError, match=r"pretrain: images is 5; allowed: 6 or more, one for each of 6 micro-batches"
    ):
        train(recipe(accumulate=6))


# Memory


@pytest.mark.parametrize("family", ["fastcap", "autoregressive"])
def test_checkpointing_changes_no_gradient_dropout_or_not(recipe, family):
    config = recipe(stages=(stage(freeze="none"),))
    if family == "autoregressive":
        config = autoregressive(config, n_experts=4, top_k=2)
    assert_equal(gradients(dataclasses.replace(config, checkpointing=True)), gradients(config))


def test_checkpointing_is_refused_where_a_second_reading_would_count_twice(recipe):
    config = autoregressive(recipe(), n_experts=4, balancing="bias")
    with pytest.raises(ConfigError, match="checkpointing is true; allowed: false, with balancing bias"):
        dataclasses.replace(config, checkpointing=True)


@pytest.fixture
def other_precision():
    """Room for a precision of its own, which a process otherwise chooses once."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("other_precision")
def test_bf16_trains_on_a_cpu_in_micro_batches_with_checkpointing(recipe):
    config = recipe(stages=(stage(freeze="none", steps=2),), precision="bf16", accumulate=2, checkpointing=True)
    train(config)
    rows = [row for row in log(config) if "loss" in row]
    assert len(rows) == 2 and all(math.isfinite(row["loss"]) for row in rows)
    assert all(row["images_per_second"] > 0 and 0 < row["mfu"] < 1 and row["memory_mb"] > 50 for row in rows)


# Trackers


@pytest.mark.slow
def test_figures_go_where_the_recipe_says(recipe, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = recipe(stages=(stage(steps=2),), trackers=("jsonl", "wandb"))
    train(config)
    (folder,) = (Path(config.output) / "wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    content = file.read_bytes()
    assert all(name in content for name in (b"val_cider", b"images_per_second", b"pretrain"))
    assert wandb.run is None
    assert not (Path(config.output) / "tensorboard").exists()
    assert "val_cider" in log(config)[-1]


def test_a_tracker_that_is_not_known_or_not_installed_is_one_clear_error(recipe, monkeypatch):
    with pytest.raises(ConfigError, match=r"trackers is .*; allowed: any of jsonl, tensorboard, wandb"):
        recipe(trackers=("mlflow",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r'tracker wandb needs wandb: pip install -e ".*\[wandb\]"'):
        train(recipe(trackers=("wandb",)))


# Sharding


def test_what_sharded_training_cannot_do_is_refused_before_it_begins(recipe, monkeypatch):
    with pytest.raises(ConfigError, match="precision is 'fp16'; allowed: no or bf16, with sharding fsdp2"):
        recipe(sharding="fsdp2", precision="fp16")
    with pytest.raises(ConfigError, match="precision is 'bf16'; allowed: no, with sharding zero3"):
        recipe(sharding="zero3", precision="bf16")
    with pytest.raises(ConfigError, match=r"pretrain: reward is 0.5; allowed: none of reward, causal_reward"):
        recipe(sharding="fsdp2", stages=(stage(reward=0.5),))
    with pytest.raises(ConfigError, match="balancing is 'bias'; allowed: loss, with sharding fsdp2"):
        autoregressive(recipe(sharding="fsdp2"), n_experts=4, balancing="bias")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match=r"distributed_type FSDP or DEEPSPEED.*MULTI_GPU, with sharding fsdp2"):
        train(recipe())


def test_zero3_leaves_alone_what_the_losses_of_a_stage_do_not_reach(recipe):
    made = Trainer(recipe(stages=(stage(freeze="none", length=0.0),)))
    made.prepare_stage(made.config.stages[0])
    freeze_unused(made.objective, lambda: made.gradients(*made.draw()))
    left = {name.split(".")[0] for name, weight in made.model.named_parameters() if not weight.requires_grad}
    assert left == {"length_predictor", "alignment"}
    assert all(weight.grad is None for weight in made.model.parameters())


def test_zero3_without_deepspeed_is_one_clear_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(ConfigError, match=r'sharding zero3 needs DeepSpeed: pip install -e ".*\[deepspeed\]"'):
        import_deepspeed(torch.device("cpu"))


# Processes


def log(config: TrainConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]


DDP = Path(__file__).parents[2] / "configs" / "distributed" / "ddp.yaml"
LAUNCHERS = {
    "torchrun": ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
    "accelerate": ["accelerate.commands.launch", "--config_file", str(DDP)],
}


def started(config: TrainConfig, folder: Path, launcher: str = "torchrun") -> subprocess.Popen[str]:
    """The command in two processes."""
    settings = folder / "recipe.yaml"
    settings.write_text(json.dumps(dataclasses.asdict(config)))
    command = [sys.executable, "-m", *LAUNCHERS[launcher], "-m", "fastcap", "train", "--config", str(settings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def assert_same_run(found: TrainConfig, expected: TrainConfig) -> None:
    """The same losses at the same steps, and the same weights, up to rounding."""
    ours, theirs = ([row for row in log(config) if "loss" in row] for config in (found, expected))
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    last = [sorted((Path(config.output) / "checkpoints").iterdir())[-1] for config in (found, expected)]
    assert last[0].name == last[1].name
    weights = [load_file(path / "training.safetensors") for path in last]
    for name, value in weights[1].items():
        torch.testing.assert_close(
            weights[0][name], value, rtol=1e-2, atol=2e-4, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_train_as_one_and_only_the_first_writes(recipe, tmp_path, launcher):
    """Two stages, across the edges of epochs, shares of three and two images."""
    one, two = (exact(recipe(name, DIVIDED)) for name in ("one", "two"))
    train(one)
    process = started(two, tmp_path, launcher)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert output.count("training images") == 1 and "processes 2" in output
    assert len(list((Path(two.output) / "tensorboard").glob("events.*"))) == 1
    assert_same_run(two, one)


@pytest.mark.slow
def test_a_run_of_two_processes_stops_together_and_goes_on_as_one(recipe, tmp_path):
    whole, parted = (exact(recipe(name, (dataclasses.replace(SHARED, steps=30),))) for name in ("whole", "parted"))
    train(whole)
    process = started(parted, tmp_path)
    deadline = time.time() + 200
    path = Path(parted.output) / "log.jsonl"
    while time.time() < deadline and (not path.is_file() or len(path.read_text().splitlines()) < 2):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=100)
    (checkpoint,) = (Path(parted.output) / "checkpoints").iterdir()
    position = json.loads((checkpoint / "position.json").read_text())
    assert 2 <= position["step"] < 30, output
    train(parted)
    assert_same_run(parted, whole)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["no", "fsdp2"])
def test_two_processes_train_adapters_as_one(recipe, tmp_path, sharding):
    pytest.importorskip("peft")
    model = prefix_config(write_language_model(tmp_path / "words"), write_tower(tmp_path / "eye"), dropout=0.0)
    stages = (stage(steps=4, freeze="none"), stage(steps=2))
    one, two = (
        dataclasses.replace(recipe(name), model=model, stages=stages, sharding=sharding) for name in ("one", "two")
    )
    train(one)
    process = started(two, tmp_path)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert_same_run(two, one)


needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
SHARDINGS = ("fsdp2", pytest.param("zero3", marks=needs_deepspeed))


def rewind(config: TrainConfig, steps: int) -> None:
    """Leave of a run what it had written when it kept its checkpoint of so many steps."""
    output = Path(config.output)
    for path in (output / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > steps:
            shutil.rmtree(path)
    rows = [row for row in log(config) if "loss" in row and row["step"] <= steps and row["stage"] == SHARED.name]
    (output / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def finish(config: TrainConfig, folder: Path, launcher: str = "torchrun") -> None:
    """Let two processes train to the end."""
    process = started(config, folder, launcher)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_with_a_part_of_the_weights_each_train_as_one_and_one_goes_on(recipe, tmp_path, sharding):
    settings = {"sharding": sharding, "checkpoint_every": 3, "keep_last": 9}
    one, two = (exact(recipe(name, DIVIDED), **settings) for name in ("one", "two"))
    train(one)
    finish(two, tmp_path)
    assert_same_run(two, one)
    rewind(two, 3)
    train(two)
    assert_same_run(two, one)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", SHARDINGS)
def test_two_processes_with_a_part_each_go_on_from_one_in_micro_batches_with_checkpointing(recipe, tmp_path, sharding):
    settings = {"sharding": sharding, "checkpoint_every": 3, "keep_last": 9, "accumulate": 2, "checkpointing": True}
    stages = tuple(dataclasses.replace(each, consistency=0.0) for each in DIVIDED)
    one, two = (exact(autoregressive(recipe(name, stages)), **settings) for name in ("one", "two"))
    train(one)
    train(two)
    rewind(two, 3)
    finish(two, tmp_path, "accelerate")
    assert_same_run(two, one)
