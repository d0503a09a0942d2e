"""Structured pruning: which channels, heads, feed-forward units, experts, layers and words a model can do without.

How much a unit is worth is measured on data: the square of what the loss would change by, to first order, if what the
unit gives were scaled (Molchanov et al., CVPR 2019), from the gradients of the weights that read it. Units that are
worth least are removed, not masked: weights are cut, and the checkpoint, the graphs and their time shrink with them.
`fastcap.model.shrinking` knows where units lie, and cuts.

Letters: U units of a group, E experts.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from fastcap.decoder.vocabulary_pruning import prune_embeddings, prune_tokenizer
from fastcap.errors import ConfigError
from fastcap.layers import FeedForward
from fastcap.model import CaptionModel, build_model
from fastcap.model.shrinking import KINDS, Group, groups_of, noted, remove
from fastcap.runtime.encoding import encode
from fastcap.vocabulary import Marks

__all__ = ["MOST", "choose_units", "importance", "masked", "prune", "prune_words", "share_of", "sort_units"]

MOST = 0.5  # of the units of a group
MULTIPLES = ((256, 32), (32, 8))  # from so many units on, what is left is a multiple: kernels compute blocks of numbers

Importance = dict[str, Tensor]
"""Of each unit of a group by name: (U,), or (E, U) for the units of experts."""


def importance(model: CaptionModel, losses: Iterable[Callable[[], Tensor]]) -> Importance:
    """How much each unit of all groups is worth: the mean over losses of the squared first-order change of the loss.

    Args:
        model: what is frozen is measured too; left as it was.
        losses: each computes the loss of one batch.
    """
    groups = groups_of(model)
    readers = {part.name for group in groups.values() for part in group.slices if part.reads}
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    found: Importance = {}
    count = 0
    try:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in readers)
        for loss in losses:
            model.zero_grad(set_to_none=True)
            loss().backward()
            count += 1
            for group in groups.values():
                found[group.name] = found.get(group.name, 0) + first_order(model, group).square()
    finally:
        model.zero_grad(set_to_none=True)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])
    if not count:
        raise ConfigError("the importance of units needs at least one batch, got none")
    return {name: value / count for name, value in found.items()}


@torch.no_grad()
def first_order(model: nn.Module, group: Group) -> Tensor:
    """The change of the loss to first order, for each unit of a group, if it were scaled: the sum over the weights that
    read it of weight times gradient."""
    total: Any = 0
    for part in group.slices:
        if not part.reads:
            continue
        weight = model.get_parameter(part.name)
        # no gradient: of an expert that no image used
        products = torch.zeros_like(weight) if weight.grad is None else weight * weight.grad
        if part.unit >= 0:
            alone = torch.zeros(group.size)
            alone[part.unit] = products.sum()
            total = total + alone
            continue
        kept = (0, part.axis) if group.kind == "units" and weight.dim() == 3 else (part.axis,)
        rest = [axis for axis in range(weight.dim()) if axis not in kept]
        sums = products.sum(dim=rest) if rest else products
        total = total + sums.unflatten(-1, (part.parts, group.size, part.width)).sum(dim=(-3, -1))
    return torch.as_tensor(total)


@torch.no_grad()
def sort_units(model: CaptionModel, measured: Importance) -> Importance:
    """Number the units of each expert from the most important to the least, in place: the experts of a layer are one
    tensor, of which all lose the units of the same numbers. What the model computes stays the same.

    Returns:
        The importance under the new numbers, one number a unit: its sum over the experts.
    """
    sorted_units = dict(measured)
    for name, value in measured.items():
        if value.dim() < 2:
            continue
        network: Any = model.get_submodule(name.rpartition(":")[0])
        assert isinstance(network, FeedForward)
        order = value.argsort(dim=1, descending=True).to(network.weight_in.device)  # (E, U)
        network.weight_in.data = network.weight_in.data.gather(2, order[:, None].expand_as(network.weight_in))
        network.bias_in.data = network.bias_in.data.gather(1, order)
        network.weight_out.data = network.weight_out.data.gather(1, order[..., None].expand_as(network.weight_out))
        sorted_units[name] = value.sort(dim=1, descending=True).values.sum(dim=0)
    return sorted_units


def choose_units(
    model: CaptionModel, measured: Importance, shares: Mapping[str, float], where: str = ""
) -> dict[str, list[int]]:
    """The units to keep: of each group the most important ones, in ascending order.

    Args:
        measured: as `sort_units` gives it.
        shares: by kind (`KINDS`), the share of each group's units to remove, 0 to `MOST`.
        where: beginning of the names of the groups that are meant; all by default.

    Raises:
        ConfigError: another kind, or a share out of its range.
    """
    for kind, share in shares.items():
        if kind not in KINDS or not 0 <= share <= MOST:
            raise ConfigError(f"{share:g} of {kind}; allowed: 0 to {MOST:g} of {', '.join(KINDS)}")
    kept: dict[str, list[int]] = {}
    for group in groups_of(model).values():
        if (share := shares.get(group.kind, 0.0)) and group.name.startswith(where):
            count = share_of(group, share)
            if count < group.size:
                kept[group.name] = sorted(measured[group.name].topk(count).indices.tolist())
    return without_removed(kept, groups_of(model))


def share_of(group: Group, share: float) -> int:
    """How many units of a group stay if a share of them goes."""
    step = next((step for size, step in MULTIPLES if group.size >= size), 1)
    count = math.ceil(group.size * (1 - share) / step) * step
    return max(group.least, min(group.size, count), 1)


def without_removed(kept: dict[str, list[int]], groups: Mapping[str, Group]) -> dict[str, list[int]]:
    """What is kept, but for groups in layers that are removed as a whole."""
    gone = [
        f"{groups[name].module}.{index}."
        for name, units in kept.items()
        if groups[name].kind == "layers"
        for index in set(range(groups[name].size)) - set(units)
    ]
    return {name: units for name, units in kept.items() if not any(name.startswith(layer) for layer in gone)}


def prune(model: CaptionModel, kept: Mapping[str, Sequence[int]]) -> CaptionModel:
    """A copy of a model with the units that are kept of some groups; its settings say so.

    Raises:
        ConfigError: the model was pruned before, or such units cannot be kept.
    """
    if model.config.pruned:
        raise ConfigError("the model was pruned before; allowed: the one that it was pruned from")
    smaller = copied(model)
    remove(smaller, kept)
    smaller.config = dataclasses.replace(model.config, pruned=noted(groups_of(model), kept))
    smaller.note_learned()
    return smaller


def copied(model: CaptionModel) -> CaptionModel:
    """A copy of a model that shares its weights: cutting makes new ones."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


