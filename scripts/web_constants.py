"""Write what the web page takes from Python, `contract.js`, `english.js` and `gendered.js` in `web/`:
`python scripts/web_constants.py` after a change of what they come from. `tests/web/test_constants.py` notices where
that was forgotten."""

from __future__ import annotations

import dataclasses
import inspect
import json
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

from fastcap.generation.autoregressive import beam_search
from fastcap.runtime import answering, contract, conversation, english, gendered, scales, stepper
from fastcap.runtime.options import LEAST_END, LEAST_TOKEN, LENGTH_BEAMS, MAX_BEAMS, NO_REPEAT, WORD_SPREAD, Options

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


def words_literal(value: Any) -> str:
    """Classes of words as JavaScript: a set, a table of words, or a text."""
    if isinstance(value, frozenset):
        return f"new Set(\n  `{wrapped(sorted(value), ' ')}`.split(/\\s+/),\n)"
    if isinstance(value, dict):
        told = wrapped([f"{key}={each}" for key, each in sorted(value.items())], ", ")
        return f"new Map(\n  `{told}`.split(/,\\s+/).map((pair) => pair.split('=')),\n)"
    return json.dumps(value, ensure_ascii=False)


def wrapped(parts: list[str], separator: str) -> str:
    """Parts in lines; none of them is divided."""
    text = separator.join(part.replace(" ", "\0") for part in parts)
    lines = textwrap.wrap(text, 112, break_long_words=False, break_on_hyphens=False)
    return "\n   ".join(lines).replace("\0", " ")


def words_of(module: ModuleType) -> dict[str, Any]:
    """The classes of words of a module, by name."""
    return {name: value for name in module.__all__ if not callable(value := getattr(module, name))}


def contract_constants() -> dict[str, Any]:
    """What `fastcap.runtime.contract` and the options of a caption say, as far as the page needs it, by name."""
    options = dataclasses.asdict(Options())
    return {
        "FORMAT": contract.FORMAT,
        "MANIFEST": contract.MANIFEST,
        "TOKENIZER": contract.TOKENIZER,
        "MODEL": contract.MODEL.file,
        "PHOTO": contract.PHOTO,
        "WORDS": contract.WORDS,
        "PICTURES": contract.PICTURES,
        "IMAGE_VECTORS": next(iter(contract.IMAGE_VECTORS)),
        "OUTPUTS": tuple(contract.MODEL.outputs),
        "KINDS": {
            name: {"graphs": kind.graphs, "decodes": kind.decodes, "left_to_right": kind.left_to_right}
            for name, kind in contract.KINDS.items()
        },
        "BEFORE": scales.BEFORE,
        "PLACE": conversation.PLACE,
        "IMAGE_MARK": conversation.IMAGE_MARK,
        "MAX_QUESTION": conversation.MAX_QUESTION,
        "MAX_QUESTIONS": answering.MAX_QUESTIONS,
        "TOGETHER": answering.TOGETHER,
        "FEW": stepper.FEW,
        "USUAL": {
            name: options[name]
            for name in ("length", "candidates", "neutral", "beams", "min_confidence", "hedge", "no_memory")
        },
        "MAX_BEAMS": MAX_BEAMS,
        "WORD_SPREAD": WORD_SPREAD,
        "SHORT": contract.SHORT,
        "LENGTH_BEAMS": LENGTH_BEAMS,
        "NO_REPEAT": NO_REPEAT,
        "LEAST_TOKEN": LEAST_TOKEN,
        "LEAST_END": LEAST_END,
        "LENGTH_PENALTY": inspect.signature(beam_search).parameters["length_penalty"].default,
    }


def files() -> dict[str, str]:
    """The content of each file, by name."""
    head = "// Written by scripts/web_constants.py out of src/fastcap/runtime/{source}.\n\n"
    sources = {
        "contract.js": ("contract.py and the modules beside it", contract_constants(), literal),
        "english.js": ("english.py", words_of(english), words_literal),
        "gendered.js": ("gendered.py", words_of(gendered), words_literal),
    }
    return {
        file: head.format(source=source)
        + "".join(f"export const {name} = {form(value)};\n" for name, value in constants.items())
        for file, (source, constants, form) in sources.items()
    }


if __name__ == "__main__":
    for name, text in files().items():
        (WEB / name).write_text(text, encoding="utf-8")
