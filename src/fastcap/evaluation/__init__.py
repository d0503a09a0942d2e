"""Caption metrics in pure Python: no Java, no downloads."""

from __future__ import annotations

from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.metrics import evaluate_captions
from fastcap.evaluation.ptb import ptb_tokens

__all__ = ["CiderD", "evaluate_captions", "ptb_tokens"]
