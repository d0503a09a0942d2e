"""Writes docs/claims.md from its template and the committed results, so that no measured figure is typed.

    python benchmarks/claims.py            # rewrites docs/claims.md
    python benchmarks/claims.py --check    # only says whether it would change

The template is docs/claims.md.in. A reference stands in braces: a file, the way into it, and how Python formats it.

    {quality.metrics.cider:.1f}                                        benchmarks/results/quality.json
    {bulk_xeon.images_per_second.0}                                    benchmarks/results/recorded/bulk_xeon.json
    {choosing.rows[candidates=beam 8][ranked_by=people].coco.cider}    the entry of a list that has these values
    {retrieval.recall.image_to_text_5:.1%}                             a share, written with a space before the sign
    {58 - quality.metrics.cider:.1f}                                   + - * / with spaces around, from left to right

`fastcap-base` is the bundled model's manifest. `recorded/` holds what commands print that write no JSON.
"""

from __future__ import annotations

import argparse
import json
import operator
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
TEMPLATE = ROOT / "docs" / "claims.md.in"
PAGE = ROOT / "docs" / "claims.md"
NOTE = "<!-- Made by `make claims` from claims.md.in and benchmarks/results; change those. -->\n\n"

REFERENCE = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_NO_MEASUREMENT = re.compile(r"`[^`]*`|\]\([^)]*\)|\b\d+[x×]\d+\b|(?:wanted|asserted)[^:;,()]*: (?:[a-z]+ )*[\d.,]+")
_NUMBER = re.compile(r"\d+(\.\d+)?")


@cache
def result(name: str, results: Path) -> dict[str, Any]:
    """The results of a name: a file of `results` or of its folder `recorded`, or the manifest of a bundled model."""
    places = (
        results / f"{name}.json",
        results / "recorded" / f"{name}.json",
        ROOT / "src" / "fastcap" / "bundled" / name / "model.json",
    )
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise LookupError(f"no results {name!r}; looked for {', '.join(map(str, places))}")
    return json.loads(found.read_text(encoding="utf-8"))


def value(path: str, results: Path) -> Any:
    """What a path leads to, or a number that is written out."""
    if _NUMBER.fullmatch(path):
        return float(path) if "." in path else int(path)
    name, place = re.match(r"([\w-]*)(.*)", path).groups()  # type: ignore[union-attr]
    found: Any = result(name, results)
    while place:
        if entry := re.match(r"\[([^=\]]+)=([^\]]*)\]", place):  # an entry of a list
            found = _entry(found, *entry.groups(), path)
        elif entry := re.match(r"\[([^=\]]+)\]|\.([^.\[]+)", place):  # [a key.with a dot] or .a key
            found = _field(found, entry[1] or entry[2], path)
        else:
            raise LookupError(f"{path}: cannot be read from {place!r} on")
        place = place[entry.end() :]
    return found


def _field(found: Any, key: str, path: str) -> Any:
    if isinstance(found, list) and re.fullmatch(r"-?\d+", key) and -len(found) <= int(key) < len(found):
        return found[int(key)]
    if isinstance(found, dict) and key in found:
        return found[key]
    there = ", ".join(found) if isinstance(found, dict) else type(found).__name__
    raise LookupError(f"{path}: no {key!r}; there are: {there}")


def _entry(found: Any, key: str, wanted: str, path: str) -> Any:
    """The entry of a list; or the list of those that fit, to be narrowed further."""
    entries = found if isinstance(found, list) else [found]  # one that is left may be asked once more
    fit = [each for each in entries if isinstance(each, dict) and str(each.get(key)) == wanted]
    if not fit:
        raise LookupError(f"{path}: no entry has {key} {wanted!r}")
    return fit[0] if len(fit) == 1 else fit


def expression(text: str, results: Path) -> Any:
    """What a reference stands for; `58 - quality.metrics.cider` subtracts."""
    first, *rest = re.split(r" ([-+*/]) ", text)
    if all(_NUMBER.fullmatch(part) for part in (first, *rest[1::2])):
        raise LookupError(f"{text}: names no result")
    total = value(first, results)
    for sign, part in zip(rest[::2], rest[1::2], strict=True):
        total = _OPERATIONS[sign](total, value(part, results))
    if isinstance(total, (dict, list)):
        raise LookupError(f"{text}: is {type(total).__name__}, no figure")
    return total


def render(template: str, results: Path = RESULTS) -> str:
    """The page.

    Raises:
        SystemExit: a reference leads nowhere; all of them are named, with their lines.
    """
    problems: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        try:
            text = format(expression(match[1], results), match[2] or "")
        except (LookupError, TypeError, ValueError) as error:
            line = template.count("\n", 0, match.start()) + 1
            problems.append(f"{TEMPLATE.name}:{line}: {{{match[1]}}}: {error}")
            return match[0]
        return text.replace("%", " %")

    page = REFERENCE.sub(replaced, template)
    if problems:
        raise SystemExit("\n".join(problems))
    return NOTE + page


def bare_figures(template: str) -> list[str]:
    """Measured figures that are typed, a line each: digits in the last cell of a row, or in running text.

    A number may be typed where it is no measurement: within code and the targets of links, in a name (BLEU-4, int8), as
    a size (640x480), in a heading, and after "wanted:" or "asserted:". The other cells hold claims and commands.
    """
    found = []
    for number, line in enumerate(template.splitlines(), start=1):
        text = line.rstrip(" |").rpartition(" | ")[2] if line.startswith("|") else line
        if line.startswith("#"):
            continue
        text = _NO_MEASUREMENT.sub("", REFERENCE.sub("", text))
        if typed := re.findall(r"(?<![A-Za-z])(?<![A-Za-z]-)(?<!\w)\d[\d.,]*", text):
            found.append(f"{TEMPLATE.name}:{number}: {', '.join(typed)} in {text.strip()!r}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if docs/claims.md differs")
    arguments = parser.parse_args()
    template = TEMPLATE.read_text(encoding="utf-8")
    problems = bare_figures(template)
    page = render(template)
    if arguments.check and (not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page):
        problems.append("docs/claims.md differs from its template and benchmarks/results; run `make claims`")
    elif not arguments.check:
        PAGE.write_text(page, encoding="utf-8")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
