"""Settings of a model: its parts, how it decodes, and what all parts share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from fastcap.config.reading import check_positive, check_ranges
from fastcap.errors import ConfigError
from fastcap.vocabulary import Marks, Vocabulary

__all__ = [
    "BackboneConfig",
    "DecoderConfig",
    "GenerationConfig",
    "ModelConfig",
    "PrefixConfig",
    "ResNetViTConfig",
    "RopeDecoderConfig",
    "TowersConfig",
    "keywords",
]


def keywords(part: Any) -> dict[str, Any]:
    """A part's settings as keyword arguments of its module: all but its `kind`."""
    return {name: value for name, value in vars(part).items() if name != "kind"}


@dataclass(frozen=True)
class BackboneConfig:
    """See `fastcap.backbone.spatial_mamba.SpatialMambaBackbone`."""

    stem_width: int = 32
    """Channels of the first convolution; MobileNetV2's, so that ImageNet weights fit."""
    widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    """Channels of the seven convolutional stages; MobileNetV2's."""
    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    """Blocks of the seven convolutional stages; MobileNetV2's."""
    expansion: int = 6
    """Factor by which a block widens its channels; MobileNetV2's."""
    head_width: int = 1280
    """Channels of the last 1x1 convolution, before the projection to `d_model`; MobileNetV2's."""
    mamba_depths: tuple[int, ...] = (2, 2)
    """Spatial-Mamba blocks at stride 16 and at stride 32; as in the bundled model."""
    n_heads: int = 8
    """Groups of channels that share one decay in a scan; as in the bundled model."""
    scan: Literal["state_fusion", "cross_scan"] = "state_fusion"
    """One raster scan with fused states, or four directions; with one the network takes 13 ms in place of 17."""
    kind: Literal["spatial_mamba"] = "spatial_mamba"

    @property
    def layers(self) -> int:
        """Layers that are built one by one; each has tensors of its own."""
        return sum(self.depths) + sum(self.mamba_depths)

    def __post_init__(self) -> None:
        check_positive(self, "stem_width", "expansion", "head_width", "n_heads")
        check_ranges(
            self,
            widths=(len(self.widths) == 7 and min(self.widths) >= 1, "seven numbers, each 1 or more"),
            depths=(len(self.depths) == 7 and min(self.depths) >= 1, "seven numbers, each 1 or more"),
            mamba_depths=(len(self.mamba_depths) == 2 and min(self.mamba_depths) >= 0, "two numbers, 0 or more"),
        )
        if self.widths[4] % self.n_heads:
            raise ConfigError(
                f"backbone.widths.4 is {self.widths[4]}; allowed: multiples of backbone.n_heads, {self.n_heads}"
            )


@dataclass(frozen=True)
class ResNetViTConfig:
    """See `fastcap.backbone.resnet_vit.ResNetViTBackbone`."""

    blocks: Literal["basic", "inverted"] = "basic"
    """ResNet's blocks, or MobileNetV2's inverted residuals, which ImageNet weights can initialise."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels of the convolutional stages, four basic or seven inverted; ResNet-18's."""
    depths: tuple[int, ...] = (2, 2, 2, 2)
    """Blocks of the same stages; ResNet-18's."""
    n_layers: int = 4
    """Transformer layers over the image tokens; not tuned."""
    n_heads: int = 8
    """Heads of their attention; 32 numbers each at the default `d_model`."""
    d_hidden: int = 1024
    """Width inside their feed-forward networks; four times the default `d_model`, as is usual."""
    dropout: float = 0.1
    """Share of each residual branch that is dropped in training; the transformer's usual value."""
    kind: Literal["resnet_vit"] = "resnet_vit"

    @property
    def layers(self) -> int:
        """Layers that are built one by one; each has tensors of its own."""
        return sum(self.depths) + self.n_layers

    def __post_init__(self) -> None:
        check_positive(self, "n_heads", "d_hidden")
        count, name = {"basic": (4, "four"), "inverted": (7, "seven")}[self.blocks]
        check_ranges(
            self,
            widths=(len(self.widths) == count and min(self.widths) >= 1, f"{name} numbers, each 1 or more"),
            depths=(len(self.depths) == count and min(self.depths) >= 1, f"{name} numbers, each 1 or more"),
            n_layers=(self.n_layers >= 0, "0 or more"),
            dropout=(0 <= self.dropout < 1, "at least 0, below 1"),
        )


