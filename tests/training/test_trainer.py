"""The training loop: it resumes exactly, stops cleanly, freezes what it says it freezes, and learns."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from fastcap.cli import main
from fastcap.config import StageConfig
from fastcap.errors import ConfigError, DataError, FastcapError, ModelFileError
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.generation.autoregressive import greedy_search
from fastcap.model import ParallelCaptionModel, TorchStepper
from fastcap.model.shrinking import groups_of
from fastcap.quantization.pruning import prune
from fastcap.runtime.encoding import decode
from fastcap.training.objective import TrainingStep
from fastcap.training.trainer import Trainer, train
from fastcap.training.weights import WeightAverage


def checkpoints(config) -> list[str]:
    return sorted(path.name for path in (Path(config.output) / "checkpoints").iterdir())


def tensors(config, name: str) -> dict[str, torch.Tensor]:
    folder = Path(config.output) / "checkpoints" / name
    return {**load_file(folder / "training.safetensors"), **load_file(folder / "model.safetensors")}


def validations(config) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "val_cider" in row]


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C inside the forward pass of the step-th step from now."""
    forward, calls = TrainingStep.forward, []

    def failing(self, *arguments):
        calls.append(1)
        if len(calls) == step:
            raise KeyboardInterrupt
        return forward(self, *arguments)

    monkeypatch.setattr(TrainingStep, "forward", failing)


TWO_STAGES = (
    stage(steps=4),
    stage(name="all", steps=4, freeze="none", masked=0.5, learning_rate=5e-4, reward=0.5),
)


CROPPED = stage(steps=8, crop_scale=0.5, causal_reward=0.5)


