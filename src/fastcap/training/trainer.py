"""The training loop: every recipe is a list of stages of one loop.

A step is a function of the weights, the optimiser's state and the step's number: data order, views, masks, samples
and dropout are drawn from generators seeded by that number. An interrupted run therefore resumes exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from fastcap.alignment.cmfa import recall
from fastcap.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from fastcap.config import LOSSES, ModelConfig, StageConfig, TrainConfig, from_mapping
from fastcap.data.augment import augment
from fastcap.data.batching import pad_tokens
from fastcap.data.cache import ImageCache
from fastcap.data.shards import Cursor, Shard, first_captions
from fastcap.data.tokenizer import train_tokenizer
from fastcap.errors import ConfigError, FastcapError, ModelFileError
from fastcap.evaluation.cider import CiderD
from fastcap.evaluation.ptb import ptb_tokens
from fastcap.losses.forcing import forcing_probability
from fastcap.losses.language import mask_tokens
from fastcap.model import CaptionModel, build_model
from fastcap.quantization.fake import fold_steps, folded_state, learn_steps, learns_steps, plain_name, rounded_once
from fastcap.quantization.scales import quantised_layers, read_bits
from fastcap.runtime.encoding import clean_caption, decode, encode
from fastcap.training.activations import ActivationMonitor
from fastcap.training.batch import Batch, unit
from fastcap.training.curves import draw_curves
from fastcap.training.distillation import Distillation, asks_itself
from fastcap.training.features import FrozenFeatures, crop_anew
from fastcap.training.interrupts import held_signals, uninterrupted
from fastcap.training.objective import TrainingStep
from fastcap.training.pools import (
    CaptionPool,
    SiblingPool,
    cider_reward,
    length_distribution,
    read_examples,
    read_texts,
)
from fastcap.training.recompute import checkpoint_blocks
from fastcap.training.sharding import gather, local_parts, shard_blocks, shard_like, whole
from fastcap.training.streaming import StreamedPool, find_all_shards, read_first
from fastcap.training.teachers.choose import initialise_from_mobilenetv2, load_teacher
from fastcap.training.tracking import TRACKERS, Throughput, Tracker, count_flops
from fastcap.training.zero import ZeroOptimizer, import_deepspeed, shard_by_zero
from fastcap.vocabulary import PAD, Marks

__all__ = ["Trainer", "train"]

console = Console(stderr=True)
TOKENIZER_CAPTIONS = 50_000  # of a stream: a vocabulary of some thousand entries changes little beyond
STEP_RATE = 10.0  # of the learning rate: logarithms of steps are a hundred times larger than weights
CONVOLUTIONS = tuple(f"backbone.{part}" for part in ("stem", "to_stride_16", "to_stride_32", "head"))


def train(config: TrainConfig, *, accept_changes: bool = False, debug_activations: bool = False) -> Path:
    """Train by a recipe, from its last checkpoint if there is one; returns the best checkpoint's directory.

    Args:
        accept_changes: resume although the recipe differs from the one that the checkpoint was trained by.
        debug_activations: watch what flows through the network, and write it to activations.jsonl in the run's folder
            whenever a step is logged; see `fastcap.training.activations`.

    Raises:
        FastcapError: bad data or settings, a checkpoint that does not fit, a loss that is not finite.
        KeyboardInterrupt: after the state has been saved.
    """
    return Trainer(config, accept_changes, debug_activations).run()


class Trainer:
    """One run: data, model, weight average, optimiser, position."""

    def __init__(self, config: TrainConfig, accept_changes: bool = False, debug_activations: bool = False) -> None:
        self.config = config
        self.debug_activations = debug_activations
        self.monitor: ActivationMonitor | None = None
        self.output = Path(config.output)
        self.checkpoints = self.output / "checkpoints"
        self.teacher = self.output / "teacher"  # the average when a stage first asks for its captions
        if config.threads:
            torch.set_num_threads(config.threads)
        if "true" in (os.environ.get(f"ACCELERATE_USE_{engine}") for engine in ("FSDP", "DEEPSPEED")):
            raise ConfigError(
                "accelerate is told to divide the model itself (distributed_type FSDP or DEEPSPEED); allowed: "
                "MULTI_GPU, with sharding fsdp2 or zero3 in the recipe"
            )
        self.accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),  # not said, processes on CPUs would not find one another
            mixed_precision=config.precision,
            kwargs_handlers=[
                DistributedDataParallelKwargs(find_unused_parameters=True),  # no stage uses all of the network
                InitProcessGroupKwargs(timeout=timedelta(days=1)),  # while the main process caches or validates
            ],
        )
        self.device = self.accelerator.device
        self.sharded = config.sharding != "no" and self.accelerator.num_processes > 1
        if self.sharded and config.sharding == "zero3":
            import_deepspeed(self.device)
        if self.sharded and debug_activations:
            raise ConfigError("--debug-activations watches whole layers; allowed: sharding no, or one process")
        torch.manual_seed(config.seed)
        latest = self.latest_checkpoint()
        if latest is not None:
            self.check_recipe(latest, accept_changes)
        streamed = config.data.streams("train")
        shards = find_all_shards(config.data, "train") if streamed else []
        parts = [] if streamed else read_examples(config.data, "train")
        beginning = load_checkpoint(config.init) if config.init and latest is None else None
        self.tokenizer = beginning[1] if beginning else self.load_tokenizer(latest, parts, shards)
        # a small data set fills fewer entries than asked for; the model has as many as the tokenizer
        marks = beginning[0].config.marks if beginning else Marks.of(self.tokenizer)
        self.model_config = dataclasses.replace(config.model, vocab_size=self.tokenizer.get_vocab_size(), marks=marks)
        self.stream = StreamedPool(config, shards, self.tokenizer, self.accelerator) if streamed else None
        self.cursor: Cursor | None = None  # of the stream, where a stage goes on
        self.pool = self.stream or CaptionPool.build(parts, self.tokenizer, config.model.max_length)
        self.images = ImageCache(Path(config.data.cache) / f"train-{config.model.image_size}", config.model.image_size)
        self.trackers: list[Tracker] = []
        self.held: list[int] = []  # signals that wait for the end of a step
        with self.accelerator.main_process_first():  # the others find what it keeps
            if not streamed:
                self.images.build(self.pool.paths)
            self.val_images, self.val_scorer = self.validation_set()
        self.model = self.new_model()
        if beginning is not None:
            self.check_architecture(beginning[0].config)
            self.load_weights(beginning[0].state_dict(), config.init)
        elif latest is None and config.data.teacher:
            initialise_from_mobilenetv2(self.model.backbone, Path(config.data.root) / config.data.teacher)
        self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.updates = 0
        self.stage_index, self.step, self.best = 0, 0, -1.0
        self.reward = None if streamed else cider_reward(self.pool, self.tokenizer)
        self.features: FrozenFeatures | None = None
        self.siblings: SiblingPool | None = None
        self.moments: dict[str, Tensor] = {}
        self.projections: dict[str, Tensor] = {}
        if latest is not None:
            self.restore(latest)
        for index, stage in enumerate(config.stages[self.stage_index :], self.stage_index):
            for place, teacher in enumerate(stage.teachers):  # what is wrong is said now, not after hours
                load_teacher(teacher, config, self.tokenizer, f"stages.{index}.teachers.{place}")
        n_human = sum(len(captions.get("human", [])) for captions in self.pool.token_ids)
        found = (
            f"{len(self.pool.paths)} training images, {n_human} human captions "
            f"({self.pool.skipped} longer than {config.model.max_length} tokens left out)"
        )
        self.say(
            f"{f'{len(shards)} training shards' if streamed else found}, "
            f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M parameters, device {self.device}, "
            f"processes {self.accelerator.num_processes}"
        )

    def new_model(self) -> CaptionModel:
        """A model of the recipe with random weights."""
        model = build_model(self.model_config)
        if self.config.checkpointing:
            checkpoint_blocks(model)
        return model.to(self.device)

    # Data

    def load_tokenizer(self, latest: Path | None, parts: Any, shards: Sequence[Shard]) -> Tokenizer:
        """The run's tokenizer: from its checkpoint, or learnt from all training captions and texts; of shards, from the
        texts alone, or the first captions where there are none."""
        if latest is not None:
            try:
                return Tokenizer.from_file(str(latest / "tokenizer.json"))
            except Exception as error:  # tokenizers raises bare Exception
                raise ModelFileError(f"{latest / 'tokenizer.json'} cannot be read: {error}") from error
        texts = [caption for _, examples in parts for example in examples for caption in example.captions]
        texts += list(read_texts(self.config.data)) or list(first_captions(shards, TOKENIZER_CAPTIONS))
        return train_tokenizer(map(clean_caption, texts), self.config.model.vocab_size)

    def validation_set(self) -> tuple[ImageCache | NDArray[np.uint8], CiderD]:
        """The first `val_limit` validation images, of files spread evenly, and a scorer that knows their references;
        notes the token ids of these."""
        images: ImageCache | NDArray[np.uint8]
        if self.config.data.streams("val"):
            samples, images = read_first(self.config.data, self.images.size)
            captions = [sample.captions for sample in samples]
        else:
            examples = [example for _, part in read_examples(self.config.data, "val") for example in part]
            limit = min(self.config.data.val_limit, len(examples))
            chosen = [examples[i * len(examples) // limit] for i in range(limit)]
            cache = ImageCache(Path(self.config.data.cache) / f"val-{self.images.size}", self.images.size)
            images = cache.build([example.image for example in chosen])
            captions = [example.captions for example in chosen]
        references = {str(i): [ptb_tokens(text) for text in texts] for i, texts in enumerate(captions)}
        ids = [[encode(self.tokenizer, clean_caption(text)) for text in texts] for texts in captions]
        self.val_token_ids = [[row[: self.config.model.max_length] for row in rows if row] for rows in ids]
        return images, CiderD(references)

    def seed(self) -> int:
        """The seed of the current step."""
        return (self.config.seed * 1_000_003 + self.stage_index) * 1_000_003 + self.step

    def batch(self, stage: StageConfig, eligible: np.ndarray, generator: torch.Generator | None = None) -> Batch:
        """This process's share of the current step's batch, on the CPU; indices are of caption groups where words stand
        in for images.

        Every process draws for the whole batch, and loads what is large for its own images alone.

        Args:
            generator: of the numbers drawn in PyTorch, seeded with the step's seed, which is the default.
        """
        generator = generator or torch.Generator().manual_seed(self.seed())
        rng = np.random.default_rng([self.config.seed, self.stage_index, self.step])
        indices = self.indices(stage, eligible)
        progress, max_length = self.progress_of(stage), self.config.model.max_length
        words: list[np.ndarray] = []
        if self.siblings is not None:
            n_cells = (self.config.model.image_size // 32) ** 2
            drawn = [self.siblings.draw(int(i), stage.captions, n_cells, rng) for i in indices]
            words = [cells for cells, _ in drawn]
            rows = [row for _, captions in drawn for row in captions]
            target = [length_distribution(self.siblings.groups[i], max_length) for i in indices]
        else:
            rows = [row for i in indices for row in self.distillation.draw(int(i), rng, progress)]
            target = [self.distillation.length_target(int(i), progress) for i in indices]
        token_ids, padding_mask = map(torch.from_numpy, pad_tokens(rows, PAD))
        lengths = (~padding_mask).sum(dim=1)
        tensors = {
            "token_ids": token_ids,
            "lengths": lengths,
            "length_target": torch.from_numpy(np.stack(target)),
        }
        forcing = self.forcing(stage)
        if forcing < 1 and self.distillation.reads_causally:
            tensors["given"] = torch.rand(token_ids.shape, generator=generator) < forcing
        if stage.masked or stage.consistency:
            tensors["masked"] = mask_tokens(token_ids, lengths, generator)
        process, n_processes = self.accelerator.process_index, self.accelerator.num_processes
        batch = Batch.whole(tensors, indices).share(process, n_processes)
        if self.siblings is not None:
            batch.tensors["words"] = torch.from_numpy(np.stack(words[process::n_processes]))
            return batch
        own_rows = [row for row, keep in zip(rows, self.owned(len(rows), stage.captions), strict=True) if keep]
        batch.tensors.update(self.distillation.targets(batch.images, own_rows, token_ids.shape[1]))
        if self.features is not None:
            kind = "tokens" if stage.freeze == "captioner" else "features"
            views = rng.integers(self.config.views, size=len(indices))
            batch.tensors[kind] = self.features[batch.images, views[process::n_processes]]
            if stage.crop_scale < 1:
                texts = [self.pool.texts[i] for i in batch.images]
                rngs = [np.random.default_rng([self.seed(), int(i)]) for i in batch.images]
                batch.tensors[kind] = crop_anew(batch.tensors[kind], texts, rngs, stage.crop_scale)
        else:
            pixels, images = [], self.stream.pixels if self.stream else self.images
            for index, own in zip(indices, self.owned(len(indices)), strict=True):
                # another's image is not read: a pixel in its place draws the same numbers
                image = images[int(index)] if own else np.zeros((1, 1, 3), np.uint8)
                changed = augment(image, self.pool.texts[index], rng)
                pixels += [changed] if own else []
            batch.tensors["pixels"] = torch.from_numpy(np.stack(pixels))
        return batch

    def indices(self, stage: StageConfig, eligible: np.ndarray) -> NDArray[np.int64]:
        """What the current step draws from `eligible`, all of it once an epoch; or has read from the stream."""
        if self.stream is not None and self.siblings is None:
            return self.stream.advance(self.step, stage.images)
        places = np.arange(self.step * stage.images, (self.step + 1) * stage.images)
        indices = np.empty(stage.images, dtype=np.int64)
        for epoch in np.unique(places // len(eligible)):
            order = np.random.default_rng([self.config.seed, self.stage_index, 7, epoch]).permutation(eligible)
            here = places // len(eligible) == epoch
            indices[here] = order[places[here] % len(eligible)]
        return indices

    def owned(self, n: int, rows: int = 1) -> np.ndarray:
        """Which of n images, or of n caption rows of which an image has several, are this process's: (n,), bool."""
        return np.arange(n) // rows % self.accelerator.num_processes == self.accelerator.process_index

    def prepare_stage(self, stage: StageConfig) -> np.ndarray:
        """Freeze, cache and distil what the stage asks for; returns the indices of what it draws from."""
        backbone = self.model.backbone
        self.learn_steps(stage)
        self.model.requires_grad_(stage.freeze != "captioner")
        for module in (backbone.stem, backbone.to_stride_16):
            module.requires_grad_(stage.freeze == "none")
        self.model.alignment.requires_grad_(stage.contrastive > 0)
        self.features = self.siblings = None
        with self.accelerator.main_process_first():  # the others find what it keeps
            self.distillation = self.distil(stage)
        if stage.inputs == "words":
            self.siblings = SiblingPool(self.config.data, self.tokenizer, self.config.model.max_length)
            return np.arange(len(self.siblings.groups))
        if self.stream is not None:
            self.begin_stream()
            return np.arange(stage.images)
        if stage.freeze != "none":
            captioner = stage.freeze == "captioner"
            if captioner and not self.step:
                self.model.load_state_dict(self.average)  # what is kept is what ships

            def compute(pixels: Tensor) -> Tensor:
                pixels = pixels.to(self.device)
                return backbone(pixels).tokens if captioner else backbone.convolve(pixels)

            with self.accelerator.main_process_first():
                self.features = FrozenFeatures(
                    Path(self.config.data.cache),
                    compute,
                    [backbone] if captioner else [backbone.stem, backbone.to_stride_16],
                    self.images,
                    self.pool.texts,
                    self.config.views,
                    self.config.seed,
                )
        return self.pool.with_sources(stage.sources)

    def begin_stream(self) -> None:
        """Let the stream, if there is one and the stage reads it, stand where the stage goes on."""
        if self.stream is not None and self.siblings is None:
            self.stream.begin([self.config.seed, self.stage_index, 7], self.step, self.cursor or Cursor())

    def distil(self, stage: StageConfig) -> Distillation:
        """What the stage's teachers say, and the projections onto their features: new, or as they were."""
        if asks_itself(stage) and not self.teacher.is_dir():
            save_checkpoint(self.teacher, self.model_config, self.shipped(), self.tokenizer)
        setting = f"stages.{self.stage_index}"
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            made = Distillation(
                self.config, stage, setting, self.pool, self.images, self.tokenizer, self.teacher, self.device
            )
        if self.projections:
            self.load_weights(self.projections, self.checkpoints, made)
        return made.to(self.device)

    def progress_of(self, stage: StageConfig) -> float:
        """How far the stage has come, 0 at its first step and 1 at its last."""
        return self.step / max(1, stage.steps - 1)

    def forcing(self, stage: StageConfig) -> float:
        """How likely the causal reading is given a true word now."""
        if stage.forcing.schedule == "always":
            return 1.0
        return forcing_probability(stage.forcing.schedule, self.progress_of(stage), stage.forcing.end)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """What a stage trains, by name: the model's weights, and those of the projections onto its teachers."""
        yield from self.model.named_parameters()
        yield from self.distillation.named_parameters("distillation")

    # The loop

    def run(self) -> Path:
        """All stages that are left."""
        self.output.mkdir(parents=True, exist_ok=True)
        try:
            if self.accelerator.is_main_process:
                for name in self.config.trackers:
                    self.trackers.append(TRACKERS[name](self.output, dataclasses.asdict(self.config)))
            with contextlib.ExitStack() as stack:
                if self.accelerator.num_processes > 1:  # all are to stop after the same step
                    self.held = stack.enter_context(held_signals())
                while self.stage_index < len(self.config.stages):
                    self.run_stage(self.config.stages[self.stage_index])
                    self.average = self.shipped()
                    fold_steps(self.model)
                    self.stage_index, self.step = self.stage_index + 1, 0
                    self.moments, self.projections, self.cursor = {}, {}, None
                    if self.stream is not None:
                        self.stream.cursors = {}
                    self.save()
        finally:
            for tracker in self.trackers:
                tracker.close()
            if self.accelerator.is_main_process:
                draw_curves(self.output / "log.jsonl", self.output / "curves.png")
        return self.output / "best"

    def run_stage(self, stage: StageConfig) -> None:
        """One stage from `self.step` to its end."""
        n_processes, parts = self.accelerator.num_processes, self.config.accumulate
        if stage.images < n_processes * parts:
            raise ConfigError(
                f"stage {stage.name}: images is {stage.images}; allowed: {n_processes * parts} or more, one for "
                f"each of {parts} micro-batches (accumulate) of {n_processes} processes"
            )
        eligible = self.prepare_stage(stage)
        step = TrainingStep(self.model, self.distillation).train()
        module: nn.Module = step
        optimizer: Any
        throughput: Throughput | None = None
        if self.sharded:
            batch = self.batch(stage, eligible)  # by all processes, which a stream makes agree
            if self.accelerator.is_main_process:  # the last moment at which one process can compute alone
                throughput = self.throughput(step, stage, batch)
            self.begin_stream()
            if self.config.sharding == "zero3":
                self.freeze_unused(step, stage, batch)
                module, optimizer = shard_by_zero(step, self.build_optimizer(stage), self.device)
            else:
                shard_blocks(step, self.device)
                optimizer = self.build_optimizer(stage)
            self.average = shard_like(self.average, local_parts(self.model))
        else:
            module, optimizer = self.accelerator.prepare(step, self.build_optimizer(stage))
        self.monitor = ActivationMonitor(step) if self.debug_activations else None
        spent, done = time.perf_counter(), 0
        with self.progress() as progress:
            task = progress.add_task(stage.name, total=stage.steps, completed=self.step, status="")
            try:
                while self.step < stage.steps:
                    began = time.perf_counter()
                    generator = torch.Generator().manual_seed(self.seed())
                    batch = self.batch(stage, eligible, generator)
                    rate = stage.learning_rate * schedule(self.step, stage.warmup, stage.steps)
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group["scale"]
                    optimizer.zero_grad()
                    losses, stopping = self.summed(self.gradients(module, stage, batch, generator))
                    if self.monitor is not None:
                        self.monitor.note_gradients()
                    if isinstance(optimizer, ZeroOptimizer):
                        norm = optimizer.clip(stage.clip)
                    else:
                        norm = whole(self.accelerator.clip_grad_norm_(module.parameters(), stage.clip))
                    finite = math.isfinite(losses["loss"]) and (self.accelerator.scaler or torch.isfinite(norm))
                    if not finite:
                        self.stop_on_nonfinite(batch, losses)
                    forcing, shares = self.forcing(stage), self.distillation.weights(self.progress_of(stage))
                    with uninterrupted():
                        optimizer.step()
                        self.update_average()
                        self.step, done = self.step + 1, done + 1
                    progress.update(
                        task,
                        completed=self.step,
                        status=f"loss {losses['loss']:.3f} {done / (time.perf_counter() - spent):.2f} it/s",
                    )
                    if self.accelerator.is_main_process:
                        throughput = throughput or self.throughput(step, stage, batch)
                        throughput.add(stage.images, time.perf_counter() - began)
                    if throughput and self.step % self.config.log_every == 0:
                        values = losses | {f"weight_{name}": share for name, share in shares.items()}
                        if stage.forcing.schedule != "always":
                            values["forcing"] = forcing
                        self.log_activations(stage)
                        self.log(stage, rate=rate, gradient=float(norm), **values, **throughput.figures())
                    if self.step % self.config.evaluate_every == 0 and self.step < stage.steps:
                        self.validate(stage)
                    if self.step % self.config.checkpoint_every == 0:
                        self.save(optimizer)
                    if stopping:
                        raise KeyboardInterrupt
                self.validate(stage)  # after the loop: a run that was interrupted here validates when resumed
            except KeyboardInterrupt:
                self.save(optimizer)
                raise
        if self.stream is not None and self.siblings is None:
            self.say(self.stream.summary())
        if self.sharded:
            self.average, weights = (gather(each, self.device) for each in (self.average, local_parts(self.model)))
            if isinstance(optimizer, ZeroOptimizer):
                optimizer.close()
            self.model = self.new_model()
            self.model.load_state_dict(weights)
        self.accelerator.free_memory()  # a wrapper left over would go on watching the weights

    def gradients(
        self, module: nn.Module, stage: StageConfig, batch: Batch, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Add up the gradients of this process's share of a batch, micro-batch by micro-batch, and let processes
        exchange them; returns the share's part of `loss`, and of each loss by name."""
        n_processes, parts = self.accelerator.num_processes, self.config.accumulate
        weights = {name: getattr(stage, name) for name in LOSSES}
        weights |= self.distillation.weights(self.progress_of(stage))
        totals: dict[str, Tensor] = {}
        for index in range(parts):
            part, place = batch.share(index, parts), self.accelerator.process_index * parts + index
            torch.manual_seed(self.seed() + (place << 40))
            if place:  # the samples of the reward
                generator.manual_seed(self.seed() + (place << 40))
            tensors = {name: value.to(self.device) for name, value in part.tensors.items()}

            def reward(captions: Tensor, images: np.ndarray = part.images) -> Tensor:
                assert self.reward is not None  # a stream has none
                return self.reward(np.repeat(images, captions.shape[1] // len(images)).tolist(), captions)

            waiting = self.accelerator.no_sync(module) if index < parts - 1 else contextlib.nullcontext()
            with waiting, rounded_once(self.model):
                with self.accelerator.autocast(), self.monitor or contextlib.nullcontext():
                    losses = module(tensors, stage, reward, generator)
                fractions = part.fractions()
                losses = {name: value * fractions[unit(name)] for name, value in losses.items()}
                loss = sum(weights[name] * value for name, value in losses.items() if name in weights)
                self.accelerator.backward(loss * n_processes)  # gradients are exchanged as a mean
            for name, value in {"loss": loss, **losses}.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def summed(self, losses: dict[str, Tensor]) -> tuple[dict[str, float], bool]:
        """Losses of all processes' shares together, and whether any process was asked to stop."""
        if self.accelerator.num_processes == 1:
            return {name: value.item() for name, value in losses.items()}, False
        asked = torch.tensor(float(bool(self.held)), device=self.device)
        values = torch.stack([*(value.float() for value in losses.values()), asked])
        *sums, stopping = self.accelerator.reduce(values, "sum").tolist()
        return dict(zip(losses, sums, strict=True)), stopping > 0

    def throughput(self, step: TrainingStep, stage: StageConfig, batch: Batch) -> Throughput:
        """A measure of the stage's speed; `batch` tells what one image costs."""
        part = batch.share(0, self.config.accumulate)
        tensors = {name: value.to(self.device) for name, value in part.tensors.items()}
        generator = torch.Generator().manual_seed(0)
        step.eval()
        flops = count_flops(
            lambda: step.losses(tensors, stage, lambda captions: torch.zeros(captions.shape[:2]), generator)
        )
        step.train()
        return Throughput(flops / len(part.images), self.device, self.accelerator.num_processes)

    def build_optimizer(self, stage: StageConfig) -> torch.optim.Optimizer:
        """AdamW: no decay for vectors and steps, own rates for these and the convolutions; moments restored after a
        resume."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.trained():
            if parameter.requires_grad:
                scale = stage.convolution_rate if name.startswith(CONVOLUTIONS) else 1.0
                decay = stage.weight_decay if parameter.ndim > 1 else 0.0
                if name.endswith(".log_step"):
                    scale, decay = STEP_RATE, 0.0
                groups.setdefault((scale, decay), []).append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": params, "scale": scale, "weight_decay": decay} for (scale, decay), params in groups.items()],
            betas=(0.9, 0.98),
        )
        for name, parameter in self.trained():
            if f"{name}:step" in self.moments:
                moments = {part: self.moments.pop(f"{name}:{part}") for part in ("exp_avg", "exp_avg_sq")}
                optimizer.state[parameter] = {
                    "step": self.moments.pop(f"{name}:step"),
                    **shard_like(moments, dict.fromkeys(moments, parameter)),
                }
        return optimizer

    def freeze_unused(self, step: TrainingStep, stage: StageConfig, batch: Batch) -> None:
        """Train nothing that the stage's losses do not reach: DeepSpeed would take its gradient for 0, and decay it."""
        self.gradients(step, stage, batch, torch.Generator().manual_seed(self.seed()))
        for parameter in step.parameters():
            parameter.requires_grad_(parameter.grad is not None)
            parameter.grad = None

    def learn_steps(self, stage: StageConfig) -> None:
        """Let model and average compute with rounded weights from now on, unless they do already."""
        if stage.quantized and not learns_steps(self.model):
            learn_steps(self.model, read_bits(Path(stage.bits), quantised_layers(self.model)) if stage.bits else {})
            plain = self.average
            self.average = {
                name: plain.get(plain_name(name), value).detach().clone()
                for name, value in self.model.state_dict().items()
            }

    def shipped(self) -> dict[str, Tensor]:
        """The average under the names of an ordinary model, whose weights are those that it computes with.

        Where weights are sharded all processes are to ask for it, and the main process alone is told.
        """
        if not learns_steps(self.model):
            return gather(self.average, "cpu", keep=self.accelerator.is_main_process)
        with AveragedWeights(self.model, self.average):
            return folded_state(self.model)

    def update_average(self) -> None:
        """Exponential moving average of the weights; young averages forget faster."""
        self.updates += 1
        decay = min(self.config.ema, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, value in local_parts(self.model).items():
                self.average[name].lerp_(value, 1 - decay)

    @contextlib.contextmanager
    def averaged_model(self, shipped: dict[str, Tensor]) -> Iterator[CaptionModel]:
        """A context with a whole model that holds the average; `shipped` is the average put together."""
        if self.sharded:
            model = self.new_model()
            model.load_state_dict(shipped)
            yield model.eval()
        else:
            with AveragedWeights(self.model, self.average):
                yield self.model

    @torch.no_grad()
    def validate(self, stage: StageConfig) -> None:
        """CIDEr-D of the parallel reading on the validation images, or of greedy captions where there is none or the
        stage rewards the causal reading alone; the best so far is kept. The main process's work."""
        shipped = self.shipped()
        if not self.accelerator.is_main_process:
            return
        causal = bool(stage.causal_reward and not stage.masked and not stage.reward)
        captions: dict[str, list[str]] = {}
        vectors = []
        with self.averaged_model(shipped) as model:
            for start in range(0, len(self.val_images), 50):
                batch = range(start, min(start + 50, len(self.val_images)))
                pixels = torch.from_numpy(self.val_images[list(batch)]).to(self.device)
                image = model.encode(pixels)
                vectors.append(model.alignment.embed_image(image))
                for index, ids in zip(batch, model.best_captions(image, causal), strict=True):
                    captions[str(index)] = ptb_tokens(decode(self.tokenizer, ids))
            figures = self.recall(model, torch.cat(vectors)) if stage.contrastive else {}
        cider = 100 * self.val_scorer.corpus(captions)[0]
        self.log(stage, val_cider=cider, distinct=len({tuple(caption) for caption in captions.values()}), **figures)
        console.print(f"{stage.name} {self.step}: val CIDEr {cider:.2f}; {' '.join(captions['0'])}")
        for name, value in figures.items():
            console.print(f"  {name} {value:.3f}")
        if cider >= self.best:  # equal where the captioner is frozen: there the last is kept
            self.best = cider
            save_checkpoint(self.output / "best", self.model_config, shipped, self.tokenizer)

    def recall(self, model: CaptionModel, images: Tensor) -> dict[str, float]:
        """How well the validation images, as vectors (B, A), find their captions, and captions their image."""
        rows = [row for rows in self.val_token_ids for row in rows]
        owners = torch.tensor([i for i, rows in enumerate(self.val_token_ids) for _ in rows], device=self.device)
        token_ids, padding_mask = (torch.from_numpy(part).to(self.device) for part in pad_tokens(rows, PAD))
        texts = model.embed_text(token_ids, (~padding_mask).sum(dim=1))
        return recall(images @ texts.t(), owners)

    def stop_on_nonfinite(self, batch: Batch, losses: dict[str, float]) -> None:
        """Save the batch that made a loss or its gradient infinite or NaN, each process its share; say what to do."""
        process = self.accelerator.process_index
        path = self.output / f"nonfinite_batch{f'_{process}' if process else ''}.safetensors"
        save_file({name: value.contiguous().cpu() for name, value in batch.tensors.items()}, path)
        values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if name != "loss")
        first = self.monitor.first_nonfinite if self.monitor else "--debug-activations would tell"
        raise FastcapError(
            f"the loss or its gradient is not finite at stage {self.stage_index} step {self.step} ({values}); "
            f"first not finite: {first}; the batch is in {path}. Lower learning_rate or clip, or use precision=no; the "
            "last checkpoint is intact"
        )

    # State

    def latest_checkpoint(self) -> Path | None:
        """The newest checkpoint of this run."""
        return max(self.checkpoints.glob("step-*"), default=None)

    def check_recipe(self, latest: Path, accept_changes: bool) -> None:
        """Refuse to resume under another recipe unless told to."""
        try:
            before = json.loads((latest / "recipe.json").read_text(encoding="utf-8"))
            if not isinstance(before, dict):
                raise ValueError("a mapping is needed")
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{latest / 'recipe.json'} cannot be read: {error}") from error
        now = dataclasses.asdict(self.config)
        try:
            before = dataclasses.asdict(from_mapping(TrainConfig, before))  # settings that are new since have defaults
            changed = [key for key in now if now[key] != before[key]]
        except ConfigError:
            changed = ["settings that this version does not know"]
        if changed and not accept_changes:
            raise ConfigError(
                f"{latest} was trained by another recipe (different: {', '.join(changed)}); choose another output, "
                "or resume all the same with --accept-changes"
            )

    def check_architecture(self, theirs: ModelConfig) -> None:
        """Refuse to begin with the weights of another architecture: some differences fit every tensor."""
        ours = self.model_config
        decoder = dataclasses.replace(theirs.decoder, dropout=ours.decoder.dropout)
        if dataclasses.replace(theirs, decoder=decoder, generation=ours.generation) != ours:
            raise ModelFileError(
                f"{self.config.init} does not fit the recipe's model: its settings differ; see config.json"
            )

    def save(self, optimizer: Any = None) -> None:
        """Write a checkpoint that resumes exactly, and delete all but the last `keep_last`. The main process's work, to
        which all bring their parts of what is sharded."""
        state = {f"weights:{name}": value for name, value in local_parts(self.model).items()}
        if optimizer is not None:
            state |= {f"projections:{name}": value for name, value in local_parts(self.distillation).items()}
            known = optimizer.state
            for name, parameter in self.trained():
                for part, value in known.get(parameter, {}).items():
                    state[f"moments:{name}:{part}"] = value
        if learns_steps(self.model):
            state |= {f"average:{name}": value for name, value in self.average.items()}
        state, shipped = gather(state, "cpu", keep=self.accelerator.is_main_process), self.shipped()
        if not self.accelerator.is_main_process:
            return
        position = {
            "stage": self.stage_index,
            "step": self.step,
            "updates": self.updates,
            "best": self.best,
            "stream": self.stream.position(self.step) if self.stream else None,
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
        }
        total = sum(stage.steps for stage in self.config.stages[: self.stage_index]) + self.step
        save_checkpoint(
            self.checkpoints / f"step-{total:07d}",
            self.model_config,
            shipped,
            self.tokenizer,
            tensors={"training.safetensors": state},
            documents={"position.json": position, "recipe.json": dataclasses.asdict(self.config)},
        )
        for old in sorted(self.checkpoints.glob("step-*"))[: -self.config.keep_last]:
            shutil.rmtree(old)

    def restore(self, latest: Path) -> None:
        """Continue from a checkpoint."""
        try:
            position = json.loads((latest / "position.json").read_text(encoding="utf-8"))
            self.stage_index, self.step = position["stage"], position["step"]
            self.updates, self.best = position["updates"], position["best"]
            if self.stream is not None and position["stream"]:
                self.cursor = self.stream.cursor_at(position["stream"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelFileError(f"{latest / 'position.json'} cannot be read: {error}") from error
        state = load_tensors(latest / "training.safetensors")
        average = load_tensors(latest / "model.safetensors")
        weights = {name.removeprefix("weights:"): value for name, value in state.items() if name.startswith("weights:")}
        if any(plain_name(name) != name for name in weights):  # in the middle of a stage that learns steps
            self.learn_steps(self.config.stages[self.stage_index])
            average = {name.removeprefix("average:"): state[name] for name in state if name.startswith("average:")}
        for found in (average, weights):
            self.load_weights(found, latest)
        self.average = {name: value.to(self.device) for name, value in average.items()}
        self.moments = {
            name.removeprefix("moments:"): value if name.endswith(":step") else value.to(self.device)
            for name, value in state.items()
            if name.startswith("moments:")
        }
        self.projections = {
            name.removeprefix("projections:"): value for name, value in state.items() if name.startswith("projections:")
        }
        if position.get("scaler") and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(position["scaler"])
        self.say(f"resuming from {latest}")

    def load_weights(self, weights: dict[str, Tensor], source: Path | str, module: nn.Module | None = None) -> None:
        """Give the model, or another module, weights that were found in `source`."""
        try:
            (module or self.model).load_state_dict(weights)
        except RuntimeError as error:
            raise ModelFileError(
                f"{source} does not fit the recipe's model: {' '.join(str(error).split())}; "
                "choose another output or init"
            ) from error

    # Logs

    def say(self, text: str) -> None:
        """A line on the terminal, from the main process."""
        if self.accelerator.is_main_process:
            console.print(text)

    def progress(self) -> Progress:
        """The progress bar of a stage."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=console, disable=not self.accelerator.is_main_process)

    def log_activations(self, stage: StageConfig) -> None:
        """One line of activations.jsonl for the step just done, if it was watched."""
        if self.monitor is None or not self.accelerator.is_main_process:
            return
        row = {"stage": stage.name, "step": self.step, "layers": self.monitor.rows}
        with (self.output / "activations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        console.print(f"{stage.name} {self.step}: {self.monitor.summary()}")

    def log(self, stage: StageConfig, **values: float) -> None:
        """Figures of the step just done to the trackers, of which the main process alone has any."""
        total = sum(stage.steps for stage in self.config.stages[: self.stage_index]) + self.step
        for tracker in self.trackers:
            tracker.log(stage.name, total, values)


class AveragedWeights:
    """Swaps the averaged weights in, evaluates with them, and puts the trained ones back."""

    def __init__(self, model: CaptionModel, average: dict[str, Tensor]) -> None:
        self.model, self.average = model, average

    def __enter__(self) -> None:
        self.training = self.model.training
        self.own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        try:
            self.model.load_state_dict(self.average)
            self.model.eval()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self.model.load_state_dict(self.own)
            self.model.train(self.training)


def schedule(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to 0: the factor of the learning rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
