"""The parts of a model with shapes that never change, as converters for phones and accelerators want them.

| family | parts |
| --- | --- |
| parallel | `encode`; `refine`, run once a pass; `rank`: captions of as many lengths as the model decodes by default |
| autoregressive | `encode`, `step` |
| prefix | `vision_encoder`, `projection`, `prefix_init`, `language_model` |

They read and return what the graphs of `fastcap.runtime.contract` do, with these differences. Whole numbers have 32
bits. Captions are padded to the longest. A step reads one token of each of R rows, and is given a cache of the
longest caption, of which `length` tokens have been read; it returns the keys and values of the new token alone, which
the caller puts into the cache at `length`. Rows are reordered by the caller, too.

Letters as in `fastcap.runtime.contract`; L tokens of the longest caption and its begin mark.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastcap.backbone.token_selection import TokenSelection
from fastcap.decoder.attention import KeysValues, Memory
from fastcap.decoder.moe_decoder import ImageState
from fastcap.errors import ModelFileError
from fastcap.export import autoregressive as autoregressive_export
from fastcap.export import prefix
from fastcap.export.autoregressive import PackedRopeDecoder
from fastcap.export.packed import attention_scores
from fastcap.generation.icmr import Refined
from fastcap.layers import Expert, FeedForward
from fastcap.model import CaptionModel
from fastcap.runtime.contract import IMAGE_VECTORS, MODEL, PROJECTION, STATE, VISION_ENCODER

__all__ = ["Part", "described", "parts_of"]


class Part(NamedTuple):
    """A part of a model, ready to be traced.

    Attributes:
        name: its file's, without the ending.
        module: returns a tuple, or one tensor.
        inputs: an example of each, by name, in the order of its arguments.
        outputs: names.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class ReadsState(nn.Module):
    """A part of the parallel family that reads the picture's state, or writes it, as one tensor after another."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model: Any = model

    def state(self, tensors: Sequence[Tensor]) -> ImageState:
        """The inverse of `flatten`."""
        context, *rest = tensors
        layers, size = len(self.model.decoder.layers), len(rest) // len(self.model.decoder.layers)
        each = [rest[index * size : (index + 1) * size] for index in range(layers)]
        experts = [[Expert(*part[at : at + 5]) for at in range(2, size, 5)] for part in each]
        return ImageState(context, [Memory(*part[:2]) for part in each], [], experts)


def flatten(state: ImageState) -> list[Tensor]:
    """A picture's state: the context, then each layer's memory and the weights of the experts chosen."""
    tensors = [state.context]
    for memory, experts in zip(state.memories, state.experts, strict=True):
        tensors += [*memory, *(part for expert in experts for part in expert)]
    return tensors


class Encode(ReadsState):
    """Pixels to candidates of which every token is masked, and to all that reading them takes."""

    def forward(self, images: Tensor, length_range: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        image = model.encode(images)
        # `LengthPredictor.choose`, but for its sort, which converters for phones do not know
        every = torch.arange(model.config.max_length + 1)
        outside = (every < length_range[0]) | (every > length_range[1]) | (every == 0)
        every_log_p = model.length_predictor(image.pooled).masked_fill(outside, -torch.inf).log_softmax(dim=-1)
        log_p, lengths = every_log_p.topk(model.config.generation.candidates, dim=-1)
        begun, masked = model.refiner.begin(lengths.reshape(-1), model.config.max_length)
        vectors, state = model.alignment.embed_image(image), flatten(model.decoder.prepare(image))
        carried = (begun.token_ids.int(), *begun[1:], masked.int())
        return (*carried, lengths.int(), log_p, vectors, *state)


class Refine(ReadsState):
    """`ICMRDecoder.refine`."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """`tensors`: as the part's inputs."""
        done, token_ids, probabilities, scores, masked, lengths, penalties, *state = tensors
        kept, masked = self.model.refiner.refine(
            self.model.decoder, self.state(state), Refined(token_ids.long(), probabilities, scores), masked != 0,
            lengths.reshape(-1).long(), done, penalties,
        )  # fmt: skip
        return (kept.token_ids.int(), *kept[1:], masked.int())


