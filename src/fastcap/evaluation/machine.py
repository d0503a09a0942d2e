"""The facts about code and machine that are recorded with every measured figure."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastcap.files import machine_lines

__all__ = ["git_commit", "machine_facts", "now"]

PACKAGES = ("enhanced-fastcap", "numpy", "pillow", "onnxruntime", "tokenizers", "torch", "transformers")
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimd", "asimddp")
"""Instruction sets that decide how fast int8 runs: x86 on the left, Arm on the right."""


def machine_facts() -> dict[str, Any]:
    """What a reader needs to judge the figures: processor, its int8 instructions, cores, system, versions."""
    name, flags = _processor()
    return {
        "cpu": name,
        "flags": [flag for flag in CPU_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: number for package in PACKAGES if (number := _version(package))},
    }


def git_commit() -> str | None:
    """The commit that this code was cloned at, with a `+` if it was edited since; None outside a clone."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("diff", "HEAD", "--name-only", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> tuple[str, set[str]]:
    """Name and instruction sets as Linux lists them; elsewhere the name alone."""
    listing = Path("/proc/cpuinfo")
    if not listing.exists():
        return platform.processor() or platform.machine(), set()
    pairs = [line.partition(":") for line in machine_lines(listing) if ":" in line]
    facts = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    flags = facts.get("flags", facts.get("Features", ""))
    return facts.get("model name", platform.machine()), set(flags.split())
