"""The training loop: every recipe is a list of stages of one loop.

A step is a function of the weights, the optimiser's state and the step's number: data order, views, masks, samples
and dropout are drawn from generators seeded by that number. An interrupted run therefore resumes exactly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fastcap.backbone.convolutional import load_trunk
from fastcap.checkpoint import load_checkpoint, save_checkpoint
from fastcap.config import ModelConfig, StageConfig, TrainConfig
from fastcap.errors import ConfigError, FastcapError
from fastcap.model import CaptionModel, build_model, load_frozen
from fastcap.quantization.fake import plain_name
from fastcap.runtime.cores import usable_cores
from fastcap.training.activations import ActivationMonitor
from fastcap.training.batch import Batch, unit
from fastcap.training.distillation import Distillation, distils_itself
from fastcap.training.inputs import Corpus, Inputs
from fastcap.training.interrupts import held_signals, uninterrupted
from fastcap.training.judge import ClipJudge
from fastcap.training.objective import TrainingStep
from fastcap.training.optimizer import FREEZES, build_optimizer, freeze, schedule, trained_share
from fastcap.training.pools import cider_reward
from fastcap.training.position import Position
from fastcap.training.recompute import checkpoint_blocks
from fastcap.training.sharding import Fsdp2, Replicated, gather, local_parts, shard_like, start_processes
from fastcap.training.state import (
    State,
    as_begun,
    check_architecture,
    check_recipe,
    latest_checkpoint,
    load_state,
    load_weights,
    save_state,
    state_tensors,
)
from fastcap.training.teachers.choose import check_teachers
from fastcap.training.tracking import RunLog, Throughput
from fastcap.training.validation import Validation
from fastcap.training.weights import WeightAverage
from fastcap.training.zero import Zero3
from fastcap.vocabulary import Marks

__all__ = ["Trainer", "train"]

SHARDINGS: dict[str, type[Replicated]] = {"no": Replicated, "fsdp2": Fsdp2, "zero3": Zero3}


def train(config: TrainConfig, *, accept_changes: bool = False, debug_activations: bool = False) -> Path:
    """Train by a recipe, from its last checkpoint if there is one; returns the best checkpoint's directory.

    Args:
        accept_changes: resume although the recipe differs from the one that the checkpoint was trained by.
        debug_activations: log statistics of every layer's activations; see `fastcap.training.activations`.

    Raises:
        FastcapError: bad data or settings, a checkpoint that does not fit, a loss that is not finite.
        KeyboardInterrupt: after the state has been saved.
    """
    return Trainer(as_begun(config), accept_changes, debug_activations).run()


class Trainer:
    """One run: data, model, weight average, position; and of the current stage inputs, losses and optimiser."""

    def __init__(self, config: TrainConfig, accept_changes: bool = False, debug_activations: bool = False) -> None:
        self.config = config
        self.debug_activations = debug_activations
        self.output = Path(config.output)
        self.checkpoints = self.output / "checkpoints"
        self.monitor: ActivationMonitor | None = None
        self.signals: list[int] = []  # that wait for the end of a step
        torch.set_num_threads(config.threads or min(torch.get_num_threads(), usable_cores()))
        self.kept = torch.bfloat16 if config.precision == "bf16" else torch.float32  # of frozen parts alone
        self.frozen = load_frozen(config.model, self.kept, config.precision == "nf4")
        self.accelerator = start_processes("no" if self.frozen else config.precision)
        self.device, self.is_main = self.accelerator.device, self.accelerator.is_main_process
        self.sharding = SHARDINGS[config.sharding if self.accelerator.num_processes > 1 else "no"](self.accelerator)
        if self.sharding.shards and debug_activations:
            raise ConfigError("--debug-activations watches whole layers; allowed: sharding no, or one process")
        self.log = RunLog(self.output, is_main=self.is_main)
        torch.manual_seed(config.seed)
        latest = latest_checkpoint(self.checkpoints)
        if latest is not None:
            check_recipe(latest, config, accept_changes)
        source = latest or config.init
        begun, tokenizer = load_checkpoint(source) if source else (None, None)
        learn = self.frozen.learn_vocabulary if self.frozen else None
        self.corpus = Corpus(config.data, config.model, tokenizer, self.accelerator, config.threads, learn)
        self.tokenizer = self.corpus.tokenizer
        self.model_config = self.settled(begun)
        self.corpus.add_conversations(self.model_config)
        with self.accelerator.main_process_first():  # the others read what it has cached
            self.corpus.decode_images()
            self.validation = Validation(config.data, self.model_config, self.tokenizer)
        self.model = self.new_model()
        self.state = State()
        if latest is None and begun is not None:
            check_architecture(config.init, begun.config, self.model_config)
            load_weights(self.model, begun.state_dict(), config.init)
        elif begun is None and config.data.teacher:
            load_trunk(self.model.backbone, Path(config.data.root) / config.data.teacher, "data.teacher")
        self.average = WeightAverage(self.model, config.ema)
        self.position = Position(config.seed)
        if latest is not None and begun is not None:
            self.restore(latest, begun)
        stages = list(enumerate(self.config.stages))[self.position.stage :]
        check_teachers(stages, self.model_config, self.tokenizer, config.data)
        self.log.say(
            f"{self.corpus.summary()}, {sum(p.numel() for p in self.model.parameters()) / 1e6:.2f} M parameters, "
            f"device {self.device}, processes {self.accelerator.num_processes}"
        )

    def settled(self, begun: CaptionModel | None) -> ModelConfig:
        """The recipe's model with what follows from the tokenizer, and from the parts that others have trained."""
        if self.frozen:
            return self.frozen.fit(self.config.model, self.tokenizer)
        # a small data set fills fewer entries than asked for; the model has as many as the tokenizer
        marks = begun.config.marks if begun else Marks.of(self.tokenizer)
        return dataclasses.replace(self.config.model, vocab_size=self.tokenizer.get_vocab_size(), marks=marks)

    def new_model(self) -> CaptionModel:
        """A model of the recipe with random weights, but for what others have trained."""
        model = build_model(self.model_config, self.frozen)
        if self.config.checkpointing:
            checkpoint_blocks(model)
        return model.to(self.device)

    # Stages

    def run(self) -> Path:
        """All stages that are left."""
        try:
            self.log.open(self.config.trackers, dataclasses.asdict(self.config))
            with contextlib.ExitStack() as stack:
                if self.accelerator.num_processes > 1:  # all have to stop after the same step
                    self.signals = stack.enter_context(held_signals())
                while self.position.stage < len(self.config.stages):
                    self.run_stage(self.config.stages[self.position.stage])
        finally:
            self.log.close()
        return self.output / "best"

    def run_stage(self, stage: StageConfig) -> None:
        """One stage from `self.position` to its end."""
        n_shares = self.accelerator.num_processes * self.config.accumulate
        if stage.images < n_shares:
            raise ConfigError(
                f"stage {stage.name}: images is {stage.images}; allowed: {n_shares} or more, one for each of "
                f"{self.config.accumulate} micro-batches (accumulate) of {self.accelerator.num_processes} processes"
            )
        self.prepare_stage(stage)
        if self.position == Position(self.config.seed) and self.state.best < 0:
            self.validate()  # the weights that the run begins with, for all that follow to be compared with
        batch, generator = self.draw()
        throughput = self.measure(batch) if self.is_main else None  # the last moment at which one process can compute
        self.wrap(batch)
        try:
            self.train_steps(batch, generator, throughput)
            if not self.exhausted():
                self.validate()  # also where a run goes on that was interrupted here
        except KeyboardInterrupt:
            self.save(self.optimizer)
            self.log.say(f"interrupted and saved after {self.total_steps} steps; the same command goes on from there")
            raise
        self.finish_stage()

    def prepare_stage(self, stage: StageConfig) -> None:
        """Freeze, cache and distil what the stage asks for; its inputs, losses and rewards."""
        self.stage, frozen = stage, FREEZES[stage.freeze]
        if stage.quantized:
            self.average.begin_rounding(self.model, stage.bits)
        if frozen.trained and not self.position.step:
            self.model.load_state_dict(self.average.values)  # all else stays as it ships
        cut = freeze(self.model, frozen, aligns=stage.aligns)
        self.log.say(f"{stage.name}: {trained_share(self.model)}")
        features = judged = judge = None
        if stage.clip_model:
            judge = ClipJudge(stage.clip_model, self.tokenizer, self.model_config.max_length).to(self.device)
        with self.accelerator.main_process_first():  # the others read what it has cached
            self.distillation = self.distil(stage)
            if cut and stage.inputs == "images":
                features = self.corpus.features(cut, self.config.views, self.config.seed, self.device)
            if judge is not None:
                judged = self.corpus.judged(judge, self.device)
        cells = self.model.backbone.n_tokens(self.model_config.image_size, self.model_config.image_size)
        share, stream = (self.accelerator.process_index, self.accelerator.num_processes), self.state.stream
        least = self.accelerator.num_processes * self.config.accumulate
        known = (self.corpus, self.distillation, cells, features, share, stream, judged, least)
        self.inputs = Inputs(stage, self.position, *known)
        rewarded = stage.reward or stage.causal_reward
        told = (self.corpus.pool, self.tokenizer, self.model.vocabulary.pad_id, stage.rare_words)
        self.reward = cider_reward(*told) if rewarded else None
        self.objective = TrainingStep(self.model, self.distillation, stage, cut, judge).train()
        self.module: nn.Module = self.objective

    def distil(self, stage: StageConfig) -> Distillation:
        """The outputs of the stage's teachers, and the projections onto their features: new, or a resumed run's."""
        own = self.output / "teacher"  # the average when a stage first asks for its captions
        if distils_itself(stage) and not own.is_dir():
            save_checkpoint(own, self.model_config, self.average.shipped(self.model), self.tokenizer)
        data, setting = (self.config.data, self.corpus.pool, self.corpus.images), f"stages.{self.position.stage}"
        with torch.random.fork_rng():
            torch.manual_seed(self.config.seed)
            made = Distillation(stage, setting, self.model_config, *data, self.tokenizer, own, self.device, self.kept)
        if projections := self.state.part("projections"):
            load_weights(made, projections, self.checkpoints)
        return made.to(self.device)

    def build_optimizer(self) -> torch.optim.Optimizer:
        """The stage's optimiser, with the moments of a resumed run."""
        return build_optimizer(
            self.objective.trained(),
            weight_decay=self.stage.weight_decay,
            rates={begin: getattr(self.stage, setting) for begin, setting in self.model.slow.items()},
            moments=self.state.part("moments"),
        )

    def wrap(self, batch: Batch) -> None:
        """Shard the weights and their average as the recipe says, and make the optimiser."""
        self.module, self.optimizer = self.sharding.wrap(
            self.objective, self.build_optimizer, lambda: self.gradients(batch, self.position.torch_generator())
        )
        self.average.values = shard_like(self.average.values, local_parts(self.model))
        self.state.tensors = {}  # of a resumed run: used by now
        self.monitor = ActivationMonitor(self.objective) if self.debug_activations else None

    def finish_stage(self) -> None:
        """Make model and average whole and ordinary again, and save what the next stage begins with."""
        if self.inputs.stream is not None:
            self.log.say(self.inputs.stream.summary())
        self.average.values = gather(self.average.values, self.device)
        self.model = self.sharding.close(self.model, self.optimizer, self.new_model)
        self.accelerator.free_memory()  # a wrapper left over would go on watching the weights
        self.average.end_rounding(self.model)
        self.position = Position(self.config.seed, self.position.stage + 1)
        self.state = State(best=self.state.best)
        self.save()

    # Steps

    def train_steps(self, batch: Batch, generator: torch.Generator, throughput: Throughput | None) -> None:
        """The steps of the stage that are left; the first one's batch has been drawn."""
        stage, config = self.stage, self.config
        spent, done = time.perf_counter(), 0
        with self.log.progress() as progress:
            task = progress.add_task(stage.name, total=stage.steps, completed=self.position.step, status="")
            while self.position.step < stage.steps:
                began = time.perf_counter()
                if done:
                    batch, generator = self.draw()
                values, stopping = self.compute_step(batch, generator)
                with uninterrupted():  # half an update could not be resumed, and a step has its row in the log
                    self.update()
                    done, step = done + 1, self.position.step
                    if throughput is not None:
                        throughput.add(batch.counts["images"], time.perf_counter() - began)
                        if step % config.log_every == 0:
                            if self.monitor is not None:
                                self.log.activations(stage.name, step, self.monitor)
                            self.log.figures(stage.name, self.total_steps, values | throughput.figures())
                speed = done / (time.perf_counter() - spent)
                status = f"loss {values['loss']:.3f} {speed:.2f} it/s"
                progress.update(task, completed=step, status=status)
                if step % config.evaluate_every == 0 and step < stage.steps:
                    self.validate()
                    if self.exhausted():
                        self.log.say(f"{stage.name} ends at step {step}: no gain in {stage.patience} validations")
                        break
                if step % config.checkpoint_every == 0:
                    self.save(self.optimizer)
                if stopping:
                    raise KeyboardInterrupt

    def exhausted(self) -> bool:
        """Whether so many validations in a row were no better that the stage ends; all processes agree."""
        return 0 < self.stage.patience <= self.state.waited

    def draw(self) -> tuple[Batch, torch.Generator]:
        """The current step's batch, and the generator of what its losses draw."""
        generator = self.position.torch_generator()
        return self.inputs.batch(self.position.step, generator), generator

    def compute_step(self, batch: Batch, generator: torch.Generator) -> tuple[dict[str, float], bool]:
        """The gradients of one step; returns its figures, and whether any process was asked to stop."""
        stage, position = self.stage, self.position
        rate = stage.learning_rate * schedule(position.step, stage.warmup, stage.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self.optimizer.zero_grad()
        losses, stopping = self.summed(self.gradients(batch, generator))
        if self.monitor is not None:
            self.monitor.note_gradients()
        norm = self.sharding.clip(self.module, self.optimizer, stage.clip)
        if not (math.isfinite(losses["loss"]) and (self.accelerator.scaler or torch.isfinite(norm))):
            self.stop_on_nonfinite(batch, losses)
        figures = {"rate": rate, "gradient": float(norm), **losses}
        shares = self.distillation.weights(position.progress(stage.steps))
        figures |= {f"weight_{name}": share for name, share in shares.items()}
        if stage.forcing.schedule != "always":
            figures["forcing"] = position.forcing(stage.forcing, stage.steps)
        return figures, stopping

    def update(self) -> None:
        """One step of the optimiser."""
        self.optimizer.step()
        self.average.update(self.model)
        self.position = self.position.at(self.position.step + 1)

    def gradients(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Add up the gradients of this process's share of a batch, micro-batch by micro-batch, and let processes
        exchange them; returns the share's part of `loss`, and of each loss by name."""
        n_processes, parts = self.accelerator.num_processes, self.config.accumulate
        seed = self.position.step_seed
        weights = self.objective.weights(self.position.progress(self.stage.steps))
        totals: dict[str, Tensor] = {}
        for index in range(parts):
            part, place = batch.share(index, parts), self.accelerator.process_index * parts + index
            torch.manual_seed(seed + (place << 40))
            if place:  # the samples of the reward
                generator.manual_seed(seed + (place << 40))
            tensors = {name: value.to(self.device) for name, value in part.tensors.items()}

            def reward(captions: Tensor, images: np.ndarray = part.images) -> Tensor:
                assert self.reward is not None
                return self.reward(np.repeat(images, captions.shape[1] // len(images)).tolist(), captions)

            waiting = self.accelerator.no_sync(self.module) if index < parts - 1 else contextlib.nullcontext()
            with waiting, self.average.rounding(self.model):
                with self.accelerator.autocast(), self.monitor or contextlib.nullcontext():
                    losses = self.module(tensors, reward, generator)
                fractions = part.fractions()
                losses = {name: value * fractions[unit(name)] for name, value in losses.items()}
                loss = sum(weights[name] * value for name, value in losses.items() if name in weights)
                self.accelerator.backward(loss * n_processes)  # gradients are exchanged as a mean
            for name, value in {"loss": loss, **losses}.items():
                totals[name] = totals.get(name, 0) + value.detach()
        return totals

    def summed(self, losses: dict[str, Tensor]) -> tuple[dict[str, float], bool]:
        """The losses of all processes' shares added up, and whether any process was asked to stop."""
        if self.accelerator.num_processes == 1:
            return {name: value.item() for name, value in losses.items()}, False
        asked = torch.tensor(float(bool(self.signals)), device=self.device)
        values = torch.stack([*(value.float() for value in losses.values()), asked])
        *sums, stopping = self.accelerator.reduce(values, "sum").tolist()
        return dict(zip(losses, sums, strict=True)), stopping > 0

    def measure(self, batch: Batch) -> Throughput:
        """A measure of the stage's speed; `batch` tells what one image costs."""
        part = batch.share(0, self.config.accumulate)
        flops = self.objective.flops({name: value.to(self.device) for name, value in part.tensors.items()})
        return Throughput(flops / len(part.images), self.device, self.accelerator.num_processes)

    def stop_on_nonfinite(self, batch: Batch, losses: dict[str, float]) -> None:
        """Save this process's share of the batch that made a loss or gradient infinite or NaN, and raise.

        Raises:
            FastcapError: always; says where it happened, and what to do.
        """
        process = self.accelerator.process_index
        path = self.output / f"nonfinite_batch{f'_{process}' if process else ''}.safetensors"
        save_file({name: value.contiguous().cpu() for name, value in batch.tensors.items()}, path)
        values = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if name != "loss")
        first = self.monitor.first_nonfinite if self.monitor else "--debug-activations would tell"
        raise FastcapError(
            f"the loss or its gradient is not finite at stage {self.position.stage} step {self.position.step} "
            f"({values}); first not finite: {first}; the batch is in {path}. Lower learning_rate or clip, or use "
            "precision=no; the last checkpoint is intact"
        )

    # Validation and checkpoints

    @property
    def total_steps(self) -> int:
        """Steps of all stages so far."""
        return sum(stage.steps for stage in self.config.stages[: self.position.stage]) + self.position.step

    def validate(self) -> None:
        """Measure the average on the validation images, and keep it as the best checkpoint if it is.

        It captions as its family does; from left to right where the stage rewards that reading alone. The main
        process's work, to which all bring their shards of the weights.
        """
        weights = self.average.shipped(self.model, keep=self.is_main)
        if self.is_main:
            self.measure_average(weights)
        if self.stage.patience and self.accelerator.num_processes > 1:
            waited = torch.tensor(float(self.state.waited if self.is_main else 0), device=self.device)
            self.state.waited = int(self.accelerator.reduce(waited, "sum"))

    def measure_average(self, weights: dict[str, Tensor]) -> None:
        """The validation itself."""
        stage, step = self.stage, self.position.step
        causal = bool(stage.causal_reward) and not (stage.masked or stage.reward)
        with torch.random.fork_rng(devices=[]):
            model = self.new_model()
        model.load_state_dict(weights)
        figures, example, sample = self.validation.figures(model.eval(), causal=causal, align=stage.contrastive > 0)
        self.log.figures(stage.name, self.total_steps, figures)
        score = self.validation.score(figures)
        self.log.say(f"{stage.name} {step}: {self.validation.told(figures, example, sample)}")
        self.state.waited = 0 if score > self.state.best else self.state.waited + 1
        if score >= self.state.best:  # equal where the captioner is frozen: there the last is kept
            self.state.best = score
            save_checkpoint(self.output / "best", self.model_config, weights, self.tokenizer)

    def save(self, optimizer: Any = None) -> None:
        """Write a checkpoint, with the optimiser's moments in the middle of a stage. The main process's work, to which
        all bring their shards."""
        position, scaler = self.position, self.accelerator.scaler
        tensors = state_tensors(self.model, self.average, self.objective, optimizer)
        stream = self.inputs.position(position.step) if optimizer is not None else None
        tensors = gather(tensors, "cpu", keep=self.is_main)
        weights = self.average.shipped(self.model, keep=self.is_main)
        scale = scaler.state_dict() if scaler else None
        known = (position.stage, position.step, self.average.updates, self.state.best, stream, scale, tensors)
        state = State(*known, waited=self.state.waited)
        if self.is_main:
            path = self.checkpoints / f"step-{self.total_steps:07d}"
            save_state(path, state, self.config, self.model_config, weights, self.tokenizer)

    def restore(self, latest: Path, shipped: CaptionModel) -> None:
        """Continue from a checkpoint, whose averaged model is `shipped`."""
        self.state = state = load_state(latest)
        self.position = Position(self.config.seed, state.stage, state.step)
        self.average.updates, weights = state.updates, state.part("weights")
        if any(plain_name(name) != name for name in weights):  # in the middle of a stage with learned steps
            self.average.begin_rounding(self.model, self.config.stages[state.stage].bits)
        average = state.part("average") or shipped.state_dict()
        for part in (average, weights):
            load_weights(self.model, part, latest)
        self.average.values = {name: value.to(self.device) for name, value in average.items()}
        if state.scaler and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state.scaler)
        self.log.say(f"resuming from {latest}")
