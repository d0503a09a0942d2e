"""What a run resumes from: its checkpoints, and whether they fit its recipe."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fastcap.checkpoint import load_tensors, read_settings, save_checkpoint
from fastcap.config import ModelConfig, TrainConfig, from_mapping
from fastcap.errors import ConfigError, ModelFileError
from fastcap.quantization.fake import learns_steps
from fastcap.training.objective import TrainingStep
from fastcap.training.sharding import local_parts
from fastcap.training.weights import WeightAverage

__all__ = [
    "State", "as_begun", "check_architecture", "check_recipe", "latest_checkpoint", "load_state", "load_weights",
    "save_state", "state_tensors",
]  # fmt: skip

RECIPE, POSITION, TENSORS = "recipe.json", "position.json", "training.safetensors"


@dataclass
class State:
    """What a run resumes from, beside its averaged model; as created, what it begins with.

    `stage`, `step`: the stage's number and the steps that it has made; `updates`, of the average; `best`, the score
    (`Validation.score`) so far, -1 before any; `waited`, validations of the stage since it got better; `stream`: the
    place in the training shards; `scaler`, of losses in fp16. `tensors`: weights:NAME; in the middle of a stage
    moments:NAME:PART, of the optimiser, and projections:NAME, onto teachers' features; average:NAME where the averaged
    model is rounded.
    """

    stage: int = 0
    step: int = 0
    updates: int = 0
    best: float = -1.0
    stream: dict[str, int] | None = None
    scaler: dict[str, Any] | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0

    def part(self, kind: str) -> dict[str, Tensor]:
        """The tensors of one kind, by the rest of their names."""
        return {name.removeprefix(f"{kind}:"): t for name, t in self.tensors.items() if name.startswith(f"{kind}:")}


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint in a run's folder of checkpoints."""
    return max(folder.glob("step-*"), default=None)


def state_tensors(model: nn.Module, average: WeightAverage, step: TrainingStep, optimizer: Any) -> dict[str, Tensor]:
    """The `tensors` of a state; with an optimiser, None between stages, those of the middle of a stage."""
    tensors = {f"weights:{name}": value for name, value in local_parts(model).items()}
    if optimizer is not None:
        moments = optimizer.state
        tensors |= {f"projections:{name}": value for name, value in local_parts(step.distillation).items()}
        for name, parameter in step.trained().items():
            tensors |= {f"moments:{name}:{part}": value for part, value in moments.get(parameter, {}).items()}
    if learns_steps(model):
        tensors |= {f"average:{name}": value for name, value in average.values.items()}
    return tensors


def save_state(path: Path, state: State, recipe: TrainConfig, *averaged: Any) -> None:
    """Write a checkpoint that resumes exactly, and delete all but the last `keep_last` beside it.

    Args:
        averaged: the model that ships: its config, its weights, its tokenizer.
    """
    position = {name: value for name, value in vars(state).items() if name != "tensors"}
    documents = {POSITION: position, RECIPE: dataclasses.asdict(recipe)}
    save_checkpoint(path, *averaged, tensors={TENSORS: state.tensors}, documents=documents)
    for old in sorted(path.parent.glob("step-*"))[: -recipe.keep_last]:
        shutil.rmtree(old)


def load_state(checkpoint: Path) -> State:
    """What `save_state` wrote.

    Raises:
        ModelFileError: a file is missing or damaged.
    """
    path = checkpoint / POSITION
    try:
        position = json.loads(path.read_text(encoding="utf-8"))
        state = State(*(position[name] for name in ("stage", "step", "updates", "best", "stream", "scaler")))
        state.waited = position.get("waited", 0)  # older checkpoints lack it
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    return dataclasses.replace(state, tensors=load_tensors(checkpoint / TENSORS))


def check_recipe(checkpoint: Path, recipe: TrainConfig, accept_changes: bool) -> None:
    """Refuse to resume under another recipe, unless changes are accepted.

    Raises:
        ConfigError: the recipes differ; names the settings.
        ModelFileError: the checkpoint's recipe is missing or damaged.
    """
    path = checkpoint / RECIPE
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(before, dict):
            raise ValueError("a mapping is needed")
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}") from error
    now = dataclasses.asdict(recipe)
    try:
        before = dataclasses.asdict(from_mapping(TrainConfig, before))  # settings that are new since have defaults
        changed = [key for key in now if now[key] != before[key]]
    except ConfigError:
        changed = ["settings that this version does not know"]
    if changed and not accept_changes:
        raise ConfigError(
            f"{checkpoint} was trained by another recipe (different: {', '.join(changed)}); choose another output, "
            "or resume all the same with --accept-changes"
        )


def as_begun(recipe: TrainConfig) -> TrainConfig:
    """The recipe whose model has the units that are left of the one that it begins or goes on with, where it does not
    say itself which these are: the recipes of a whole model are those of a smaller one.

    Raises:
        ModelFileError: that one is damaged, or no checkpoint directory.
    """
    source = latest_checkpoint(Path(recipe.output) / "checkpoints") or recipe.init
    if not source or recipe.model.pruned:
        return recipe
    pruned = read_settings(Path(source))[0].pruned
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, pruned=pruned)) if pruned else recipe


def check_architecture(source: str, theirs: ModelConfig, ours: ModelConfig) -> None:
    """Refuse to begin with the weights of another architecture: some differences fit every tensor.

    Raises:
        ModelFileError: a setting that changes the network differs; names all such settings.
    """
    read = ("dropout", "question_tokens")  # settings that change no weight
    known = {name: getattr(ours.decoder, name) for name in read if hasattr(ours.decoder, name)}
    decoder = (
        theirs.decoder if theirs.decoder.kind != ours.decoder.kind else dataclasses.replace(theirs.decoder, **known)
    )
    known = settings_of(dataclasses.replace(theirs, decoder=decoder, generation=ours.generation))
    asked = settings_of(ours)
    different = [name for name in sorted(known | asked) if known.get(name) != asked.get(name)]
    if different:
        told = ", ".join(f"{name} is {known.get(name, 'not there')}, not {asked.get(name)}" for name in different[:3])
        raise ModelFileError(f"{source} does not fit the recipe's model: {told}; see its config.json")


def settings_of(config: Any, before: str = "model.") -> dict[str, Any]:
    """Every setting by its whole name."""
    found: dict[str, Any] = {}
    for each in dataclasses.fields(config):
        value = getattr(config, each.name)
        inner = dataclasses.is_dataclass(value)
        found |= settings_of(value, f"{before}{each.name}.") if inner else {f"{before}{each.name}": value}
    return found


def load_weights(module: nn.Module, weights: dict[str, Tensor], source: Path | str) -> None:
    """Load weights, which came from `source`, into a module.

    Raises:
        ModelFileError: they do not fit.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelFileError(
            f"{source} does not fit the recipe's model: {' '.join(str(error).split())}; choose another output or init"
        ) from error
