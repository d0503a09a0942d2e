"""Settings of the data: what to train and validate on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fastcap.config.reading import check_positive, check_ranges
from fastcap.errors import MAX_BAD_SHARE, ConfigError

__all__ = ["STREAMS", "DataConfig", "DatasetConfig", "ResaveConfig"]

STREAMS = ("webdataset", "parquet")  # data sets that are read as they are needed; all others are files, read at once


@dataclass(frozen=True)
class DatasetConfig:
    """One source of captioned images; see `fastcap.data.readers.load_dataset`."""

    name: str
    """Its format; webdataset and parquet are shards (see `fastcap.data.shards`), all others files."""
    root: str
    """Its folder below `data.root`; for shards a pattern of their paths, also as an fsspec URL."""
    split: str = "train"
    """Which of its splits; the one that most recipes name. Shards are named by `root` alone."""
    source: Literal["", "human", "machine"] = ""
    """Who wrote its captions; empty for what its format says, which is people but for coco_machine."""

    def __post_init__(self) -> None:
        if self.name in STREAMS and self.split != "train":
            raise ConfigError(f"split is {self.split!r}; allowed: none, since {self.name} names its shards by root")


@dataclass(frozen=True)
class ResaveConfig:
    """How pictures are re-saved in training: resized, with noise, compressed; see `fastcap.data.resave`."""

    share: float = 0.0
    """Share of the pictures that are seen re-saved; 0 for none. Frozen features are then kept of both versions."""
    quality: tuple[int, int] = (50, 95)
    """Lowest and highest quality of JPEG; below 50 blocks can be seen, above 95 hardly anything changes."""
    resized: float = 0.5
    """Share of the re-saved ones that are resized before; the others are compressed at the model's own size."""
    scale: tuple[float, float] = (0.5, 3.0)
    """Smallest and largest factor of their sides; at 3 a picture of 224 pixels becomes one of 672."""
    noise: float = 4.0
    """Largest standard deviation of noise, of 255; every second picture has none."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            share=(0 <= self.share <= 1, "0 to 1"),
            quality=(1 <= self.quality[0] <= self.quality[1] <= 100, "two numbers of 1 to 100, the smaller first"),
            resized=(0 <= self.resized <= 1, "0 to 1"),
            scale=(0 < self.scale[0] <= self.scale[1] <= 16, "two numbers above 0, at most 16, the smaller first"),
            noise=(0 <= self.noise <= 255, "0 to 255"),
        )


@dataclass(frozen=True)
class DataConfig:
    """What to train and validate on."""

    root: str = "data"
    """Folder that holds the data sets, from the working directory."""
    train: tuple[DatasetConfig, ...] = (
        DatasetConfig("flickr8k", "flickr8k"),
        DatasetConfig("coco", "coco"),
        DatasetConfig("coco_machine", "coco"),
    )
    """Data sets to train on; those of the bundled model."""
    val: tuple[DatasetConfig, ...] = (DatasetConfig("flickr8k", "flickr8k", "val"),)
    """Data sets to validate on; that of the bundled model."""
    conversations: tuple[str, ...] = ()
    """Files of questions and answers to train on (.json, .jsonl, .csv; see `fastcap.data.conversations`), below `root`;
    beside the data sets of `train`, or in their place."""
    val_conversations: tuple[str, ...] = ()
    """Such files to validate on."""
    answers: Literal["drawn", "frequent"] = "drawn"
    """Which answer is learnt where several people answered: drawn reads another person's each time, so that the model
    learns how many agree; frequent always the most frequent one."""
    longest_conversation: int = 128
    """Most tokens of a conversation, questions included; longer ones are left out of training."""
    text: tuple[str, ...] = ()
    """Further caption files (.txt or .txt.gz, a caption a line) for the tokenizer, below `root`."""
    siblings: str = ""
    """Caption file for stages that learn from words, below `root`: every five lines in a row describe one image."""
    teacher: str = ""
    """MobileNetV2 weights (.npz) that initialise the convolutions, below `root`; empty for random ones."""
    cache: str = "cache"
    """Folder for decoded pixels, features and teachers' captions, from the working directory."""
    store: Literal["npy", "lmdb", "hdf5"] = "npy"
    """What holds frozen features there; npy reads fastest, the others need the extras lmdb and hdf5."""
    weights: str = ""
    """Table of `fastcap data report` with how likely each training image is drawn, from the working directory; empty
    to show each once an epoch."""
    train_limit: int = 0
    """Images trained on, spread evenly over the data sets; 0 for all of them, a hundred for a first try."""
    val_limit: int = 300
    """Images validated on while training; on 300 CIDEr is known to about a point, and a validation stays short."""
    resave: ResaveConfig = field(default_factory=ResaveConfig)
    """How pictures are re-saved; the bundled model of 0.1.0 was trained without."""
    on_bad_data: Literal["raise", "skip", "quarantine"] = "raise"
    """What happens to a row that cannot be used; raise, since a silent gap would look like a finished run."""
    max_bad_share: float = MAX_BAD_SHARE
    """Share of the rows that may be left out; a data set with more is refused."""
    shuffle_buffer: int = 1000
    """Samples of shards that are shuffled among themselves, and held in memory as files; 1,000 are about 0.1 GB."""

    def __post_init__(self) -> None:
        check_positive(self, "val_limit", "shuffle_buffer", "longest_conversation")
        check_ranges(
            self,
            max_bad_share=(0 <= self.max_bad_share < 1, "at least 0, below 1"),
            train=(bool(self.train or self.conversations), "at least one data set, unless conversations are named"),
            val=(bool(self.val or self.val_conversations), "at least one data set, unless val_conversations are named"),
            train_limit=(self.train_limit >= 0, "0 (all of them) or more"),
        )
        if self.train_limit and self.streams("train"):
            raise ConfigError(f"train_limit is {self.train_limit}; allowed: 0, where the data are streamed")
        if self.weights and self.streams("train"):
            raise ConfigError(f"weights is {self.weights}; allowed: none, where the data are streamed")
        if self.conversations and self.streams("train"):
            raise ConfigError(f"conversations is {self.conversations}; allowed: none, where the data are streamed")
        for part in ("train", "val"):
            names = [dataset.name for dataset in getattr(self, part)]
            if any(name in STREAMS for name in names) and not self.streams(part):
                raise ConfigError(
                    f"{part} has {', '.join(names)}; allowed: either all of {', '.join(STREAMS)}, or none of them"
                )

    def streams(self, part: str) -> bool:
        """Whether `train` or `val` is read from shards as it is needed."""
        datasets = getattr(self, part)
        return bool(datasets) and all(dataset.name in STREAMS for dataset in datasets)