@contextlib.contextmanager
def masked(model: CaptionModel, kept: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """A context in which units that are not kept say nothing: the slow twin of `prune`, of the same outputs.

    Weights that read them are 0 and, since an expert that is not there cannot be chosen, its router's logit is -inf.
    """
    before: dict[str, Tensor] = {}
    groups, hooks = groups_of(model), []
    try:
        for name, units in kept.items():
            group = groups[name]
            gone = sorted(set(range(group.size)) - set(units))
            for part in group.slices:
                if part.reads and (part.unit < 0 or part.unit in gone):
                    parameter = model.get_parameter(part.name)
                    before.setdefault(part.name, parameter.data)
                    parameter.data = parameter.data.clone()
                    places = slice(None) if part.unit >= 0 else part.places(gone, group.size)
                    parameter.data.movedim(part.axis, 0)[places] = 0
            if group.kind == "experts":
                gate = next(part.name for part in group.slices if part.name.endswith("gate.weight"))
                router: Any = model.get_submodule(gate.rpartition(".")[0])
                bar = lambda _, __, logits, gone=gone: logits.index_fill(-1, torch.tensor(gone), -torch.inf)  # noqa: E731
                hooks.append(router.register_forward_hook(bar))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, value in before.items():
            model.get_parameter(name).data = value


# --- words ----------------------------------------------------------------------------------------------------


def prune_words(
    model: CaptionModel, tokenizer: Tokenizer, texts: Iterable[str], min_count: int = 1
) -> tuple[CaptionModel, Tokenizer]:
    """A copy of a model that knows the tokens alone which texts need, and its tokenizer. What remains is exact: kept
    words have the same tokens as before, and their logits are the same numbers.

    Args:
        min_count: texts that need a token for it to stay; what a rarer one spells is spelt by shorter ones.
    """
    ids = {name: index for name, index in vars(model.config.marks).items() if index is not None}
    marks = dict.fromkeys(str(tokenizer.id_to_token(index)) for index in ids.values())
    smaller_tokenizer, kept = prune_tokenizer(tokenizer, texts, tuple(marks), min_count)
    places = {name: kept.index(index) for name, index in ids.items()}
    marks_after = dataclasses.replace(Marks(mask_id=None, unk_id=None), **places)
    config = dataclasses.replace(model.config, vocab_size=len(kept), marks=marks_after)
    smaller = with_words(model, config, kept)
    if prompt := getattr(config.decoder, "prompt", ""):
        smaller.decoder.prompt_ids = tuple(encode(smaller_tokenizer, prompt))
    return smaller, smaller_tokenizer


def with_words(model: CaptionModel, config: Any, kept: Sequence[int]) -> CaptionModel:
    """A copy of a model with some rows of its table of words, under settings that say so."""
    if config.kind == "prefix":
        smaller = copied(model)
        prune_embeddings(smaller.decoder.language_model, kept)
        smaller.config, smaller.decoder.vocabulary = config, config.vocabulary
        return smaller
    smaller = build_model(config).eval()
    rows, before = torch.as_tensor(list(kept)), model.state_dict()
    shapes = smaller.state_dict()
    smaller.load_state_dict(
        {name: value if value.shape == shapes[name].shape else value[rows] for name, value in before.items()}
    )
    return smaller
