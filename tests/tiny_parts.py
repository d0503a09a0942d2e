"""Pretrained parts of the prefix family at tiny random sizes: folders as `fastcap download` leaves them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from fastcap.config import GenerationConfig, ModelConfig, PrefixConfig, TowersConfig
from fastcap.data.tokenizer import train_tokenizer
from fastcap.model import CaptionModel, build_model, load_frozen

SENTENCES = [
    "A red ball", "There is one green box in the dark", "a dog runs over blue grass", "two yellow and white boxes",
    "People talk about many things: economy, history, quantum physics, and the price of gray paint.",
]  # fmt: skip
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
LANGUAGE_MODELS = {
    "llama": {"model_type": "llama", **SIZES, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", **SIZES, "num_key_value_heads": 2},
    "phi": {"model_type": "phi", **SIZES},
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 128},
}


def write_language_model(
    folder: Path, family: str = "llama", seed: int = 0, vocab_size: int = 330, **sizes: int
) -> Path:
    """A decoder-only model with random weights, and its tokenizer, whose texts begin with `<s>` and end with `</s>`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    text = train_tokenizer(SENTENCES, vocab_size).to_str().replace('"<bos>"', '"<s>"').replace('"<eos>"', '"</s>"')
    content = json.loads(text)
    content["pre_tokenizer"]["add_prefix_space"] = False  # as language models have it
    tokenizer = Tokenizer.from_str(json.dumps(content))
    settings = LANGUAGE_MODELS[family] | sizes
    marks = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": tokenizer.get_vocab_size() + 6}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(settings.pop("model_type"), **settings, **marks))
    with torch.no_grad():  # nothing stands at 0 or 1
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    return folder


def write_tower(folder: Path, seed: int = 0, size: int = 64, patch: int = 16) -> Path:
    """A SigLIP vision tower with random weights: 64x64 pixels, 16 tokens."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(seed)
    SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=size, patch_size=patch)).save_pretrained(folder)
    told = {"size": {"height": size, "width": size}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def prefix_config(language_model: Path, *towers: Path, **decoder: Any) -> ModelConfig:
    """Pictures of 64x64 pixels, four image tokens; `decoder`: settings of the decoder."""
    settings = {"image_tokens": 4, "rank": 4, "alpha": 4, "adapted": "all", **decoder}
    return ModelConfig(
        image_size=64,
        d_space=16,
        max_length=20,
        backbone=TowersConfig(names=tuple(map(str, towers))),
        decoder=PrefixConfig(language_model=str(language_model), **settings),
        generation=GenerationConfig(min_length=2),
    )


def prefix_model(config: ModelConfig, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[CaptionModel, Any]:
    """A model in evaluation mode, all that is trained of it random, and its tokenizer."""
    frozen = load_frozen(config, dtype)
    assert frozen is not None
    tokenizer = frozen.learn_vocabulary(map(str.lower, SENTENCES[:4]))
    torch.manual_seed(seed)
    model = build_model(frozen.fit(config, tokenizer), frozen).eval()
    with torch.no_grad():  # adapters begin as nothing
        for name, parameter in model.named_parameters():
            if name in model.learned:
                parameter += 0.1 * torch.randn_like(parameter)
    return model, tokenizer


def changed(config: ModelConfig, **decoder: Any) -> ModelConfig:
    """A configuration with other settings of the decoder."""
    return dataclasses.replace(config, decoder=dataclasses.replace(config.decoder, **decoder))


def write_clip(folder: Path, seed: int = 0) -> Path:
    """A CLIP with random weights, 48x48 pixels, whose vocabulary is not that of the language models."""
    from tokenizers.processors import TemplateProcessing
    from transformers import CLIPConfig, CLIPModel

    text = train_tokenizer([*SENTENCES, "a gray ball and red paint"], 480)
    text.post_processor = TemplateProcessing(single="<bos> $A <mask>", special_tokens=[("<bos>", 1), ("<mask>", 3)])
    tiny = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    marks = {"bos_token_id": 1, "eos_token_id": 3, "pad_token_id": 0}  # transformers reads an end mark 2 as the largest
    words = {**tiny, **marks, "vocab_size": text.get_vocab_size(), "max_position_embeddings": 24}
    torch.manual_seed(seed)
    sizes = {"text_config": words, "vision_config": {**tiny, "image_size": 48, "patch_size": 16}}
    model = CLIPModel(CLIPConfig(**sizes, projection_dim=16))
    with torch.no_grad():  # random weights of CLIP's own scale tell no texts apart
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    text.save(str(folder / "tokenizer.json"))
    told = {"crop_size": {"height": 48, "width": 48}, "do_center_crop": True, "size": {"shortest_edge": 48}}
    told |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder
