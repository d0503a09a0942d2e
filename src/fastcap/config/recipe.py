"""Settings as dataclasses, read strictly: an unknown key is an error that names the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from fastcap.errors import ConfigError

__all__ = [
    "BACKBONES",
    "DECODERS",
    "BackboneConfig",
    "DataConfig",
    "DatasetConfig",
    "DecoderConfig",
    "ForcingConfig",
    "GenerationConfig",
    "ModelConfig",
    "ResNetViTConfig",
    "RopeDecoderConfig",
    "StageConfig",
    "TeacherConfig",
    "TrainConfig",
    "from_mapping",
    "load_config",
]

STREAMS = ("webdataset", "parquet")  # data sets that are read as they are needed; all others are files, read at once
SOURCES = ("human", "machine", "distilled")
TEACHERS = ("features", "logits", "sequences")
LOSSES = ("causal", "masked", "consistency", "contrastive", "length", "balance", "reward", "causal_reward")
TRACKERS = ("jsonl", "tensorboard", "wandb")
PARALLEL_LOSSES = ("masked", "consistency", "length", "reward")  # of captions whose tokens are predicted all at once


def check_ranges(config: Any, **rules: tuple[bool, str]) -> None:
    """Raise ConfigError for the first setting whose rule does not hold; a rule is (holds, what is allowed)."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise ConfigError(f"{name} is {getattr(config, name)!r}; allowed: {allowed}")


def check_positive(config: Any, *names: str) -> None:
    """Raise ConfigError for the first of the named counts that is below 1."""
    check_ranges(config, **{name: (getattr(config, name) >= 1, "1 or more") for name in names})


@dataclass(frozen=True)
class BackboneConfig:
    """See `fastcap.backbone.spatial_mamba.SpatialMambaBackbone`; d_model is the model's."""

    stem_width: int = 32
    widths: tuple[int, ...] = (16, 24, 32, 64, 96, 160, 320)
    depths: tuple[int, ...] = (1, 2, 3, 4, 3, 3, 1)
    expansion: int = 6
    head_width: int = 1280
    mamba_depths: tuple[int, ...] = (2, 2)
    n_heads: int = 8
    scan: Literal["state_fusion", "cross_scan"] = "state_fusion"
    kind: Literal["spatial_mamba"] = "spatial_mamba"

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
    """See `fastcap.backbone.resnet_vit.ResNetViTBackbone`; d_model is the model's."""

    blocks: Literal["basic", "inverted"] = "basic"
    widths: tuple[int, ...] = (64, 128, 256, 512)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    n_layers: int = 4
    n_heads: int = 8
    d_hidden: int = 1024
    dropout: float = 0.1
    kind: Literal["resnet_vit"] = "resnet_vit"

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
class DecoderConfig:
    """See `fastcap.decoder.moe_decoder.MoEDecoder`; d_model, vocab_size and max_length are the model's."""

    n_layers: int = 3
    n_heads: int = 4
    d_hidden: int = 512
    n_experts: int = 4
    top_k: int = 1
    dropout: float = 0.1
    cross_attention: Literal["rala", "linear"] = "rala"
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
    """See `fastcap.decoder.rope_decoder.RopeDecoder`; d_model, vocab_size and max_length are the model's."""

    n_layers: int = 4
    n_heads: int = 4
    d_hidden: int = 1024
    n_experts: int = 0
    top_k: int = 2
    n_shared: int = 1
    balancing: Literal["loss", "bias"] = "loss"
    dropout: float = 0.1
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


# The parts of a model by `kind`; the first is meant where a configuration says none.
BACKBONES = {"spatial_mamba": BackboneConfig, "resnet_vit": ResNetViTConfig}
DECODERS = {"moe": DecoderConfig, "rope": RopeDecoderConfig}
FAMILIES = {"moe": "parallel", "rope": "autoregressive"}  # by the decoder's kind


@dataclass(frozen=True)
class GenerationConfig:
    """How captions are decoded; of a model that writes from left to right, `min_length` alone counts.

    `passes`: refinement passes. `min_length`: fewest tokens of a caption that nobody asked to be shorter.
    `candidates`: lengths decoded together and ranked when nobody asks for more. `length_weight` and `causal_weight`:
    how much the log-probability of a length, and the mean log-probability that the causal reading gives to a caption,
    count beside the mean log-probability of its tokens when candidates are ranked; with 0 the causal reading is left
    out. `alignment_weight`: how much the cosine of picture and caption counts there; 0 leaves the alignment out, as it
    must be left out before it is trained.
    """

    passes: int = 3
    min_length: int = 5
    candidates: int = 3
    length_weight: float = 0.0
    causal_weight: float = 1.0
    alignment_weight: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "passes", "min_length", "candidates")


