"""Write what the web page takes from Python, `contract.js`, `english.js` and `gendered.js` in `web/`:
`python scripts/web_constants.py` after a change of what they come from. `tests/web/test_constants.py` notices where
that was forgotten."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from fastcap.generation.autoregressive import beam_search
from fastcap.runtime import contract, english
from fastcap.runtime.neutral import GENDERED
from fastcap.runtime.options import MAX_BEAMS, WORD_SPREAD, Options

WEB = Path(__file__).resolve().parent.parent / "web"


def literal(value: Any, indent: str = "") -> str:
    """A value as JavaScript; a table has a line for each key."""
    if isinstance(value, dict):
        inner = indent + "  "
        lines = [f"\n{inner}{literal(key)}: {literal(each, inner)}" for key, each in value.items()]
        return f"{{{','.join(lines)}\n{indent}}}"
    if isinstance(value, frozenset):
        lines = textwrap.wrap(" ".join(sorted(value)), 112, break_long_words=False, break_on_hyphens=False)
        return "new Set(\n  `" + "\n   ".join(lines) + "`.split(/\\s+/),\n)"
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
    head = "// Written by scripts/web_constants.py out of src/fastcap/runtime/{source}.\n\n"
    sources = {
        "contract.js": ("contract.py and options.py", contract_constants()),
        "english.js": ("english.py", {name: getattr(english, name) for name in english.__all__}),
        "gendered.js": ("neutral.py", {"GENDERED": GENDERED}),
    }
    return {
        file: head.format(source=source)
        + "".join(f"export const {name} = {literal(value)};\n" for name, value in constants.items())
        for file, (source, constants) in sources.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (WEB / name).write_text(text, encoding="utf-8")