class Rank(ReadsState):
    """`ParallelCaptionModel.rank`."""

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """`tensors`: as the part's inputs."""
        token_ids, probabilities, scores, lengths, log_p, vectors, *state = tensors
        refined = Refined(token_ids.long(), probabilities, scores)
        captions = self.model.rank(self.state(state), refined, lengths.long(), log_p, vectors)
        return captions.token_ids.int(), captions.lengths.int(), *captions[2:]


CARRIED = ("token_ids", "probabilities", "scores", "masked")
"""From one pass of `refine` to the next, which calls them `new_token_ids` and so on."""


@torch.no_grad()
def parallel(model: CaptionModel) -> list[Part]:
    config = model.config
    size = config.image_size
    whole = [config.generation.min_length, config.max_length]
    pictures = {
        "images": torch.zeros(1, size, size, 3, dtype=torch.uint8),
        "length_range": torch.tensor(whole, dtype=torch.int32),
    }
    encode = Encode(model)
    values = encode(*pictures.values())
    names = [*CARRIED, "lengths", "log_p", *IMAGE_VECTORS]
    names += [f"{STATE}{index}" for index in range(len(values) - len(names))]
    given = dict(zip(names, values, strict=True))
    state = {name: value for name, value in given.items() if name.startswith(STATE)}
    carried = {name: given[name] for name in CARRIED}
    refined = {"done": torch.ones(1, dtype=torch.int32), **carried, "lengths": given["lengths"]}
    refined |= {"penalties": torch.zeros(config.vocab_size), **state}
    ranked = {name: given[name] for name in (*CARRIED[:3], "lengths", "log_p", *IMAGE_VECTORS)}
    return [
        Part("encode", encode, pictures, tuple(names)),
        Part("refine", Refine(model), refined, tuple(f"new_{name}" for name in CARRIED)),
        Part("rank", Rank(model), {**ranked, **state}, tuple(MODEL.outputs)),
    ]


ROWS = 3
"""R of a step: hypotheses of a beam search by default. Rows beyond are run in turn."""


class Step(nn.Module):
    """`PackedRopeDecoder.step` with a cache of fixed length."""

    def __init__(self, model: CaptionModel) -> None:
        super().__init__()
        self.model = model
        self.packed = PackedRopeDecoder(model.decoder)

    def forward(self, token_ids: Tensor, length: Tensor, cache: Tensor, *state: Tensor) -> tuple[Tensor, Tensor]:
        """`state`: as `encode` gives it. Returns log-probabilities (R, V), and new keys and values (S, N, R, 1, D)."""
        unwritten = torch.arange(cache.shape[3] + 1) >= length
        unwritten = unwritten & (torch.arange(cache.shape[3] + 1) < cache.shape[3])  # the last one is the new token's
        past, grown = iter(cache), []

        def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            grown.extend([keys, values])
            keys, values = (torch.cat([next(past), new[:, :, None]], dim=2) for new in (keys, values))
            scores = attention_scores(queries[:, :, None], keys).masked_fill(unwritten, -torch.inf)
            return (scores.softmax(dim=-1) @ values)[:, :, 0]

        memories = [KeysValues(*pair) for pair in zip(state[::2], state[1::2], strict=True)]
        log_p = self.packed.log_p(memories, token_ids, attend, length)
        return log_p, torch.stack(grown)[:, :, :, None]