@dataclass(frozen=True)
class ModelConfig:
    """A model's whole architecture. `image_size` in pixels, a multiple of 32; `max_length` in tokens; `d_space`: width
    of the space in which images and texts are compared.

    Every backbone goes with every decoder. The decoder's kind decides how captions are made: "moe" reads them all at
    once and from left to right, "rope" from left to right alone.
    """

    image_size: int = 224
    d_model: int = 256
    d_space: int = 128
    vocab_size: int = 4096
    max_length: int = 20
    backbone: BackboneConfig | ResNetViTConfig = field(default_factory=BackboneConfig)
    decoder: DecoderConfig | RopeDecoderConfig = field(default_factory=DecoderConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)

    def __post_init__(self) -> None:
        heads = math.lcm(self.backbone.n_heads, self.decoder.n_heads)
        if self.decoder.kind == "rope":
            heads = math.lcm(heads, 2 * self.decoder.n_heads)  # rotary positions turn pairs of numbers
        if self.backbone.kind == "resnet_vit":
            heads = math.lcm(heads, 4)  # two coordinates, each told by sines and cosines
        n_lengths = self.max_length - self.generation.min_length + 1
        check_positive(self, "max_length", "vocab_size", "d_space")
        check_ranges(
            self,
            image_size=(self.image_size > 0 and self.image_size % 32 == 0, "multiples of 32"),
            d_model=(self.d_model > 0 and self.d_model % heads == 0, f"multiples of {heads}, the numbers of heads"),
            max_length=(n_lengths >= 1, f"{self.generation.min_length} (generation.min_length) or more"),
        )
        if self.parallel and self.generation.candidates > n_lengths:
            raise ConfigError(
                f"generation.candidates is {self.generation.candidates}; allowed: 1 to {n_lengths}, the number of "
                "lengths from generation.min_length to max_length"
            )

    @property
    def kind(self) -> str:
        """The model's family, "parallel" or "autoregressive": the key of every table of families."""
        return FAMILIES[self.decoder.kind]

    @property
    def parallel(self) -> bool:
        """Whether captions can be decoded all at once, by length prediction and refinement."""
        return self.kind == "parallel"


@dataclass(frozen=True)
class DatasetConfig:
    """One source of captioned images; see `fastcap.data.readers.load_dataset`. `root` is below `data.root`.

    For the names webdataset and parquet `root` is a pattern of shards, also an fsspec URL; see `fastcap.data.shards`.
    """

    name: str
    root: str
    split: str = "train"

    def __post_init__(self) -> None:
        if self.name in STREAMS and self.split != "train":
            raise ConfigError(f"split is {self.split!r}; allowed: none, since {self.name} names its shards by root")


@dataclass(frozen=True)
class DataConfig:
    """What to train and validate on.

    `root`: folder that holds the data sets. `text`: further caption files (.txt or .txt.gz) for the tokenizer,
    below `root`. `siblings`: the one of caption files in which every five lines in a row describe one image, for stages
    that learn from words. `teacher`: a MobileNetV2 .npz below `root` that initialises the convolutions; empty for none.
    `cache`: folder for decoded pixels and features. `val_limit`: images used for validation while training.
    `on_bad_data`: raise, skip or quarantine. `shuffle_buffer`: samples of shards that are shuffled among themselves,
    and held in memory as files (1000 are about 0.1 GB).
    """

    root: str = "data"
    train: tuple[DatasetConfig, ...] = (
        DatasetConfig("flickr8k", "flickr8k"),
        DatasetConfig("coco", "coco"),
        DatasetConfig("coco_machine", "coco"),
    )
    val: tuple[DatasetConfig, ...] = (DatasetConfig("flickr8k", "flickr8k", "val"),)
    text: tuple[str, ...] = ()
    siblings: str = ""
    teacher: str = ""
    cache: str = "cache"
    val_limit: int = 300
    on_bad_data: Literal["raise", "skip", "quarantine"] = "raise"
    shuffle_buffer: int = 1000

    def __post_init__(self) -> None:
        check_positive(self, "val_limit", "shuffle_buffer")
        check_ranges(
            self, train=(bool(self.train), "at least one data set"), val=(bool(self.val), "at least one data set")
        )
        for part in ("train", "val"):
            names = [dataset.name for dataset in getattr(self, part)]
            if any(name in STREAMS for name in names) and not self.streams(part):
                raise ConfigError(
                    f"{part} has {', '.join(names)}; allowed: either all of {', '.join(STREAMS)}, or none of them"
                )

    def streams(self, part: str) -> bool:
        """Whether `train` or `val` is read from shards as it is needed."""
        return all(dataset.name in STREAMS for dataset in getattr(self, part))


