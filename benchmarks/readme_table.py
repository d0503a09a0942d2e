"""Writes the README's tables from the measured JSON files, so that no figure is typed by hand.

    python benchmarks/readme_table.py            # rewrites README.md
    python benchmarks/readme_table.py --check    # only says whether it would change

A table stands between `<!-- begin: name -->` and `<!-- end: name -->`. One whose file is missing says so, in
the README and on stderr, with exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from fastcap.evaluation.metrics import UNITS
from fastcap.evaluation.speed import STAGES

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BENCH = "make bench"
EVALUATE = "fastcap evaluate --dataset flickr8k --root DIR --split val --json benchmarks/results/quality.json"


def speed(result: dict[str, Any]) -> str:
    """Stages of each photo and number of threads, then what the process costs."""
    rows = []
    for photo in result["photos"]:
        for run in photo["runs"]:
            whole = run["stages"]["photo to text"]
            cells = [_ms(run["stages"][stage]["p50_ms"]) for stage in STAGES]
            rows.append([photo["name"], run["threads"], *cells, _ms(whole["p95_ms"])])
    headings = ["photo", "threads", *STAGES, "p95"]
    process, model = result["process"], result["model"]
    memory = process["peak_memory_mb"]
    costs = [
        ["files of the model", f"{model['bytes'] / 1e6:.1f} MB"],
        [
            "peak memory of a process that captions one photo",
            f"{memory:.0f} MB" if memory else "not measured",
        ],
        ["`import fastcap`", f"{process['import_ms']:.0f} ms"],
        ["`fastcap caption photo.jpg`, the whole process", f"{process['caption_command_ms']:.0f} ms"],
    ]
    return "\n\n".join(
        [
            "Milliseconds, p50 unless said; `photo to text` is one call from the JPEG file to the sentence.",
            _table(headings, rows),
            _table(["", model["name"]], costs),
            _provenance(result),
        ]
    )


def since(result: dict[str, Any]) -> str:
    """How today's model compares with those of before, in one run."""
    first, *_, now = result["rows"]
    return "\n\n".join(
        [
            f"By processor time, in one run, today's bundled model takes {now['ratio']:.2f} times as long as that of "
            f"{first['name']}.",
            _provenance(result),
        ]
    )


def peers(result: dict[str, Any]) -> str:
    """Ours and the peers' architectures of the same run."""
    if "peers" not in result:
        raise SystemExit(f"{RESULTS / 'bench.json'}: holds no peers; make it with `{BENCH}`")
    ours = result["photos"][0]["runs"][0]["stages"]["photo to text"]["p50_ms"]
    rows = [[f"**{result['model']['name']}**", "", f"{result['model']['bytes'] / 1e6:.1f}", _ms(ours), "1", "1"]]
    rows += [
        [
            f"{peer['name']}: {peer['architecture']}",
            f"{peer['parameters_millions']:.0f}",
            f"{peer['fp32_mb']:.0f}",
            f"{peer['p50_ms']:.0f}",
            f"{peer['times_ours']:.0f}",
            f"{peer['size_times_ours']:.0f}",
        ]
        for peer in result["peers"]
    ]
    headings = ["model", "parameters, M", "MB", "ms, one thread", "times our time", "times our size"]
    return "\n\n".join([_table(headings, rows), result["peers_note"], _provenance(result)])


def quality(result: dict[str, Any]) -> str:
    """Every metric with its unit."""
    metrics = result["metrics"]
    rows = [[name, f"{metrics[name]:.4g}", unit] for name, unit in UNITS.items()]
    data, model = result["data"], result["model"]
    what = f"{model['name']} on {result['images']} pictures of {data['name']}, split {data['split']}."
    return "\n\n".join([what, _table(["metric", "value", "what it is"], rows), _provenance(result)])


def scan(result: dict[str, Any]) -> str:
    """Time over the number of tokens, and the fitted exponents."""
    rows = [
        [name.replace("_", " "), *map(_ms, mixer["p50_ms"]), f"{mixer['exponent']:.2f}"]
        for name, mixer in result["mixers"].items()
    ]
    headings = ["ms", *(f"{side}×{side} tokens" for side in result["sides"]), "exponent"]
    note = "Time grows as tokens^exponent: 1 is linear, 2 quadratic."
    return "\n\n".join([note, _table(headings, rows), _provenance(result)])


Render = Callable[[dict[str, Any]], str]
TABLES: dict[str, tuple[str, Render, str]] = {
    "speed": ("bench.json", speed, BENCH),
    "since": ("versus.json", since, "python benchmarks/versus.py 0.1.0=SRC today=src --save"),
    "peers": ("bench.json", peers, BENCH),
    "quality": ("quality.json", quality, EVALUATE),
    "scan": ("scan.json", scan, BENCH),
}
"""Name of the table -> its file, how it is drawn, and the command that makes the file."""


def rewrite(readme: str, results: Path) -> tuple[str, list[str]]:
    """The README with every table drawn anew, and what is missing, one line each."""
    missing = []
    for name, (file, render, command) in TABLES.items():
        path = results / file
        if path.is_file():
            body = render(json.loads(path.read_text(encoding="utf-8")))
        else:
            body = f"Not measured yet: `{command}`."
            missing.append(f"{name}: {path} does not exist; make it with `{command}`")
        begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
        if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
            raise SystemExit(f"README.md: needs `{begin}` and `{end}` exactly once, in this order")
        before, _, rest = readme.partition(begin)
        readme = f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"
    return readme, missing


def _table(headings: Iterable[str], rows: list[list[Any]]) -> str:
    """A Markdown table: first column left, the others right."""
    headings = list(headings)
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _provenance(result: dict[str, Any]) -> str:
    machine = result["machine"]
    flags = f" ({', '.join(machine['flags'])})" if machine["flags"] else ""
    return (
        f"<sub>`{result['command']}` on {machine['cpu']}{flags}, {machine['cores']} cores, "
        f"{result['date'][:10]}, commit {result['commit'] or 'unknown'}.</sub>"
    )


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 1 else f"{value:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if README.md differs")
    arguments = parser.parse_args()
    path = ROOT / "README.md"
    found = path.read_text(encoding="utf-8")
    wanted, problems = rewrite(found, RESULTS)
    if arguments.check and found != wanted:
        problems.append("README.md: its tables differ from benchmarks/results; run `make readme`")
    elif found != wanted:
        path.write_text(wanted, encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
