"""What can be taken out of a model: channels, heads, feed-forward units, experts, layers; and taking it out.

A *group* is a list of like units, of which some stay: the hidden channels of one block, the heads of one attention. It
knows in which places of which weights each unit lies. Removing units cuts these weights; nothing is masked. One
mechanism serves every kind and every family, and building a model that was pruned is the same: its settings name the
units that remain (`ModelConfig.pruned`), and these are cut out of the model that the other settings describe.

Letters: U units of a group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastcap.backbone.convolutional import ConvBlock, InvertedResidual
from fastcap.backbone.resnet_vit import ResidualBlock
from fastcap.decoder.attention import CrossAttention, RankAugmentedLinearAttention
from fastcap.decoder.moe_decoder import DecoderLayer
from fastcap.decoder.rope_decoder import TokenExperts
from fastcap.errors import ConfigError
from fastcap.layers import FeedForward, SelfAttention

__all__ = ["KINDS", "Group", "Slice", "groups_of", "noted", "read_pruned", "remove", "shrunk"]

KINDS = ("channels", "heads", "units", "experts", "layers")
ATTENTIONS = (("q_proj", "k_proj", "v_proj", "o_proj"), ("q_proj", "k_proj", "v_proj", "dense"),
              ("q_proj", "k_proj", "v_proj", "out_proj"))  # fmt: skip
"""Queries, keys, values and output of attention, as modules of transformers call them."""
NETWORKS = ((("gate_proj", "up_proj"), "down_proj"), (("fc1",), "fc2"), (("c_fc",), "c_proj"))
"""What widens in a feed-forward network, and what narrows."""


@dataclass(frozen=True)
class Slice:
    """Where a group's units lie in a parameter or buffer.

    Attributes:
        name: of the parameter.
        axis: the axis along which the units lie, `parts` times all of them, `width` numbers each.
        reads: whether it is multiplied with what the units give: where it is 0, a unit says nothing.
        unit: the one unit whose the whole parameter is, where units are layers; -1 else.
    """

    name: str
    axis: int = 0
    parts: int = 1
    width: int = 1
    reads: bool = False
    unit: int = -1

    def places(self, kept: Sequence[int], size: int) -> list[int]:
        """The places of the kept units of `size` along the axis."""
        starts = (part * size + unit for part in range(self.parts) for unit in kept)
        return [start * self.width + place for start in starts for place in range(self.width)]


@dataclass(frozen=True)
class Group:
    """Like units, numbered from 0.

    Attributes:
        name: of the module they are in, and their kind, such as `decoder.layers.0.self_attention:heads`.
        kind: one of `KINDS`.
        size: U.
        slices: where they lie.
        least: fewest that have to stay.
        like: groups with the same word keep as many units as one another; "" for any number.
    """

    name: str
    kind: str
    size: int
    slices: tuple[Slice, ...]
    least: int = 1
    like: str = ""

    @property
    def module(self) -> str:
        """The module's name."""
        return self.name.rpartition(":")[0]


# --- where units lie ------------------------------------------------------------------------------------------


def rows(model: nn.Module, name: str, width: int = 1, parts: int = 1) -> list[Slice]:
    """The outputs of a linear layer or convolution, adapted or not."""
    module: Any = model.get_submodule(name)
    if hasattr(module, "base_layer"):
        adapter = Slice(f"{name}.lora_B.default.weight", 0, parts, width)
        return [*rows(model, f"{name}.base_layer", width, parts), adapter]
    axis = 1 if type(module).__name__ == "Conv1D" else 0  # GPT-2's linear layer
    found = [Slice(f"{name}.weight", axis, parts, width)]
    return [*found, Slice(f"{name}.bias", 0, parts, width)] if module.bias is not None else found


def columns(model: nn.Module, name: str, width: int = 1) -> list[Slice]:
    """The inputs of a linear layer or convolution, adapted or not."""
    module: Any = model.get_submodule(name)
    if hasattr(module, "base_layer"):
        adapter = Slice(f"{name}.lora_A.default.weight", 1, 1, width, reads=True)
        return [*columns(model, f"{name}.base_layer", width), adapter]
    axis = 0 if type(module).__name__ == "Conv1D" else 1
    return [Slice(f"{name}.weight", axis, 1, width, reads=True)]


def of_self_attention(model: nn.Module, name: str, module: SelfAttention) -> list[Group]:
    width = module.d_head
    slices = rows(model, f"{name}.project_in", width, 3) + columns(model, f"{name}.project_out", width)
    return [Group(f"{name}:heads", "heads", module.n_heads, tuple(slices), like=of_decoder(name))]


