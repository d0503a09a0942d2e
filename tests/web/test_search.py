"""Word after word in the browser: the searches of Python, over the same graphs, find the same captions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from visiting import Module

import fastcap
from fastcap.evaluation.speed import sample_photo

SEARCHES = [
    {"decode": "greedy"},
    {"decode": "beam"},
    {"decode": "beam", "beams": 5, "candidates": 4},
    {"decode": "beam", "beams": 1, "length": "short"},
    {"decode": "greedy", "length": 3},
    {"decode": "beam", "length": 4, "candidates": 8},
    {"decode": "beam", "length": "long", "neutral": True},
    {"length": "short", "candidates": 3},
    {"length": 6},
    {"length": 12, "beams": 8, "candidates": 8},
]


@pytest.fixture(scope="session")
def folders(tiny_config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model directories of random weights, one of each kind."""
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    from fastcap.config import ResNetViTConfig, RopeDecoderConfig
    from fastcap.data.tokenizer import train_tokenizer
    from fastcap.export.families import EXPORTS
    from fastcap.export.writer import write_bundle
    from fastcap.model import build_model

    texts = ["a red ball lies on the grass", "two dogs run along a beach", "a man sits in a wooden boat"] * 3
    tokenizer = train_tokenizer(texts, tiny_config.vocab_size)
    resnet = ResNetViTConfig(widths=(8, 8, 12, 16), depths=(1, 1, 1, 1), n_layers=1, n_heads=4, d_hidden=48)
    families = {
        "parallel": {},
        "autoregressive": {"backbone": resnet, "decoder": RopeDecoderConfig(n_layers=2, n_heads=4, d_hidden=96)},
    }
    found = {}
    for kind, parts in families.items():
        torch.manual_seed(0)
        model = build_model(dataclasses.replace(tiny_config, **parts)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
            model.decoder.embedding.weight *= 4  # has opinions: among near ties a search follows the last digit
            model.decoder.bias[261:] += 4  # prefers words to single bytes
        scratch = tmp_path_factory.mktemp(kind)
        EXPORTS[kind].parts(model, scratch)
        EXPORTS[kind].assemble(scratch, scratch / "graphs", model.config)
        found[kind] = scratch / "tiny"
        write_bundle(found[kind], scratch / "graphs", tokenizer, model.config, name="tiny", calibration=(2.0, 0.5))
    return found


@pytest.fixture(scope="module", params=["parallel", "autoregressive"])
def tiny(request: pytest.FixtureRequest, module: Module, folders: dict[str, Path]) -> fastcap.Captioner:
    """A tiny model in Python; in the browser it is `window.modules.tiny`."""
    folder = folders[request.param]
    page = module._page
    asked: list[str] = []

    def answer(route) -> None:
        asked.append(route.request.url.split("/")[-1].split("?")[0])
        route.fulfill(path=folder / asked[-1])

    page.route(f"**/{request.param}/*", answer)
    page.evaluate(f"async () => {{ modules.tiny = await modules.fastcap.load('/{request.param}'); }}")
    first = {"parallel": ["model.onnx"], "autoregressive": ["encode.onnx", "step.onnx"]}[request.param]
    assert sorted(asked) == sorted(["model.json", "tokenizer.json", *first])  # the rest when it is asked for
    return fastcap.load_model(folder)


def pictures(count: int) -> list[np.ndarray]:
    """Smooth ones with noise, uint8 (64, 64, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return list(np.clip(coarse + rng.integers(-20, 21, coarse.shape), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("options", SEARCHES, ids=str)
def test_captions_are_those_of_python(options: dict, module: Module, tiny: fastcap.Captioner) -> None:
    body = "return modules.tiny.captionPixels(new Uint8Array(pixels), options)"
    for picture in pictures(5):
        expected = tiny.caption(picture, **options)
        found = module.run(body, pixels=picture.flatten().tolist(), options=options)
        assert [wording["text"] for wording in found["candidates"]] == [each.text for each in expected.candidates]
        for wording, other in zip(found["candidates"], expected.candidates, strict=True):
            assert wording["confidence"] == pytest.approx(other.confidence, abs=1e-4)
            assert [token["text"] for token in wording["tokens"]] == [token.text for token in other.tokens]
            confidences = [token.confidence for token in other.tokens]
            assert [token["confidence"] for token in wording["tokens"]] == pytest.approx(confidences, abs=1e-4)


def test_an_autoregressive_model_searches_a_beam_where_nobody_asks(module: Module, tiny: fastcap.Captioner) -> None:
    assert module.run("return modules.tiny.decodes") == [each for each in tiny.bundle.decodes if each != "sample"]
    body = "return (await modules.tiny.captionPixels(new Uint8Array(pixels))).text"
    for picture in pictures(3):
        assert module.run(body, pixels=picture.flatten().tolist()) == tiny.caption(picture).text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decode": "sample"}, "decode is 'sample'; allowed with model 'tiny' are "),
        ({"decode": "beam", "beams": 9}, "beams is 9; allowed are whole numbers from 1 to 8"),
        ({"decode": "greedy", "candidates": 2}, "candidates is 2; greedy search finds 1, beam search up to 8"),
    ],
)
def test_an_option_out_of_range_says_what_is_allowed(options: dict, message: str, module: Module, tiny) -> None:
    found = module.error("await modules.tiny.caption(new Blob(), options)", options=options)
    assert found.startswith(f"ConfigError: {message}")


def test_without_the_graphs_of_a_search_there_is_none(module: Module, tiny_bundle: Path) -> None:
    page = module._page
    page.route("**/plain/*", lambda route: route.fulfill(path=tiny_bundle / Path(route.request.url.split("?")[0]).name))
    body = "await (await fastcap.load('/plain')).caption(new Blob(), { decode: 'beam' })"
    told = "ConfigError: decode is 'beam'; allowed with model 'tiny' are parallel"
    assert module.error(body) == told


def test_a_kind_of_model_that_is_unknown_is_refused(module: Module, folders: dict[str, Path]) -> None:
    manifest = json.loads((folders["parallel"] / "model.json").read_text()) | {"kind": "diffusion"}
    module._page.route("**/strange/model.json", lambda route: route.fulfill(body=json.dumps(manifest)))
    found = module.error("await fastcap.load('/strange')")
    assert found.endswith("/strange/model.json: kind is diffusion; expected parallel or autoregressive or prefix")


def test_the_bundled_model_is_searched_as_in_python(module: Module, captioner: fastcap.Captioner) -> None:
    """Its graphs read their weights out of the file of the whole one. Its integers round otherwise in WebAssembly."""
    for decode in ("greedy", "beam"):
        same = 0
        for seed in range(5):
            photo = sample_photo(320, 240, seed=seed)
            (found,) = module.run("return captioner.caption(photo, options)", photo=photo, options={"decode": decode})
            same += found["text"] == captioner.caption(photo, decode=decode).text
        assert same >= 4