@dataclass(frozen=True)
class TowersConfig:
    """Frozen vision towers; see `fastcap.backbone.towers.TowersBackbone`."""

    n_heads: ClassVar[int] = 1  # nothing of it is divided among heads of ours

    names: tuple[str, ...] = ("efficientnet-lite0",)
    """Pretrained parts, or folders of such; several look at the same picture, and their tokens lie side by side."""
    sha256: tuple[str, ...] = ()
    """Digests of their weights; a run notes them, so that a checkpoint is never read with other ones."""
    scales: tuple[str, ...] = ()
    """Sizes and strides at which one convolutional tower is read, as "112/32"; see `fastcap.backbone.multiscale`."""
    thresholds: tuple[float, ...] = ()
    """For each exit but the last, the confidence from which a picture leaves there; fitted once a model is trained."""
    kind: Literal["towers"] = "towers"

    @property
    def layers(self) -> int:
        """Layers that are built one by one and kept in a checkpoint: none."""
        return 0

    def __post_init__(self) -> None:
        check_ranges(
            self,
            names=(bool(self.names) and all(self.names), "one name or more"),
            sha256=(len(self.sha256) in (0, len(self.names)), "none, or one for each name"),
            scales=(not self.scales or len(self.names) == 1, "none beside several towers"),
            thresholds=(
                len(self.thresholds) in (0, len(self.scales) - 1) and all(0 <= each <= 2 for each in self.thresholds),
                "none, or a number from 0 to 2 for each scale but the last",
            ),
        )


@dataclass(frozen=True)
class DecoderConfig:
    """See `fastcap.decoder.moe_decoder.MoEDecoder`."""

    family: ClassVar[str] = "parallel"  # `ModelConfig.kind`
    predicts_length: ClassVar[bool] = True  # before the words, so that several lengths can be decoded and ranked

    n_layers: int = 3
    """Decoder layers; as in the bundled model."""
    n_heads: int = 4
    """Heads of both attentions; 64 numbers each at the default `d_model`."""
    d_hidden: int = 512
    """Width inside one expert; as in the bundled model."""
    n_experts: int = 4
    """Experts of a layer, in place of one feed-forward network; as in the bundled model."""
    top_k: int = 1
    """Experts that serve an image; one, so that more experts cost no time."""
    dropout: float = 0.1
    """Share of each residual branch that is dropped in training; the transformer's usual value."""
    cross_attention: Literal["rala", "linear"] = "rala"
    """Attention to the image: of full rank (RALA), as in the bundled model, or plain linear; see docs/ablation.md."""
    kind: Literal["moe"] = "moe"

    def __post_init__(self) -> None:
        check_positive(self, "n_layers", "n_heads", "d_hidden", "n_experts")
        check_ranges(
            self,
            top_k=(1 <= self.top_k <= self.n_experts, f"1 to {self.n_experts} (n_experts)"),
            dropout=(0 <= self.dropout < 1, "at least 0, below 1"),
        )


@dataclass(frozen=True)
class RopeDecoderConfig:
    """See `fastcap.decoder.rope_decoder.RopeDecoder`."""

    family: ClassVar[str] = "autoregressive"
    predicts_length: ClassVar[bool] = False

    n_layers: int = 4
    """Decoder layers; not tuned."""
    n_heads: int = 4
    """Heads of both attentions; 64 numbers each at the default `d_model`."""
    d_hidden: int = 1024
    """Width inside the feed-forward network, or inside one expert; four times the default `d_model`, as is usual."""
    n_experts: int = 0
    """Experts of a layer, chosen by the token; 0 is one dense network, which did as well (docs/ablation.md)."""
    top_k: int = 2
    """Experts that serve a token, where there are any; DeepSeekMoE's several small ones."""
    n_shared: int = 1
    """Experts beside them that serve every token."""
    balancing: Literal["loss", "bias"] = "loss"
    """Whether the loss `balance` evens out their use, or biases without a gradient; the loss goes with everything."""
    dropout: float = 0.1
    """Share of each residual branch that is dropped in training; the transformer's usual value."""
    kind: Literal["rope"] = "rope"

    def __post_init__(self) -> None:
        check_positive(self, "n_layers", "n_heads", "d_hidden", "top_k")
        check_ranges(
            self,
            n_experts=(self.n_experts >= 0, "0 (one dense network) or more"),
            top_k=(self.top_k <= self.n_experts or not self.n_experts, f"1 to {self.n_experts} (n_experts)"),
            n_shared=(self.n_shared >= 0, "0 or more"),
            dropout=(0 <= self.dropout < 1, "at least 0, below 1"),
        )