@pytest.mark.parametrize(
    ("stages", "after"),
    [((stage(steps=8),), 4), ((CROPPED,), 4), ((stage(steps=8, freeze="none"),), 3), (TWO_STAGES, 4), (TWO_STAGES, 6)],
    ids=["mid-epoch", "cropped anew", "from pixels", "at a stage's end", "in the second stage"],
)
def test_eight_steps_are_some_steps_a_resume_and_the_rest_bit_for_bit(recipe, monkeypatch, stages, after):
    whole, parted = recipe("whole", stages), recipe("parted", stages)
    train(whole)
    with monkeypatch.context() as patch:
        interrupted_at(patch, after + 1)
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    assert checkpoints(parted)[-1] == f"step-{after:07d}"
    train(parted)
    assert checkpoints(parted)[-1] == "step-0000008"
    expected, found = (tensors(config, "step-0000008") for config in (whole, parted))
    assert expected.keys() == found.keys()
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert different == []
    log = [json.loads(line) for line in (Path(parted.output) / "log.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in log if "loss" in row]
    assert steps == list(range(1, 9))


def test_the_optimiser_resumes_too(recipe, monkeypatch):
    """The moments in the middle of a stage: equal whether or not the run was interrupted before."""
    whole, parted = (recipe(name, (stage(steps=8),), checkpoint_every=6, keep_last=9) for name in ("whole", "parted"))
    train(whole)
    with monkeypatch.context() as patch:
        interrupted_at(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    train(parted)
    expected, found = (tensors(config, "step-0000006") for config in (whole, parted))
    moments = [name for name in expected if name.startswith("moments:")]
    assert any(name.endswith(":exp_avg_sq") for name in moments)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_ctrl_c_waits_for_the_end_of_an_update(recipe, monkeypatch):
    """Weights, average, moments and the count of steps change together or not at all."""
    whole, parted = recipe("whole", (stage(steps=6),)), recipe("parted", (stage(steps=6),))
    train(whole)
    with monkeypatch.context() as patch:
        update, calls = WeightAverage.update, []

        def interrupting(self, model):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
            update(self, model)

        patch.setattr(WeightAverage, "update", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(parted)
    assert checkpoints(parted) == ["step-0000003"]
    assert last_step(Path(parted.output) / "log.jsonl") == 3  # a step has its row
    train(parted)
    expected, found = (tensors(config, "step-0000006") for config in (whole, parted))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_run_interrupted_while_it_validates_validates_when_resumed(recipe, monkeypatch):
    config = recipe()
    with monkeypatch.context() as patch:
        caption, calls = ParallelCaptionModel.caption, []

        def interrupting(self, *arguments):
            calls.append(1)
            if len(calls) == 2:  # the first is before the first step
                raise KeyboardInterrupt
            return caption(self, *arguments)

        patch.setattr(ParallelCaptionModel, "caption", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(config)
    held = tensors(config, "step-0000004")
    assert not torch.equal(held["weights:decoder.bias"], held["decoder.bias"])  # not the average, which is validated
    assert [row["step"] for row in validations(config)] == [0]
    best = train(config)
    load_checkpoint(best)
    assert [row["step"] for row in validations(config)] == [0, 4]


@pytest.mark.slow
def test_a_real_signal_saves_exits_with_130_and_resumes(recipe, tmp_path):
    config = recipe(stages=(stage(steps=100_000),))
    settings = tmp_path / "recipe.yaml"
    settings.write_text(json.dumps(dataclasses.asdict(config)))
    command = [sys.executable, "-m", "fastcap", "train", "--config", str(settings)]
    log = Path(config.output) / "log.jsonl"
    lines = 0
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        deadline = time.time() + 60
        while time.time() < deadline and (not log.is_file() or len(log.read_text().splitlines()) < lines + 3):
            time.sleep(0.2)
        process.send_signal(interrupt)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in errors
        lines = len(log.read_text().splitlines())
    assert "resuming from" in errors
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(len(steps)))  # 0 is the validation before the first


@pytest.mark.slow
def test_kills_at_random_moments_cost_at_most_an_interval_each(recipe, tmp_path):
    """Killed while it computes or saves, a run goes on from its last checkpoint and ends where another one does."""
    steps, every, kills = 60, 3, 8
    settings = {"stages": (stage(steps=steps),), "checkpoint_every": every, "threads": 1}
    whole, killed = recipe("whole", **settings), recipe("killed", **settings)
    train(whole)
    (tmp_path / "recipe.yaml").write_text(json.dumps(dataclasses.asdict(killed)))
    command = [sys.executable, "-m", "fastcap", "train", "--config", str(tmp_path / "recipe.yaml")]
    log, rng = Path(killed.output) / "log.jsonl", np.random.default_rng(0)
    reached = 0
    for _ in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline, goal = time.time() + 60, reached + int(rng.integers(1, 6))
        while time.time() < deadline and (not log.is_file() or last_step(log) < goal):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.wait()
        reached = max(int(name.removeprefix("step-")) for name in checkpoints(killed) if "." not in name)
        assert last_step(log) - reached <= every
        load_checkpoint(Path(killed.output) / "checkpoints" / f"step-{reached:07d}")
    assert reached < steps
    assert subprocess.run(command, capture_output=True).returncode == 0
    expected, found = (tensors(config, f"step-{steps:07d}") for config in (whole, killed))
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def last_step(log: Path) -> int:
    """The last whole row's; a kill may have cut the row after it."""
    rows = [row for row in log.read_text().split("\n")[:-1] if '"loss"' in row]
    return json.loads(rows[-1])["step"] if rows else 0


# Trouble


def test_a_loss_that_is_not_finite_stops_with_its_batch_and_leaves_the_checkpoint(recipe, monkeypatch):
    config = recipe(stages=(stage(steps=6),), checkpoint_every=2)
    forward, calls = TrainingStep.forward, []

    def failing(self, *arguments):
        calls.append(1)
        losses = forward(self, *arguments)
        return {**losses, "masked": losses["masked"] * float("nan")} if len(calls) == 4 else losses

    monkeypatch.setattr(TrainingStep, "forward", failing)
    with pytest.raises(FastcapError, match=r"not finite at stage 0 step 3 \(.*masked nan.*nonfinite_batch"):
        train(config)
    batch = load_file(Path(config.output) / "nonfinite_batch.safetensors")
    assert batch["token_ids"].shape[0] == 10
    assert checkpoints(config) == ["step-0000002"]
    assert all(torch.isfinite(value).all() for value in tensors(config, "step-0000002").values())


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(recipe, monkeypatch):
    config = recipe(checkpoint_every=1)
    forward = TrainingStep.forward

    def failing(self, *arguments):
        losses = forward(self, *arguments)
        zero = (self.model.decoder.bias[7] * 0).abs().sqrt()  # 0, and its slope is infinite
        return {**losses, "masked": losses["masked"] + zero}

    monkeypatch.setattr(TrainingStep, "forward", failing)
    with pytest.raises(FastcapError, match="the loss or its gradient is not finite at stage 0 step 0"):
        train(config)
    assert not (Path(config.output) / "checkpoints").exists()


def test_another_recipe_is_refused_unless_changes_are_accepted(recipe):
    train(recipe(stages=(stage(steps=1),)))
    longer = recipe(stages=(stage(steps=1), stage(name="more", steps=1)))
    with pytest.raises(ConfigError, match=r"another recipe \(different: stages\).*--accept-changes"):
        train(longer)
    train(longer, accept_changes=True)
    assert checkpoints(longer)[-1] == "step-0000002"


def test_accepted_changes_that_do_not_fit_are_one_clear_error(recipe):
    config = recipe(stages=(stage(steps=1),))
    train(config)
    wider = dataclasses.replace(config, model=dataclasses.replace(config.model, d_model=40))
    with pytest.raises(ModelFileError, match=r"does not fit the recipe's model: .*size mismatch.*another output"):
        train(wider, accept_changes=True)


def test_a_run_can_begin_with_the_weights_of_another(recipe):
    first = recipe("first")
    train(first)
    best = Path(first.output) / "best"
    trainer = Trainer(recipe("second", init=str(best)))
    expected = load_tensors(best / "model.safetensors")
    for weights in (trainer.model.state_dict(), trainer.average.values):
        assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert trainer.tokenizer.get_vocab() == load_checkpoint(best)[1].get_vocab()
    trainer.run()
    resumed = Trainer(recipe("second", init=str(best)))  # its own checkpoint comes first
    assert resumed.position.stage == 1


@pytest.mark.parametrize("change", ["missing", "misfit", "heads"])
def test_weights_to_begin_with_that_are_not_there_or_do_not_fit_are_one_clear_error(recipe, change):
    first = recipe("first")
    train(first)
    config = recipe("second", init=str(Path(first.output) / ("gone" if change == "missing" else "best")))
    if change == "misfit":
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, d_model=40))
    if change == "heads":  # fits every tensor, and is another network
        decoder = dataclasses.replace(config.model.decoder, n_heads=2)
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, decoder=decoder))
    told = {
        "missing": "gone",
        "misfit": r"does not fit the recipe's model: model\.d_model is \d+, not 40; see",
        "heads": r"does not fit the recipe's model: model\.decoder\.n_heads is \d+, not 2; see",
    }
    with pytest.raises(ModelFileError, match=told[change]):
        Trainer(config)


