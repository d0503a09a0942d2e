"""Where a backbone meets a decoder."""

from fastcap.model.captioning import BACKBONES, DECODERS, CaptionModel, Captions, TorchStepper

__all__ = ["BACKBONES", "DECODERS", "CaptionModel", "Captions", "TorchStepper"]