@dataclass(frozen=True)
class PrefixConfig:
    """A frozen language model that reads a picture as a prefix; see `fastcap.decoder.prefix_lm.PrefixLM`."""

    family: ClassVar[str] = "prefix"
    predicts_length: ClassVar[bool] = False
    n_heads: ClassVar[int] = 1
    n_layers: ClassVar[int] = 0  # that a checkpoint keeps

    language_model: str = "smollm2-135m-instruct"
    """A pretrained part, or a folder: any decoder-only model of transformers with a tokenizer.json."""
    sha256: str = ""
    """Digest of its weights; a run notes it, so that adapters are never put into another model."""
    image_tokens: int = 16
    """Tokens of the prefix, a square number; 16 are nearly as good as 49, and the prefix dominates the time."""
    selection: Literal["pool", "learned", "random"] = "pool"
    """How image tokens become as few: means of the grid's cells, the most important ones, or any."""
    projection: Literal["linear", "mlp", "resampler"] = "linear"
    """From these to the prefix: one layer, or two with GELU between; or cross-attention that reads all image tokens."""
    d_hidden: int = 1024
    """Width inside the MLP or the resampler."""
    attention: Literal["flash", "linear", "strided"] = "flash"
    """The resampler's attention; see `fastcap.attention`."""
    attention_stride: int = 2
    """Every how manieth image token a query of attention "strided" reads."""
    rank: int = 16
    """Rank of the adapters (LoRA), as in the seed's model; 0 for none."""
    alpha: int = 16
    """Their scale is alpha / rank; as in the seed's model."""
    adapted: Literal["attention", "all"] = "attention"
    """Which layers get adapters: those of self-attention, or those of the feed-forward networks too."""
    unfreeze_layers: int = 0
    """Last layers of the language model that are trained as a whole; each is as large as all adapters together."""
    prompt: str = ""
    """Text between the picture and the caption; it helps little where adapters are trained."""
    template: str = "question: {question} answer:"
    """How a question stands before its answer, in training and when the model is asked; short, since it is read with
    every question."""
    question_tokens: int = 0
    """Most tokens of a question with the turns before it; 0: the model is not trained to answer, and refuses."""
    prune: bool = True
    """Whether the vocabulary is cut to the tokens that captions need; exact for all that remains."""
    min_count: int = 1
    """Captions that need a token for it to stay; what a rarer one spells is spelt by shorter ones."""
    marks_machines: bool = False
    """Whether captions by machines begin with the end mark in training, so that their style stays apart."""
    dropout: float = 0.1
    """Share of the pooled image tokens' numbers that is dropped in training."""
    adapter_dropout: float = 0.0
    """Share of an adapter's input that is dropped in training."""
    kind: Literal["prefix_lm"] = "prefix_lm"

    def __post_init__(self) -> None:
        check_positive(self, "image_tokens", "d_hidden", "alpha", "min_count", "attention_stride")
        squared = math.isqrt(self.image_tokens) ** 2 == self.image_tokens
        resamples = self.projection == "resampler"
        check_ranges(
            self,
            language_model=(bool(self.language_model), "a name"),
            template=(self.template.count("{question}") == 1, "a text with {question} in it, once"),
            image_tokens=(squared or resamples or self.selection != "pool", "square numbers, such as 16 to 64"),
            selection=(self.selection == "pool" or not resamples, "pool, with a resampler, which reads all tokens"),
            d_hidden=(not resamples or self.d_hidden % 8 == 0, "multiples of 8 in a resampler"),
            rank=(self.rank >= 0, "0 (no adapters) or more"),
            unfreeze_layers=(self.unfreeze_layers >= 0, "0 or more"),
            question_tokens=(self.question_tokens >= 0, "0 (no questions) or more"),
            prompt=(not (self.prompt and self.question_tokens), "'' in a model that answers questions"),
            dropout=(0 <= self.dropout < 1, "at least 0, below 1"),
            adapter_dropout=(0 <= self.adapter_dropout < 1, "at least 0, below 1"),
        )


# What `d_model` must be a multiple of, by a part's kind and its number of heads.
DIVISORS: dict[str, Callable[[int], int]] = {
    "spatial_mamba": lambda n_heads: n_heads,
    "resnet_vit": lambda n_heads: math.lcm(n_heads, 4),  # a position is four numbers: sine and cosine of row and column
    "moe": lambda n_heads: n_heads,
    "towers": lambda n_heads: n_heads,
    "prefix_lm": lambda n_heads: n_heads,
    "rope": lambda n_heads: 2 * n_heads,  # rotary positions turn pairs of a head's numbers
}


