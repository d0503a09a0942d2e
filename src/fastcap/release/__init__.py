"""Release: a checkpoint becomes a model directory of quantised graphs, if they are worth having.

>>> from fastcap.release import ExportSettings, export
>>> export("runs/fastcap-base/best", "models/mine", "data/flickr8k", ExportSettings(limit=200))  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from fastcap.release.settings import ExportSettings

if TYPE_CHECKING:
    from fastcap.release.pipeline import export

__all__ = ["ExportSettings", "export"]


def __getattr__(name: str) -> Any:  # PyTorch and ONNX are loaded when they are needed
    if name == "export":
        from fastcap.release.pipeline import export

        return export
    raise AttributeError(f"module 'fastcap.release' has no attribute {name!r}")
