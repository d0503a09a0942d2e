"""What PyInstaller asks of a package: the folder of hooks that say which of its files an application needs."""

from __future__ import annotations

import os

__all__ = ["hook_directories"]


def hook_directories() -> list[str]:
    """Named by the entry point `pyinstaller40` in pyproject.toml."""
    return [os.path.dirname(__file__)]