@dataclass(frozen=True)
class TeacherConfig:
    """One teacher of a stage's curriculum; see `fastcap.training.distillation` and docs/distillation.md.

    `kind` and `names`: "features", an ImageNet MobileNetV2 as .npz below `data.root`; "logits", checkpoint directories
    whose next-token probabilities are averaged; "sequences", captions to say instead of those of the sources: of one of
    the sources machine or distilled, of checkpoint directories (a beam search of their average), or of one Hugging Face
    captioner, by directory or `NAME` or `NAME@REVISION` on the hub.
    `weight`: of its loss, times its part in the curriculum; for sequences, at most 1, of a caption row to come from it.
    `temperature`: of logits; 2 lets second choices be heard (Hinton et al. 2015).
    """

    kind: Literal["features", "logits", "sequences"]
    names: tuple[str, ...]
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        most = 1 if self.kind == "sequences" else math.inf
        check_ranges(
            self,
            kind=(self.kind in TEACHERS, ", ".join(TEACHERS)),
            names=(
                bool(self.names) and all(self.names) and (self.kind != "features" or len(self.names) == 1),
                "one .npz file" if self.kind == "features" else "one name or more",
            ),
            weight=(0 <= self.weight <= most, "0 to 1" if self.kind == "sequences" else "0 or more"),
            temperature=(self.temperature > 0, "above 0"),
        )


@dataclass(frozen=True)
class ForcingConfig:
    """Scheduled sampling: how often the causal reading is given people's words; see `fastcap.losses.forcing`.

    `schedule`: "always", or the way from 1 down to `end` over the stage. `passes`: readings that guess the words to
    give instead: 1 is the two-pass form for transformers, as many as there are tokens is the form word by word.
    """

    schedule: Literal["always", "linear", "cosine", "inverse_sigmoid"] = "always"
    end: float = 0.5
    passes: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "passes")
        check_ranges(self, end=(0 <= self.end <= 1, "0 to 1"))


