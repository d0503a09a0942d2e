"""Training on samples that are read from shards as they are needed; see `fastcap.data.shards`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from tokenizers import Tokenizer

from fastcap.config import DataConfig
from fastcap.data.shards import BadSamples, Cursor, Sample, Shard, find_shards, read_shard, stream
from fastcap.errors import DataError, FastcapError, ImageError, counted
from fastcap.runtime.archives import is_url
from fastcap.runtime.cores import usable_cores
from fastcap.runtime.encoding import clean_caption, encode
from fastcap.runtime.images import load_image
from fastcap.runtime.sources import NamedBytes
from fastcap.training.pools import CaptionPool

__all__ = ["StreamedPool", "find_all_shards", "read_first"]


def find_all_shards(data: DataConfig, part: str) -> list[Shard]:
    """The shards of `data.train` or `data.val`, whose data sets are all streams."""
    shards = []
    for index, dataset in enumerate(getattr(data, part)):
        root = dataset.root if is_url(dataset.root) else os.path.join(data.root, dataset.root)
        try:
            shards += find_shards(dataset.name, root)
        except FastcapError as error:
            raise type(error)(f"{error} (setting data.{part}.{index}, below data.root={data.root})") from error
    return shards


def read_first(data: DataConfig, size: int) -> tuple[list[Sample], NDArray[np.uint8]]:
    """The first `val_limit` usable samples of `data.val`, and their pictures (N, size, size, 3).

    Raises:
        DataError: none is usable, or one is not and `on_bad_data` says raise.
    """
    bad = BadSamples(data.on_bad_data, Path(data.cache) / "bad_val.jsonl", data.max_bad_share)
    samples: list[Sample] = []
    pixels: list[NDArray[np.uint8]] = []
    for shard in find_all_shards(data, "val"):
        for sample in read_shard(shard):
            if len(samples) == data.val_limit:
                return samples, np.stack(pixels)
            bad.n_seen += 1
            picture = sample.problem or decoded(sample, size)
            if isinstance(picture, str):
                bad.note(sample, picture)
            else:
                samples.append(sample)
                pixels.append(picture)
    if not samples:
        raise DataError("no usable sample in the shards of data.val")
    return samples, np.stack(pixels)


def decoded(sample: Sample, size: int) -> NDArray[np.uint8] | str:
    """A sample's picture (size, size, 3), or why it is none."""
    try:
        return load_image(NamedBytes(sample.image, sample.name), (size, size))
    except ImageError as error:
        return str(error)


