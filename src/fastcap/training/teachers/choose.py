"""Teachers: networks that initialise ours, or that ours learns from by what they say.

Letters: B images, R caption rows, T tokens, V vocabulary, C channels, k likeliest tokens.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageOps
from tokenizers import Tokenizer
from torch import Tensor, nn

from fastcap.backbone.mobilenetv2 import ConvBlock, InvertedResidual
from fastcap.backbone.resnet_vit import ResNetViTBackbone
from fastcap.backbone.spatial_mamba import SpatialMambaBackbone
from fastcap.checkpoint import load_checkpoint
from fastcap.config import SOURCES, BackboneConfig, ModelConfig, TeacherConfig, TrainConfig, keywords
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.errors import DataError, FastcapError, ModelFileError, needs
from fastcap.generation.autoregressive import beam_search
from fastcap.layers import ImageTokens
from fastcap.losses.language import read_causally
from fastcap.model import CaptionModel, TorchStepper
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.vocabulary import BOS, EOS, MASK, PAD

if TYPE_CHECKING:
    from fastcap.decoder.moe_decoder import ImageState

__all__ = ["Ensemble", "HuggingFaceCaptioner", "ImageNetFeatures", "initialise_from_mobilenetv2", "load_teacher"]

BEAMS = 3  # captions of an image that a teacher gives

Caption = tuple[int, tuple[int, ...]]  # index of an image, token ids


def convolutions(backbone: SpatialMambaBackbone | ResNetViTBackbone) -> dict[str, ConvBlock]:
    """The backbone's convolutions under the names of MobileNetV2's."""
    assert isinstance(backbone.stem, ConvBlock) and isinstance(backbone.head, ConvBlock)
    named: dict[str, ConvBlock] = {"conv0": backbone.stem}
    blocks = [*backbone.to_stride_16, *backbone.to_stride_32]
    for index, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        if block.expand is not None:
            named[f"b{index}.expand"] = block.expand
        named[f"b{index}.dw"] = block.dw
        named[f"b{index}.project"] = block.project
    named["conv_last"] = backbone.head
    return named


def initialise_from_mobilenetv2(
    backbone: SpatialMambaBackbone | ResNetViTBackbone, path: Path | str, setting: str = "data.teacher"
) -> None:
    """Copy an ImageNet MobileNetV2, batch norm folded, into the convolutional stages.

    Args:
        path: .npz with `NAME.weight` (OIHW) and `NAME.bias`, names conv0, b0.dw, ..., b16.project, conv_last.
        setting: the one that names the file, for the message if it cannot be read.

    Raises:
        DataError: the file is missing or damaged, or a tensor is missing or of another shape.
    """
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array; an .npz of named tensors is needed")
        with file:
            tensors = {name: file[name] for name in file.files if not name.startswith("classifier")}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"teacher {path} cannot be read ({error}); setting {setting}") from error
    for name, module in convolutions(backbone).items():
        for part in ("weight", "bias"):
            parameter, key = getattr(module, part), f"{name}.{part}"
            if key not in tensors:
                raise DataError(f"teacher {path} has no tensor {key}")
            if tensors[key].shape != tuple(parameter.shape):
                raise DataError(
                    f"teacher {path}: {key} is {tensors[key].shape}, the model needs {tuple(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(tensors[key]))


class Ensemble(nn.Module):
    """Checkpoints as one autoregressive teacher, whose next-token probabilities are the mean of theirs.

    A `fastcap.generation.autoregressive.Stepper`, and so can be searched. Members may differ in everything but the
    vocabulary.

    Raises:
        ModelFileError: a checkpoint is missing or damaged, has another vocabulary than the student, or cannot read
            captions as long as the student's.
    """

    def __init__(self, names: Sequence[str], config: TrainConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        models = []
        for name in names:
            model, theirs = load_checkpoint(name)
            ours = tokenizer.get_vocab()
            if theirs.get_vocab() != ours:
                shared = len(ours.items() & theirs.get_vocab().items())
                raise ModelFileError(
                    f"teacher {name} has another vocabulary: {theirs.get_vocab_size()} tokens, of which {shared} are "
                    f"among the student's {len(ours)}; allowed: the student's own, as from the same data.train and "
                    "data.text, or by beginning with the teacher's weights (init)"
                )
            if model.config.max_length < config.model.max_length:
                raise ModelFileError(
                    f"teacher {name} reads captions of at most {model.config.max_length} tokens; allowed: "
                    f"{config.model.max_length} (the student's model.max_length) or more"
                )
            models.append(model)
        self.models = nn.ModuleList(models).eval().requires_grad_(False)
        self.steppers = [TorchStepper(model.decoder) for model in models]
        self.settings = [dataclasses.asdict(model.config) for model in models]
        self.config = config
        self.images: dict[int, ImageCache] = {}  # by size

    def prepare(self, paths: Sequence[Path], images: Sequence[int], rows: Any = slice(None)) -> list[ImageState]:
        """What each member needs of some images; `rows`, indices into these, repeats them for several captions."""
        states = []
        for model in self.models:
            assert isinstance(model, CaptionModel)
            size = model.config.image_size
            if size not in self.images:
                self.images[size] = ImageCache(Path(self.config.data.cache) / f"train-{size}", size).build(paths)
            pixels = torch.from_numpy(self.images[size][list(images)])
            image = model.encode(pixels.to(model.decoder.bias.device))
            states.append(model.decoder.prepare(ImageTokens(image.tokens[rows], image.pooled[rows])))
        return states

    def start(self, image_state: list[ImageState], rows_per_image: int, prompt_ids: Sequence[int] = ()) -> Any:
        """The state of rows that have read a prompt."""
        return [s.start(state, rows_per_image, prompt_ids) for s, state in zip(self.steppers, image_state, strict=True)]

    def step(self, token_ids: np.ndarray, state: Any, parents: np.ndarray) -> tuple[np.ndarray, Any]:
        """Log-probabilities (R, V) after one more token a row."""
        steps = [s.step(token_ids, part, parents) for s, part in zip(self.steppers, state, strict=True)]
        log_p = np.logaddexp.reduce([log_p for log_p, _ in steps]) - np.log(len(steps))
        return log_p, [part for _, part in steps]

    @torch.no_grad()
    def captions(self, paths: Sequence[Path], images: range) -> list[list[list[int]]]:
        """Token ids of the best captions of some images by beam search, best first."""
        found = beam_search(
            self,
            self.prepare(paths, images),
            len(images),
            beams=BEAMS,
            max_length=self.config.model.max_length,
            min_length=self.config.model.generation.min_length,
            bos_id=BOS,
            eos_id=EOS,
            forbidden=(PAD, BOS, MASK),
        )
        return [[hypothesis.token_ids for hypothesis in image] for image in found]

    @torch.no_grad()
    def next_tokens(self, paths: Sequence[Path], captions: Sequence[Caption], k: int) -> tuple[Tensor, Tensor]:
        """The likeliest k tokens at every place of R captions, the end included: ids and log-probabilities, each
        (R, T + 1, k)."""
        images, rows = np.unique([image for image, _ in captions], return_inverse=True)
        token_ids = torch.from_numpy(pad_tokens([ids for _, ids in captions], PAD)[0])
        read = []
        for model, state in zip(self.models, self.prepare(paths, images.tolist(), rows), strict=True):
            assert isinstance(model, CaptionModel)
            hidden = read_causally(model.decoder, state, token_ids.to(model.decoder.bias.device))
            read.append(model.decoder.project(hidden).log_softmax(dim=-1))
        top = torch.stack(read).logsumexp(dim=0).topk(k, dim=-1)
        return top.indices, top.values - math.log(len(read))


class HuggingFaceCaptioner(nn.Module):
    """A captioner that transformers knows (BLIP, GIT, ViT-GPT2 and their kin), with its processor and tokenizer.

    Args:
        name: a directory, or a name on the hub, `@REVISION` added to pin it. Only safetensors are read.

    Raises:
        ModelFileError: transformers is missing, or there is no such captioner.
    """

    def __init__(self, name: str, config: TrainConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        try:
            from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
        except ImportError as error:
            raise ModelFileError(f"teacher {name} {needs('transformers', 'distill')}") from error
        where, _, revision = name.partition("@") if not Path(name).is_dir() else (name, "", "")
        settings = {"revision": revision} if revision else {}
        try:
            self.model: Any = AutoModelForImageTextToText.from_pretrained(
                where, use_safetensors=True, dtype=torch.float32, **settings
            )
            self.processor = AutoImageProcessor.from_pretrained(where, backend="pil", **settings)
            self.tokenizer = AutoTokenizer.from_pretrained(where, **settings)
        except Exception as error:  # OSError, ValueError, KeyError, SafetensorError, the hub's own
            raise ModelFileError(
                f"teacher {name} was not found as a captioner: tried a directory of that name, the Hugging Face cache "
                f"and hub ({type(error).__name__}: {' '.join(str(error).split())})"
            ) from error
        self.requires_grad_(False).eval()
        self.settings = [self.model.config.to_dict(), self.processor.to_dict(), self.tokenizer.get_vocab()]
        self.student, self.max_length = tokenizer, config.model.max_length

    @torch.no_grad()
    def captions(self, paths: Sequence[Path], images: range) -> list[list[list[int]]]:
        """The best captions of some images by beam search, in the student's tokens, best first."""
        pictures = []
        for index in images:
            with Image.open(paths[index]) as picture:
                pictures.append(ImageOps.exif_transpose(picture).convert("RGB"))
        pixels = self.processor(images=pictures, return_tensors="pt").pixel_values
        # twice the student's length: what is cut there is longer than the student may say, and is left out as such
        beams = {"num_beams": BEAMS, "num_return_sequences": BEAMS, "do_sample": False}
        found = self.model.generate(
            pixel_values=pixels.to(self.model.device), max_new_tokens=2 * self.max_length, **beams
        )
        texts = self.tokenizer.batch_decode(found, skip_special_tokens=True)
        token_ids = [encode(self.student, clean_caption(text)) for text in texts]
        return [token_ids[i : i + BEAMS] for i in range(0, len(token_ids), BEAMS)]


