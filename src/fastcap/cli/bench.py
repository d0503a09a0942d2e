"""`fastcap bench`: what a caption costs on this machine in time, memory and space; on request, beside other models."""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcap.cli.options import add_model, add_number, check_folder, write_json
from fastcap.runtime.bundle import Bundle, find_model

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["add_arguments", "run"]

SEED = 0
PHOTOS = {"640x480": (640, 480), "12 MP": (4032, 3024)}
THREADS = (1, 2)
SHOWN = 12  # operators of the table; the JSON has them all
PEER_REPEATS = 5  # a peer takes a second or more a caption
PEERS_NOTE = (
    "Peers are public architectures with RANDOM weights, {tokens} tokens each, in eager PyTorch fp32 on one "
    "thread, from pixels in memory; ours is from the JPEG file. Quantised exports of theirs would be smaller "
    "and faster. Time and size compare, captions do not: the peers' published quality is far higher."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the verb."""
    add_model(parser)
    parser.add_argument(
        "--peers", action="store_true", help="time other captioners' architectures in the same run (minutes)"
    )
    told = "model directories and folders of `fastcap convert` to time in the same run, in one table (default: none)"
    parser.add_argument("--beside", nargs="+", default=(), metavar="NAME|DIR", help=told)
    parser.add_argument("--image", type=Path, metavar="PATH", help="photo to measure (default: two made ones)")
    add_number(parser, "--repeats", 1, 10_000, 50, "times that a photo is captioned")
    parser.add_argument(
        "--json", metavar="FILE", help="write the figures to this file; - prints them (default: print a table)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; raises ImageError or ModelFileError before anything is timed."""
    check_folder("--json", args.json)
    result = measure(args.model, args.image, args.repeats, args.peers, args.beside)
    if not write_json(args.json, result):
        _show(result)
    return 0


def measure(
    model: str, image: Path | None, repeats: int, peers: bool = False, beside: Sequence[str] = ()
) -> dict[str, Any]:
    """All figures of one run, as in the JSON: milliseconds, MB of 10^6 bytes, counts."""
    from fastcap.evaluation.machine import git_commit, machine_facts, now
    from fastcap.evaluation.speed import measure_process, measure_stages, sample_photo
    from fastcap.runtime.images import load_image

    for package in ("torch", "transformers") if peers else ():  # before minutes are spent
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
    if beside:
        from fastcap.release.beside import described, measure_beside

        for each in beside:
            described(each)
    bundle = Bundle.open(find_model(model))
    files = {path.name: path.stat().st_size for path in sorted(bundle.folder.iterdir()) if path.is_file()}
    result: dict[str, Any] = {
        "format": 1,
        "kind": "bench",
        "date": now(),
        "commit": git_commit(),
        "command": _command(model, image, repeats, peers, beside),
        "seed": SEED,
        "machine": machine_facts(),
        "model": {"name": bundle.name, "files": files, "bytes": sum(files.values())},
        "photos": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        if image is None:
            photos = {name: Path(folder) / f"{width}x{height}.jpg" for name, (width, height) in PHOTOS.items()}
            for name, path in photos.items():
                path.write_bytes(sample_photo(*PHOTOS[name], seed=SEED))
        else:
            load_image(image)
            photos = {image.name: image}
        for name, path in photos.items():
            runs = [{"threads": count, "stages": measure_stages(model, path, count, repeats)} for count in THREADS]
            result["photos"].append({"name": name, "bytes": path.stat().st_size, "runs": runs})
        result["process"] = measure_process(model, next(iter(photos.values())))
        result |= measure_reading(bundle, next(iter(photos.values())), repeats, Path(folder))
        if beside:
            result["beside"] = measure_beside([model, *beside], next(iter(photos.values())), repeats)
    if peers:
        from fastcap.evaluation.peers import NEW_TOKENS, PEERS, measure_peers

        ours = result["photos"][0]["runs"][0]["stages"]["photo to text"]["p50_ms"]
        result["peers"] = measure_peers(list(PEERS), PEER_REPEATS, SEED)
        for row in result["peers"]:
            row["times_ours"] = round(row["p50_ms"] / ours, 1)
            row["size_times_ours"] = round(row["fp32_mb"] * 1e6 / result["model"]["bytes"], 1)
        result["peers_note"] = PEERS_NOTE.format(tokens=NEW_TOKENS)
    return result


def measure_reading(bundle: Bundle, photo: Path, repeats: int, folder: Path) -> dict[str, Any]:
    """What the first photo costs beyond a caption: words, questions, operators; `reading` only of a model with exits or
    tokens to choose from, `asking` only of one that answers."""
    from fastcap.evaluation.reading import (
        decodes_left_to_right,
        measure_asking,
        measure_decoding,
        measure_operators,
        what_is_read,
    )

    found: dict[str, Any] = {}
    if decodes_left_to_right(bundle):
        found["decoding"] = measure_decoding(bundle, photo, repeats)
    if bundle.questions:
        found["asking"] = measure_asking(bundle, photo, repeats)
    if reading := what_is_read(bundle, photo):
        found["reading"] = reading
    notes = folder / "notes"
    notes.mkdir()
    return found | {"operators": measure_operators(bundle, photo, notes)}


def _command(model: str, image: Path | None, repeats: int, peers: bool, beside: Sequence[str]) -> str:
    """The command line that makes the same figures again."""
    words = ["fastcap", "bench", "--model", model, "--repeats", str(repeats)]
    words += ["--image", str(image)] if image else []
    words += ["--beside", *beside] if beside else []
    return shlex.join(words + ["--peers"] * peers)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    machine, model, process = result["machine"], result["model"], result["process"]
    flags = " ".join(machine["flags"]) or "none listed"
    load = machine["load_average"]
    busy = "" if load is None else f", load {load} (near 0 is a quiet machine)"
    console.print(f"{machine['cpu']}, {machine['cores']} cores, vector instructions: {flags}{busy}", highlight=False)
    console.print(_stage_table(result))
    memory = process["peak_memory_mb"]
    console.print(
        f"{model['name']}: {model['bytes'] / 1e6:.2f} MB of files; a fresh process: "
        f"{'memory not measured here' if memory is None else f'{memory:.0f} MB at most'}, "
        f"import fastcap {process['import_ms']:.0f} ms, "
        f"fastcap caption {process['caption_command_ms']:.0f} ms",
        highlight=False,
    )
    for line in _reading_lines(result):
        console.print(line, highlight=False)
    console.print(_operator_table(result))
    if "beside" in result:
        console.print(_beside_table(result["beside"]))
        for row in result["beside"]:
            if "why" in row:
                console.print(row["why"], highlight=False, markup=False)  # [litert] is an extra
    if "peers" in result:
        console.print(_peer_table(result))
        console.print(result["peers_note"], highlight=False)


def _stage_table(result: dict[str, Any]) -> Table:
    from fastcap.evaluation.speed import STAGES

    table = _table("Milliseconds, p50", "photo", "threads", *STAGES, "p95")
    for photo in result["photos"]:
        for run in photo["runs"]:
            stages = run["stages"]
            cells = [f"{stages[stage]['p50_ms']:.1f}" for stage in STAGES]
            cells.append(f"{stages['photo to text']['p95_ms']:.1f}")
            table.add_row(f"{photo['name']}, {photo['bytes'] / 1e6:.2f} MB", str(run["threads"]), *cells)
    return table


def _reading_lines(result: dict[str, Any]) -> list[str]:
    """Words, questions and exits, a line each."""
    lines = []
    if decoding := result.get("decoding"):
        first, pace = decoding["first_token"]["p50_ms"], decoding["tokens_per_second"]
        lines.append(f"first token after {first:.0f} ms, then {pace:.0f} a second (processor time, one thread)")
    if asking := result.get("asking"):
        shares = asking["times_first"]
        told = ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in shares.items())
        lines.append(f"first question {asking['first']['p50_ms']:.0f} ms; in first questions: {told}")
    if reading := result.get("reading"):
        exits = f"; exits taken: {reading['exits_taken']}" if "exits_taken" in reading else ""
        lines.append(f"read of a picture: {reading['tokens_kept']} of {reading['tokens']} tokens{exits}")
    return lines


def _operator_table(result: dict[str, Any]) -> Table:
    table = _table("Operators, most expensive first", "graph", "operator", "ms", "share")
    for row in result["operators"][:SHOWN]:
        table.add_row(row["graph"], row["operator"], f"{row['ms']:.2f}", f"{row['share']:.0%}")
    return table


def _beside_table(rows: list[dict[str, Any]]) -> Table:
    """All artefacts, the model first; without times those that do not run here."""
    headings = "MB", "peak MB", "ms", "times its time", "times its size"
    table = _table("The model and others, photo to text, one thread", "model, runtime", *headings)
    first = rows[0]
    for row in rows:
        told = ", ".join(filter(None, (row["name"], row["runtime"], row["precision"])))
        size, times_size = f"{row['bytes'] / 1e6:.1f}", f"{row['bytes'] / first['bytes']:.2f}"
        memory, time, times = "-", "-", "-"
        if "why" not in row:
            memory, time = _whole(row["peak_memory_mb"]), f"{row['p50_ms']:.1f}"
            times = f"{row['p50_ms'] / first['p50_ms']:.2f}"
        table.add_row(told, size, memory, time, times, times_size)
    return table


def _peer_table(result: dict[str, Any]) -> Table:
    headings = "model", "M parameters", "MB", "peak MB", "ms", "times our time", "times our size"
    table = _table("Beside others, one thread", *headings)
    ours, model = result["photos"][0]["runs"][0]["stages"]["photo to text"], result["model"]
    size, memory = f"{model['bytes'] / 1e6:.1f}", _whole(result["process"]["peak_memory_mb"])
    table.add_row(model["name"], "", size, memory, f"{ours['p50_ms']:.1f}", "1", "1")
    for row in result["peers"]:
        keys = "parameters_millions", "fp32_mb", "peak_memory_mb", "p50_ms", "times_ours", "size_times_ours"
        table.add_row(row["name"], *(_whole(row[key]) for key in keys))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
