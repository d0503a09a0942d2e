"""The prefix family as a member of the system: one checkpoint format, one captioner, frozen parts by name."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import fastcap
from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import ModelConfig, TowersConfig, from_mapping
from fastcap.decoder.vocabulary_pruning import encode_caption
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, ModelFileError
from fastcap.model import CaptionModel, build_model, load_frozen
from fastcap.runtime.encoding import encode
from tiny_parts import (
    LANGUAGE_MODELS,
    changed,
    prefix_config,
    prefix_model,
    write_language_model,
    write_tower,
)

pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A language model of each family, and two towers."""
    root = tmp_path_factory.mktemp("parts")
    folders = {family: write_language_model(root / family, family) for family in LANGUAGE_MODELS}
    return {**folders, "eye": write_tower(root / "eye"), "fine": write_tower(root / "fine", seed=1, patch=8)}


@pytest.fixture(scope="module")
def config(parts):
    return prefix_config(parts["llama"], parts["eye"], parts["fine"])


@pytest.fixture(scope="module")
def saved(config, tmp_path_factory):
    """A checkpoint directory."""
    model, tokenizer = prefix_model(config)
    folder = tmp_path_factory.mktemp("run") / "saved"
    save_checkpoint(folder, model.config, model.state_dict(), tokenizer)
    return folder


