"""The autoregressive family through the trainer and the command line: trained, evaluated, explained, watched."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint
from fastcap.cli import main
from fastcap.config import (
    ForcingConfig,
    GenerationConfig,
    ModelConfig,
    ResNetViTConfig,
    RopeDecoderConfig,
    StageConfig,
    TrainConfig,
    from_mapping,
)
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, FastcapError
from fastcap.evaluation.attention import words_of
from fastcap.losses.forcing import SCHEDULES, forcing_probability
from fastcap.runtime.encoding import encode
from fastcap.training.activations import ActivationMonitor
from fastcap.training.trainer import Trainer, train

MODEL = ModelConfig(
    image_size=64,
    d_model=32,
    vocab_size=300,
    max_length=20,
    backbone=ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48),
    decoder=RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=16, n_experts=4, balancing="bias"),
    generation=GenerationConfig(min_length=2),
)
FORCED = ForcingConfig("linear", end=0.25, passes=2)


@pytest.fixture(scope="module")
def trained(toy_data, tmp_path_factory) -> Path:
    """A run's folder, four steps with every loss that fits."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    settings = {
        "output": str(folder / "run"),
        "model": dataclasses.asdict(MODEL),
        "data": {
            "root": str(toy_data),
            "train": [{"name": "flickr8k", "root": "toy"}],
            "val": [{"name": "flickr8k", "root": "toy", "split": "val"}],
            "cache": str(folder / "cache"),
        },
        "log_every": 1,
        "checkpoint_every": 2,
        "stages": [
            dataclasses.asdict(stage(freeze="none", contrastive=0.1, contrast="sigmoid", forcing=FORCED)),
        ],
    }
    (folder / "recipe.yaml").write_text(json.dumps(settings))  # YAML holds all of JSON
    assert main(["train", "--config", str(folder / "recipe.yaml"), "--debug-activations"]) == 0
    return folder / "run"


def test_a_recipe_trains_it_with_every_loss_that_fits(trained):
    rows = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    steps = [row for row in rows if "loss" in row]
    assert all({"causal", "contrastive", "balance"} <= row.keys() for row in steps)
    assert not any({"masked", "length"} & row.keys() for row in steps)
    assert [row["forcing"] for row in steps] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert "val_cider" in rows[-1]


def test_what_it_saves_loads_and_captions_from_left_to_right(trained, toy_data, capsys):
    model, tokenizer = load_checkpoint(trained / "best")
    assert model.config == dataclasses.replace(MODEL, vocab_size=tokenizer.get_vocab_size())
    assert any(layer.network.bias.any() for layer in model.decoder.layers)
    picture = toy_data / "toy" / "images" / "red_ball.png"
    captioner = checkpoint_captioner(trained / "best")
    found = captioner.caption(str(picture), decode="beam", candidates=2)
    assert found.candidates[0].text == found.text
    assert 0 <= found.confidence <= 1
    with pytest.raises(ConfigError, match="decode is 'parallel'; model 'best' writes from left to right: allowed are"):
        captioner.caption(str(picture), decode="parallel")
    assert captioner.caption(str(picture)).text == found.text
    capsys.readouterr()
    assert main(["caption", str(picture), "--model", str(trained / "best"), "--decode", "beam"]) == 0
    assert capsys.readouterr().out == f"{captioner.caption(str(picture), decode='beam').text}\n"


def test_it_is_evaluated_from_its_checkpoint(trained, toy_data, capsys):
    where = ["--dataset", "flickr8k", "--root", str(toy_data / "toy"), "--limit", "2"]
    assert main(["evaluate", "--model", str(trained / "best"), *where, "--decode", "greedy", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["images"] == 2
    assert len(facts["model"]["sha256"]) == 64


def test_fastcap_captions_from_a_checkpoint_as_the_model_does(recipe):
    config = recipe()
    train(config)
    model, _ = load_checkpoint(Path(config.output) / "best")
    captioner = checkpoint_captioner(Path(config.output) / "best")
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    low, high = captioner.bundle.decoding.lengths["normal"]
    every = torch.tensor([high - low + 1])  # where captions do not end as sentences do, more lengths are decoded
    with torch.no_grad():
        expected = model(pixels, torch.tensor([low, high]), every).token_confidences[0].tolist()
    (caption,) = captioner.caption_pixels(pixels.numpy())
    confidences = [token.confidence for token in caption.tokens]
    assert confidences
    assert any(confidences == pytest.approx(row[: len(confidences)]) for row in expected)


@pytest.mark.parametrize("family", ["resnet_vit", "fastcap"])
def test_explain_draws_a_panel_for_every_word(trained, toy_data, recipe, tmp_path, capsys, family):
    checkpoint = trained / "best"
    if family == "fastcap":
        config = recipe(stages=(stage(steps=1),))
        checkpoint = train(config)
    picture, out = toy_data / "toy" / "images" / "red_ball.png", tmp_path / "attention.png"
    capsys.readouterr()
    assert main(["explain", str(picture), "--model", str(checkpoint), "--out", str(out)]) == 0
    _, tokenizer = load_checkpoint(checkpoint)
    words = words_of(tokenizer, encode(tokenizer, capsys.readouterr().out.strip()))
    with Image.open(out) as drawn:
        assert drawn.format == "PNG"
        assert drawn.height == pytest.approx(250 * -(-(len(words) + 1) // 5), abs=2)


def test_explain_says_what_it_needs(trained, tmp_path, capsys):
    (tmp_path / "model.json").write_text("{}")
    assert main(["explain", "a.png", "--model", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 1
    assert (
        "is an exported model; needed: a checkpoint directory, such as 'fastcap checkpoint --model"
        in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main(["explain", "a.png", "--model", str(trained / "best"), "--out", "a.jpg"])
    assert "allowed: a file that ends in .png" in capsys.readouterr().err
    assert main(["explain", "gone.png", "--model", str(trained / "best"), "--out", str(tmp_path / "a.png")]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json"]


def test_words_are_pieces_put_together(trained):
    _, tokenizer = load_checkpoint(trained / "best")
    token_ids = encode(tokenizer, "a red ball zq")
    words = words_of(tokenizer, token_ids)
    assert [word for word, _ in words] == ["a", "red", "ball", "zq"]
    assert [place for _, places in words for place in places] == list(range(len(token_ids)))


def test_a_run_begun_before_a_setting_existed_resumes(recipe):
    """Settings that a checkpoint does not name have their defaults, as in a recipe."""
    config = recipe(stages=(stage(steps=1), stage(name="more", steps=1)))
    train(dataclasses.replace(config, stages=config.stages[:1]))
    path = Path(config.output) / "checkpoints" / "step-0000001" / "recipe.json"
    before = json.loads(path.read_text())
    before["stages"] = [dataclasses.asdict(each) for each in config.stages]
    for each in before["stages"]:
        del each["forcing"]
    del before["model"]["backbone"]["kind"], before["model"]["decoder"]["kind"]
    path.write_text(json.dumps(before))
    assert Trainer(config).position.stage == 1
    path.write_text(json.dumps(before | {"seed": 5}))
    with pytest.raises(ConfigError, match=r"another recipe \(different: seed\)"):
        Trainer(config)


# What is refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"masked": 1.0}, "stage a: masked is 1.0; allowed: 0, since a rope decoder has no parallel reading"),
        ({"reward": 0.5}, "stage a: reward is 0.5; allowed: 0"),
        ({"consistency": 0.5}, "stage a: consistency is 0.5; allowed: 0"),
        ({"quantized": True, "freeze": "none"}, None),
        ({"forcing": ForcingConfig(end=1.0)}, None),
    ],
)
def test_losses_of_the_parallel_reading_are_refused(changed, message):
    stages = (StageConfig("a", 1, 0.1, **changed),)
    if message is None:
        assert (TrainConfig(model=MODEL, stages=stages).stages[0].masked, TrainConfig().stages[0].masked) == (0, 1)
        return
    with pytest.raises(ConfigError, match=message):
        TrainConfig(model=MODEL, stages=stages)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"backbone": {"kind": "resnet"}}, r"model\.backbone\.kind is 'resnet'; allowed: spatial_mamba, resnet_vit"),
        ({"decoder": {"kind": "rope", "n_exprts": 2}}, r"'model\.decoder\.n_exprts' \(did you mean 'n_experts'"),
        ({"decoder": {"kind": "rope", "d_hidden": "wide"}}, r"model\.decoder\.d_hidden.*'wide'"),
        ({"decoder": {"kind": "rope", "n_experts": 2, "top_k": 3}}, r"model\.decoder: top_k is 3; allowed: 1 to 2"),
        ({"backbone": {"kind": "resnet_vit", "widths": [8]}}, "widths is .*four numbers"),
        ({"backbone": {"kind": "resnet_vit", "blocks": "inverted"}}, "widths is .*seven numbers"),
        ({"backbone": {"kind": "resnet_vit", "blocks": "plain"}}, r"backbone\.blocks.*'plain'.* basic, inverted"),
        ({"decoder": {"kind": "rope", "n_heads": 6}}, "d_model is 256; allowed: multiples of 24"),
        ({"backbone": 3}, "model.backbone is 3; a mapping is needed"),
    ],
)
def test_a_part_is_checked_by_its_kind(model, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, {"model": model})


# Scheduled teacher forcing


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "always"])
def test_schedules_fall_from_one_to_their_end(schedule):
    values = [forcing_probability(schedule, step / 20, 0.2) for step in range(21)]
    assert (values[0], values[-1]) == pytest.approx((1, 0.2))
    assert all(a > b for a, b in itertools.pairwise(values))
    assert forcing_probability(schedule, 0.5, 0.2) == pytest.approx(0.6)
    assert forcing_probability("always", 0.7, 0.2) == 1
    with pytest.raises(ValueError, match=r"progress is 1\.5; allowed: 0 to 1"):
        forcing_probability(schedule, 1.5, 0.2)


