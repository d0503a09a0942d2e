"""Where documents still state, typed by hand, figures of the bundled model that a new one has changed.

python scripts/typed_figures.py [--since COMMIT]

Figures are those of `model.json` and of benchmarks/results that differ from the commit's. Parts of pages between
`<!-- begin -->` and `<!-- end -->`, pages that a benchmark writes whole, and what a log or a changelog says of the past
are left out. A number may stand for something else: each line is for a person to read.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = [
    "src/fastcap/bundled/fastcap-base/model.json",
    *(
        f"benchmarks/results/{name}.json"
        for name in ("quality", "quality_beam", "quality_coco", "neutral", "taught", "choosing", "bench", "versus")
    ),
]
SKIPPED = ("log.md", "claims.md", "samples.md", "good_enough.md")
METRICS = {"cider", "bleu_4", "meteor", "rouge_l", "ratio", "calibration_error", "p50_ms", "p95_ms", "ms"}
"""Keys whose numbers documents quote."""


def main() -> int:
    """Print a line for each that is found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", default="HEAD", metavar="COMMIT", help="with the figures of before (%(default)s)")
    since = parser.parse_args().since
    before, now = (set().union(*(figures(read(path, commit)) for path in FIGURES)) for commit in (since, None))
    gone = before - now
    pages = [ROOT / "README.md", ROOT / "docs/claims.md.in", *sorted((ROOT / "docs").glob("*.md"))]
    for page in pages:
        if page.name not in SKIPPED:
            for number, line, found in stale(page.read_text(encoding="utf-8"), gone):
                print(f"{page.relative_to(ROOT)}:{number}: {', '.join(found)}: {line.strip()[:160]}")
    return 0


def read(path: str, commit: str | None) -> Any:
    """The content of a JSON file, of the working tree or of a commit; None if it is not there."""
    if commit is None:
        return json.loads((ROOT / path).read_text(encoding="utf-8")) if (ROOT / path).exists() else None
    shown = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, text=True)
    return json.loads(shown.stdout) if shown.returncode == 0 else None


def figures(value: Any, key: str = "") -> set[str]:
    """The numbers below keys of `METRICS`, as documents write them: with one digit behind the point, or two."""
    if isinstance(value, dict):
        return set().union(*(figures(each, name) for name, each in value.items()))
    if isinstance(value, list):
        return set().union(*(figures(each, key) for each in value))
    if key not in METRICS or isinstance(value, bool) or not isinstance(value, (int, float)):
        return set()
    return {f"{value:.1f}", f"{value:.2f}"} - {"0.0", "1.0", "1.00"}


def stale(text: str, gone: set[str]) -> Iterator[tuple[int, str, list[str]]]:
    """Lines outside generated blocks that hold one of these numbers: (number of the line, line, numbers)."""
    generated = False
    for number, line in enumerate(text.splitlines(), start=1):
        generated = ("<!-- begin" in line or generated) and "<!-- end" not in line
        if not generated and (
            found := [each for each in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", line) if each in gone]
        ):
            yield number, line, found


if __name__ == "__main__":
    sys.exit(main())
