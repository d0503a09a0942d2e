"""Fixtures that several parts share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fastcap.config import ModelConfig
    from fastcap.model import CaptionModel


# A shell that starts the tests in the background has them ignore Ctrl-C; some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def wrong_usage(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must be refused with status 2; gives what it says."""
    from fastcap.cli import main

    def run(*line: object) -> str:
        with pytest.raises(SystemExit, match=r"^2$"):
            main(list(map(str, line)))
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "Traceback" not in shown.err
        return shown.err

    return run


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of public data, from FASTCAP_DATA or `../shared/data` beside the repository; else skip."""
    named = os.environ.get("FASTCAP_DATA")
    path = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"no data at {path}; point FASTCAP_DATA at the data folder")
    return path


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Every part of the architecture, small: 75 thousand weights, pictures of 64x64 pixels, four image tokens."""
    from fastcap.config import BackboneConfig, DecoderConfig, GenerationConfig, ModelConfig

    return ModelConfig(
        image_size=64,
        d_model=32,
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
        generation=GenerationConfig(passes=3, min_length=2, candidates=2),
    )


@pytest.fixture
def tiny_model(tiny_config: ModelConfig) -> CaptionModel:
    """A model in evaluation mode whose every weight is random, those that begin at 0 or 1 too."""
    import torch

    from fastcap.model import build_model

    torch.manual_seed(0)
    model = build_model(tiny_config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()
