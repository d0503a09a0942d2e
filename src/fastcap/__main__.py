"""`python -m fastcap` is the `fastcap` command."""

from __future__ import annotations

import sys

from fastcap.cli import main

sys.exit(main())
