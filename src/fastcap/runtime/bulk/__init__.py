"""Many pictures: worker processes, journals that resume, captions beside the files, clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastcap.runtime.bulk.pool import MAX_WORKERS, caption_files, check_workers

__all__ = ["MAX_WORKERS", "caption_files", "check_workers"]


def __getattr__(name: str) -> Any:
    """Imports the pool when it is asked for: `fastcap caption` reads names of journals and starts no processes."""
    if name in __all__:
        from fastcap.runtime.bulk import pool

        return getattr(pool, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
