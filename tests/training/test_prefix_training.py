"""The prefix family through the trainer: what is trained and how fast, cached towers, exact resume."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
import torch
from toy_recipe import stage

from fastcap.checkpoint import load_checkpoint
from fastcap.config import TeacherConfig, TrainConfig, from_mapping
from fastcap.decoder.prefix_lm import all_layers
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, ModelFileError
from fastcap.losses.language import causal_loss, read_causally
from fastcap.training.objective import TrainingStep
from fastcap.training.state import load_state
from fastcap.training.trainer import Trainer, train
from fastcap.vocabulary import Marks
from tiny_parts import LANGUAGE_MODELS, changed, prefix_config, write_language_model, write_tower

pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    folders = {family: write_language_model(root / family, family) for family in LANGUAGE_MODELS}
    return {**folders, "eye": write_tower(root / "eye"), "fine": write_tower(root / "fine", seed=1, patch=8)}


@pytest.fixture
def prefix_recipe(recipe, parts):
    """A recipe of the family; `decoder`: settings of the decoder, `family`: of its language model."""

    def make(output="run", stages=(), family="llama", decoder=None, **settings) -> TrainConfig:
        model = prefix_config(parts[family], parts["eye"], parts["fine"], adapter_dropout=0.1, **(decoder or {}))
        return dataclasses.replace(recipe(output), model=model, stages=stages or (stage(),), **settings)

    return make


def tensors(config: TrainConfig) -> dict[str, torch.Tensor]:
    newest = max((Path(config.output) / "checkpoints").iterdir())
    return load_state(newest).tensors | load_checkpoint(newest)[0].state_dict()


def rows(config: TrainConfig, name: str = "loss") -> list[dict]:
    lines = (Path(config.output) / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if name in row]


# --- what is trained ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_a_recipe_trains_projection_and_adapters_alone(prefix_recipe, parts, family, capsys):
    config = prefix_recipe(stages=(stage(steps=6, learning_rate=1e-2, contrastive=0.1),), family=family)
    made = Trainer(config)
    before = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    best = made.run()
    for name, value in made.model.named_parameters():
        assert torch.equal(value, before[name]) == (name not in made.model.learned), name
    losses = [row["causal"] for row in rows(config)]
    assert losses[-1] < losses[0]
    assert re.search(r"pretrain: 0\.0 M of 0\.1 M parameters are trained \(\d+\.\d %\)", capsys.readouterr().err)
    assert checkpoint_captioner(best).caption(Path(config.data.root) / "toy" / "images" / "red_ball.png").tokens
    assert {"contrastive", "causal", "loss"} <= rows(config)[0].keys()
    assert any("val_cider" in row for row in rows(config, "val_cider"))


def test_adapters_and_unfrozen_layers_learn_at_their_own_rate(prefix_recipe):
    made = Trainer(prefix_recipe(stages=(stage(adapter_rate=0.25),), decoder={"unfreeze_layers": 1}))
    made.prepare_stage(made.config.stages[0])
    names = {parameter: name for name, parameter in made.model.named_parameters()}
    seen = set()
    for group in made.build_optimizer().param_groups:
        for parameter in group["params"]:
            assert group["scale"] == (0.25 if "language_model" in names[parameter] else 1.0), names[parameter]
            assert parameter.dtype == torch.float32
            seen.add(names[parameter])
    assert seen == {name for name in made.model.learned if not name.startswith("alignment.")}  # has no loss here
    assert any(".layers.2." in name for name in seen)


def test_the_captioner_stands_still_while_its_alignment_learns(prefix_recipe):
    config = prefix_recipe(stages=(stage(steps=3, freeze="captioner", causal=0, balance=0, contrastive=1.0),))
    made = Trainer(config)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.run()
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, before[name]) == (not name.startswith("alignment.")), name


def test_the_loss_is_of_captions_alone_whatever_pads_them(prefix_recipe):
    made = Trainer(prefix_recipe(decoder={"prompt": "one red box"}))
    made.prepare_stage(stage(smoothing=0.0))
    batch, generator = made.draw()
    decoder = made.objective.eval().model.decoder
    token_ids, lengths = batch.tensors["token_ids"], batch.tensors["lengths"]
    assert token_ids.shape[1] > lengths.min()  # some rows are padded
    losses = made.objective.losses(batch.tensors, None, generator)
    image = made.objective.encode(batch.tensors)
    total = 0.0
    for row, length in enumerate(lengths.tolist()):  # one at a time there is no padding
        state = decoder.prepare(type(image)(image.tokens[row // 2][None], image.pooled[row // 2][None]))
        alone, n = token_ids[row : row + 1, :length], lengths[row : row + 1]
        loss = causal_loss(decoder, read_causally(decoder, state, alone, n), alone, n, 0.0)
        total += loss.item() * (length + 1)
    assert float(losses["causal"]) == pytest.approx(total / float((lengths + 1).sum()), rel=1e-4)
    tensors = {
        **batch.tensors,
        "token_ids": token_ids.masked_fill(torch.arange(token_ids.shape[1]) >= lengths[:, None], 7),
    }
    assert float(made.objective.losses(tensors, None, generator)["causal"]) == pytest.approx(float(losses["causal"]))


# --- towers -------------------------------------------------------------------------------------------------


def test_kept_maps_give_the_tokens_that_the_towers_give(prefix_recipe):
    made = Trainer(prefix_recipe())
    made.prepare_stage(stage())
    features = made.inputs.features
    assert features is not None and features.values.shape[1:] == (2, 48, 4, 4)  # the finer tower's are pooled
    kept = made.objective.cut.resume(features[[0, 1], [0, 0]])
    seen = made.model.encode(torch.from_numpy(made.corpus.images[[0, 1]]))
    torch.testing.assert_close(kept.tokens, seen.tokens, rtol=0, atol=0.01)  # kept in 16 bits
    torch.testing.assert_close(kept.pooled, seen.pooled, rtol=0, atol=0.01)


# --- machines' captions -------------------------------------------------------------------------------------


def test_captions_by_machines_begin_with_a_mark_of_their_own(prefix_recipe):
    made = Trainer(prefix_recipe(decoder={"marks_machines": True}))
    made.prepare_stage(stage())
    said = made.corpus.pool.token_ids
    for captions in said[:6]:
        captions["machine"] = [captions["human"].pop()]
    for captions in said[6:9]:
        captions["machine"] = [captions["human"][0]]  # people have said it as well
    made.prepare_stage(stage(sources=("human", "machine"), images=12))
    batch, _ = made.draw()
    marks = made.model_config.marks
    assert isinstance(marks, Marks) and marks.bos_id != marks.eos_id
    for place, (row, begin) in enumerate(
        zip(batch.tensors["token_ids"].tolist(), batch.tensors["begin"].tolist(), strict=True)
    ):
        index, ids = batch.images[place // 2], [i for i in row if i != marks.pad_id]
        assert begin == (marks.bos_id if ids in said[index]["human"] else marks.eos_id)
    assert set(batch.tensors["begin"].tolist()) == {marks.bos_id, marks.eos_id}
    decoder = made.model.decoder
    given = decoder.inputs(batch.tensors["token_ids"], batch.tensors["begin"])
    assert torch.equal(given[:, 0], batch.tensors["begin"]) and torch.equal(given[:, 1:], batch.tensors["token_ids"])
    share = batch.share(1, 3)
    assert torch.equal(share.tensors["begin"], batch.tensors["begin"].view(12, 2)[1::3].flatten())


# --- runs ---------------------------------------------------------------------------------------------------

CROPPED = stage(steps=6, crop_scale=0.5, contrastive=0.1)
REWARDED = (stage(steps=3), stage(name="reward", steps=3, causal=0.0, causal_reward=1.0, captions=1, samples=3))


@pytest.mark.parametrize(
    ("stages", "precision", "decoder"),
    [
        ((CROPPED,), "no", {}),
        ((CROPPED,), "bf16", {"unfreeze_layers": 1}),
        ((stage(steps=6, freeze="none"),), "no", {}),
        (REWARDED, "no", {}),
    ],
    ids=["cropped anew", "bf16", "from pixels", "in the second stage"],
)
def test_six_steps_are_four_a_resume_and_two_bit_for_bit(prefix_recipe, monkeypatch, stages, precision, decoder):
    configs = [prefix_recipe(name, stages, decoder=decoder, precision=precision) for name in ("whole", "parted")]
    train(configs[0])
    with monkeypatch.context() as patch:
        forward, calls = TrainingStep.forward, []

        def interrupting(self, *arguments):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return forward(self, *arguments)

        patch.setattr(TrainingStep, "forward", interrupting)
        with pytest.raises(KeyboardInterrupt):
            train(configs[1])
    train(configs[1])
    whole, parted = map(tensors, configs)
    assert whole.keys() == parted.keys()
    assert [name for name in whole if not torch.equal(whole[name], parted[name])] == []


def test_validating_changes_nothing_that_is_trained(prefix_recipe):
    often, never = (
        prefix_recipe(f"run{every}", decoder={"unfreeze_layers": 1}, evaluate_every=every) for every in (1, 1000)
    )
    train(often)
    train(never)
    ours, theirs = map(tensors, (often, never))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_micro_batches_have_the_gradient_of_the_whole(prefix_recipe):
    grown = []
    for parts in (1, 3):
        made = Trainer(prefix_recipe(f"run{parts}", (stage(images=6),), decoder={"dropout": 0.0}, accumulate=parts))
        made.prepare_stage(made.config.stages[0])
        made.objective.eval()  # dropout is drawn anew in each part
        batch, generator = made.draw()
        made.gradients(batch, generator)
        grown.append({name: p.grad for name, p in made.model.named_parameters() if p.grad is not None})
    assert grown[0].keys() == grown[1].keys() and len(grown[0]) > 10
    for name, value in grown[0].items():
        torch.testing.assert_close(value, grown[1][name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_layers_that_are_computed_again_have_the_same_gradients(prefix_recipe, family):
    grown, seen = [], []
    for again in (False, True):
        config = prefix_recipe(f"run{again}", decoder={"unfreeze_layers": 1}, family=family, checkpointing=again)
        made = Trainer(config)
        made.prepare_stage(made.config.stages[0])
        layer = all_layers(made.model.decoder.language_model)[0]
        attention = next(child for name, child in layer.named_children() if "attn" in name)
        attention.register_forward_hook(lambda *_, again=again: seen.append(again))
        made.gradients(*made.draw())
        grown.append({name: p.grad for name, p in made.model.named_parameters() if p.grad is not None})
    assert seen == [False, True, True]  # once, and again in the backward pass
    assert grown[0].keys() == grown[1].keys() and len(grown[0]) > 10
    for name, value in grown[0].items():
        torch.testing.assert_close(value, grown[1][name], rtol=1e-5, atol=1e-8)


def test_adapters_are_trained_beside_four_bits(prefix_recipe, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    config = prefix_recipe(
        stages=(stage(steps=8, learning_rate=2e-2),), decoder={"unfreeze_layers": 1}, precision="nf4"
    )
    made = Trainer(config)
    layers = all_layers(made.model.decoder.language_model)
    four = bitsandbytes.nn.Linear4bit
    assert isinstance(layers[0].self_attn.q_proj.base_layer, four)
    assert layers[0].mlp.up_proj.base_layer.weight.nbytes == 32 * 48 // 2
    assert not any(isinstance(module, four) for module in layers[-1].modules())  # is trained as a whole
    before = {name: value.detach().clone() for name, value in made.model.named_parameters()}
    best = made.run()
    for name, value in made.model.named_parameters():
        if not name.startswith("alignment."):  # has no loss here
            assert torch.equal(value, before[name]) == (name not in made.model.learned), name
    losses = [row["causal"] for row in rows(config)]
    assert losses[-1] < losses[0]
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # what is kept captions without it
    assert checkpoint_captioner(best).caption(Path(config.data.root) / "toy" / "images" / "red_ball.png").tokens


def test_four_bits_need_their_package_and_a_frozen_model(prefix_recipe, recipe, monkeypatch):
    with pytest.raises(ConfigError, match="precision is nf4; allowed: no, bf16 or fp16, with a moe decoder"):
        recipe(precision="nf4")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.nn", None)
    with pytest.raises(ConfigError, match="precision nf4 needs bitsandbytes: pip install"):
        Trainer(prefix_recipe(precision="nf4"))


def test_a_run_begins_with_the_weights_of_another_and_refuses_those_of_another_base(prefix_recipe, tmp_path):
    first = train(prefix_recipe("first"))
    made = Trainer(prefix_recipe("second", init=str(first)))
    assert all(torch.equal(value, load_checkpoint(first)[0].state_dict()[name])
               for name, value in made.model.state_dict().items())  # fmt: skip
    other = changed(made.config.model, language_model=str(write_language_model(tmp_path / "other", seed=9)))
    with pytest.raises(ModelFileError, match="does not fit the recipe's model"):
        Trainer(dataclasses.replace(prefix_recipe("third", init=str(first)), model=other))


def test_it_teaches_itself_and_others_of_its_vocabulary(prefix_recipe):
    first = train(prefix_recipe("first"))
    teachers = TeacherConfig("logits", (str(first),)), TeacherConfig("sequences", (str(first),), weight=0.5)
    taught = stage(sources=("human", "distilled"), teachers=teachers)
    config = prefix_recipe("second", (taught,), init=str(first))
    train(config)
    assert {"logits_0", "causal"} <= rows(config)[0].keys()


def test_its_activations_are_watched(prefix_recipe):
    config = prefix_recipe(stages=(stage(steps=2),))
    train(config, debug_activations=True)
    watched = json.loads((Path(config.output) / "activations.jsonl").read_text().splitlines()[-1])
    assert any("projection" in name for name in json.dumps(watched).split('"'))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "fp16"}, "precision is fp16; allowed: no, bf16 or nf4, with a prefix_lm decoder"),
        ({"sharding": "zero3"}, "sharding is zero3; allowed: no or fsdp2"),
        ({"data": {"teacher": "x.npz"}}, "teacher is 'x.npz'; allowed: none, for towers"),
        ({"stages": [{"masked": 1.0}]}, "masked is 1.0; allowed: 0, since a prefix_lm decoder has no parallel"),
        ({"stages": [{"inputs": "words"}], "data": {"siblings": "x"}}, "inputs is words; allowed: images"),
        ({"stages": [{"teachers": [{"kind": "features", "names": ["x"]}]}]}, "kind features; allowed: logits and"),
        ({"stages": [{"adapter_rate": -1}]}, "adapter_rate is -1.0; allowed: 0 or more"),
    ],
)
def test_what_does_not_go_with_frozen_parts_is_named(settings, message):
    stages = [{"name": "a", "steps": 3, "learning_rate": 0.1, **s} for s in settings.get("stages", [{}])]
    model = {"backbone": {"kind": "towers"}, "decoder": {"kind": "prefix_lm"}}
    with pytest.raises(ConfigError, match=message):
        from_mapping(TrainConfig, {**settings, "model": model, "stages": stages})