def test_a_recipe_of_the_whole_model_trains_and_resumes_one_that_was_pruned(recipe):
    """As the bundled model's recipes do, which is pruned: what is left is read from where the run begins."""
    first = recipe("first")
    model, tokenizer = load_checkpoint(train(first))
    group = next(name for name, each in groups_of(model).items() if each.kind == "units" and each.size > 1)
    smaller = prune(model, {group: [0]})
    save_checkpoint(Path(first.output) / "pruned", smaller.config, smaller.state_dict(), tokenizer)
    second = recipe("second", init=str(Path(first.output) / "pruned"))
    assert smaller.config.pruned and not second.model.pruned
    made, _ = load_checkpoint(train(second))
    assert made.config.pruned == smaller.config.pruned
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (smaller, made)]
    assert shapes[0] == shapes[1]
    assert train(second).is_dir()  # finished: resumes, and finds nothing left


@pytest.mark.parametrize("name", ["recipe.json", "position.json", "tokenizer.json", "training.safetensors"])
@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_damaged_checkpoint_is_named_file_by_file(recipe, name, content):
    config = recipe(stages=(stage(steps=1),))
    train(config)
    path = Path(config.output) / "checkpoints" / "step-0000001" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError, match=name.replace(".", r"\.")):
        Trainer(config)


