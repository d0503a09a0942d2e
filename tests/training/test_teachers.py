"""Teachers: checkpoints that speak as one, captioners of Hugging Face, an ImageNet network; and what may be wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
import torch

from fastcap.backbone.convolutional import named_convolutions
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.checkpoint import save_checkpoint
from fastcap.config import BackboneConfig, TeacherConfig, keywords
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, DataError, FastcapError, ModelFileError
from fastcap.generation.autoregressive import greedy_search
from fastcap.model import TorchStepper, build_model
from fastcap.runtime.encoding import decode, encode
from fastcap.training.teachers.choose import load_teacher
from fastcap.training.teachers.ensemble import BEAMS, Ensemble
from fastcap.training.teachers.features import ImageNetFeatures
from fastcap.training.teachers.hugging_face import HuggingFaceCaptioner
from fastcap.training.trainer import Trainer

PAD, BOS, EOS, MASK, UNK = range(5)


@pytest.fixture
def student(recipe) -> Trainer:
    return Trainer(recipe())


def write_teacher(student: Trainer, path: Path, seed: int, **settings) -> str:
    """A checkpoint of random weights with the student's vocabulary."""
    torch.manual_seed(seed)
    model = build_model(dataclasses.replace(student.model_config, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    save_checkpoint(path, model.config, model.state_dict(), student.tokenizer)
    return str(path)


def load(student: Trainer, kind: str, *names: str) -> torch.nn.Module | None:
    teacher, data = TeacherConfig(kind, names), student.config.data
    return load_teacher(teacher, student.model_config, student.tokenizer, data, "stages.0.teachers.0")


# Checkpoints


@torch.no_grad()
def test_an_ensemble_says_the_mean_of_its_members_probabilities(student, tmp_path):
    """The members see the picture at their own size, and rows of several pictures in any order."""
    names = [write_teacher(student, tmp_path / "a", 1), write_teacher(student, tmp_path / "b", 2, image_size=96)]
    ensemble = load(student, "logits", *names)
    assert isinstance(ensemble, Ensemble)
    rows = [(3, (7, 8, 9)), (0, (7,)), (3, (11, 12))]
    token_ids, log_p = ensemble.next_tokens(student.corpus.pool.paths, rows, 5)
    assert token_ids.shape == log_p.shape == (3, 4, 5)
    for row, (image, caption) in enumerate(rows):
        members = []
        for model in ensemble.models:
            pixels = torch.from_numpy(ensemble.images[model.config.image_size][[image]])
            state = model.decoder.prepare(model.encode(pixels))
            logits = model.decoder.logits(torch.tensor([[BOS, *caption]]), state, causal=True)[0]
            members.append(logits.softmax(dim=-1))
        expected = ((members[0] + members[1]) / 2).topk(5, dim=-1)
        places = len(caption) + 1
        torch.testing.assert_close(log_p[row, :places].exp(), expected.values, rtol=1e-4, atol=1e-6)
        assert torch.equal(token_ids[row, :places], expected.indices)


@torch.no_grad()
def test_an_ensemble_is_searched_as_one_and_twins_say_what_one_says(student, tmp_path):
    name = write_teacher(student, tmp_path / "a", 1)
    alone = load(student, "sequences", name).captions(student.corpus.pool.paths, range(3))
    twins = load(student, "sequences", name, name).captions(student.corpus.pool.paths, range(3))
    assert alone == twins
    assert [len(found) for found in alone] == [BEAMS] * 3
    other = load(student, "sequences", name, write_teacher(student, tmp_path / "b", 2))
    state = other.prepare(student.corpus.pool.paths, range(2))
    settings = dict(max_length=9, bos_id=BOS, eos_id=EOS, forbidden=(PAD, BOS, MASK, UNK))
    both = greedy_search(other, state, 2, **settings)
    one = greedy_search(TorchStepper(other.models[0].decoder), state[0], 2, **settings)
    assert [found.token_ids for found in both] != [found.token_ids for found in one]


# Hugging Face

WORDS = ["red", "green", "blue", "ball", "box", "dark", "there", "is", "a", "one"]


def hugging_face(family: str, folder: Path) -> str:
    """A captioner of a published architecture, tiny and random, as its authors' directories are laid out."""
    import transformers
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    width = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    marks = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {"image_size": 32, "patch_size": 16, **width}
    torch.manual_seed(0)
    if family == "blip":
        text = {"vocab_size": len(words), "encoder_hidden_size": 16, "sep_token_id": 3, **width, **marks}
        config = transformers.BlipConfig(text_config=text, vision_config=vision)
        model, processor = (
            transformers.BlipForConditionalGeneration(config),
            BlipImageProcessorPil(size={"height": 32, "width": 32}),
        )
    elif family == "git":
        config = transformers.GitConfig(vision_config=vision, vocab_size=len(words), **width, **marks)
        model, processor = (
            transformers.GitForCausalLM(config),
            CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        )
    else:
        gpt2 = transformers.GPT2Config(
            vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, add_cross_attention=True, **marks
        )
        config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
            transformers.ViTConfig(**vision), gpt2
        )
        config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 2, 3, 0
        model, processor = (
            transformers.VisionEncoderDecoderModel(config=config),
            ViTImageProcessorPil(size={"height": 32, "width": 32}),
        )
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
    for part in (model, processor, transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)):
        part.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", ["blip", "git", "vit-gpt2"])
def test_a_hugging_face_captioner_captions_in_the_students_tokens(student, tmp_path, family):
    teacher = load(student, "sequences", hugging_face(family, tmp_path / family))
    assert isinstance(teacher, HuggingFaceCaptioner)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    captions = teacher.captions(student.corpus.pool.paths, range(4))
    assert [len(found) for found in captions] == [BEAMS] * 4
    said = {decode(student.tokenizer, ids) for found in captions for ids in found}
    assert any(said)
    assert set(" ".join(said).split()) <= set(WORDS)  # no mark is said
    again = teacher.captions(student.corpus.pool.paths, range(1, 3))
    assert again == captions[1:3]


def test_a_name_is_pinned_by_its_revision(student, monkeypatch):
    import transformers

    asked = []

    def found(where, **settings):
        asked.append((where, settings.get("revision")))
        raise OSError("no such thing")

    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", found)
    for name in ("org/captioner@1a2b", "org/captioner"):
        with pytest.raises(ModelFileError, match=rf"teacher {name} was not found"):
            HuggingFaceCaptioner(name, student.tokenizer, 20)
    assert asked == [("org/captioner", "1a2b"), ("org/captioner", None)]


# ImageNet


def write_mobilenet(path: Path, **settings) -> Path:
    """An .npz of random weights in MobileNetV2's layout."""
    torch.manual_seed(0)
    tensors = {
        f"{name}.{part}": getattr(module, part).detach().numpy()
        for name, module in named_convolutions(
            SpatialMambaBackbone(256, **keywords(BackboneConfig(**settings)))
        ).items()
        for part in ("weight", "bias")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **tensors)
    return path


@torch.no_grad()
def test_features_are_the_mean_over_the_picture_of_the_last_convolution(tmp_path):
    path = write_mobilenet(tmp_path / "teacher.npz")
    teacher, backbone = ImageNetFeatures(path, "x"), SpatialMambaBackbone(256, **keywords(BackboneConfig()))
    for name, module in named_convolutions(backbone).items():
        tensors = np.load(path)
        module.weight.copy_(torch.from_numpy(tensors[f"{name}.weight"]))
        module.bias.copy_(torch.from_numpy(tensors[f"{name}.bias"]))
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    seen = backbone.head(backbone.to_stride_32(backbone.convolve(pixels)))
    assert seen.shape == (2, teacher.d_features, 2, 2)
    torch.testing.assert_close(teacher(pixels), seen.mean(dim=(2, 3)))


# Trouble


def test_a_teacher_whose_logits_are_of_another_vocabulary_is_refused(student, tmp_path):
    theirs = SimpleNamespace(
        model_config=dataclasses.replace(student.model_config, vocab_size=280),
        tokenizer=train_tokenizer(["other words than ours"] * 9, 280),
    )
    name = write_teacher(theirs, tmp_path / "a", 1)
    with pytest.raises(ModelFileError, match=r"a has another vocabulary: \d+ tokens, .*allowed: .*\.0\.teachers\.0"):
        load(student, "logits", name)


def test_a_teacher_that_cannot_read_captions_of_the_students_length_is_refused(student, tmp_path):
    with pytest.raises(ModelFileError, match=r"at most 12 tokens; allowed: 20 .*setting stages\.0\.teachers\.0"):
        load(student, "logits", write_teacher(student, tmp_path / "a", 1, max_length=12))


def test_a_teacher_of_another_shape_is_refused(student, tmp_path):
    write_mobilenet(tmp_path / "narrow.npz", stem_width=16)
    with pytest.raises(DataError, match=r"narrow\.npz: conv0\.weight is \(16, 3, 3, 3\), the model needs \(32,"):
        load(student, "features", str(tmp_path / "narrow.npz"))


def test_a_teacher_that_is_missing_is_named_with_its_setting_and_what_was_tried(student, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "config.json").write_text('{"model_type": "git"}')
    setting = r"setting stages\.0\.teachers\.0"
    for kind, name, message in [
        ("features", "gone.npz", rf"teacher .*gone\.npz cannot be read .*{setting}"),
        ("logits", "runs/gone", rf"runs/gone is not a checkpoint directory: config\.json is missing .*{setting}"),
        ("sequences", str(tmp_path / "empty"), rf"empty is not a checkpoint directory.*{setting}"),
        ("sequences", str(tmp_path / "torn"), rf"torn was not found as a captioner.*{setting}"),
        ("sequences", "no-such/captioner", rf"tried a directory of that name, the Hugging Face .*{setting}"),
        ("sequences", "runs/gone/best", rf"runs/gone/best was not found as a captioner.*{setting}"),
    ]:
        with pytest.raises(FastcapError, match=message):
            load(student, kind, name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "feature"}, "kind is 'feature'; allowed: features, logits, sequences"),
        ({"names": ()}, r"names is \(\); allowed: one name or more"),
        ({"kind": "features", "names": ("a", "b")}, r"names is \('a', 'b'\); allowed: one \.npz file"),
        ({"temperature": 0.0}, r"temperature is 0\.0; allowed: above 0"),
        ({"weight": -1.0}, r"weight is -1\.0; allowed: 0 or more"),
        ({"kind": "sequences", "weight": 1.5}, r"weight is 1\.5; allowed: 0 to 1"),
    ],
)
def test_a_setting_of_a_teacher_out_of_its_range_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        TeacherConfig(**{"kind": "logits", "names": ("a",), **settings})


def test_a_caption_of_a_teacher_survives_the_students_tokens(student):
    assert decode(student.tokenizer, encode(student.tokenizer, "a red ball")) == "a red ball"
