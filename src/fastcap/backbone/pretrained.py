"""Frozen vision towers: any of transformers (SigLIP, SigLIP-2, CLIP, DINOv2, ViT) or a convolutional trunk, alone or
side by side.

Letters: B images, H and W sides, N tokens, C their width.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from fastcap.backbone.convolutional import TRUNKS, ConvolutionalTower, load_trunk
from fastcap.errors import ModelFileError, needs

__all__ = ["Preprocessing", "PretrainedTower", "SideBySide", "load_tower", "without_bars"]


@dataclass(frozen=True)
class Preprocessing:
    """How a tower wants its pictures, as its own `preprocessor_config.json` says.

    Attributes:
        size: (height, width) that the tower reads.
        shortest_edge: if set, the shorter side becomes this long first, and the centre is cut out; else the picture is
            squashed to `size`.
        resample: Pillow's number of the filter; 3 is bicubic, 2 bilinear.
        scale, mean, std: pixels 0..255 are fed as `(x * scale - mean) / std`.
    """

    size: tuple[int, int]
    shortest_edge: int = 0
    resample: int = 3
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def read(cls, folder: Path) -> Preprocessing:
        """From `preprocessor_config.json` of a model directory.

        Raises:
            ModelFileError: it is missing, damaged, or says neither a size nor a crop.
        """
        path = folder / "preprocessor_config.json"
        try:
            config = json.loads(path.read_bytes())
            size, crop = (sides(config[key]) if config.get(key) else {} for key in ("size", "crop_size"))
            if not config.get("do_center_crop"):
                crop = {}
            fed = crop or size
            edge = size.get("shortest_edge", 0)
            return cls(
                (fed.get("height", edge), fed.get("width", edge)),
                edge if crop else 0,
                int(config.get("resample", 3)),
                float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
                tuple(config["image_mean"]) if config.get("do_normalize", True) else (0.0,) * 3,
                tuple(config["image_std"]) if config.get("do_normalize", True) else (1.0,) * 3,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelFileError(f"{path} does not say how pictures are fed ({error})") from error

    def picture(self, image: Image.Image) -> NDArray[np.uint8]:
        """A picture resized and cut: (H, W, 3) uint8."""
        image = image.convert("RGB")
        height, width = self.size
        if self.shortest_edge:
            short, long = sorted(image.size)
            edges = self.shortest_edge, int(self.shortest_edge * long / short)
            columns, rows = edges if image.width <= image.height else edges[::-1]
            image = image.resize((columns, rows), self.resample)
            left, top = (columns - width) // 2, (rows - height) // 2
            image = image.crop((left, top, left + width, top + height))
        else:
            image = image.resize((width, height), self.resample)
        return np.asarray(image)

    def normalised(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> what the tower is fed.

        Raises:
            ModelFileError: their size is not the tower's.
        """
        if tuple(images.shape[2:]) != self.size:
            raise ModelFileError(f"the vision tower reads pictures of {self.size}, got {tuple(images.shape[2:])}")
        mean, std = (torch.tensor(part, device=images.device)[:, None, None] for part in (self.mean, self.std))
        return (images.float() * self.scale - mean) / std


def sides(size: Any) -> dict[str, int]:
    """A size as transformers writes it: one number, or a mapping."""
    return (
        dict(size) if isinstance(size, dict) else {"height": int(size), "width": int(size), "shortest_edge": int(size)}
    )