@dataclass(frozen=True)
class StageConfig:
    """One stage of training; the model, the average of its weights and the data carry over to the next.

    `inputs`: "images", or "words": captions without images (`data.siblings`), each group of five shown to the decoder
    as some of its words in place of an image; everything but the encoder learns.
    `freeze`: "convolutions" keeps the network to stride 16 as it is and trains on its cached outputs for `views`
    augmented views an image; "none" trains everything from pixels, augmented anew each time; "captioner" keeps all but
    the alignment of images and texts, and trains that alone, on cached image tokens.
    `crop_scale`: smallest share of a cached view's area that a random crop keeps, mirrored at random too, anew each
    time (`fastcap.training.features.crop_anew`); 1 leaves the views as they are. Needs freeze convolutions.
    `quantized`: the network computes with weights rounded as the exported graph will have them, and learns the steps
    (`fastcap.quantization.fake`); needs freeze none. `bits`: a file of the bits of its layers, as `fastcap export
    --target-size` writes it; empty for 8 in all.
    `captions`: caption rows drawn an image a step. `sources`: which captions may be drawn: human, machine, and
    distilled, which are beam-search captions of this model's own causal reading, made when a stage first asks.
    `teachers`: a curriculum, weakest first: the stage begins with the first and ends with the last.
    `convolution_rate`: factor of the learning rate of convolutions, which may come from a teacher.
    Weights of the losses: `causal`, `masked`, `consistency` (of these two readings with each other), `contrastive` (of
    images and texts, by `contrast`), `length`, `balance` (of the experts' use), `reward` (self-critical CIDEr of the
    parallel reading, with `samples` captions drawn a row), `causal_reward` (the same of the causal reading, with
    `samples` captions drawn an image). Where `masked` and `length` are not said, they are 1 and 0.1
    for a model with a parallel reading and 0 for one without, which `consistency` and `reward` do not fit either.
    `forcing`: of the causal reading.
    """

    name: str
    steps: int
    learning_rate: float
    inputs: Literal["images", "words"] = "images"
    images: int = 32
    captions: int = 3
    sources: tuple[str, ...] = ("human", "machine")
    teachers: tuple[TeacherConfig, ...] = ()
    freeze: Literal["convolutions", "none", "captioner"] = "convolutions"
    quantized: bool = False
    bits: str = ""
    convolution_rate: float = 1.0
    warmup: int = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    smoothing: float = 0.1
    causal: float = 1.0
    masked: float | None = None
    consistency: float = 0.0
    contrastive: float = 0.0
    contrast: Literal["info_nce", "sigmoid"] = "info_nce"
    length: float | None = None
    balance: float = 0.01
    reward: float = 0.0
    causal_reward: float = 0.0
    samples: int = 4
    crop_scale: float = 1.0
    forcing: ForcingConfig = field(default_factory=ForcingConfig)

    def __post_init__(self) -> None:
        check_positive(self, "steps", "images", "captions")
        check_ranges(
            self,
            learning_rate=(self.learning_rate > 0, "above 0"),
            convolution_rate=(self.convolution_rate >= 0, "0 or more"),
            sources=(
                bool(self.sources) and set(self.sources) <= set(SOURCES),
                f"one or more of {', '.join(SOURCES)}",
            ),
            warmup=(self.warmup >= 0, "0 or more"),
            weight_decay=(self.weight_decay >= 0, "0 or more"),
            clip=(self.clip > 0, "above 0"),
            smoothing=(0 <= self.smoothing < 1, "at least 0, below 1"),
            samples=(self.samples >= 2, "2 or more: each is compared with the others"),
            crop_scale=(0 < self.crop_scale <= 1, "above 0, at most 1"),
            **{name: ((getattr(self, name) or 0) >= 0, "0 or more") for name in LOSSES},
        )
        if self.quantized and (self.freeze != "none" or self.inputs != "images"):
            raise ConfigError("quantized is true; allowed: false, where the convolutions are frozen or not used")
        if self.crop_scale < 1 and (self.freeze != "convolutions" or self.inputs != "images"):
            raise ConfigError(f"crop_scale is {self.crop_scale}; allowed: 1, where no feature maps are kept")
        if self.bits and not self.quantized:
            raise ConfigError(f"bits is {self.bits!r}; allowed: nothing, where quantized is false")
        if self.teachers and (self.inputs == "words" or self.freeze == "captioner"):
            raise ConfigError("teachers are named; allowed: none, where no captioner learns from images")
        for name in ("reward", "causal_reward", "contrastive"):
            if self.inputs == "words" and getattr(self, name):
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: 0, where words stand in for images")
        if self.freeze == "captioner":
            idle = [name for name in LOSSES if name != "contrastive" and getattr(self, name)]
            if idle or not self.contrastive:
                found = ", ".join(f"{name} {getattr(self, name)}" for name in [*idle, "contrastive"])
                raise ConfigError(f"weights are {found}; allowed: contrastive alone, where the captioner is frozen")


