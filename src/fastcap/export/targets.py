"""What a model can be converted to: runtimes other than ours, and what each platform wants of them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CONVERTERS", "PLATFORMS", "PRECISIONS", "Converter"]


class Converter(NamedTuple):
    """A runtime other than ONNX Runtime.

    Attributes:
        runtime: its name, as its makers write it.
        module: where its `convert(source, folder, precision)` stands, which writes its files into an empty folder and
            returns what the manifest says of them, by key; see `fastcap.export.converters`. It is imported when it is
            used.
        package: what it imports first; where that is absent, the error names the extra.
        extra: the extra of this package that installs it.
        precisions: those that it writes, the default first.
        as_stored: whether it takes the graphs of a model directory as they are, so that their precision is the only
            one; `precisions` are then those of a checkpoint.
    """

    runtime: str
    module: str
    package: str
    extra: str
    precisions: tuple[str, ...] = ("int8", "fp32")
    as_stored: bool = False


CONVERTERS = {
    "litert": Converter("LiteRT", "fastcap.export.litert", "litert_torch", "litert"),
    "executorch": Converter("ExecuTorch", "fastcap.export.executorch", "executorch", "executorch"),
    "openvino": Converter("OpenVINO", "fastcap.export.openvino", "openvino", "openvino", ("int8", "fp32", "int4")),
    "coreml": Converter("Core ML", "fastcap.export.coreml", "coremltools", "coreml", ("int8", "fp16", "fp32")),
    "transformers.js": Converter(
        "transformers.js",
        "fastcap.release.transformers_js",
        "onnx",
        "export",
        ("int4", "int8", "fp16", "fp32", "all"),
        as_stored=True,
    ),
}
"""By name. Each makes all that a model needs in one folder."""

PLATFORMS = {"ios": "coreml", "android": "litert", "web": "transformers.js"}
"""The converter of each platform of `fastcap convert --platform`."""

PRECISIONS = ("int8", "fp32", "int4", "fp16", "all")
"""What weights are stored in; "all": in each that the converter has, side by side."""
