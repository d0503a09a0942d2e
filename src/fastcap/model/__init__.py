"""Where a backbone meets a decoder."""

from fastcap.model.build import build_model, load_frozen
from fastcap.model.captioning import CaptionModel
from fastcap.model.parallel import Captions, ParallelCaptionModel
from fastcap.model.stepper import TorchStepper

__all__ = ["CaptionModel", "Captions", "ParallelCaptionModel", "TorchStepper", "build_model", "load_frozen"]