def test_missing_data_names_the_file_and_the_setting(recipe):
    config = recipe()
    for part, there in (("train", config.data.train), ("val", config.data.val)):
        gone = (dataclasses.replace(there[0], root="gone"),)
        data = dataclasses.replace(config.data, **{part: gone})
        with pytest.raises(DataError, match=rf"gone.*setting data\.{part}\.0, below data\.root="):
            train(dataclasses.replace(config, data=data))
    for setting, value in (("text", ("gone.txt.gz",)), ("teacher", "gone.npz")):
        data = dataclasses.replace(config.data, **{setting: value})
        with pytest.raises(DataError, match=rf"gone.*setting data\.{setting}"):
            train(dataclasses.replace(config, data=data))


def test_captions_from_nowhere_are_an_error(recipe):
    with pytest.raises(ConfigError, match="no image has a caption from the sources machine"):
        train(recipe(stages=(stage(sources=("machine",)),)))


def test_the_command_trains_prints_the_best_and_fails_in_one_line(recipe, tmp_path, capsys):
    config = recipe(stages=(stage(steps=1),))
    settings = tmp_path / "recipe.yaml"
    settings.write_text(json.dumps(dataclasses.asdict(config)))
    assert main(["train", "--config", str(settings)]) == 0
    assert capsys.readouterr().out.strip() == str(Path(config.output) / "best")
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", "--config", str(settings), "seed=1"])
    assert "fastcap: error:" in (errors := capsys.readouterr().err)
    assert "--accept-changes" in errors
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["train", "--config", str(settings), "stages.0.stepz=1"])
    assert "did you mean 'steps'?" in capsys.readouterr().err


# What a run leaves behind


def test_a_run_leaves_logs_curves_and_its_last_checkpoints(recipe):
    config = recipe(stages=(stage(steps=6),), checkpoint_every=1, keep_last=2, evaluate_every=3)
    best = train(config)
    output = Path(config.output)
    assert best == output / "best"
    assert checkpoints(config) == ["step-0000005", "step-0000006"]
    rows = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val_cider" in row] == [0, 3, 6]
    losses = {"loss", "causal", "masked", "length", "balance", "rate", "gradient"}
    assert all(losses <= row.keys() for row in rows if "loss" in row)
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((output / "tensorboard").glob("events.*"))
    model, tokenizer = load_checkpoint(best)
    assert not model.training
    assert decode(tokenizer, tokenizer.encode(" a red ball").ids) == "a red ball"


def test_a_run_validates_what_it_begins_with_once_and_a_later_stage_does_not(recipe, monkeypatch):
    """Interrupted in its first step and resumed, and in the first step of its second stage."""
    first = recipe("first", (stage(steps=6),))
    best = train(first)
    config = recipe("second", (stage(steps=2), stage(name="more", steps=2)), init=str(best))
    for step in (1, 3):
        with monkeypatch.context() as patch:
            interrupted_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(config)
    train(config)
    rows = validations(config)
    assert [row["step"] for row in rows] == [0, 2, 4]
    assert rows[0]["val_cider"] == validations(first)[-1]["val_cider"]  # of the weights that it begins with


def test_weights_that_only_get_worse_stay_the_best(recipe, four):
    train(four)
    worse = dataclasses.replace(four, output=f"{four.output}-worse", init=f"{four.output}/best", ema=0.0)
    best = train(dataclasses.replace(worse, stages=(stage(steps=3, learning_rate=0.5, images=4, freeze="none"),)))
    begun, kept = (load_file(Path(folder) / "model.safetensors") for folder in (worse.init, best))
    assert all(torch.equal(begun[name], value) for name, value in kept.items())


def test_a_finished_run_is_not_run_again(recipe):
    config = recipe(stages=(stage(steps=2),))
    train(config)
    before = (Path(config.output) / "log.jsonl").read_text()
    assert train(config) == Path(config.output) / "best"
    assert (Path(config.output) / "log.jsonl").read_text() == before


