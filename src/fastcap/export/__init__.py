"""Export: a trained model to ONNX graphs, the one writer of model directories, and converters for other runtimes.

>>> from fastcap.export import export_onnx
>>> export_onnx("runs/fastcap-base/best", "fastcap.onnx", optimize=True, dynamic_axes=True)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastcap.export.whole import export_onnx

__all__ = ["export_onnx"]


def __getattr__(name: str) -> Any:  # PyTorch and ONNX are loaded when they are needed
    if name == "export_onnx":
        from fastcap.export.whole import export_onnx

        return export_onnx
    raise AttributeError(f"module 'fastcap.export' has no attribute {name!r}")
