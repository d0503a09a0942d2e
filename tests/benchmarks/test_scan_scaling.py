"""The fit that says whether token mixing is linear."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_fit_finds_the_power_that_made_the_times(scan_scaling: ModuleType, power: float) -> None:
    tokens = [side * side for side in scan_scaling.SIDES]
    assert scan_scaling.exponent(tokens, [0.03 * n**power for n in tokens]) == pytest.approx(power)


def test_a_measurement_has_an_exponent_for_each_mixer(scan_scaling: ModuleType) -> None:
    result = scan_scaling.measure(repeats=1, sides=(7, 14))
    assert result["tokens"] == [49, 196]
    assert all(isinstance(mixer["exponent"], float) for mixer in result["mixers"].values())


def test_the_plot_is_written(scan_scaling: ModuleType, tmp_path: Path) -> None:
    scan_scaling.plot(scan_scaling.measure(repeats=1, sides=(7, 14)), tmp_path / "scan.png")
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
