"""A training recipe: one model, its data, its stages; and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastcap.config.data import DataConfig
from fastcap.config.fit import check_frozen, check_sharding, fit_stage
from fastcap.config.model import ModelConfig
from fastcap.config.reading import check_positive, check_ranges, from_mapping, merge, override, read_yaml
from fastcap.config.stage import StageConfig
from fastcap.errors import ConfigError, listed, nearest
from fastcap.vocabulary import Marks

__all__ = ["TRACKERS", "TrainConfig", "datasets", "load_config", "recipes"]

TRACKERS = ("jsonl", "tensorboard", "wandb")
_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parents[1] / "configs")  # installed; in a clone
MAX_THREADS = 1024  # far more than that crash PyTorch instead of being refused by it


@dataclass(frozen=True)
class TrainConfig:
    """A training recipe."""

    name: str = "fastcap-base"
    """The model's name in its directory and in trackers."""
    output: str = "runs/fastcap-base"
    """Folder of checkpoints and logs."""
    init: str = ""
    """Checkpoint directory whose weights and tokenizer this run begins with; empty for new ones."""
    seed: int = 0
    """Of every random number; the same seed gives the same run."""
    precision: Literal["no", "bf16", "fp16", "nf4"] = "no"
    """Mixed precision; no, since on most CPUs the others are slower. With bf16 a frozen language model is kept so, too;
    with nf4 its matrices are kept in 4 bits (QLoRA, extra qlora), and nothing else changes."""
    threads: int = 0
    """CPU threads of a process; 0 for as many as there are cores."""
    accumulate: int = 1
    """Micro-batches into which a process divides its share of a step, for batches that memory does not hold."""
    checkpointing: bool = False
    """Whether blocks drop their activations and compute them again in the backward pass: about half the memory for a
    third more time."""
    sharding: Literal["no", "fsdp2", "zero3"] = "no"
    """Whether weights, gradients, optimiser state and average are divided among processes, by PyTorch or DeepSpeed; see
    docs/distributed.md."""
    ema: float = 0.999
    """Decay of the average of weights that is validated and kept; about the last 1,000 steps count."""
    views: int = 4
    """Augmented views of an image whose frozen features are cached."""
    log_every: int = 10
    """Steps between two lines of the log."""
    checkpoint_every: int = 200
    """Steps between two checkpoints, which is the most that an interrupted run loses."""
    evaluate_every: int = 500
    """Steps between two validations of the average."""
    keep_last: int = 2
    """Newest checkpoints that are kept; the one before the last is there in case the last is damaged."""
    trackers: tuple[str, ...] = ("jsonl", "tensorboard")
    """Where figures go: jsonl (log.jsonl, from which curves.png is drawn), tensorboard, wandb."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """What is trained."""
    data: DataConfig = field(default_factory=DataConfig)
    """What it is trained and validated on."""
    stages: tuple[StageConfig, ...] = (StageConfig("pretrain", steps=5000, learning_rate=1e-3),)
    """Stages of training, one after another."""

    def __post_init__(self) -> None:
        check_positive(self, "accumulate", "views", "log_every", "checkpoint_every", "evaluate_every", "keep_last")
        check_ranges(
            self,
            seed=(self.seed >= 0, "0 or more"),
            threads=(0 <= self.threads <= MAX_THREADS, f"0 (as many as there are cores) to {MAX_THREADS}"),
            ema=(0 <= self.ema < 1, "at least 0, below 1"),
            trackers=(set(self.trackers) <= set(TRACKERS), f"any of {', '.join(TRACKERS)}"),
            stages=(bool(self.stages), "at least one stage"),
        )
        if self.model.marks != Marks():
            raise ConfigError("model.marks is set; allowed: nothing, since a run takes its marks from its tokenizer")
        if self.checkpointing and getattr(self.model.decoder, "balancing", "") == "bias":
            raise ConfigError("checkpointing is true; allowed: false, with balancing bias, which it would move twice")
        object.__setattr__(self, "stages", tuple(fit_stage(stage, self.model, self.data) for stage in self.stages))
        check_sharding(self.sharding, self.precision, self.model, self.stages)
        check_frozen(self.model, self.precision, self.sharding)
        initialised = self.model.kind != "prefix" and getattr(self.model.backbone, "blocks", "inverted") == "inverted"
        if self.data.teacher and not initialised:
            raise ConfigError(f"data.teacher is {self.data.teacher!r}; allowed: none, for {self.model.backbone.kind}")
        if not self.data.siblings and any(stage.inputs == "words" for stage in self.stages):
            raise ConfigError("a stage has inputs words, but data.siblings names no caption file")


def recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    folder = next(filter(Path.is_dir, _FOLDERS), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("training/*.yaml"))}


def datasets() -> dict[str, Path]:
    """The data sets that come with the package as blocks of a recipe, by name."""
    folder = next(filter(Path.is_dir, _FOLDERS), _FOLDERS[0])
    return {path.stem: path for path in sorted(folder.glob("dataset/*.yaml"))}


def load_config(recipe: Path | str, overrides: Sequence[str] = (), dataset: str = "") -> TrainConfig:
    """A recipe from a YAML file and `key=value` overrides.

    `dataset`: one of `datasets()`, in place of those that the recipe names.

    `recipe`: a path; or, as a string without a folder and an ending, one of `recipes()`. Overrides use dots and list
    positions (`model.d_model=128`, `stages.0.steps=10`); values are YAML.

    Raises:
        ConfigError: an unknown recipe, a file that is missing or not YAML, an override without `=`, an unknown key, a
            wrong type.
    """
    if not isinstance(recipe, (str, Path)):
        raise ConfigError(f"recipe is {recipe!r}; allowed: a name, or the path of a YAML file")
    path = Path(recipe)
    if recipe == path.name and not path.suffix:
        known = recipes()
        if recipe not in known:
            raise ConfigError(
                f"no recipe {recipe!r}{nearest(recipe, known)}; known: {', '.join(known)}, or the path of a YAML file"
            )
        path = known[recipe]
    mapping = read_yaml(path)
    if dataset:
        known = datasets()
        if dataset not in known:
            raise ConfigError(f"no data set {dataset!r}{nearest(dataset, known)}; known: {', '.join(known)}")
        merge(mapping, read_yaml(known[dataset]))
    for text in listed(overrides, "overrides"):
        override(mapping, text)
    return from_mapping(TrainConfig, mapping)