class StreamedPool(CaptionPool):
    """The samples of one step at a time: image i is the step's i-th. `pixels` has the pictures of this process, every
    `n_processes`-th.

    Every process reads all samples, since their captions decide how much each share of a step counts, and decodes its
    own pictures. Processes exchange which could not be decoded, and the stream's next samples take their places. So all
    agree on each step, whatever their number.

    Args:
        image_size, max_length: the model's, in pixels and in tokens.
        threads: that decode; 0 for as many as there are cores.
    """

    def __init__(
        self,
        data: DataConfig,
        shards: Sequence[Shard],
        tokenizer: Tokenizer,
        accelerator: Accelerator,
        image_size: int,
        max_length: int,
        threads: int,
    ) -> None:
        super().__init__()
        self.shards, self.tokenizer, self.accelerator = shards, tokenizer, accelerator
        self.image_size, self.max_length, self.buffer = image_size, max_length, data.shuffle_buffer
        file = Path(data.cache) / "bad_train.jsonl" if accelerator.is_main_process else None
        self.bad = BadSamples(data.on_bad_data, file, data.max_bad_share)
        self.pixels: dict[int, NDArray[np.uint8]] = {}
        self.cursors: dict[int, Cursor] = {}
        """Where the stream stands before a step: the last that was read, and the next."""
        self.threads = ThreadPoolExecutor(threads or usable_cores())

    def begin(self, seed: Sequence[int], step: int, cursor: Cursor) -> None:
        """Go to the place where `step` begins; `seed` determines the stage's order of reading."""
        self.cursor, self.cursors = cursor, {step: cursor}
        self.used = cursor.epoch
        self.samples = stream(self.shards, seed, self.buffer, cursor)

    def advance(self, step: int, n: int) -> NDArray[np.int64]:
        """Read the n samples of a step, after those of the step before; returns their indices, 0..n-1."""
        size = self.image_size
        process, n_processes = self.accelerator.process_index, self.accelerator.num_processes
        self.cursor = self.cursors[step]
        samples: list[tuple[Sample, NDArray[np.uint8] | None]] = []
        self.texts, self.token_ids = [], []
        while len(samples) < n:
            fresh = [self.next_sample() for _ in range(n - len(samples))]
            own = [i for i in range(len(fresh)) if (len(samples) + i) % n_processes == process]
            pictures = self.threads.map(decoded, [fresh[i][0] for i in own], repeat(size))
            decoded_here = dict(zip(own, pictures, strict=True))
            bad = self.agreed([isinstance(decoded_here.get(i), str) for i in range(len(fresh))])
            for i, (sample, texts, token_ids) in enumerate(fresh):
                picture = decoded_here.get(i)
                if bad[i]:
                    self.bad.note(sample, str(picture or decoded(sample, size)))
                    continue
                assert not isinstance(picture, str)
                samples.append((sample, picture))
                self.texts.append(texts)
                self.token_ids.append({"human": token_ids})
        self.pixels = {}
        for i, (sample, picture) in enumerate(samples):
            if i % n_processes == process:  # some moved up into this process's share
                again = decoded(sample, size) if picture is None else picture
                assert not isinstance(again, str)
                self.pixels[i] = again
        self.cursors = {step: self.cursors[step], step + 1: self.cursor}
        return np.arange(n)

    def position(self, step: int) -> dict[str, int] | None:
        """Where a step that was read, or the one after it, begins, as plain data; None for any other step."""
        cursor = self.cursors.get(step)
        return None if cursor is None else {**asdict(cursor), "n_shards": len(self.shards)}

    def cursor_at(self, position: dict[str, int]) -> Cursor:
        """The place that `position` wrote. Raises DataError if the shards are not those of that time."""
        *cursor, n_shards = (position[name] for name in (*Cursor.__dataclass_fields__, "n_shards"))
        if n_shards != len(self.shards):
            raise DataError(
                f"data.train has {counted(len(self.shards), 'shard')}; the checkpoint was made with {n_shards}"
            )
        return Cursor(*cursor)

    def next_sample(self) -> tuple[Sample, list[str], list[list[int]]]:
        """The next sample with a caption that fits; its clean captions, and the token ids of those that fit."""
        while True:
            sample, self.cursor = next(self.samples)
            self.bad.n_seen += 1
            if self.cursor.epoch > self.used + 1:
                raise DataError(
                    f"no usable sample in a whole epoch of {counted(len(self.shards), 'shard')}: {self.skipped} "
                    f"captions were empty or longer than {self.max_length} tokens, {self.bad.n_bad} samples bad"
                )
            if sample.problem:
                self.bad.note(sample, sample.problem)
                continue
            texts = [clean_caption(caption) for caption in sample.captions]
            token_ids = [encode(self.tokenizer, text) for text in texts]
            fitting = [ids for ids in token_ids if 1 <= len(ids) <= self.max_length]
            self.skipped += len(texts) - len(fitting)
            if fitting:
                self.used = self.cursor.epoch
                return sample, texts, fitting

    def agreed(self, flags: Sequence[bool]) -> NDArray[np.bool_]:
        """Which of some flags are set in any process."""
        if self.accelerator.num_processes == 1:
            return np.array(flags)
        own = torch.tensor(flags, dtype=torch.float32, device=self.accelerator.device)
        summed: Any = self.accelerator.reduce(own, "sum")
        return np.asarray(summed.cpu().numpy() > 0)

    def summary(self) -> str:
        """What was read since the run began, in words."""
        return (
            f"{self.bad.n_seen} samples read, epoch {self.cursor.epoch}, {self.bad.n_bad} samples bad, {self.skipped} "
            f"captions longer than {self.max_length} tokens left out"
        )
