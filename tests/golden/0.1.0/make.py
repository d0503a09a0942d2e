"""Wrote the files beside it, with fastcap 0.1.0 on the import path: `PYTHONPATH=CLONE_OF_0.1.0/src python make.py`.

`parallel.zip` and `autoregressive.zip` hold a model directory and a checkpoint each, small and random;
`golden.json` holds what 0.1.0 says with them.
"""
# ruff: noqa: I001 (imports of 0.1.0: ruff sorts those that are not there any more among other packages)

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from fastcap import Sampling
from fastcap.checkpoint import save_checkpoint
from fastcap.cli.quantise import assembled_graph, exported_parts
from fastcap.config import (
    BackboneConfig,
    DecoderConfig,
    GenerationConfig,
    ModelConfig,
    ResNetViTConfig,
    RopeDecoderConfig,
)
from fastcap.data.tokenizer import train_tokenizer
from fastcap.eager import EagerCaptioner
from fastcap.export.bundle import write_bundle
from fastcap.export.weights import unheld
from fastcap.model import CaptionModel
from fastcap.runtime.captioner import Captioner

HERE = Path(__file__).parent
TEXTS = ["A red ball.", "two dogs run"]
PARALLEL = ModelConfig(
    image_size=64,
    d_model=32,
    d_space=16,
    vocab_size=300,
    max_length=12,
    backbone=BackboneConfig(
        stem_width=8,
        widths=(8, 8, 12, 12, 16, 16, 24),
        depths=(1,) * 7,
        expansion=2,
        head_width=32,
        mamba_depths=(1, 1),
        n_heads=4,
    ),
    decoder=DecoderConfig(n_layers=2, n_heads=4, d_hidden=48, n_experts=4, top_k=1),
    generation=GenerationConfig(passes=3, min_length=2, candidates=2, alignment_weight=2.0),
)
AUTOREGRESSIVE = dataclasses.replace(
    PARALLEL,
    backbone=ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48),
    decoder=RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=64),
)
LEFT_TO_RIGHT = [
    {"decode": "greedy"},
    {"decode": "beam", "candidates": 3},
    {"decode": "beam", "beams": 2, "length": 4},
    {"decode": "beam", "neutral": True, "length": "short"},
    {"decode": "sample", "candidates": 2, "sampling": {"seed": 3, "temperature": 0.8, "no_repeat": 2}},
]
ASKED = {
    "parallel": [{}, {"candidates": 4}, {"length": "short"}, {"length": 5}, {"neutral": True}, *LEFT_TO_RIGHT],
    "autoregressive": [{}, *LEFT_TO_RIGHT],
}


def pictures() -> list[np.ndarray]:
    """Three pictures (64, 64, 3) uint8 that every machine draws alike."""
    y, x = np.mgrid[:64, :64]
    planes = [[x * 4, y * 4, x + y], [x * y // 16, 255 - x * 2, y * 3], [x // 8 * 32, (x // 8 + y // 8) % 2 * 200, y]]
    return [np.stack(each, axis=2).astype(np.uint8) for each in planes]


def answers(captioner: Captioner, kind: str) -> list[dict]:
    """What a captioner says of the pictures, for every set of options of its kind."""
    rows = []
    for index, picture in enumerate(pictures()):
        for options in ASKED[kind]:
            given = dict(options)
            if "sampling" in given:
                given["sampling"] = Sampling(**given["sampling"])
            wordings = captioner.caption(picture, **given).candidates
            said = [[each.text, each.confidence, [list(token) for token in each.tokens]] for each in wordings]
            rows.append({"picture": index, "options": options, "candidates": said})
    return rows


def random_model(config: ModelConfig) -> CaptionModel:
    """A model whose weights have few different values, so that an archive is small."""
    torch.manual_seed(0)
    model = CaptionModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            steps = 5 if name.startswith("alignment.text") else 32
            parameter.copy_(((parameter + 0.1 * torch.randn_like(parameter)) * steps).round() / steps)
        model.decoder.bias[261:] += 4  # prefers words to single bytes
    return model


def main() -> None:
    golden: dict = {"texts": TEXTS}
    tokenizer = train_tokenizer(["a red ball lies on the grass", "two dogs run", "a man in a wooden boat"] * 3, 300)
    with tempfile.TemporaryDirectory() as aside:
        for kind, config in (("parallel", PARALLEL), ("autoregressive", AUTOREGRESSIVE)):
            folder, parts = Path(aside) / kind, Path(aside) / f"{kind} parts"
            parts.mkdir()
            model = random_model(dataclasses.replace(config, vocab_size=tokenizer.get_vocab_size()))
            save_checkpoint(folder / "checkpoint", model.config, model.state_dict(), tokenizer)
            graph = assembled_graph(exported_parts(model, parts), parts / "graphs", model)
            facts = {"name": f"tiny-{kind}", "description": "Random weights.", "quality": {}, "speed": {}}
            fitted = {"calibration": (0.9, 0.2), "alignment": (8.0, -1.0), "unheld": unheld(model, graph.parent)}
            write_bundle(folder / "model", graph.parent, tokenizer, model.config, **facts, **fitted)
            captioner = Captioner.open(folder / "model")
            golden[kind] = {
                "model": answers(captioner, kind),
                "scores": [captioner.score(picture, TEXTS) for picture in pictures()],
                "vectors": captioner.embed_images(pictures()).tolist(),
                "checkpoint": answers(EagerCaptioner(folder / "checkpoint"), kind),
            }
            shutil.make_archive(str(HERE / kind), "zip", folder)
    (HERE / "golden.json").write_text(json.dumps(golden, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
