"""A trunk at several scales with exits: what each sees, that skipped scales are not computed, and that graphs agree."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fastcap.backbone.convolutional import ConvolutionalTower, Trunk, named_convolutions
from fastcap.backbone.multiscale import MultiScaleBackbone, read_scales
from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import TowersConfig
from fastcap.data.readers import Example
from fastcap.errors import ConfigError, ModelFileError
from fastcap.evaluation.exits import choose_threshold, fit_exit, observe
from fastcap.export.compare import compare_steps, open_stepper
from fastcap.export.families import EXPORTS
from fastcap.export.writer import write_bundle
from fastcap.runtime.bundle import Bundle
from fastcap.runtime.captioner import Captioner
from fastcap.runtime.encoding import encode
from tiny_parts import prefix_config, prefix_model, write_language_model

SCALES = ("64/32", "128/8", "128/16", "128/32")
SMALL = Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)


@pytest.fixture(autouse=True)
def small_trunk(monkeypatch):
    monkeypatch.setitem(__import__("fastcap.backbone.convolutional", fromlist=["TRUNKS"]).TRUNKS, "small", SMALL)


def backbone(**settings) -> MultiScaleBackbone:
    torch.manual_seed(0)
    made = MultiScaleBackbone(ConvolutionalTower("small"), 128, SCALES, 4, **settings).eval()
    torch.nn.init.normal_(made.marks)
    return made


def pixels(count=2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_each_scale_is_the_trunk_s_own_map_of_its_size_and_stride():
    ours, images = backbone(), pixels().float()
    tower = ours.tower
    maps = ours.maps(images).split(ours.map_widths, dim=1)
    assert [tuple(each.shape[2:]) for each in maps] == [(4, 4)] * 4
    half = tower.narrow(torch.nn.functional.avg_pool2d(images, 2))
    torch.testing.assert_close(maps[0], half.repeat_interleave(2, 2).repeat_interleave(2, 3), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(maps[3], tower.narrow(images), rtol=1e-4, atol=1e-4)
    x = tower.stem((images - 127) / 128)
    of_16 = tower.to_stride_16(x)
    torch.testing.assert_close(torch.nn.functional.pixel_shuffle(maps[2], 2), of_16, rtol=1e-4, atol=1e-4)
    assert maps[1].shape[1] == 8 * 16 and ours.d_model == 20 + 8 * 16 + 12 * 4 + 20


@torch.no_grad()
def test_an_exit_knows_nothing_of_the_scales_after_it():
    ours, maps = backbone(), backbone().maps(pixels())
    other = maps.clone()
    other[:, ours.map_widths[0] :] += 1
    first, last = torch.tensor([0, 0]), torch.tensor([3, 3])
    assert torch.equal(ours.read(maps, first).tokens, ours.read(other, first).tokens)
    assert not torch.equal(ours.read(maps, last).tokens, ours.read(other, last).tokens)
    assert torch.equal(ours.read(maps).tokens, ours.read(maps, last).tokens)
    both = ours.read(maps, torch.tensor([0, 3]))
    assert torch.equal(both.tokens[0], ours.read(maps, first).tokens[0])
    assert torch.equal(both.tokens[1], ours.read(maps, last).tokens[1])


@torch.no_grad()
def test_training_sees_all_exits():
    ours, maps = backbone().train(), backbone().maps(pixels(1)).expand(64, -1, -1, -1)
    assert not ours.tower.training
    zeros = (ours.read(maps).tokens - ours.marks[:, None].mean() * 0 == ours.marks[0]).all(dim=1)
    assert 0 < int(zeros[:, -1].sum()) < 64  # some images left at the first exit


@torch.no_grad()
def test_confidence_of_an_exit_reads_what_was_computed_up_to_it():
    ours, maps = backbone(), backbone().maps(pixels())
    image = ours.read(maps, torch.tensor([1, 1]))
    sure = ours.confidence(image, 1)
    assert sure.shape == (2,) and ((sure > 0) & (sure < 1)).all()
    assert ours.exits[0].in_features == 20 and ours.exits[2].in_features == ours.d_model - 20


@pytest.mark.parametrize(
    ("scales", "told"),
    [
        (("small",), "scale 'small'; allowed: SIZE/STRIDE"),
        (("128/4",), "scale '128/4'"),
        (("96/32", "128/32"), "scale '96/32'"),
        (("128/32", "64/32"), "each once, small before large"),
        (("128/32", "128/32"), "each once"),
        (("64/32",), "the last of 128 pixels"),
        ((), "each once"),
    ],
)
def test_scales_are_checked(scales, told):
    with pytest.raises(ConfigError, match=told):
        read_scales(scales, 128)


def test_thresholds_are_one_for_each_exit():
    with pytest.raises(ConfigError, match="1 thresholds; allowed: none, or 3"):
        backbone(thresholds=(0.5,))
    with pytest.raises(ConfigError, match=r"scales is .*allowed: none beside several towers"):
        TowersConfig(names=("a", "b"), scales=("64/32",))
    with pytest.raises(ConfigError, match="a number from 0 to 2 for each scale but the last"):
        TowersConfig(names=("a",), scales=("64/32", "128/32"), thresholds=(3.0,))


# --- as part of a prefix model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("parts")
    write_language_model(root / "language")
    return root


@pytest.fixture
def model(root):
    """A prefix model whose exits are sure at the median of what they say of a few pictures."""
    torch.manual_seed(0)
    if not (root / "small").is_dir():
        (root / "small").mkdir()
        tensors = {}
        for name, convolution in named_convolutions(ConvolutionalTower("small")).items():
            tensors |= {f"{name}.weight": convolution.weight.detach(), f"{name}.bias": convolution.bias.detach()}
        save_file(tensors, root / "small" / "model.safetensors")
    config = prefix_config(root / "language", root / "small")
    eyes = TowersConfig(names=(str(root / "small"),), scales=SCALES)
    return prefix_model(dataclasses.replace(config, image_size=128, backbone=eyes))


def pictures(count=8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 128, 128, 3), dtype=np.uint8)


@torch.no_grad()
def test_a_checkpoint_keeps_marks_and_exits_and_no_trunk(model, tmp_path):
    ours, tokenizer = model
    assert any("backbone.exits" in name for name in ours.learned) and "backbone.marks" in ours.learned
    assert not any("backbone.tower" in name for name in ours.learned)
    save_checkpoint(tmp_path / "saved", ours.config, ours.state_dict(), tokenizer)
    again, _ = load_checkpoint(tmp_path / "saved")
    images = torch.from_numpy(pictures(1))
    assert torch.equal(ours.encode(images).tokens, again.encode(images).tokens)


@torch.no_grad()
def test_graphs_of_scales_stop_where_an_exit_is_sure_and_agree_with_the_model(model, tmp_path):
    ours, tokenizer = model
    EXPORTS["prefix"].parts(ours, tmp_path)
    EXPORTS["prefix"].assemble(tmp_path, tmp_path / "fp32", ours.config)
    stepper = open_stepper(tmp_path / "fp32", "prefix")
    agreement = compare_steps(ours, stepper, pictures(2), beams=2)
    assert agreement.equal_captions == 1 and agreement.difference < 1e-3
    backbone, maps = ours.backbone, ours.backbone.maps(torch.from_numpy(pictures()).permute(0, 3, 1, 2))
    exits = [backbone.read(maps, torch.full((8,), exit)) for exit in range(4)]
    sure = torch.stack([backbone.confidence(exits[exit], exit) for exit in range(3)]).numpy()
    thresholds = tuple(np.median(sure, axis=1).tolist())
    config = dataclasses.replace(ours.config, backbone=dataclasses.replace(ours.config.backbone, thresholds=thresholds))
    write_bundle(tmp_path / "made", tmp_path / "fp32", tokenizer, config, name="scales")
    captioner = Captioner.open(tmp_path / "made")
    vision = captioner._engine._stepper._encoders[0][1]
    ran = []
    for index, session in enumerate(vision._sessions):
        run = session.run
        session.run = lambda names, feeds, run=run, index=index: (ran.append(index), run(names, feeds))[1]
    for row, picture in enumerate(pictures()):
        expected = next((exit for exit in range(3) if sure[exit, row] >= thresholds[exit]), 3)
        ran.clear()
        vector = captioner.embed_images([picture])
        assert ran == list(range(expected + 1))  # nothing after it was computed
        image = type(exits[0])(*(part[row : row + 1] for part in exits[expected]))
        np.testing.assert_allclose(vector, ours.alignment.embed_image(image), atol=1e-4)
    assert sum(vision.taken) == 8 and vision.taken[0] == 4 and min(vision.taken[:2]) > 0
    values = json.loads((tmp_path / "made" / "model.json").read_text())
    for changes, told in (
        ({"exits": {"thresholds": [0.5]}}, None),
        ({"exits": {"thresholds": [0.5] * 4}}, r"files\.scale4\.onnx is missing"),
        ({"exits": {"thresholds": "all"}}, r"exits\.thresholds is 'all'"),
    ):
        (tmp_path / "made" / "model.json").write_text(json.dumps(values | changes))
        if told:
            with pytest.raises(ModelFileError, match=told):
                Bundle.open(tmp_path / "made")
        else:
            assert Captioner.open(tmp_path / "made").caption(pictures()[0]).text


# --- fitting the exits ------------------------------------------------------------------------------------------


def test_an_exit_learns_who_may_leave_and_says_how_often_it_is_right():
    generator = torch.Generator().manual_seed(0)
    read = 5 + torch.randn(800, 4, generator=generator)
    good = torch.rand(800, generator=generator) < (2 * (read[:, 1] - 5)).sigmoid()
    weight, bias = fit_exit(read[:400], good[:400], read[400:], good[400:])
    assert weight.shape == (1, 4) and bias.shape == (1,)
    sure = (read[400:] @ weight[0] + bias).sigmoid()
    assert sure.mean() == pytest.approx(float(good[400:].float().mean()), abs=0.01)
    assert good[400:][sure > 0.8].float().mean() > 0.75 > 0.25 > good[400:][sure < 0.2].float().mean()


def test_the_lowest_threshold_that_costs_little_enough_is_chosen():
    sure = np.linspace(0, 1, 101)[:, None].repeat(2, axis=1)
    losses = np.stack([2 - sure[:, 0], 1.5 - 0.5 * sure[:, 0], np.ones(101)], axis=1)  # who is sure loses nothing
    free, some, all_of_it = (choose_threshold(sure, losses, allowed) for allowed in (0.0, 0.1, 1.0))
    assert free.threshold > some.threshold > all_of_it.threshold == 0
    assert free.added <= 0 and 0 < some.added <= 0.1
    assert some.shares[0] > free.shares[0] and all_of_it.shares == [1.0, 0.0, 0.0]
    assert sum(some.shares) == pytest.approx(1)
    assert choose_threshold(sure, losses + np.array([20, 20, 0]), 0.1).threshold == 2.0  # never


@torch.no_grad()
def test_captions_are_read_at_every_exit(model, tmp_path):
    ours, tokenizer = model
    from PIL import Image

    examples = []
    for index, picture in enumerate(pictures(2)):
        Image.fromarray(picture).save(tmp_path / f"{index}.png")
        examples.append(
            Example(tmp_path / f"{index}.png", ("a red ball", "a green box in the dark"), str(index), "own")
        )
    seen = observe(ours, tokenizer, examples)
    assert seen.losses.shape == (2, 4) and [each.shape[0] for each in seen.read] == [2] * 3
    image = ours.encode(torch.from_numpy(pictures(1)))
    ids = [encode(tokenizer, caption) for caption in examples[0].captions]
    expected = []
    for row in ids:
        given = torch.tensor([row])
        logits = ours.decoder.logits(ours.decoder.inputs(given), ours.decoder.prepare(image))[0]
        expected.append(
            torch.nn.functional.cross_entropy(logits, torch.tensor([*row, ours.vocabulary.eos_id]), reduction="none")
        )
    assert seen.losses[0, 3] == pytest.approx(torch.cat(expected).mean().item(), rel=1e-4)