def test_a_frozen_stage_keeps_the_convolutions_bit_for_bit_and_none_changes_them_all(recipe):
    stages = (stage(steps=3), stage(name="all", steps=3, freeze="none"))
    config = recipe(stages=stages, checkpoint_every=3, keep_last=9)
    torch.manual_seed(config.seed)
    begun = Trainer(config)
    start = {f"weights:{name}": value.clone() for name, value in begun.model.state_dict().items()}
    begun.run()
    frozen = [name for name in start if name.startswith(("weights:backbone.stem", "weights:backbone.to_stride_16"))]
    first, last = tensors(config, "step-0000003"), tensors(config, "step-0000006")
    assert frozen
    for name in frozen:
        assert torch.equal(start[name], first[name]), name
        assert torch.equal(start[name], first[name.removeprefix("weights:")]), name
        assert not torch.equal(first[name], last[name]), name
    changed = [name for name in start if not torch.equal(start[name], first[name])]
    assert {"weights:backbone.head.weight", "weights:decoder.embedding.weight"} <= set(changed)


def test_consistency_is_trained_and_agreement_watched(recipe):
    config = recipe(stages=(stage(consistency=0.5, steps=3),))
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    weights = {"causal": 1, "masked": 1, "consistency": 0.5, "length": 0.1, "balance": 0.01}
    for row in steps:
        assert row["consistency"] > 0
        assert 0 <= row["agreement"] <= 1
        assert row["loss"] == pytest.approx(sum(weight * row[name] for name, weight in weights.items()), abs=1e-4)


def test_an_alignment_is_trained_beside_the_captioner_or_alone_and_then_nothing_else_moves(recipe):
    beside = stage(steps=2, contrastive=0.5)
    alone = stage(
        name="align", steps=3, freeze="captioner", contrastive=1.0, causal=0.0, masked=0.0, length=0.0, balance=0.0
    )
    config = recipe(stages=(beside, alone), evaluate_every=2)
    train(config)
    after, last = (
        load_file(Path(config.output) / "checkpoints/step-0000002/model.safetensors"),
        tensors(config, "step-0000005"),
    )
    moved = {name for name in after if not torch.equal(after[name], last[name])}
    assert moved and all(name.startswith("alignment.") for name in moved)
    assert all(torch.equal(after[name], last[f"weights:{name}"]) for name in set(after) - moved)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(row["contrastive"]) for row in rows if "loss" in row)
    recalls = [row["image_to_text_5"] for row in rows if "val_cider" in row]
    assert recalls and all(0 <= value <= 1 for value in recalls)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"freeze": "captioner"}, "contrastive 0.0; allowed: contrastive alone"),
        ({"freeze": "captioner", "contrastive": 1.0}, "causal 1.0, balance 0.01"),
        ({"inputs": "words", "contrastive": 1.0}, "contrastive is 1.0; allowed: 0"),
    ],
)
def test_an_alignment_that_cannot_be_trained_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        stage(**settings)


def test_a_stage_of_words_teaches_the_decoder_and_leaves_the_encoder_alone(recipe, toy_data):
    (toy_data / "siblings.txt").write_text("a red ball\na ball\nsomething red\nred\nthere is a ball\n" * 4)
    data = dataclasses.replace(recipe().data, siblings="siblings.txt")
    config = dataclasses.replace(recipe(), stages=(stage(inputs="words", steps=2),), data=data)
    trainer = Trainer(config)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in changed} == {"backbone", "decoder", "length_predictor"}
    assert {name.split(".")[1] for name in changed if name.startswith("backbone")} == {"norm", "pool"}


def test_learning_from_words_needs_a_file_of_them(recipe):
    with pytest.raises(ConfigError, match=r"data\.siblings names no caption file"):
        recipe(stages=(stage(inputs="words"),))


def test_crops_are_refused_where_no_maps_are_kept():
    with pytest.raises(ConfigError, match=r"crop_scale is 0\.5; allowed: 1, where no feature maps are kept"):
        stage(freeze="none", crop_scale=0.5)
    with pytest.raises(ConfigError, match=r"crop_scale is 0\.0; allowed: above 0, at most 1"):
        stage(crop_scale=0.0)


def test_a_reward_for_words_is_refused():
    with pytest.raises(ConfigError, match=r"reward is 1\.0; allowed: 0, where words stand in for images"):
        stage(inputs="words", reward=1.0)


# Learning