@dataclass(frozen=True)
class TrainConfig:
    """A training recipe: one model, its data, its stages.

    `output`: folder of checkpoints and logs. `init`: checkpoint directory of another run, whose weights and tokenizer
    this one begins with, instead of random weights, `data.teacher` and a tokenizer of its own; empty for none. `ema`:
    decay of the weight average that is evaluated and kept.
    `accumulate`: micro-batches into which a process divides its share of a step, for batches that memory does not hold.
    `checkpointing`: blocks forget their activations and compute them again on the way back, which takes a third more
    time and much less memory. `sharding`: fsdp2 (of PyTorch) and zero3 (of DeepSpeed) divide weights, gradients,
    optimiser state and average among the processes; no gives all of them to each. See docs/distributed.md.
    `views`: augmented views of an image whose frozen features are cached. Counts are in steps.
    `trackers`: where figures go: jsonl (log.jsonl, from which curves.png is drawn), tensorboard, wandb.
    """

    name: str = "fastcap-base"
    output: str = "runs/fastcap-base"
    init: str = ""
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    threads: int = 0
    accumulate: int = 1
    checkpointing: bool = False
    sharding: Literal["no", "fsdp2", "zero3"] = "no"
    ema: float = 0.999
    views: int = 4
    log_every: int = 10
    checkpoint_every: int = 200
    evaluate_every: int = 500
    keep_last: int = 2
    trackers: tuple[str, ...] = ("jsonl", "tensorboard")
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    stages: tuple[StageConfig, ...] = (StageConfig("pretrain", steps=5000, learning_rate=1e-3),)

    def __post_init__(self) -> None:
        check_positive(self, "accumulate", "views", "log_every", "checkpoint_every", "evaluate_every", "keep_last")
        check_ranges(
            self,
            seed=(self.seed >= 0, "0 or more"),
            threads=(self.threads >= 0, "0 (as many as there are cores) or more"),
            ema=(0 <= self.ema < 1, "at least 0, below 1"),
            trackers=(set(self.trackers) <= set(TRACKERS), f"any of {', '.join(TRACKERS)}"),
            stages=(bool(self.stages), "at least one stage"),
        )
        if self.checkpointing and getattr(self.model.decoder, "balancing", "") == "bias":
            raise ConfigError("checkpointing is true; allowed: false, with balancing bias, which it would move twice")
        object.__setattr__(self, "stages", tuple(map(self.fitted, self.stages)))
        if self.sharding != "no":
            self.check_sharding()
        if self.data.teacher and getattr(self.model.backbone, "blocks", "inverted") != "inverted":
            raise ConfigError(f"data.teacher is {self.data.teacher!r}; allowed: none, for {self.model.backbone.kind}")
        if not self.data.siblings and any(stage.inputs == "words" for stage in self.stages):
            raise ConfigError("a stage has inputs words, but data.siblings names no caption file")

    def check_sharding(self) -> None:
        """Refuse what sharded training cannot do."""
        allowed = {"fsdp2": ("no", "bf16"), "zero3": ("no",)}[self.sharding]  # neither scales losses, as fp16 needs
        if self.precision not in allowed:
            raise ConfigError(
                f"precision is {self.precision!r}; allowed: {' or '.join(allowed)}, with sharding {self.sharding}"
            )
        if getattr(self.model.decoder, "balancing", "") == "bias":
            raise ConfigError(
                f"balancing is 'bias'; allowed: loss, with sharding {self.sharding}, which keeps no common biases"
            )
        for stage in self.stages:
            for name in ("reward", "causal_reward", "contrastive", "quantized"):
                if getattr(stage, name):
                    raise ConfigError(
                        f"stage {stage.name}: {name} is {getattr(stage, name)}; allowed: none of reward, "
                        f"causal_reward, contrastive and quantized with sharding {self.sharding}; see "
                        "docs/distributed.md"
                    )

    def fitted(self, stage: StageConfig) -> StageConfig:
        """A stage whose weights that were not said are what the model asks for, if those that were said fit it."""
        if self.data.streams("train") and stage.inputs == "images":
            found = {
                f"freeze {stage.freeze}": stage.freeze != "none",
                "teachers": bool(stage.teachers),
                f"sources {', '.join(stage.sources)}": "human" not in stage.sources or "distilled" in stage.sources,
                f"reward {stage.reward}": stage.reward > 0,
                f"causal_reward {stage.causal_reward}": stage.causal_reward > 0,
            }
            if any(found.values()):
                raise ConfigError(
                    f"stage {stage.name}: {'; '.join(name for name, holds in found.items() if holds)}; allowed, where "
                    f"data.train is {' or '.join(STREAMS)}: freeze none, no teachers, sources with human and without "
                    "distilled, reward and causal_reward 0, since all else keeps something of every picture"
                )
        if not self.model.parallel:
            for name in PARALLEL_LOSSES:
                if getattr(stage, name):
                    raise ConfigError(
                        f"stage {stage.name}: {name} is {getattr(stage, name)}; allowed: 0, since a "
                        f"{self.model.decoder.kind} decoder has no parallel reading"
                    )
            if stage.quantized:
                raise ConfigError(
                    f"stage {stage.name}: quantized is true; allowed: false, for a decoder that is no moe"
                )
        masked, length = (1.0, 0.1) if self.model.parallel else (0.0, 0.0)
        return dataclasses.replace(
            stage,
            masked=masked if stage.masked is None else stage.masked,
            length=length if stage.length is None else stage.length,
        )


Config = TypeVar("Config")


