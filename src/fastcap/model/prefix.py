"""The prefix family: frozen vision towers, a projection, and a frozen language model with adapters.

Letters: R rows of tokens, T tokens, D width of the language model.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from fastcap.alignment.cmfa import PooledAlignment
from fastcap.backbone.convolutional import TRUNKS, ConvolutionalTower
from fastcap.backbone.multiscale import MultiScaleBackbone
from fastcap.backbone.token_selection import TokenSelection
from fastcap.backbone.towers import TowersBackbone
from fastcap.config import ModelConfig, PrefixConfig, TowersConfig
from fastcap.decoder.lora import add_adapters, merge_adapters
from fastcap.decoder.prefix_lm import PrefixLM, PrefixStepper, all_layers, unfreeze_layers
from fastcap.decoder.projection import Projection
from fastcap.decoder.resampler import Resampler
from fastcap.errors import ConfigError
from fastcap.layers import ImageTokens
from fastcap.model.captioning import CaptionModel
from fastcap.model.frozen import FrozenParts

__all__ = ["PrefixCaptionModel", "merged", "prefix_parts", "unfrozen"]


def prefix_parts(config: ModelConfig, frozen: FrozenParts) -> dict[str, nn.Module]:
    """The parts of a prefix model: what is trained is new and random, what is frozen is shared with `frozen`."""
    settings = config.decoder
    assert isinstance(settings, PrefixConfig)
    backbone = new_backbone(config, frozen)
    language_model = frozen.new_language_model()
    if settings.rank:
        language_model = add_adapters(
            language_model, settings.rank, settings.alpha, settings.adapter_dropout, settings.adapted
        )
    unfreeze_layers(language_model, settings.unfreeze_layers)
    projection = new_projection(config, backbone, frozen.scale)
    return {
        "backbone": backbone,
        "decoder": PrefixLM(language_model, projection, config.vocabulary, config.max_length, frozen.prompt_ids),
        "alignment": PooledAlignment(backbone.d_model, config.d_model, config.d_space),
    }


def new_backbone(config: ModelConfig, frozen: FrozenParts) -> TowersBackbone | MultiScaleBackbone:
    """The towers as they are, or one of them at several scales."""
    eyes, count = config.backbone, config.decoder.image_tokens  # type: ignore[union-attr]
    assert isinstance(eyes, TowersConfig)
    towers = frozen.new_towers() if config.pruned else frozen.towers
    if not eyes.scales:
        return TowersBackbone(towers, config.image_size, count)
    (tower,) = towers.listed
    if not isinstance(tower, ConvolutionalTower):
        raise ConfigError(f"scales with tower {eyes.names[0]}; allowed: a convolutional one, {', '.join(TRUNKS)}")
    return MultiScaleBackbone(tower, config.image_size, eyes.scales, count, eyes.thresholds)


def new_projection(
    config: ModelConfig, backbone: TowersBackbone | MultiScaleBackbone, scale: float
) -> Projection | Resampler:
    """What is between image tokens and language model."""
    settings, n_image = config.decoder, backbone.side**2
    assert isinstance(settings, PrefixConfig)
    shared: dict[str, Any] = {"d_hidden": settings.d_hidden, "dropout": settings.dropout, "scale": scale}
    if settings.projection == "resampler":
        chosen: dict[str, Any] = {"attention": settings.attention, "stride": settings.attention_stride}
        return Resampler(backbone.d_model, config.d_model, n_image, settings.image_tokens, **chosen, **shared)
    selection = TokenSelection(backbone.d_model, n_image, settings.image_tokens, settings.selection)
    return Projection(backbone.d_model, config.d_model, selection, settings.projection, **shared)


class PrefixCaptionModel(CaptionModel):
    """A captioning model most of which is frozen. Its state is what is trained alone: projection, adapters, unfrozen
    layers and alignment, in 32 bits whatever the language model's precision."""

    def __init__(self, config: ModelConfig, **parts: nn.Module) -> None:
        super().__init__(config, **parts)
        self.note_learned()
        for parameter in self.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        self.register_state_dict_post_hook(keep_learned)
        self.register_load_state_dict_post_hook(excuse_frozen)

    @property
    def slow(self) -> dict[str, str]:
        """Adapters correct what is good already: they learn more slowly than the projection, which begins from
        nothing."""
        return {"decoder.language_model.": "adapter_rate"}

    def note_learned(self) -> None:
        """As in `CaptionModel`."""
        self.learned = frozenset(name for name, parameter in self.named_parameters() if parameter.requires_grad)

    def thaw(self) -> None:
        """Let what is trained require gradients, and nothing else."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in self.learned)

    def stepper(self) -> PrefixStepper:
        """Its reading from left to right, one token at a time."""
        return PrefixStepper(self.decoder)

    @torch.no_grad()
    def read_texts(self, token_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What the language model makes of texts without an image, (R, T + 1, D) from the begin mark on: the alignment
        learns to read it, and does not change it."""
        given = self.decoder.embed(self.decoder.inputs(token_ids))
        return self.decoder.read_texts(given, lengths + 1), lengths + 1

    def read_expected(self, probabilities: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """As `read_texts`, of words that are not certain: probabilities (R, T, V). These get a gradient."""
        table = self.decoder.embedding.weight
        begin = table[self.vocabulary.bos_id].expand(len(probabilities), 1, -1)
        given = torch.cat([begin, probabilities.to(table.dtype) @ table], dim=1)
        return self.decoder.read_texts(given, lengths + 1), lengths + 1

    def encode_words(self, words: Tensor) -> ImageTokens:
        """Refused: frozen towers read pictures alone."""
        raise ConfigError("inputs is words; allowed: images, since frozen towers read pictures alone")


def merged(model: Any) -> PrefixCaptionModel:
    """A copy whose adapters are added to the matrices they belong to, and whose state is whole: frozen parts, which may
    be shared with other models, are its own."""
    copied: PrefixCaptionModel = copy.deepcopy(model).eval()
    merge_adapters(copied.decoder.language_model)
    copied.learned = frozenset(name for name, _ in [*copied.named_parameters(), *copied.named_buffers()])
    return copied


def unfrozen(model: Any, count: int) -> PrefixCaptionModel:
    """A copy that shares its weights, and in which all layers of the language model are trained; its settings say so.

    Args:
        count: layers that the language model had before any were taken out.
    """
    copied: PrefixCaptionModel = copy.deepcopy(
        model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    )
    trained = {id(weight) for layer in all_layers(copied.decoder.language_model) for weight in layer.parameters()}
    copied.learned = model.learned | {name for name, weight in copied.named_parameters() if id(weight) in trained}
    copied.config = replace(model.config, decoder=replace(model.config.decoder, unfreeze_layers=count))
    return copied


def keep_learned(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Leave what is frozen out of a model's state."""
    for name in [name for name in state if name.startswith(prefix)]:
        if name.removeprefix(prefix) not in module.learned:
            del state[name]


def excuse_frozen(module: Any, incompatible: Any) -> None:
    """A state lacks nothing if it has all that is trained."""
    incompatible.missing_keys[:] = [name for name in incompatible.missing_keys if name in module.learned]