# Activations


def test_activations_are_noted_layer_by_layer(trained):
    rows = [json.loads(line) for line in (trained / "activations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    layers = rows[-1]["layers"]
    watched = {"decoder.layers.0.norm_self", "decoder.layers.1.cross_attention.query", "backbone.project"}
    assert {f"model.{name}" for name in watched} <= layers.keys()
    for name in watched:
        assert {"mean", "std", "largest", "gradient"} <= layers[f"model.{name}"].keys()
    assert any("dead" in row for row in layers.values())


def test_figures_are_those_of_the_output():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with torch.no_grad():
        network[0].bias[:] = torch.tensor([-100.0, 100, 100, 100])  # one of four units never fires
    x = torch.randn(5, 3)
    with ActivationMonitor(network) as monitor:
        y = network(x)
    y.sum().backward()
    monitor.note_gradients()
    y = y.detach()
    row = monitor.rows["2"]
    expected = (
        y.mean(),
        y.std(correction=0),
        y.abs().max(),
        network[2].weight.grad.norm().hypot(torch.tensor(50**0.5)),
    )
    assert [row[key] for key in ("mean", "std", "largest", "gradient")] == pytest.approx([float(e) for e in expected])
    assert monitor.rows["1"]["dead"] == 0.25
    assert monitor.first_nonfinite == ""
    assert "dead units: 1 25%" in monitor.summary()
    network(x)  # unwatched
    assert monitor.rows["2"] is row


def test_the_first_tensor_that_is_not_finite_is_named(recipe):
    run = Trainer(recipe(), debug_activations=True)
    with torch.no_grad():
        run.model.decoder.layers[1].norm_cross.weight[0] = torch.nan
    with pytest.raises(
        FastcapError, match=r"first not finite: what .* gives in model\.decoder\.layers\.1\.norm_cross;"
    ):
        run.run()