@dataclass(frozen=True)
class GenerationConfig:
    """How captions are decoded; a model that writes from left to right reads `min_length` alone."""

    passes: int = 3
    """Refinement passes; a fourth adds 0.4 CIDEr, which its time is not worth (docs/log.md)."""
    min_length: int = 5
    """Fewest tokens of a caption that nobody asked to be shorter; 9 tokens cost 2 CIDEr (docs/log.md)."""
    candidates: int = 3
    """Lengths that are decoded together and ranked; a fourth adds 0.2 CIDEr (docs/log.md)."""
    length_weight: float = 0.0
    """Weight of a length's log-probability in that order, where the mean log-probability of the tokens counts 1."""
    causal_weight: float = 1.0
    """Weight of the causal reading's mean log-probability; 1, as much as the parallel one's. 0 leaves it out."""
    alignment_weight: float = 0.0
    """Weight of the cosine of picture and caption; 0, since an alignment has to be trained first."""

    def __post_init__(self) -> None:
        check_positive(self, "passes", "min_length", "candidates")


@dataclass(frozen=True)
class ModelConfig:
    """A model's whole architecture. The decoder decides the family; frozen towers go with a language model, every other
    backbone with every other decoder."""

    image_size: int = 224
    """Side of the squared picture in pixels, a multiple of 32; ImageNet's."""
    d_model: int = 256
    """Width of image tokens and caption tokens, as in the bundled model; a language model has its own."""
    d_space: int = 128
    """Numbers in the vector of a picture or text; 128 tell thousands of pictures apart."""
    vocab_size: int = 4096
    """Tokens of the vocabulary, marks included; more would weigh in the file, and shorten captions little. A language
    model has its own."""
    max_length: int = 20
    """Most tokens of a caption, its end mark not counted; longer ones are left out of training."""
    backbone: BackboneConfig | ResNetViTConfig | TowersConfig = field(default_factory=BackboneConfig)
    """From pixels to image tokens; `kind` is spatial_mamba, resnet_vit or towers."""
    decoder: DecoderConfig | RopeDecoderConfig | PrefixConfig = field(default_factory=DecoderConfig)
    """From image tokens to words; `kind` is moe (all at once, and from left to right), rope or prefix_lm (from left to
    right)."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """How captions are decoded where nobody says otherwise."""
    marks: Marks = field(default_factory=Marks)
    """Ids of the tokens that are no text; a run takes them from its tokenizer, and these are the ones we train."""
    pruned: tuple[str, ...] = ()
    """The units that are left of channels, heads, feed-forward networks, experts and layers, "GROUP SIZE HEX" of each
    group of which some were removed; `fastcap compress` writes them, see `fastcap.model.shrinking`."""

    def __post_init__(self) -> None:
        if (self.backbone.kind == "towers") != (self.decoder.kind == "prefix_lm"):
            raise ConfigError(
                f"backbone is {self.backbone.kind} and decoder {self.decoder.kind}; allowed: towers with prefix_lm, "
                "which are both frozen, or two others"
            )
        divisor = math.lcm(*(DIVISORS[part.kind](part.n_heads) for part in (self.backbone, self.decoder)))
        n_lengths = self.max_length - self.generation.min_length + 1
        check_positive(self, "max_length", "vocab_size", "d_space")
        check_ranges(
            self,
            image_size=(self.image_size > 0 and self.image_size % 32 == 0, "multiples of 32"),
            d_model=(self.d_model > 0 and self.d_model % divisor == 0, f"multiples of {divisor}, the numbers of heads"),
            max_length=(n_lengths >= 1, f"{self.generation.min_length} (generation.min_length) or more"),
        )
        if self.decoder.predicts_length and self.generation.candidates > n_lengths:
            raise ConfigError(
                f"generation.candidates is {self.generation.candidates}; allowed: 1 to {n_lengths}, the number of "
                "lengths from generation.min_length to max_length"
            )

    @property
    def vocabulary(self) -> Vocabulary:
        """The marks, and the number of tokens."""
        return Vocabulary(size=self.vocab_size, **vars(self.marks))

    @property
    def template(self) -> str:
        """How a question stands before its answer.

        Raises:
            ConfigError: the decoder reads no questions.
        """
        if not isinstance(self.decoder, PrefixConfig):
            raise ConfigError(f"decoder is {self.decoder.kind}; allowed: prefix_lm, where questions are read")
        return self.decoder.template

    @property
    def asked(self) -> str:
        """`template` of a model that is trained to answer; "" of any other."""
        return self.decoder.template if isinstance(self.decoder, PrefixConfig) and self.decoder.question_tokens else ""

    @property
    def kind(self) -> str:
        """The model's family, "parallel", "autoregressive" or "prefix": the key of every table of families."""
        return self.decoder.family
