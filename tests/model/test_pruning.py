"""What is pruned is really gone, and what is left computes what the whole model computes with the rest silenced."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_model import EXPERTS, small_model

from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import ResNetViTConfig
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, ModelFileError
from fastcap.export.families import EXPORTS
from fastcap.model import build_model
from fastcap.model.shrinking import groups_of, noted, read_pruned
from fastcap.quantization.fake import learn_steps, rounded_once
from fastcap.quantization.pruning import choose_units, importance, masked, prune, prune_words, sort_units
from fastcap.quantization.sensitivity import Batch, batches_of, loss_of
from fastcap.runtime.encoding import decode, encode
from fastcap.vocabulary import Marks
from tiny_parts import SENTENCES, prefix_config, prefix_model, write_language_model, write_tower

TEXTS = ["a red ball lies on the grass", "two dogs run along a beach", "a man sits in a wooden boat"]
HALF = dict.fromkeys(("channels", "heads", "units", "experts", "layers"), 0.5)


def trained(texts, size=300):
    return train_tokenizer(texts * 3, size)


def inverted(tiny_model):
    """The autoregressive family over inverted residuals, whose head a linear layer reads."""
    eyes = ResNetViTConfig("inverted", (8,) * 7, (1,) * 7, n_layers=1, n_heads=4, d_hidden=48)
    return build_model(dataclasses.replace(small_model().config, backbone=eyes))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("transformers"), pytest.importorskip("peft")
    root = tmp_path_factory.mktemp("parts")
    made = {family: write_language_model(root / family, family) for family in ("llama", "qwen2", "phi", "gpt2")}
    return {**made, "eye": write_tower(root / "eye")}


FAMILIES = ["parallel", "dense", "routed", "inverted", "llama", "qwen2", "phi", "gpt2"]
LACKING = {
    "parallel": (), "dense": ("experts",), "routed": (), "inverted": ("experts",), "gpt2": ("channels", "experts"),
    **dict.fromkeys(("llama", "qwen2", "phi"), ("channels", "experts")),
}  # fmt: skip


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def model(family, tiny_model, request):
    """A model of every family, in evaluation mode, its weights random."""
    if family == "parallel":
        return tiny_model
    if family in ("dense", "routed"):
        return small_model(**(EXPERTS if family == "routed" else {}))
    if family == "inverted":
        torch.manual_seed(0)
        made = inverted(tiny_model).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        return made
    folders = request.getfixturevalue("folders")
    return prefix_model(prefix_config(folders[family], folders["eye"], projection="mlp", d_hidden=40))[0]


@pytest.fixture
def batches(model):
    size = model.config.image_size
    pixels = torch.randint(0, 256, (8, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    words = [token for token in range(model.vocabulary.size) if token not in model.vocabulary.barred][:40]
    rows = torch.tensor([[words[(7 * row + 3 * place) % len(words)] for place in range(6)] for row in range(8)])
    return [Batch(pixels[part], rows[part], torch.full((4,), 6)) for part in (slice(0, 4), slice(4, 8))]


def measured(model, batches):
    losses = [lambda seed=seed, batch=batch: loss_of(model, batch, seed) for seed, batch in enumerate(batches)]
    return sort_units(model, importance(model, losses))


def outputs(model, batch) -> list[torch.Tensor]:
    """All that a model gives: image tokens, and its readings of captions."""
    with torch.no_grad():
        image = model.encode(batch.pixels)
        state = model.decoder.prepare(image)
        found = [image.tokens, image.pooled, model.decoder.logits(model.decoder.inputs(batch.token_ids), state)]
        if model.config.kind == "parallel":
            found.append(model.decoder.logits(batch.token_ids, state, causal=False, lengths=batch.lengths))
    return found


@pytest.mark.parametrize("kind", [*HALF, "all"])
def test_a_pruned_model_equals_the_whole_one_with_units_silenced(kind, family, model, batches):
    if kind in LACKING[family]:
        groups = [g for g in groups_of(model).values() if g.kind == kind and "language_model" in g.name]
        assert not groups
        return
    scores = measured(model, batches)
    if kind == "experts":  # those that no picture uses are worth nothing: here the others go
        scores = {name: -value for name, value in scores.items()}
    kept = choose_units(model, scores, HALF if kind == "all" else {kind: 0.5})
    assert kept and (kind == "all" or {groups_of(model)[name].kind for name in kept} == {kind})
    smaller = prune(model, kept)
    before, after = (sum(p.numel() for p in m.parameters()) for m in (model, smaller))
    assert after < before
    with masked(model, kept):
        expected = outputs(model, batches[0])
    for got, wanted in zip(outputs(smaller, batches[0]), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)
    whole = outputs(model, batches[0])
    assert any((one - other).abs().max() > 1e-3 for one, other in zip(whole, expected, strict=True))


def test_a_pruned_model_is_saved_loaded_and_exported(family, model, batches, tmp_path):
    kept = choose_units(model, measured(model, batches), HALF)
    smaller = prune(model, kept)
    assert all(len(units) >= groups_of(model)[name].size / 2 for name, units in kept.items())
    tokenizer = prefix_tokenizer(model, family, tmp_path)
    save_checkpoint(tmp_path / "saved", smaller.config, smaller.state_dict(), tokenizer)
    loaded, _ = load_checkpoint(tmp_path / "saved")
    for got, wanted in zip(outputs(loaded, batches[0]), outputs(smaller, batches[0]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    assert loaded.config.pruned == smaller.config.pruned and loaded.state_dict().keys() == smaller.state_dict().keys()

    exporter, sizes = EXPORTS[model.config.kind], []
    for name, each in (("whole", model), ("pruned", loaded)):
        (tmp_path / name).mkdir()
        exporter.parts(each, tmp_path / name)
        exporter.assemble(tmp_path / name, tmp_path / f"{name}_graphs", each.config)
        sizes.append(sum(path.stat().st_size for path in (tmp_path / f"{name}_graphs").iterdir()))
    pictures = batches[0].pixels[:2].numpy()
    assert all(found.equal_captions == 1 for found in exporter.compare(loaded, tmp_path / "pruned_graphs", pictures))
    assert sizes[1] < sizes[0]


def prefix_tokenizer(model, family, folder):
    """The tokenizer that a checkpoint of the model is saved with."""
    if model.config.kind != "prefix":
        return trained(TEXTS)
    from fastcap.model import load_frozen

    return load_frozen(dataclasses.replace(model.config, pruned=())).learn_vocabulary(map(str.lower, SENTENCES[:4]))


def test_the_importance_of_a_unit_is_what_scaling_it_does_to_the_loss(tiny_model):
    """To first order: compared with the finite difference, one unit of every kind of the parallel family."""
    model = tiny_model
    tokenizer = trained(TEXTS)
    pictures = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    batches = batches_of(pictures.numpy(), (TEXTS * 3)[:8], tokenizer, 12, size=4)[:1]
    model.double()
    found = importance(model, [lambda: loss_of(model, batches[0], 0)])
    for name in ("backbone.to_stride_16.2:channels", "decoder.layers.1.self_attention:heads",
                 "decoder.layers.0.cross_attention:heads", "decoder.layers:layers"):  # fmt: skip
        group = groups_of(model)[name]

        def scaled(by: float, group=group) -> float:
            saved = {part.name: model.get_parameter(part.name).data.clone() for part in group.slices if part.reads}
            for part in group.slices:
                if part.reads and part.unit in (-1, 1):
                    places = slice(None) if part.unit == 1 else part.places([1], group.size)
                    model.get_parameter(part.name).data.movedim(part.axis, 0)[places] *= by
            with torch.no_grad():
                value = float(loss_of(model, batches[0], 0))
            for parameter, data in saved.items():
                model.get_parameter(parameter).data = data
            return value

        slope = (scaled(1 + 1e-4) - scaled(1 - 1e-4)) / 2e-4
        assert found[name][1] == pytest.approx(slope**2, rel=2e-2, abs=1e-12)


def test_measuring_and_sorting_leave_what_is_computed(model, batches):
    before = outputs(model, batches[0])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    measured(model, batches)
    for got, wanted in zip(outputs(model, batches[0]), before, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert frozen == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_words_that_no_caption_needs_go_and_the_rest_is_exact(tiny_model):
    tokenizer = trained([*TEXTS, "an umbrella under the thunderstorm"], 300)
    model = tiny_model
    smaller, smaller_tokenizer = prune_words(model, tokenizer, TEXTS)
    assert smaller.vocabulary.size == smaller_tokenizer.get_vocab_size() < 300
    assert smaller.config.marks == Marks.of(smaller_tokenizer)
    kept = [tokenizer.token_to_id(smaller_tokenizer.id_to_token(index)) for index in range(smaller.vocabulary.size)]
    ids = [encode(one, "a red ball") for one in (tokenizer, smaller_tokenizer)]
    assert [kept[index] for index in ids[1]] == ids[0]
    assert decode(smaller_tokenizer, encode(smaller_tokenizer, "an umbrella")) == "an umbrella"  # by its bytes
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = []
        for each, rows in zip((model, smaller), ids, strict=True):
            state = each.decoder.prepare(each.encode(pixels))
            found.append(each.decoder.logits(torch.tensor([rows, rows]), state))
    torch.testing.assert_close(found[1], found[0][..., kept])


def test_the_words_of_a_language_model_go_too(folders, tmp_path):
    model, tokenizer = prefix_model(prefix_config(folders["llama"], folders["eye"], prompt="a photo of"))
    smaller, fewer = prune_words(model, tokenizer, ["a red ball", "a photo of"])
    assert smaller.vocabulary.size < model.vocabulary.size
    save_checkpoint(tmp_path / "saved", smaller.config, smaller.state_dict(), fewer)
    loaded, _ = load_checkpoint(tmp_path / "saved")
    pixels = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        found = []
        for each, tokens in ((model, tokenizer), (smaller, fewer), (loaded, fewer)):
            state = each.decoder.prepare(each.encode(pixels))
            ids = torch.tensor([encode(tokens, "a red ball")])
            found.append(each.decoder.logits(each.decoder.inputs(ids), state))
    kept = [tokenizer.token_to_id(fewer.id_to_token(index)) for index in range(smaller.vocabulary.size)]
    torch.testing.assert_close(found[1], found[0][..., kept])
    torch.testing.assert_close(found[2], found[1])


def test_heads_whose_keys_are_one_tensor_stay_alike(tiny_model):
    groups = groups_of(tiny_model)
    name = "decoder.layers.0.self_attention:heads"
    with pytest.raises(ConfigError, match=r"heads of the decoder: layers keep 2, 4; allowed: one number for all"):
        prune(tiny_model, {name: [0, 1]})
    whole = {name: [0, 1], "decoder.layers:layers": [0]}  # the other layer goes
    assert prune(tiny_model, whole).decoder.layers[0].self_attention.n_heads == 2
    assert read_pruned(noted(groups, whole), groups) == whole


@pytest.mark.parametrize(
    ("kept", "reason"),
    [
        ({"decoder.layers.9:heads": [0]}, "the model has no group 'decoder.layers.9:heads' to prune"),
        ({"decoder.layers.0.experts:experts": []}, "0 units of decoder.layers.0.experts:experts are kept"),
        ({"decoder.layers:layers": [1, 0]}, "2 units of decoder.layers:layers are kept; allowed: 1 to 2, in ascending"),
        ({"decoder.layers:layers": [7]}, "1 units of decoder.layers:layers are kept; allowed: 1 to 2"),
    ],
)
def test_what_cannot_be_kept_is_told(tiny_model, kept, reason):
    with pytest.raises(ConfigError, match=reason):
        prune(tiny_model, kept)


@pytest.mark.parametrize("entry", ["decoder.layers:layers", "decoder.layers:layers 2 0", "decoder.layers:layers 2 ff"])
def test_settings_that_name_units_that_are_not_there_are_no_model(tiny_model, tmp_path, entry):
    config = dataclasses.replace(tiny_model.config, pruned=(entry,))
    save_checkpoint(tmp_path / "bad", config, tiny_model.state_dict(), trained(TEXTS))
    with pytest.raises(ModelFileError, match="pruned"):
        load_checkpoint(tmp_path / "bad")


def test_half_at_most_and_one_time_alone(tiny_model):
    with pytest.raises(ConfigError, match=r"0\.6 of units; allowed: 0 to 0\.5 of channels, heads, units"):
        choose_units(tiny_model, {}, {"units": 0.6})
    once = prune(tiny_model, {"decoder.layers:layers": [0]})
    with pytest.raises(ConfigError, match="the model was pruned before; allowed: the one that it was pruned from"):
        prune(once, {"decoder.layers.0.experts:experts": [0]})


def test_steps_are_learned_in_the_autoregressive_family_too():
    model = small_model(d_hidden=512)
    learn_steps(model, {})
    pixels, ids = torch.zeros(2, 64, 64, 3, dtype=torch.uint8), torch.tensor([[9, 7, 6], [8, 5, 9]])
    with rounded_once(model):
        loss_of(model, Batch(pixels, ids, torch.tensor([3, 3])), 0).backward()
    steps = {name: value.grad for name, value in model.named_parameters() if name.endswith("log_step")}
    of_networks = [grad for name, grad in steps.items() if "decoder.layers.0.network" in name]
    assert of_networks and all(grad is not None and grad.abs().sum() > 0 for grad in of_networks)