def pixels(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# --- checkpoints --------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_what_is_saved_comes_back_and_captions_alike(family, parts, tmp_path):
    model, tokenizer = prefix_model(prefix_config(parts[family], parts["eye"]))
    save_checkpoint(tmp_path / "saved", model.config, model.state_dict(), tokenizer)
    again, theirs = load_checkpoint(tmp_path / "saved")
    assert again.config == model.config and theirs.to_str() == tokenizer.to_str()
    assert again.config.kind == "prefix" and not again.training
    one, other = model.encode(pixels()), again.encode(pixels())
    assert torch.equal(one.tokens, other.tokens)
    assert model.search(one, beams=2) == again.search(other, beams=2)
    assert torch.equal(model.alignment.embed_image(one), again.alignment.embed_image(other))


def test_a_checkpoint_holds_what_was_trained_alone(saved, config):
    from safetensors import safe_open

    with safe_open(saved / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names and all(".lora_" in name or name.startswith(("decoder.projection.", "alignment.")) for name in names)
    model, _ = load_checkpoint(saved)
    assert model.state_dict().keys() == names == model.learned
    frozen = sum(p.numel() for name, p in model.named_parameters() if name not in names)
    assert frozen > sum(value.numel() for value in model.state_dict().values())
    settings = json.loads((saved / "config.json").read_text())
    assert len(settings["decoder"]["sha256"]) == 64 and list(map(len, settings["backbone"]["sha256"])) == [64, 64]
    assert from_mapping(ModelConfig, settings) == model.config


def test_unfrozen_layers_are_kept_too(config, tmp_path):
    model, tokenizer = prefix_model(changed(config, unfreeze_layers=1, rank=0))
    assert any(".layers.2." in name for name in model.learned)
    assert not any(".layers.1." in name or ".lora_" in name for name in model.learned)
    save_checkpoint(tmp_path / "saved", model.config, model.state_dict(), tokenizer)
    again, _ = load_checkpoint(tmp_path / "saved")
    theirs = dict(again.named_parameters())
    assert all(torch.equal(value, theirs[name]) for name, value in model.named_parameters())


def test_models_share_what_is_frozen_and_nothing_that_is_trained(config):
    unfrozen = changed(config, unfreeze_layers=1)
    frozen = load_frozen(unfrozen)
    fitted = frozen.fit(unfrozen, frozen.learn_vocabulary(["a red ball"]))
    one, other = (dict(build_model(fitted, frozen).named_parameters()) for _ in range(2))
    learned = build_model(fitted, frozen).learned
    for name in one:
        assert (one[name].data_ptr() == other[name].data_ptr()) == (name not in learned), name


def test_trained_tensors_have_32_bits_whatever_the_language_model_computes_in(config):
    model, _ = prefix_model(changed(config, unfreeze_layers=1), dtype=torch.bfloat16)
    assert all((p.dtype == torch.float32) == (name in model.learned or "towers" in name) for name, p in
               model.named_parameters())  # fmt: skip
    whole, _ = prefix_model(changed(config, unfreeze_layers=1))
    ids, lengths = torch.tensor([[5, 9, 7], [8, 6, 1]]), torch.tensor([3, 2])
    logits = [
        each.decoder.logits(each.decoder.inputs(ids), each.decoder.prepare(each.encode(pixels())), lengths=lengths + 1)
        for each in (model, whole)
    ]
    assert logits[0].dtype == torch.float32
    torch.testing.assert_close(*logits, rtol=0.1, atol=0.1)
    assert model.search(model.encode(pixels()), beams=2)  # cached steps of mixed precision


# --- the captioner ------------------------------------------------------------------------------------------


def test_the_eager_captioner_has_all_options(saved):
    captioner = checkpoint_captioner(saved)
    picture = Image.fromarray(pixels(1)[0].numpy())
    best = captioner.caption(picture)
    assert best.text and 0 < best.confidence < 1 and best.tokens
    assert captioner.caption(picture).text == best.text
    assert 1 <= len(captioner.caption(picture, candidates=3).candidates) <= 3  # random words: few are sentences
    assert captioner.caption(picture, decode="greedy").text
    assert captioner.caption(picture, decode="sample").text
    for words in (3, 4):  # every length is searched as if it had its own picture
        assert captioner.caption(picture, length=words).text
    with pytest.raises(ConfigError, match="writes from left to right: allowed are beam, greedy, sample"):
        captioner.caption(picture, decode="parallel")
    assert np.linalg.norm(captioner._engine.vector(captioner.encode(picture))) == pytest.approx(1)


def test_a_number_of_words_is_searched_like_a_picture_of_its_own(saved):
    from fastcap.generation.autoregressive import beam_search

    model, _ = load_checkpoint(saved)
    state, limits = model.decoder.prepare(model.encode(pixels(1))), model.limits()

    def search(lengths):
        asked = {**limits, "min_length": lengths, "max_length": lengths}
        return beam_search(model.stepper(), state, len(lengths), beams=2, **asked)

    together = search([3, 4])
    for row, length in enumerate((3, 4)):
        alone = search([length])
        assert [h.token_ids for h in together[row]] == [h.token_ids for h in alone[0]]


def test_captioning_opens_no_socket(saved):
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise AssertionError('a socket')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from fastcap.eager import checkpoint_captioner\nfrom PIL import Image\n"
        "print(checkpoint_captioner(sys.argv[1]).caption(Image.new('RGB', (80, 60))).text)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(saved)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


@torch.no_grad()
def test_a_prompt_stands_between_every_picture_and_its_caption(config):
    plain, tokenizer = prefix_model(config)
    model, tokenizer = prefix_model(changed(config, prompt="one red box"))
    prompt = encode(tokenizer, "one red box")
    assert list(model.decoder.prompt_ids) == prompt and len(prompt) >= 3
    image = model.encode(pixels())
    assert model.decoder.prepare(image).shape[1] == plain.decoder.prepare(image).shape[1] + len(prompt)


@torch.no_grad()
def test_a_text_s_vector_depends_on_its_own_words_alone(saved):
    model, _ = load_checkpoint(saved)
    ids = torch.randint(5, 40, (3, 6), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([6, 3, 1])
    vectors = model.embed_text(ids, lengths)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    for row, length in enumerate(lengths.tolist()):
        alone = model.embed_text(ids[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(vectors[row : row + 1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", LANGUAGE_MODELS)
def test_a_caption_s_attention_to_the_picture_is_drawn(family, parts, tmp_path, capsys):
    from fastcap.cli import main
    from fastcap.evaluation.attention import attention_maps

    model, tokenizer = prefix_model(prefix_config(parts[family], parts["eye"], prompt="one red box"))
    image, other = model.encode(pixels(1)), model.encode(255 - pixels(1))
    maps = attention_maps(model, image, [9, 8, 7])
    assert maps.shape == (3, 4)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(3))
    torch.testing.assert_close(attention_maps(model, image, [9, 8])[:2], maps[:2])  # a later word changes nothing
    assert not torch.allclose(maps, attention_maps(model, other, [9, 8, 7]), atol=1e-6)
    save_checkpoint(tmp_path / "saved", model.config, model.state_dict(), tokenizer)
    Image.fromarray(pixels(1)[0].numpy()).save(tmp_path / "a.png")
    assert (
        main(["explain", str(tmp_path / "a.png"), "--model", str(tmp_path / "saved"), "--out", str(tmp_path / "b.png")])
        == 0
    )
    assert Image.open(tmp_path / "b.png").size[0] > 64 and capsys.readouterr().out.strip()


def test_a_picture_that_was_asked_about_is_explained_without_being_encoded_again(parts, tmp_path, monkeypatch):
    from fastcap.evaluation.attention import explain

    model, tokenizer = prefix_model(prefix_config(parts["llama"], parts["eye"], question_tokens=60))
    save_checkpoint(tmp_path / "saved", model.config, model.state_dict(), tokenizer)
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels(1)[0].numpy()).save(tmp_path / name)
    runs = []
    encode = CaptionModel.encode
    monkeypatch.setattr(CaptionModel, "encode", lambda model, images: runs.append(len(images)) or encode(model, images))
    captioner = checkpoint_captioner(tmp_path / "saved", keep=2)
    captioner.ask(tmp_path / "a.png", "is it red?")
    text = explain(captioner, tmp_path / "b.png", tmp_path / "drawn.png")  # the same bytes under another name
    captioner.caption(tmp_path / "a.png")
    assert explain(captioner, captioner.encode(tmp_path / "a.png"), tmp_path / "again.png") == text and runs == [1]
    forgetful = checkpoint_captioner(tmp_path / "saved")
    assert explain(forgetful, tmp_path / "a.png", tmp_path / "third.png") == text and runs == [1, 1]
    assert (tmp_path / "third.png").read_bytes() == (tmp_path / "drawn.png").read_bytes()


def test_an_exported_model_is_not_explained(tmp_path):
    from fastcap.evaluation.attention import explain

    with pytest.raises(ConfigError, match="is exported, and gives no attention weights; needed: a checkpoint"):
        explain(fastcap.load_model(), pixels(1)[0].numpy(), tmp_path / "a.png")


# --- the vocabulary -----------------------------------------------------------------------------------------


def test_the_pruned_tokenizer_writes_captions_as_the_language_model_would(config):
    frozen = load_frozen(config)
    tokenizer = frozen.learn_vocabulary(["a red ball", "there is one green box in the dark"])
    before = frozen.tokenizer.get_vocab_size()
    assert tokenizer.get_vocab_size() < before
    frozen.fit(config, tokenizer)
    for text in ("a red box", "the dark ball"):
        theirs = encode_caption(frozen.tokenizer, text)
        assert [frozen.kept[i] for i in encode(tokenizer, text)] == theirs
    marks = frozen.marks(tokenizer)
    assert [frozen.kept[i] for i in (marks.bos_id, marks.eos_id, marks.pad_id)] == [1, 2, 2]


def test_a_language_model_with_one_mark_for_both_ends_captions(config, parts, tmp_path):
    shutil.copytree(parts["gpt2"], tmp_path / "gpt2")
    (tmp_path / "gpt2" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    content = json.loads((tmp_path / "gpt2" / "config.json").read_text())
    (tmp_path / "gpt2" / "config.json").write_text(json.dumps(content | {"bos_token_id": None}))
    ours = changed(config, language_model=str(tmp_path / "gpt2"))
    model, tokenizer = prefix_model(ours)
    assert model.vocabulary.bos_id == model.vocabulary.eos_id == tokenizer.token_to_id("</s>")
    found = model.search(model.encode(pixels()), beams=2)
    assert all(hypotheses and model.vocabulary.eos_id not in hypotheses[0].token_ids for hypotheses in found)
    with pytest.raises(ConfigError, match="marks_machines is true; allowed: false"):
        prefix_model(changed(ours, marks_machines=True))


def test_a_vocabulary_may_stay_whole(config):
    frozen = load_frozen(changed(config, prune=False))
    tokenizer = frozen.learn_vocabulary([])
    fitted = frozen.fit(config, tokenizer)
    assert fitted.vocab_size == frozen.tokenizer.get_vocab_size()  # rows beyond the tokenizer's cannot be said


# --- bad input ----------------------------------------------------------------------------------------------


def test_a_part_that_is_not_here_says_how_to_get_it(config, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    named = changed(config, language_model="smollm2-135m-instruct")
    with pytest.raises(ModelFileError, match=r"smollm2-135m-instruct is not here.*'fastcap download smollm2-135m-inst"):
        load_frozen(named)
    with pytest.raises(ModelFileError, match=r"part /none/such is not here.*no part that 'fastcap download --list'"):
        load_frozen(changed(config, language_model="/none/such"))


def test_a_part_is_found_by_its_name_in_a_folder_of_parts(config, parts, tmp_path, monkeypatch):
    shutil.copytree(parts["llama"], tmp_path / "parts" / "smollm2-135m-instruct")
    monkeypatch.chdir(tmp_path)
    assert load_frozen(changed(config, language_model="smollm2-135m-instruct"))
    monkeypatch.chdir("/")
    monkeypatch.setenv("FASTCAP_PARTS", str(tmp_path / "parts"))
    assert load_frozen(changed(config, language_model="smollm2-135m-instruct"))
    assert load_frozen(changed(config, language_model="/moved/to/smollm2-135m-instruct"))


def test_adapters_of_another_base_model_are_refused(saved, parts, tmp_path, monkeypatch):
    folder = tmp_path / "saved"
    shutil.copytree(saved, folder)
    settings = json.loads((folder / "config.json").read_text())
    settings["decoder"]["language_model"] = str(write_language_model(tmp_path / "other", seed=5))
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelFileError, match=r"the weights in .*other have the sha256 .*; the model was trained with"):
        load_checkpoint(folder)


def test_a_language_model_without_a_tokenizer_is_refused(config, parts, tmp_path):
    shutil.copytree(parts["llama"], tmp_path / "mute")
    (tmp_path / "mute" / "tokenizer.json").unlink()
    with pytest.raises(ModelFileError, match=r"mute has no tokenizer\.json"):
        load_frozen(changed(config, language_model=str(tmp_path / "mute")))
    shutil.copytree(parts["llama"], tmp_path / "endless")
    (tmp_path / "endless" / "tokenizer_config.json").unlink()
    content = json.loads((tmp_path / "endless" / "config.json").read_text())
    (tmp_path / "endless" / "config.json").write_text(json.dumps(content | {"eos_token_id": None}))
    with pytest.raises(ModelFileError, match="does not say which token ends a text"):
        load_frozen(changed(config, language_model=str(tmp_path / "endless")))


def test_a_tower_whose_size_does_not_fit_is_refused(config, parts, tmp_path):
    with pytest.raises(ModelFileError, match=r"eye reads pictures of 64x64 pixels; model\.image_size is 96"):
        load_frozen(dataclasses.replace(config, image_size=96))
    frozen = load_frozen(changed(config, image_tokens=25))
    fitted = frozen.fit(changed(config, image_tokens=25), frozen.learn_vocabulary(["a red ball"]))
    with pytest.raises(ConfigError, match="image_tokens is 25; allowed: square numbers up to 16"):
        build_model(fitted, frozen)


def test_a_vocabulary_that_does_not_fit_is_refused(config, saved, tmp_path):
    frozen = load_frozen(config)
    foreign = frozen.learn_vocabulary(["a red ball"])
    foreign.add_tokens(["<picture>"])
    with pytest.raises(ConfigError, match=r"has the word ' ?<picture>', which .*llama lacks"):
        frozen.fit(config, foreign)
    from fastcap.data.tokenizer import train_tokenizer

    with pytest.raises(ConfigError, match="lacks the mark '<s>'"):
        frozen.marks(train_tokenizer(["a red ball"], 300))
    shutil.copytree(saved, tmp_path / "saved")
    foreign.save(str(tmp_path / "saved" / "tokenizer.json"))
    with pytest.raises(ModelFileError, match="<picture>"):
        load_checkpoint(tmp_path / "saved")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": {"kind": "prefix_lm"}}, "backbone is spatial_mamba and decoder prefix_lm; allowed: towers with"),
        ({"backbone": {"kind": "towers"}}, "backbone is towers and decoder moe; allowed: towers with prefix_lm"),
        ({"decoder": {"kind": "prefix_lm", "image_tokens": 17}}, "image_tokens is 17; allowed: square numbers"),
        ({"decoder": {"kind": "prefix_lm", "rank": -1}}, "rank is -1; allowed: 0"),
        ({"backbone": {"kind": "towers", "names": []}}, "names is .*one name or more"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(ModelConfig, settings)


def test_digests_are_one_for_each_tower():
    with pytest.raises(ConfigError, match=r"sha256 is .*none, or one for each name"):
        TowersConfig(names=("a", "b"), sha256=("c",))
