"""Many pictures: worker processes, journals that resume, captions beside the files, clusters."""

from __future__ import annotations

from fastcap.runtime.bulk.pool import MAX_WORKERS, caption_files, check_workers

__all__ = ["MAX_WORKERS", "caption_files", "check_workers"]
