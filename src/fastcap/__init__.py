"""fastcap: a photo in, a caption out, offline, on any CPU.

>>> import fastcap
>>> fastcap.load_model().caption("photo.jpg").text  # doctest: +SKIP
'A dog runs through the grass.'

Importing this module loads nothing heavy; numpy, Pillow and onnxruntime come with the first model.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, DataError, FastcapError, ImageError, ModelFileError

# ONNX Runtime reports its use to its maker unless it finds this when it is imported. Nothing may leave the machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from fastcap.runtime.captioner import Caption, Captioner
    from fastcap.runtime.engine import Encoded
    from fastcap.runtime.gallery import show
    from fastcap.runtime.options import Options, Sampling

__all__ = [
    "Caption",
    "Captioner",
    "ConfigError",
    "DataError",
    "Encoded",
    "FastcapError",
    "ImageError",
    "ModelFileError",
    "Options",
    "Sampling",
    "__version__",
    "available_models",
    "load_model",
    "show",
]

__version__ = "0.1.0"

# Imported when they are asked for, so that `import fastcap` loads nothing heavy.
_HOMES = {
    "Caption": "captioner",
    "Captioner": "captioner",
    "Encoded": "engine",
    "Options": "options",
    "Sampling": "options",
    "show": "gallery",
}


def load_model(name_or_dir: str | os.PathLike[str] = "fastcap-base", threads: int = 1) -> Captioner:
    """Open a bundled model by name, or any model directory.

    `threads`: CPU threads for the network, 1 to 64; 1 by default, because several small captioners side by
    side are faster than one with more threads.

    Raises ConfigError for an unknown name or thread count, ModelFileError for a damaged directory.
    """
    from fastcap.runtime.captioner import Captioner

    return Captioner.open(name_or_dir, threads=threads)


def available_models() -> list[str]:
    """Names of the models that are installed with the package, sorted."""
    from fastcap.runtime.bundle import available_models

    return available_models()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"fastcap.runtime.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'fastcap' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