def of_decoder(name: str) -> str:
    """`Group.like` of an attention's heads: those of a decoder are as many in each layer, since the keys and values of
    all layers are one tensor."""
    return "heads of the decoder" if name.startswith("decoder.") else ""


def of_cross_attention(model: nn.Module, name: str, module: CrossAttention) -> list[Group]:
    read = ["key", "value", "query"]
    if isinstance(module, RankAugmentedLinearAttention):
        read += ["image_query", "local_position", "gate"]
    slices = [part for each in read for part in rows(model, f"{name}.{each}", module.d_head)]
    slices += columns(model, f"{name}.project_out", module.d_head)
    return [Group(f"{name}:heads", "heads", module.n_heads, tuple(slices))]


def of_experts(network: str, gate: list[Slice], module: FeedForward, top_k: int) -> list[Group]:
    """The experts, and the units of each: those with one number go together, see `sort_units` of
    `fastcap.quantization.pruning`."""
    n_experts, d_hidden = map(int, module.bias_in.shape)
    wide = Slice(f"{network}.weight_in", 2), Slice(f"{network}.bias_in", 1)
    units = (*wide, Slice(f"{network}.weight_out", 1, reads=True))
    parts = ("weight_in", "bias_in", "weight_out", "bias_out")
    experts = [Slice(f"{network}.{part}", reads=part.endswith("out")) for part in parts]
    return [
        Group(f"{network}:units", "units", d_hidden, units),
        Group(f"{network}:experts", "experts", n_experts, (*experts, *gate), least=top_k),
    ]


def of_decoder_layer(model: nn.Module, name: str, module: DecoderLayer) -> list[Group]:
    return of_experts(f"{name}.experts", rows(model, f"{name}.router.gate"), module.experts, module.router.top_k)


def of_token_experts(model: nn.Module, name: str, module: TokenExperts) -> list[Group]:
    gate = [*rows(model, f"{name}.gate"), Slice(f"{name}.bias")]
    return of_experts(f"{name}.routed", gate, module.routed, module.top_k)


def of_inverted_residual(model: nn.Module, name: str, module: InvertedResidual) -> list[Group]:
    if module.expand is None:  # whose channels are the stem's
        return []
    slices = [*rows(model, f"{name}.expand"), *rows(model, f"{name}.dw"), *columns(model, f"{name}.project")]
    return [Group(f"{name}:channels", "channels", module.dw.out_channels, tuple(slices))]


def of_residual_block(model: nn.Module, name: str, module: ResidualBlock) -> list[Group]:
    """Channels that are normalised together go together: removing a part of them would change the rest."""
    norm: Any = module.first[1]
    width = norm.num_channels // norm.num_groups
    slices = [*rows(model, f"{name}.first.0", width), *rows(model, f"{name}.first.1", width)]
    slices += columns(model, f"{name}.second.0", width)
    return [Group(f"{name}:channels", "channels", norm.num_groups, tuple(slices))]


def of_network(model: nn.Module, name: str, module: nn.Sequential) -> list[Group]:
    """Two linear layers with an activation between."""
    parts: list[Any] = list(module)
    if [isinstance(part, nn.Linear) for part in parts] != [True, False, True]:
        return []
    slices = [*rows(model, f"{name}.0"), *columns(model, f"{name}.2")]
    return [Group(f"{name}:units", "units", parts[0].out_features, tuple(slices))]


BY_TYPE: dict[type[nn.Module], Callable[..., list[Group]]] = {
    SelfAttention: of_self_attention,
    CrossAttention: of_cross_attention,
    DecoderLayer: of_decoder_layer,
    TokenExperts: of_token_experts,
    InvertedResidual: of_inverted_residual,
    ResidualBlock: of_residual_block,
    nn.Sequential: of_network,
}


def of_trunk(model: nn.Module, name: str, module: Any) -> list[Group]:
    """Channels of the stem, which a first block that does not widen filters, and of the head, where a projection alone
    reads them."""
    found, dot = [], f"{name}." if name else ""
    first_block = next(iter(getattr(module, "to_stride_16", ())), None)
    if isinstance(first_block, InvertedResidual) and first_block.expand is None and not first_block.residual:
        first = f"{dot}to_stride_16.0"
        slices = [*rows(model, f"{dot}stem"), *rows(model, f"{first}.dw"), *columns(model, f"{first}.project")]
        found.append(Group(f"{dot}stem:channels", "channels", module.stem.out_channels, tuple(slices)))
    if isinstance(getattr(module, "head", None), ConvBlock) and hasattr(module, "project"):
        slices = [*rows(model, f"{dot}head"), *columns(model, f"{dot}project")]
        found.append(Group(f"{dot}head:channels", "channels", module.head.out_channels, tuple(slices)))
    return found