class PretrainedTower(nn.Module):
    """A vision transformer of transformers, without its text tower and head.

    Args:
        model: a model that takes `pixel_values` and gives `last_hidden_state`, or one with such a `vision_model`.
        preprocessing: how it wants its pictures.

    Raises:
        ModelFileError: its image size is not that of the preprocessing.
    """

    def __init__(self, model: Any, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.model = getattr(model, "vision_model", model)
        self.preprocessing = preprocessing
        config = getattr(model.config, "vision_config", model.config)
        self.d_tokens = self.d_map = int(config.hidden_size)
        height, width = preprocessing.size
        sized = int(config.image_size) if isinstance(config.image_size, int) else int(config.image_size[0])
        # DINOv2 was trained at 518 pixels and interpolates its positions; the others read one size
        self.interpolates = config.model_type.startswith("dinov2")
        if height != width or (sized != height and not self.interpolates):
            raise ModelFileError(
                f"the vision tower has positions for {sized}x{sized} pixels, its preprocessing gives {height}x{width}"
            )
        self.n_tokens = (height // int(config.patch_size)) ** 2

    def narrow(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> the grid of patch tokens (B, C, S, S)."""
        tokens = self(images)
        return tokens.transpose(1, 2).unflatten(2, (math.isqrt(tokens.shape[1]), -1))

    @staticmethod
    def widen(narrow: Tensor) -> Tensor:
        """What `narrow` gives, pooled or not -> tokens (B, N, C)."""
        return narrow.flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> patch tokens (B, N, C), class and register tokens left
        out."""
        dtype = next(self.model.parameters()).dtype
        read = self.model(pixel_values=self.preprocessing.normalised(images).to(dtype)).last_hidden_state
        return read[:, read.shape[1] - self.n_tokens :]


class SideBySide(nn.Module):
    """Several frozen towers that look at the same picture: their tokens normalised and laid side by side.

    Grids of different sizes are pooled to the coarsest. Normalising has no weights: no tower drowns another.
    """

    def __init__(self, towers: Sequence[Any]) -> None:
        super().__init__()
        self.towers = nn.ModuleList(towers)
        self.requires_grad_(False).eval()
        self.d_tokens = sum(int(tower.d_tokens) for tower in towers)

    @property
    def listed(self) -> list[Any]:
        """The towers."""
        return list(self.towers)

    def train(self, mode: bool = True) -> SideBySide:
        """Frozen towers stay in evaluation mode: no dropout, no statistics."""
        return super().train(False)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> tokens (B, N, sum of C)."""
        return self.tokens(self.maps(images))

    def maps(self, images: Tensor) -> Tensor:
        """images (B, 3, H, W), values 0..255 in any dtype -> what is worth keeping of them (B, M, S, S).

        Raises:
            ModelFileError: a convolutional tower, whose map cannot be pooled before its head, is not the coarsest.
        """
        maps = [tower.narrow(images) for tower in self.listed]
        side = min(int(grid.shape[-1]) for grid in maps)  # a constant of an exported graph
        for tower, grid in zip(self.listed, maps, strict=True):
            if isinstance(tower, ConvolutionalTower) and grid.shape[-1] > side:
                raise ModelFileError(
                    f"a convolutional tower gives {grid.shape[-1]}x{grid.shape[-1]} tokens beside one of "
                    f"{side}x{side}; allowed: as many, or fewer"
                )
        return torch.cat([grid if grid.shape[-1] == side else F.adaptive_avg_pool2d(grid, side) for grid in maps], 1)

    def tokens(self, maps: Tensor) -> Tensor:
        """What `maps` gives, cropped or not -> tokens (B, N, sum of C)."""
        widths = [int(tower.d_map) for tower in self.listed]
        parts = maps.split(widths, dim=1) if len(widths) > 1 else [maps]  # LiteRT has no split into one
        tokens = (tower.widen(grid) for tower, grid in zip(self.listed, parts, strict=True))
        # int: a constant of an exported graph
        return torch.cat([F.layer_norm(part, (int(part.shape[2]),)) for part in tokens], dim=2)


def load_tower(folder: Path, name: str = "") -> nn.Module:
    """A tower from a part's folder: one of `TRUNKS` by its name, else a vision tower of transformers.

    Args:
        folder: as `fastcap.parts.download_part` leaves it, or any model directory with safetensors.
        name: of the part; the folder's own if empty.

    Raises:
        ModelFileError: there is no such tower.
        DataError: a trunk's weights are missing or damaged.
    """
    name = name or folder.name
    if name in TRUNKS:
        tower = ConvolutionalTower(name)
        load_trunk(tower, folder / "model.safetensors")
        return tower.requires_grad_(False).eval()
    try:
        from transformers import AutoModel
    except ImportError as error:
        raise ModelFileError(f"tower {folder} {needs('transformers', 'prefix')}") from error
    preprocessing = Preprocessing.read(folder)
    try:
        with without_bars():
            model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError
        raise ModelFileError(
            f"{folder} holds no vision tower of transformers ({' '.join(str(error).split())})"
        ) from error
    return PretrainedTower(model, preprocessing).requires_grad_(False).eval()


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """A context in which transformers draws no progress bars: reading a file from a disk takes no time worth one."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