@pytest.fixture
def four(toy_data, recipe):
    """A recipe for four pictures with one caption each."""
    folder = toy_data / "four"
    if not folder.exists():
        folder.mkdir()
        (folder / "images").symlink_to(toy_data / "toy" / "images")
        names = ["red_ball", "green_box", "blue_ball", "gray_box"]
        texts = ["a red ball in the dark", "one green box", "the blue ball rolls", "a small gray box is there"]
        rows = [f"{name}.png,{text}" for name, text in zip(names, texts, strict=True)]
        (folder / "captions.txt").write_text("\n".join(["image,caption", *rows]) + "\n")
        for split in ("train", "val"):
            (folder / f"Flickr_8k.{split}Images.txt").write_text("".join(f"{name}.png\n" for name in names))
    spec = stage(
        steps=220, learning_rate=4e-3, images=4, captions=4, smoothing=0.0, warmup=10, weight_decay=0.0, length=0.5
    )
    config = recipe("four", (spec,), views=1, log_every=10, ema=0.9)
    part = dataclasses.replace(config.data.train[0], root="four")
    data = dataclasses.replace(config.data, train=(part,), val=(dataclasses.replace(part, split="val"),))
    decoder = dataclasses.replace(config.model.decoder, dropout=0.0)
    return dataclasses.replace(config, data=data, model=dataclasses.replace(config.model, decoder=decoder))


def test_four_pictures_are_learnt_by_heart_in_both_readings(four):
    train(four)
    made = Trainer(four)
    model = made.model.eval()
    model.load_state_dict(made.average.values)
    pixels = torch.from_numpy(made.corpus.images[list(range(4))])
    expected = [texts[0] for texts in made.corpus.pool.texts]
    with torch.no_grad():
        image = model.encode(pixels)
        parallel = model.caption(image, torch.tensor([2, 20]), torch.tensor([2])).token_ids[:, 0].tolist()
        causal = greedy_search(
            TorchStepper(model.decoder),
            model.decoder.prepare(image),
            4,
            max_length=20,
            bos_id=1,
            eos_id=2,
            forbidden=(0, 1, 3),
        )
    assert [decode(made.tokenizer, [i for i in row if i]) for row in parallel] == expected
    assert [decode(made.tokenizer, hypothesis.token_ids) for hypothesis in causal] == expected
    rows = [json.loads(line) for line in (Path(four.output) / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.2 * losses[0]
    assert [row["val_cider"] for row in rows if "val_cider" in row][-1] > 500


@pytest.mark.parametrize(("loss", "steps"), [("reward", 120), ("causal_reward", 240)])
def test_the_reward_stage_raises_the_reward_of_what_is_sampled(four, loss, steps):
    first = dataclasses.replace(four.stages[0], steps=40)
    reward = StageConfig(
        "reward", steps, 2e-3, images=4, captions=4, sources=("human",), causal=0, masked=0, length=0, warmup=1
    )
    reward = dataclasses.replace(reward, **{loss: 1.0})
    config = dataclasses.replace(four, output=four.output + "-reward", stages=(first, reward), log_every=1)
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    figure = {"reward": "cider_sampled", "causal_reward": "cider_drawn"}[loss]
    earned = [row[figure] for row in rows if row["stage"] == "reward" and figure in row]
    assert np.mean(earned[-20:]) > 1.3 * np.mean(earned[:10])


def test_where_the_causal_reading_alone_is_rewarded_it_is_what_is_validated(four):
    first = dataclasses.replace(four.stages[0], steps=40)
    reward = dataclasses.replace(first, name="reward", steps=1, masked=0.0, causal_reward=1.0, sources=("human",))
    config = dataclasses.replace(four, output=four.output + "-causal", stages=(first, reward))
    train(config)
    rows = [json.loads(line) for line in (Path(config.output) / "log.jsonl").read_text().splitlines()]
    made = Trainer(config)
    made.model.eval().load_state_dict(made.average.values)
    with torch.no_grad():
        image = made.model.encode(torch.from_numpy(made.validation.images[list(range(4))]))
        said = [hypotheses[0].token_ids for hypotheses in made.model.search(image, beams=1)]
    captions = {str(index): ptb_tokens(decode(made.tokenizer, ids)) for index, ids in enumerate(said)}
    parallel, greedy = (row["val_cider"] for row in rows if "val_cider" in row and row["step"])
    assert greedy == pytest.approx(100 * made.validation.scorer.corpus(captions)[0])
    assert greedy != pytest.approx(parallel, rel=0.01)