def of_transformers(model: nn.Module, name: str, module: Any) -> list[Group]:
    """Heads and units of a module of transformers, by the names of its parts. A unit of attention is a head of keys
    with all heads of queries that read it."""
    for parts in ATTENTIONS:
        if all(isinstance(getattr(module, part, None), nn.Module) for part in parts) and hasattr(module, "head_dim"):
            width, shared = int(module.head_dim), int(getattr(module, "num_key_value_groups", 1))
            query, key, value, out = (f"{name}.{part}" for part in parts)
            slices = [*rows(model, query, shared * width), *rows(model, key, width), *rows(model, value, width)]
            slices += columns(model, out, shared * width)
            size = weight_of(module, parts[1]).shape[0] // width
            return [Group(f"{name}:heads", "heads", size, tuple(slices), like=of_decoder(name))]
    if hasattr(module, "split_size") and not module.is_cross_attention:  # GPT-2's, whose c_attn gives all three
        width = int(module.head_dim)
        slices = [*rows(model, f"{name}.c_attn", width, 3), *columns(model, f"{name}.c_proj", width)]
        return [Group(f"{name}:heads", "heads", int(module.num_heads), tuple(slices), like=of_decoder(name))]
    for wide, narrow in NETWORKS:
        if all(isinstance(getattr(module, part, None), nn.Module) for part in (*wide, narrow)):
            slices = [part for each in wide for part in rows(model, f"{name}.{each}")]
            slices += columns(model, f"{name}.{narrow}")
            weight = weight_of(module, wide[0])
            axis = rows(model, f"{name}.{wide[0]}")[0].axis
            return [Group(f"{name}:units", "units", weight.shape[axis], tuple(slices))]
    return []


def weight_of(module: Any, part: str) -> Tensor:
    """The weight of a part, under its adapter if it has one."""
    linear = getattr(module, part)
    weight: Tensor = getattr(linear, "base_layer", linear).weight
    return weight


def of_layers(model: nn.Module, name: str, module: nn.ModuleList, known: Mapping[str, Group]) -> list[Group]:
    """The layers of a list, if each holds heads and units, so that it is known what it writes."""
    slices: list[Slice] = []
    for index in range(len(module)):
        inside = [group for group in known.values() if group.name.startswith(f"{name}.{index}.")]
        if not {"heads", "units"} <= {group.kind for group in inside}:
            return []
        written = dict.fromkeys(part.name for group in inside for part in group.slices if part.reads)
        for weight in written:
            owner = model.get_submodule(weight.rpartition(".")[0])
            slices.append(Slice(weight, reads=True, unit=index))
            if weight.endswith(".weight") and getattr(owner, "bias", None) is not None:
                slices.append(Slice(f"{weight.removesuffix('weight')}bias", reads=True, unit=index))
    return [Group(f"{name}:layers", "layers", len(module), tuple(slices))] if len(module) else []


def groups_of(model: nn.Module) -> dict[str, Group]:
    """The groups of a model's backbone and decoder by name."""
    found: dict[str, Group] = {}
    named = [(name, module) for name, module in model.named_modules() if name.startswith(("backbone", "decoder"))]
    for name, module in named:
        describe = next((of for kind, of in BY_TYPE.items() if isinstance(module, kind)), of_transformers)
        for group in (*describe(model, name, module), *of_trunk(model, name, module)):
            found[group.name] = group
    for name, module in named:
        if isinstance(module, nn.ModuleList):
            found |= {group.name: group for group in of_layers(model, name, module, found)}
    return found


# --- taking units out -----------------------------------------------------------------------------------------


def remove(model: nn.Module, kept: Mapping[str, Sequence[int]]) -> None:
    """Cut a model to the units that are kept of some groups, in place; whole layers last, whose numbers then change.

    Raises:
        ConfigError: the model has no such group, or such a choice is not allowed; see `check_kept`.
    """
    groups = groups_of(model)
    check_kept(groups, kept)
    for name, units in kept.items():
        group = groups[name]
        if group.kind == "layers":
            continue
        for part in group.slices:
            cut(model, part, part.places(units, group.size))
        owner: Any = model.get_submodule(group.module) if group.kind == "heads" else None
        if hasattr(owner, "n_heads"):
            owner.n_heads = len(units)
        if hasattr(owner, "split_size"):  # GPT-2
            owner.num_heads, owner.split_size = len(units), len(units) * owner.head_dim
    for name, units in kept.items():
        if groups[name].kind == "layers":
            keep_layers(model, groups[name].module, units)


