"""The verbs, each of which is imported when it is chosen."""

from __future__ import annotations

from fastcap.cli import VERBS

hiddenimports = [f"fastcap.cli.{verb}" for verb in VERBS]