class ReadNext(prefix.Language):
    """`fastcap.export.prefix.Step` of one token a row, with a cache of fixed length."""

    def forward(
        self, token_ids: Tensor, length: Tensor, padding: Tensor, cache: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`padding` (R,): how many of a row's first tokens stand there only to make rows equally long."""
        decoder, (rows, size) = self.model.decoder, cache.shape[2:4]
        columns = torch.arange(size + 1)
        unwritten = (columns >= length) & (columns < size)  # the last one is the new token's
        hidden = (unwritten | (columns < padding[:, None]))[:, None]
        positions = (length - padding).clamp(min=0)[:, None] + int(state.shape[2])
        attention = prefix.ReadTokens(state, cache, torch.arange(rows), hidden)
        states, grown = self.read(attention, decoder.embed(token_ids[:, None]), positions)
        return decoder.project(states[:, -1]).log_softmax(dim=-1), grown[:, :, :, size:]


def step_part(name: str, module: nn.Module, state: Mapping[str, Tensor], sizes: Sequence[int], **more: Tensor) -> Part:
    """A part that reads one more token of each row; `sizes`: S, N, L and D of its cache."""
    layers, heads, length, width = sizes
    rows = torch.arange(ROWS, dtype=torch.int32)
    given = {"token_ids": rows, "length": torch.ones(1, dtype=torch.int32), **more}
    given |= {"cache": torch.zeros(layers, heads, ROWS, length, width), **state}
    return Part(name, module, given, ("log_p", "new_cache"))


@torch.no_grad()
def autoregressive(model: CaptionModel) -> list[Part]:
    images = {"images": torch.zeros(1, model.config.image_size, model.config.image_size, 3, dtype=torch.uint8)}
    encode = autoregressive_export.Encode(model)
    _, *values = encode(*images.values())
    state = {f"{STATE}{index}": value for index, value in enumerate(values)}
    decoder = model.config.decoder
    sizes = 2 * decoder.n_layers, decoder.n_heads, model.config.max_length + 1, model.decoder.d_head
    return [Part("encode", encode, images, (*IMAGE_VECTORS, *state)), step_part("step", Step(model), state, sizes)]


@torch.no_grad()
def language_model(model: CaptionModel) -> list[Part]:
    config, whole = model.config, prefix.with_merged_adapters(model)
    images = torch.zeros(1, config.image_size, config.image_size, 3, dtype=torch.uint8)
    if len(getattr(config.backbone, "scales", ())) > 1:
        raise ModelFileError("a vision part with exits cannot be converted; allowed: one of a single scale")
    vision, project, begin = prefix.VisionEncoder(whole), prefix.Project(whole), prefix.PrefixInit(whole)
    tokens, _ = vision(images)
    projected = project(tokens)
    state = begin(projected)
    layers, heads, _, width = state.shape
    longest = config.max_length + 1 + getattr(config.decoder, "question_tokens", 0)
    padding = torch.zeros(ROWS, dtype=torch.int32)
    step = step_part(
        "language_model", ReadNext(whole), {f"{STATE}0": state}, (layers, heads, longest, width), padding=padding
    )
    return [
        Part("vision_encoder", vision, {"images": images}, (*VISION_ENCODER.outputs, *IMAGE_VECTORS)),
        Part("projection", project, {"image_tokens": tokens}, tuple(PROJECTION.outputs)),
        Part("prefix_init", begin, {"prefix": projected}, (f"{STATE}0",)),
        step,
    ]


PARTS: dict[str, Callable[[CaptionModel], list[Part]]] = {
    "parallel": parallel,
    "autoregressive": autoregressive,
    "prefix": language_model,
}
"""By the kind of model."""


def parts_of(model: CaptionModel, precision: str = "fp32") -> list[Part]:
    """The parts of a model, which share their weights.

    In int8, tables whose rows are looked up, of words and of experts, are rounded here: quantisers of converters leave
    such tables as they are. All else is left to these. In all precisions, image tokens are pooled with the constant on
    the right side, since LiteRT has no kernel for a product whose left side is rounded.

    Raises:
        ModelFileError: a kind of model that has none.
    """
    kind = model.config.kind
    if kind not in PARTS:
        raise ModelFileError(f"a model of kind {kind!r} cannot be converted; allowed: {', '.join(PARTS)}")
    whole: Any = copy.deepcopy(model).eval().requires_grad_(False)
    for module in list(whole.modules()):
        for name, child in module.named_children():
            if isinstance(child, TokenSelection) and child.kind == "pool":
                setattr(module, name, PooledFromRight(child))
    if precision != "fp32":
        round_tables(whole)
    return PARTS[kind](whole)


class RoundedTable(nn.Module):
    """An `nn.Embedding` whose rows are looked up in 8 bits. `weight` is what products read, in float."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.register_buffer("rows", None)
        self.register_buffer("steps", None)
        self.rows, self.steps = rounded(table.weight, -1)
        self.weight = nn.Parameter(self.rows.float() * self.steps, requires_grad=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        flat = token_ids.reshape(-1)
        found = self.rows.index_select(0, flat).float() * self.steps.index_select(0, flat)
        return found.reshape(*token_ids.shape, self.rows.shape[1])


class PooledFromRight(nn.Module):
    """A `TokenSelection` that pools, its product transposed."""

    cells: Tensor

    def __init__(self, pooling: TokenSelection) -> None:
        super().__init__()
        self.n_tokens = pooling.n_tokens
        self.register_buffer("cells", pooling.cells.mT)  # saved with the module, as ExecuTorch wants it

    def forward(self, tokens: Tensor) -> Tensor:
        return (tokens.mT @ self.cells).mT


class RoundedExperts(nn.Module):
    """A `FeedForward` whose experts are looked up in 8 bits."""

    def __init__(self, experts: FeedForward) -> None:
        super().__init__()
        for name in ("in", "out"):
            whole, steps = rounded(getattr(experts, f"weight_{name}"), 1)
            self.register_buffer(f"whole_{name}", whole)
            self.register_buffer(f"steps_{name}", steps)
            self.register_buffer(f"bias_{name}", getattr(experts, f"bias_{name}")[:, None])

    def select(self, chosen: Tensor, weights: Tensor) -> list[Expert]:
        """As `FeedForward.select`."""
        found = []
        for rank in range(int(chosen.shape[1])):
            index = chosen[:, rank]
            parts: list[Tensor] = []
            for name in ("in", "out"):
                whole, steps, bias = (getattr(self, f"{kind}_{name}") for kind in ("whole", "steps", "bias"))
                parts += [whole.index_select(0, index).float() * steps.index_select(0, index)]
                parts += [bias.index_select(0, index)]
            found.append(Expert(*(*parts, weights[:, rank, None, None])))
        return found

    forward = staticmethod(FeedForward.forward)


def rounded(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Whole numbers from -127 to 127, and the steps, one for all numbers along `axis`, that they are multiplied by."""
    steps = weight.detach().abs().amax(dim=axis, keepdim=True).clamp(min=1e-12) / 127
    return (weight.detach() / steps).round().to(torch.int8), steps


def round_tables(model: nn.Module) -> None:
    """Replace tables whose rows are looked up."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Embedding:
                setattr(module, name, RoundedTable(child))
            elif isinstance(child, FeedForward):
                setattr(module, name, RoundedExperts(child))


@torch.no_grad()
def described(part: Part, file: str, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> dict[str, Any]:
    """A part as the manifest has it: its file, and the type and shape of each tensor. `inputs`, `outputs`: what the
    runtime calls them, in order, if it has names of its own."""
    values = part.module(*part.inputs.values())
    values = [values] if isinstance(values, Tensor) else values

    def told(names: Iterable[str], tensors: Iterable[Tensor], called: Sequence[str]) -> dict[str, Any]:
        return {
            name: {
                "type": str(tensor.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                **({"as": called[index]} if called else {}),
            }
            for index, (name, tensor) in enumerate(zip(names, tensors, strict=True))
        }

    return {
        "file": file,
        "inputs": told(part.inputs, part.inputs.values(), inputs),
        "outputs": told(part.outputs, values, outputs),
    }
