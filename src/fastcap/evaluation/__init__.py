"""Measures of captions, in pure Python: no Java, no downloads."""

from __future__ import annotations

from fastcap.evaluation.cider import CiderD

__all__ = ["CiderD"]
