"""The bits of each layer under a limit of size: a knapsack with one choice per layer, and a report of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastcap.errors import ConfigError
from fastcap.quantization.scales import BITS, Layer
from fastcap.quantization.sensitivity import Change

__all__ = ["Option", "choose_bits", "draw_report", "options_of", "report_rows", "total", "write_report"]

UNIT = 64  # bytes; sizes above the smallest are rounded up to it


class Option(NamedTuple):
    """What a number of bits costs a layer: bytes, and the rise of the loss in nats."""

    size: int
    loss: float


def options_of(
    layers: Mapping[str, Layer], sensitivity: Mapping[str, Mapping[int, Change]]
) -> dict[str, dict[int, Option]]:
    """The options of layers by name and bits.

    The loss of an option is one standard error above the measured one: of a hundred layers some seem to gain by chance,
    and a plan that relies on such gains loses. 4 bits are an option where they are smaller than 8, since the nodes that
    unpack them take bytes too. 16 bits add no loss but time, since they compute in fp32: they are an option only where
    8 bits certainly do harm.
    """
    options = {}
    for name, changes in sensitivity.items():
        losses = {bits: max(0.0, change.mean) + change.error for bits, change in changes.items()}
        if changes[8].is_certain:
            losses[16] = 0.0
        sizes = {bits: layers[name].size(bits) for bits in losses}
        options[name] = {bits: Option(sizes[bits], losses[bits]) for bits in losses if bits >= 8 or sizes[4] < sizes[8]}
    return options


def choose_bits(options: Mapping[str, Mapping[int, Option]], budget: int) -> dict[str, int]:
    """The bits of each layer with the least sum of losses within `budget` bytes.

    Of equal sums the largest size is chosen: tiny losses differ by chance alone, and the budget may be used. The
    solution is exact, except that sizes are rounded up to multiples of 64 bytes; it is never worse than 8 bits
    everywhere, where that fits.

    Raises:
        ConfigError: not even the smallest options fit.
    """
    ordered = {name: sorted(choices, key=lambda bits: choices[bits].size) for name, choices in options.items()}
    base = sum(options[name][bits[0]].size for name, bits in ordered.items())
    if budget < base:
        raise ConfigError(f"the layers may have {budget} bytes; allowed: {base} or more")
    most = sum(extra_units(options[name], bits)[-1] for name, bits in ordered.items())
    units = min((budget - base) // UNIT, most)
    least = np.zeros(units + 1)  # loss of the layers so far within 0, 1, 2, ... units above the smallest
    best: dict[str, np.ndarray] = {}
    for name, bits in ordered.items():
        losses = np.full((len(bits), units + 1), np.inf)
        for row, steps in enumerate(extra_units(options[name], bits)):
            if steps <= units:
                losses[row, steps:] = least[: units + 1 - steps] + options[name][bits[row]].loss
        last = len(bits) - 1 - losses[::-1].argmin(axis=0)  # of equals
        best[name], least = last.astype(np.uint8), losses.min(axis=0)
    place = units - int(least[::-1].argmin())
    chosen: dict[str, int] = {}
    for name, bits in reversed(ordered.items()):
        row = int(best[name][place])
        chosen[name] = bits[row]
        place -= extra_units(options[name], bits)[row]
    chosen = {name: chosen[name] for name in options}
    plain = dict.fromkeys(options, 8)
    if all(8 in choices for choices in options.values()):
        size, loss = total(options, plain)
        if size <= budget and loss < total(options, chosen).loss:
            return plain
    return chosen


def extra_units(choices: Mapping[int, Option], bits: list[int]) -> list[int]:
    """By how many units of size each number of bits exceeds the first."""
    return [-(-(choices[width].size - choices[bits[0]].size) // UNIT) for width in bits]


def total(options: Mapping[str, Mapping[int, Option]], bits: Mapping[str, int]) -> Option:
    """Size and loss of all layers together."""
    chosen = [options[name][bits[name]] for name in options]
    return Option(sum(option.size for option in chosen), sum(option.loss for option in chosen))


def write_report(
    stem: Path,
    layers: Mapping[str, Layer],
    sensitivity: Mapping[str, Mapping[int, Change]],
    bits: Mapping[str, int],
    facts: Mapping[str, Any],
) -> None:
    """Write `stem.bits.json` (the plan: layer -> bits), `stem.report.json` and `stem.report.png`.

    Args:
        facts: other things that the report should say, such as the target size and the command.
    """
    rows = report_rows(layers, sensitivity, bits)
    stem.parent.mkdir(parents=True, exist_ok=True)
    report = {"format": 1, "kind": "bits", **facts, "layers": rows}
    stem.with_name(f"{stem.name}.bits.json").write_text(json.dumps(dict(bits), indent=1) + "\n", encoding="utf-8")
    stem.with_name(f"{stem.name}.report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw_report(rows, stem.with_name(f"{stem.name}.report.png"))


def report_rows(
    layers: Mapping[str, Layer], sensitivity: Mapping[str, Mapping[int, Change]], bits: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Size, bits and sensitivity of each layer, as plain data."""
    return [
        {
            "layer": name,
            "kind": layer.kind,
            "weights": layer.n_weights,
            "bits": bits[name],
            "bytes": {str(width): layer.size(width) for width in layer.widths},
            "loss": {str(width): round(change.mean, 6) for width, change in sensitivity[name].items()},
            "standard_error": {str(width): round(change.error, 6) for width, change in sensitivity[name].items()},
        }
        for name, layer in layers.items()
    ]


def draw_report(rows: list[dict[str, Any]], path: Path) -> None:
    """Sensitivity, bits and size of each layer, one above the other."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    places = np.arange(len(rows))
    colours = {4: "tab:orange", 8: "tab:blue", 16: "tab:gray"}
    inches = max(6.0, 0.13 * len(rows))
    figure, (loss, bits, size) = plt.subplots(3, 1, figsize=(inches, 9), sharex=True, layout="constrained")
    for width in (4, 8):
        means = [row["loss"].get(str(width), np.nan) for row in rows]
        errors = [row["standard_error"].get(str(width), np.nan) for row in rows]
        loss.errorbar(places, means, errors, fmt=".", color=colours[width], label=f"{width} bits", elinewidth=0.8)
    loss.axhline(0, color="black", linewidth=0.5)
    loss.set_yscale("symlog", linthresh=1e-3)
    loss.set_ylabel("rise of the loss, nats,\nwith this layer alone rounded")
    loss.legend()
    chosen = [colours[row["bits"]] for row in rows]
    bits.bar(places, [row["bits"] for row in rows], color=chosen)
    bits.set_yticks(BITS)
    bits.set_ylabel("bits")
    size.bar(places, [row["bytes"]["8"] / 1e3 for row in rows], color="0.9", label="at 8 bits")
    size.bar(places, [row["bytes"][str(row["bits"])] / 1e3 for row in rows], color=chosen, width=0.5, label="chosen")
    size.set_ylabel("kB")
    size.legend()
    size.set_xticks(places, [row["layer"] for row in rows], rotation=90, fontsize=5)
    size.set_xlim(-1, len(rows))
    figure.savefig(path, dpi=130)
    plt.close(figure)
