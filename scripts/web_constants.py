"""Write what the web page takes from Python, `web/contract.js` and `web/gendered.js`: `python scripts/web_constants.py`
after a change of what they come from. `tests/web/test_constants.py` notices where that was forgotten."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

from fastcap.generation.autoregressive import beam_search
from fastcap.runtime import contract
from fastcap.runtime.neutral import GENDERED
from fastcap.runtime.options import MAX_BEAMS, WORD_SPREAD, Options

WEB = Path(__file__).resolve().parent.parent / "web"


def literal(value: Any, indent: str = "") -> str:
    """A value as JavaScript; a table has a line for each key."""
    if isinstance(value, dict):
        inner = indent + "  "
        lines = [f"\n{inner}{literal(key)}: {literal(each, inner)}" for key, each in value.items()]
        return f"{{{','.join(lines)}\n{indent}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value) if isinstance(value, str) else json.dumps(value)


def contract_constants() -> dict[str, Any]:
    """What `fastcap.runtime.contract` and the options of a caption say, as far as the page needs it, by name."""
    options = dataclasses.asdict(Options())
    return {
        "FORMAT": contract.FORMAT,
        "MANIFEST": contract.MANIFEST,
        "TOKENIZER": contract.TOKENIZER,
        "MODEL": contract.MODEL.file,
        "LEFT_TO_RIGHT": contract.LEFT_TO_RIGHT,
        "OUTPUTS": tuple(contract.MODEL.outputs),
        "STATE": contract.STATE,
        "KINDS": {name: {"graphs": kind.graphs, "decodes": kind.decodes} for name, kind in contract.KINDS.items()},
        "USUAL": {name: options[name] for name in ("length", "candidates", "neutral", "beams")},
        "MAX_BEAMS": MAX_BEAMS,
        "WORD_SPREAD": WORD_SPREAD,
        "LENGTH_PENALTY": inspect.signature(beam_search).parameters["length_penalty"].default,
    }


def files() -> dict[str, str]:
    """The content of each file, by name."""
    head = "// Written by scripts/web_constants.py out of {source}.\n\n"
    lines = [f"export const {name} = {literal(value)};\n" for name, value in contract_constants().items()]
    return {
        "contract.js": head.format(source="src/fastcap/runtime/contract.py and options.py") + "".join(lines),
        "gendered.js": head.format(source="src/fastcap/runtime/neutral.py")
        + f"export const GENDERED = {literal(GENDERED)};\n",
    }


if __name__ == "__main__":
    for name, text in files().items():
        (WEB / name).write_text(text, encoding="utf-8")