def from_mapping(kind: type[Config], mapping: dict[str, Any], where: str = "") -> Config:
    """A dataclass from plain data, checked key by key and type by type (draccus converts the values).

    Raises:
        ConfigError: an unknown key (the nearest known one is named) or a value of the wrong type.
    """
    import draccus
    from draccus.utils import DecodingError

    for kinds in (BACKBONES, DECODERS):
        draccus.decode.register(typing.Union[tuple(kinds.values())], functools.partial(decode_part, kinds))  # noqa: UP007
    check_keys(kind, mapping, where)
    try:
        return draccus.decode(kind, mapping)
    except (DecodingError, TypeError, ValueError) as error:
        cause: BaseException | None = error  # draccus wraps what a dataclass says of its own values
        while cause is not None and not isinstance(cause, ConfigError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            place = [*filter(None, [where]), *map(str, getattr(error, "key_path", ()))]
            raise ConfigError(f"{'.'.join(place) or kind.__name__}: {cause}") from error
        raise ConfigError(f"{where or kind.__name__}: {' '.join(str(error).split())}") from error


def decode_part(kinds: dict[str, Any], mapping: dict[str, Any], path: typing.Sequence[str]) -> Any:
    """A part of a model from plain data; draccus alone would try every kind in turn."""
    from draccus.parsers.decoding import decode_dataclass

    return decode_dataclass(part_kind(kinds, mapping, ""), mapping, path)


def part_kind(kinds: dict[str, Any], mapping: dict[str, Any], where: str) -> Any:
    """The dataclass that a part's `kind` names."""
    name = mapping.get("kind", next(iter(kinds)))
    if name not in kinds:
        raise ConfigError(f"{where}.kind is {name!r}; allowed: {', '.join(kinds)}")
    return kinds[name]


def check_keys(kind: Any, value: Any, where: str) -> None:
    """Walk plain data beside the dataclass that it should become and name the first key that is unknown, or value
    that is empty or not a list where one is needed."""
    for kinds in (BACKBONES, DECODERS):
        if typing.get_args(kind) == tuple(kinds.values()):
            kind = part_kind(kinds, value if isinstance(value, dict) else {}, where)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ConfigError(f"{where or 'the configuration'} is {value!r}; a mapping is needed")
        hints = typing.get_type_hints(kind)
        for key, item in value.items():
            if key not in hints:
                near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.4)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(hints)}"
                raise ConfigError(f"unknown setting {'.'.join(filter(None, [where, str(key)]))!r}; {hint}")
            check_keys(hints[key], item, ".".join(filter(None, [where, str(key)])))
    elif value is None and type(None) not in typing.get_args(kind):
        raise ConfigError(f"{where} is empty; a value is needed")
    elif typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} is {value!r}; a list is needed")
        for index, item in enumerate(value):
            check_keys(typing.get_args(kind)[0], item, f"{where}.{index}")


def read_yaml(path: Path, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML mapping; the files named under `include` (relative to it) are read first, and overridden by it.

    `including` are the files that led here.
    """
    import yaml

    if path.resolve() in including:
        raise ConfigError(f"{path} includes itself, by way of {including[-1].name}")
    if not path.is_file():
        raise ConfigError(f"no configuration file {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; a mapping is needed")
    merged: dict[str, Any] = {}
    includes = content.pop("include", [])
    if not isinstance(includes, list) or not all(isinstance(name, str) for name in includes):
        raise ConfigError(f"{path}: include is {includes!r}; a list of file names is needed")
    for name in includes:
        merge(merged, read_yaml(path.parent / name, (*including, path.resolve())))
    merge(merged, content)
    return merged


def merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Write `over` into `base`, mappings key by key."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value


def load_config(path: Path | str, overrides: typing.Sequence[str] = ()) -> TrainConfig:
    """A recipe from a YAML file and `key=value` overrides.

    Overrides use dots and list positions (`model.d_model=128`, `stages.0.steps=10`); values are YAML.

    Raises:
        ConfigError: a file that is missing or not YAML, an override without `=`, an unknown key, a wrong type.
    """
    import yaml

    mapping = read_yaml(Path(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} is not of the form key=value")
        *parents, last = key.split(".")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not YAML") from error
        target: Any = mapping
        for part in parents:
            target = descend(target, part, override)
        if isinstance(target, list):
            if not last.isdigit() or int(last) >= len(target):
                raise ConfigError(f"override {override!r}: no item {last!r} in a list of {len(target)}")
            target[int(last)] = value
        elif isinstance(target, dict):
            target[last] = value
        else:
            raise ConfigError(f"override {override!r}: nothing called {last!r} to set")
    return from_mapping(TrainConfig, mapping)


def descend(target: Any, part: str, override: str) -> Any:
    """The child of a mapping or list that an override's path names."""
    if isinstance(target, list) and part.isdigit() and int(part) < len(target):
        return target[int(part)]
    if isinstance(target, dict):
        return target.setdefault(part, {})
    raise ConfigError(f"override {override!r}: nothing called {part!r} to set a value in")
