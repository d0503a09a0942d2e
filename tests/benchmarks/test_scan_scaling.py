"""Token mixing is linear: the fit that says so, and the claim itself."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_fit_finds_the_power_that_made_the_times(scan_scaling: ModuleType, power: float) -> None:
    tokens = [side * side for side in scan_scaling.SIDES]
    assert scan_scaling.exponent(tokens, [0.03 * n**power for n in tokens]) == pytest.approx(power)


def test_the_scan_is_linear_in_tokens(scan_scaling: ModuleType) -> None:
    result = scan_scaling.measure(repeats=7)
    assert result["tokens"] == [196, 784, 1764, 3136]
    assert result["mixers"]["selective_scan"]["exponent"] <= 1.1


def test_the_plot_is_written(scan_scaling: ModuleType, tmp_path: Path) -> None:
    scan_scaling.plot(scan_scaling.measure(repeats=1, sides=(7, 14)), tmp_path / "scan.png")
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