class ImageNetFeatures(nn.Module):
    """MobileNetV2 to its last convolution, of which the mean over the picture is kept."""

    def __init__(self, path: Path, setting: str) -> None:
        super().__init__()
        backbone = SpatialMambaBackbone(ModelConfig.d_model, **keywords(BackboneConfig()))  # MobileNetV2's sizes
        initialise_from_mobilenetv2(backbone, path, setting)
        self.to_stride_16 = nn.ModuleList([backbone.stem, backbone.to_stride_16])  # what `convolve` uses
        self.convolve = backbone.convolve
        self.rest = nn.Sequential(backbone.to_stride_32, backbone.head)
        self.d_features = backbone.head.out_channels
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W) uint8 -> (B, C)."""
        return self.rest(self.convolve(images)).mean(dim=(2, 3))


Speaker = Ensemble | HuggingFaceCaptioner


def load_teacher(
    teacher: TeacherConfig, config: TrainConfig, tokenizer: Tokenizer, setting: str
) -> ImageNetFeatures | Speaker | None:
    """The network behind a teacher; None if that is one of the data's sources.

    Raises:
        DataError, ModelFileError: it is missing or damaged, or does not fit the student; names the setting.
    """
    if teacher.kind == "features":
        return ImageNetFeatures(Path(config.data.root) / teacher.names[0], setting)
    if teacher.kind == "sequences" and len(teacher.names) == 1 and teacher.names[0] in SOURCES:
        return None
    try:
        if teacher.kind == "sequences" and len(teacher.names) == 1 and not is_checkpoint(Path(teacher.names[0])):
            return HuggingFaceCaptioner(teacher.names[0], config, tokenizer)
        return Ensemble(teacher.names, config, tokenizer)
    except FastcapError as error:
        raise type(error)(f"{error} (setting {setting})") from error


def is_checkpoint(path: Path) -> bool:
    """Whether a directory is one of ours; a Hugging Face model says its `model_type`."""
    try:
        return path.is_dir() and "model_type" not in json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.is_dir()  # to be read, and refused, as a checkpoint
