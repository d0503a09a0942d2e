"""A random model large enough for every kind of layer to be quantised, and its graphs."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fastcap.checkpoint import save_checkpoint
from fastcap.config import ModelConfig
from fastcap.data.tokenizer import train_tokenizer
from fastcap.export.parallel import assemble_parallel, export_parallel
from fastcap.model import CaptionModel, build_model
from fastcap.quantization.convolutions import quantize_convolutions
from fastcap.quantization.products import quantize_products
from tiny_parts import prefix_config, prefix_model, write_language_model, write_tower

FEEDS = {
    "length_range": np.array([2, 12]),
    "candidates": np.array([2]),
    "penalties": np.zeros(300, np.float32),
}


@pytest.fixture(scope="session")
def model(tiny_config: ModelConfig) -> CaptionModel:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    decoder = dataclasses.replace(tiny_config.decoder, d_hidden=96)
    ranked = dataclasses.replace(tiny_config.generation, alignment_weight=2.0)
    config = dataclasses.replace(tiny_config, d_model=64, decoder=decoder, generation=ranked)
    model = build_model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        model.decoder.bias[261:] += 4  # prefers words to single bytes, so that captions can be read
    return model


@pytest.fixture(scope="session")
def wide_model(tiny_config: ModelConfig) -> CaptionModel:
    """As `model`, and wide enough for its matrix products to be quantised too."""
    torch.manual_seed(0)
    decoder = dataclasses.replace(tiny_config.decoder, d_hidden=64)
    model = build_model(dataclasses.replace(tiny_config, d_model=128, decoder=decoder)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="session")
def tokenizer():
    texts = ["a red ball lies on the grass", "two dogs run along a beach", "a man sits in a wooden boat"] * 3
    tokenizer = train_tokenizer(texts, 300)
    assert tokenizer.get_vocab_size() == 300  # the runtime asks for as many as the model has
    return tokenizer


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    """Twelve pictures, smooth ones and noise, (N, 64, 64, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 4, 4, 3), dtype=np.uint8).repeat(16, axis=1).repeat(16, axis=2)
    noise = rng.integers(-20, 21, coarse.shape)
    return np.clip(coarse.astype(int) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def exported(model: CaptionModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fp32 parts, shared: never change them."""
    folder = tmp_path_factory.mktemp("parts")
    export_parallel(model, folder)
    return folder


@pytest.fixture(scope="session")
def graph(model: CaptionModel, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole fp32 graph, and beside it those of the causal reading and of texts, shared."""
    folder = tmp_path_factory.mktemp("graph") / "graphs"
    assemble_parallel(exported, folder, model.config)
    return folder / "model.onnx"


@pytest.fixture(scope="session")
def quantised(exported: Path, pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the parts with products and convolutions in integers, shared."""
    folder = shutil.copytree(exported, tmp_path_factory.mktemp("quantised") / "parts")
    for path in folder.iterdir():
        quantize_products(path, {})
    quantize_convolutions(folder / "encode.onnx", pictures[:8], FEEDS, {})
    return folder


GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"


@pytest.fixture(scope="module", params=["parallel", "autoregressive", "prefix"])
def small_checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint of each family; the prefix one answers questions, too."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param != "prefix":
        shutil.unpack_archive(GOLDEN / f"{request.param}.zip", folder)
        return folder / "checkpoint"
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    language_model, eye = write_language_model(folder / "llama"), write_tower(folder / "eye")
    model, tokenizer = prefix_model(prefix_config(language_model, eye, question_tokens=60))
    save_checkpoint(folder / "checkpoint", model.config, model.state_dict(), tokenizer)
    return folder / "checkpoint"
