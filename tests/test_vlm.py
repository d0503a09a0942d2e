"""The seed's own snippets, word for word but for the import; and what they stand on."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fastcap.backbone import convolutional
from fastcap.backbone.convolutional import ConvolutionalTower, Trunk, named_convolutions
from fastcap.eager import checkpoint_captioner
from fastcap.errors import ConfigError, ImageError, ModelFileError
from fastcap.release.adapters import pack
from fastcap.vlm import FastVLMConfig, FastVLMModel, FastVLMProcessor
from tiny_parts import write_language_model

pytest.importorskip("transformers")
pytest.importorskip("peft")

ASK = """
from fastcap.vlm import FastVLMModel, FastVLMProcessor

# Load model and processor
model = FastVLMModel.from_pretrained("./models/pretrained/fastvlm-base")
processor = FastVLMProcessor.from_pretrained("./models/pretrained/fastvlm-base")

# Prepare inputs
image = Image.open("example.jpg")
text = "What is in this image?"
inputs = processor(images=image, text=text, return_tensors="pt")

# Run inference
outputs = model(**inputs)
answer = processor.decode(outputs.logits)
print(answer)
"""
CONFIGURE = """
from fastcap.vlm import FastVLMConfig, FastVLMModel

config = FastVLMConfig(
    attention_type="sparse",
    attention_pattern="strided",
    attention_stride=2,
    use_flash_attention=True
)

model = FastVLMModel(config)
"""
SMALL = Trunk((4, 6, 8, 10, 12, 14, 16), (1,) * 7, (3,) * 7, stem_width=4, expansion=2, head_width=20)
TINY = {"image_size": 64, "image_tokens": 3, "hidden_size": 16, "lora_rank": 2, "answer_tokens": 6}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Tiny random parts under the names of the real ones."""
    root = tmp_path_factory.mktemp("parts")
    write_language_model(root / "smollm2-135m-instruct")
    (root / "efficientnet-lite2").mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(convolutional.TRUNKS, "efficientnet-lite2", SMALL)
        torch.manual_seed(0)
        tensors = {}
        for name, convolution in named_convolutions(ConvolutionalTower("efficientnet-lite2")).items():
            tensors |= {f"{name}.weight": convolution.weight.detach(), f"{name}.bias": convolution.bias.detach()}
        save_file(tensors, root / "efficientnet-lite2" / "model.safetensors")
        yield root


@pytest.fixture(autouse=True)
def here(parts, monkeypatch, tmp_path):
    """A working directory with a photo, from which the parts are found."""
    monkeypatch.setenv("FASTCAP_PARTS", str(parts))
    monkeypatch.chdir(tmp_path)
    Image.effect_mandelbrot((80, 60), (-2, -1, 1, 1), 20).save("example.jpg")
    return tmp_path


@pytest.fixture
def model():
    """A model with random weights."""
    torch.manual_seed(0)
    made = FastVLMModel(FastVLMConfig(**TINY))
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if name in made.model.learned:
                parameter += 0.1 * torch.randn_like(parameter)
    return made


def test_the_seed_s_first_snippet_answers_as_the_captioner_does(model, here, capsys):
    model.save_pretrained("models/pretrained/fastvlm-base")
    exec(ASK, {"Image": Image})
    said = capsys.readouterr().out.rstrip("\n")
    captioner = checkpoint_captioner("models/pretrained/fastvlm-base")
    assert said == captioner.ask("example.jpg", "What is in this image?").text and said


def test_the_seed_s_configuration_makes_a_model_that_answers(here):
    made = {}
    exec(CONFIGURE, made)
    model = made["model"]
    resampler = model.model.decoder.projection
    assert (resampler.attention, resampler.stride) == ("strided", 2)
    assert model.model.decoder.language_model.config._attn_implementation == "sdpa"
    inputs = FastVLMProcessor.of(model)(images="example.jpg", text="a dog?", return_tensors="pt")
    assert model.generate(**inputs).shape[0] == 1


def test_fused_and_stepwise_attention_agree(here):
    logits = []
    for fused in (True, False):
        torch.manual_seed(0)
        model = FastVLMModel(FastVLMConfig(**TINY, use_flash_attention=fused))
        inputs = FastVLMProcessor.of(model)(images="example.jpg", text="a dog?")
        labels = inputs["input_ids"]
        logits.append(model(**inputs, labels=labels).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_logits_decode_to_what_is_generated_one_by_one_and_together(model):
    processor = FastVLMProcessor.of(model)
    pictures, questions = ["example.jpg"] * 2, ["a dog?", "what runs over the blue grass?"]
    inputs = processor(images=pictures, text=questions)
    assert inputs["input_ids"].shape == inputs["attention_mask"].shape and inputs["attention_mask"].sum(1).diff() > 0
    answers = model.generate(**inputs)
    assert processor.batch_decode(answers) == processor.batch_decode(model(**inputs).logits)
    for row, (picture, question) in enumerate(zip(pictures, questions, strict=True)):
        alone = processor(images=picture, text=question)
        assert processor.decode(model(**alone).logits) == processor.decode(answers[row])
    with pytest.raises(ConfigError, match="got 2 answers; needed: one"):
        processor.decode(answers)
    assert processor.batch_decode(model.generate(**inputs, num_beams=2))


def test_labels_give_a_loss_with_a_gradient_for_what_is_trained_alone(model):
    inputs = FastVLMProcessor.of(model)(images="example.jpg", text="a dog?")
    labels = inputs["input_ids"].clone()
    labels[:, :3] = -100
    output = model(**inputs, labels=labels)
    expected = torch.nn.functional.cross_entropy(output.logits[0, 2:-1], labels[0, 3:])
    torch.testing.assert_close(output.loss, expected)
    output.loss.backward()
    got = {name for name, parameter in model.model.named_parameters() if parameter.grad is not None}
    assert got and got <= model.model.learned


def test_adapters_are_loaded_by_their_folder(model, here, parts):
    model.save_pretrained("run")
    (here / "adapters").mkdir()
    pack(here / "run", here / "adapters")
    again = FastVLMModel.from_pretrained("adapters")
    inputs = FastVLMProcessor.from_pretrained("adapters")(images="example.jpg", text="a dog?")
    assert again.generate(**inputs).shape[0] == 1


def test_what_cannot_answer_says_why(model, here):
    processor = FastVLMProcessor.of(model)
    for given, told in (
        ({"images": "example.jpg"}, "text is None"),
        ({"text": "a dog?"}, "images is None"),
        ({"images": ["example.jpg"], "text": ["a?", "b?"]}, "1 pictures and 2 questions"),
        ({"images": "example.jpg", "text": ""}, "the question is empty"),
        ({"images": "example.jpg", "text": "x" * 10_000}, "10,000 characters"),
        ({"images": "example.jpg", "text": "a?", "return_tensors": "tf"}, "return_tensors is 'tf'; allowed: 'pt'"),
    ):
        with pytest.raises(ConfigError, match=told):
            processor(**given)
    with pytest.raises(ImageError, match="no such file"):
        processor(images="nowhere.jpg", text="a dog?")
    with pytest.raises(ConfigError, match="unknown adapters 'fastvlm-bass'"):
        FastVLMModel.from_pretrained("fastvlm-bass")
    with pytest.raises(ConfigError, match="attention_type is 'fancy'; allowed: dense, linear, sparse"):
        FastVLMConfig(attention_type="fancy")
    (here / "model.json").write_text("{}")
    with pytest.raises(ModelFileError, match="is an exported model"):
        FastVLMProcessor.from_pretrained(here)