def check_kept(groups: Mapping[str, Group], kept: Mapping[str, Sequence[int]]) -> None:
    """Check what is to be kept.

    Raises:
        ConfigError: no such group; units out of order or range, or too few; or groups that have to be alike are not.
    """
    dropped = {f"{groups[name].module}.{layer}." for name, units in kept.items() if name in groups and
               groups[name].kind == "layers" for layer in set(range(groups[name].size)) - set(units)}  # fmt: skip
    for name, units in kept.items():
        if name not in groups:
            raise ConfigError(f"the model has no group {name!r} to prune")
        group = groups[name]
        ordered, inside = list(units) == sorted(set(units)), set(units) <= set(range(group.size))
        if not (ordered and inside and len(units) >= group.least):
            raise ConfigError(
                f"{len(units)} units of {name} are kept; allowed: {group.least} to {group.size}, in ascending order"
            )
    counts: dict[str, set[int]] = {}
    for group in groups.values():
        if group.like and not any(group.name.startswith(layer) for layer in dropped):
            counts.setdefault(group.like, set()).add(len(kept.get(group.name, range(group.size))))
    for like, numbers in counts.items():
        if len(numbers) > 1:
            raise ConfigError(
                f"{like}: layers keep {', '.join(map(str, sorted(numbers)))}; allowed: one number for all"
            )


def cut(model: nn.Module, part: Slice, places: Sequence[int]) -> None:
    """Keep some places of a parameter or buffer along the axis of a slice, and let its module know its new sizes."""
    owner_name, _, attribute = part.name.rpartition(".")
    owner: Any = model.get_submodule(owner_name)
    before: Tensor = getattr(owner, attribute)
    index = torch.as_tensor(list(places), device=before.device)
    after = before.detach().index_select(part.axis, index).contiguous()
    if isinstance(before, nn.Parameter):
        setattr(owner, attribute, nn.Parameter(after, requires_grad=before.requires_grad))
    else:
        setattr(owner, attribute, after)
    resize(owner)


def resize(module: Any) -> None:
    """Let a module's attributes say the sizes of its weights."""
    if isinstance(module, nn.Conv2d):
        depthwise = module.groups > 1
        module.out_channels = module.weight.shape[0]
        module.groups = module.out_channels if depthwise else 1
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.GroupNorm):
        width = module.num_channels // module.num_groups
        module.num_channels = module.weight.shape[0]
        module.num_groups = module.num_channels // width
    elif hasattr(module, "nf"):  # GPT-2's linear layer
        module.nx, module.nf = module.weight.shape


def keep_layers(model: nn.Module, name: str, kept: Sequence[int]) -> None:
    """Keep some layers of a list, and number them anew where they know their numbers."""
    layers = model.get_submodule(name)
    assert isinstance(layers, nn.ModuleList)
    chosen = [layers[index] for index in kept]
    owner_name, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(owner_name), attribute, nn.ModuleList(chosen))
    for index, layer in enumerate(chosen):
        module: Any
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index
    config: Any = getattr(model.get_submodule(owner_name), "config", None)
    if config is not None and hasattr(config, "num_hidden_layers"):
        config.num_hidden_layers = len(chosen)
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[index] for index in kept]


# --- in a model's settings ------------------------------------------------------------------------------------


def noted(groups: Mapping[str, Group], kept: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """What is kept as settings have it (`ModelConfig.pruned`): "NAME SIZE HEX" of each group, where bit i of the
    number, from the lowest, says whether unit i stays."""
    return tuple(f"{name} {groups[name].size} {sum(1 << unit for unit in units):x}" for name, units in kept.items())


def shrunk(model: Any) -> Any:
    """A model that its settings describe, cut to the units that these name, in place."""
    if model.config.pruned:
        remove(model, read_pruned(model.config.pruned, groups_of(model)))
        model.note_learned()
    return model


def read_pruned(pruned: Sequence[str], groups: Mapping[str, Group]) -> dict[str, list[int]]:
    """The units that are kept, by group, of `ModelConfig.pruned`.

    Raises:
        ConfigError: an entry of another form, or for another model.
    """
    kept: dict[str, list[int]] = {}
    for entry in pruned:
        try:
            name, size, digits = entry.split(" ")
            number, count = int(digits, 16), int(size)
        except ValueError:
            told = f"pruned has {entry[:80]!r}; allowed: a group, its size and a hexadecimal number"
            raise ConfigError(told) from None
        if name not in groups or groups[name].size != count:
            has = f"{groups[name].size} units" if name in groups else "no such group"
            raise ConfigError(f"pruned has {count} units of {name!r}; the model has {has}")
        if not 0 < number < 1 << count:
            raise ConfigError(f"pruned: of {name}, it keeps no units, or others than its {count}")
        kept[name] = [unit for unit in range(count) if number >> unit & 1]
    return kept
