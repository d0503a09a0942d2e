"""What an ML program of Core ML computes, by its specification, in NumPy and PyTorch: Core ML itself runs on Apple's
systems alone. Every value has the type that the program gives it, float16 included."""

from __future__ import annotations

from pathlib import Path

import coremltools
import numpy as np
import torch
import torch.nn.functional as F
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil import types


def read(package: Path):
    """A package's program, and its model."""
    model = coremltools.models.MLModel(str(package), skip_model_load=True)
    spec = model.get_spec()
    return load(spec, spec.specificationVersion, model.weights_dir), spec


def constants(program) -> list[np.ndarray]:
    """Its arrays of weights, as they are stored."""
    found = []
    for operation in program.functions["main"].operations:
        if operation.op_type == "const":
            found.append(operation.outputs[0].val)
        elif operation.op_type.startswith("constexpr"):
            found += [each.val for each in operation.inputs.values()]
    return [each for each in found if isinstance(each, np.ndarray)]


def holds(held: list[np.ndarray], weight: np.ndarray) -> bool:
    """Whether an array of weights is among these, number for number, in any shape, or transposed."""
    wanted = [weight.reshape(-1), weight.T.reshape(-1)]
    flat = [each.reshape(-1) for each in held if each.size == weight.size]
    return any(np.array_equal(each, other) for each in flat for other in wanted)


def run(program, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a program, by name."""
    function = program.functions["main"]
    values = {var: torch.from_numpy(np.ascontiguousarray(inputs[name])) for name, var in function.inputs.items()}

    def value(given):
        if isinstance(given, (list, tuple)):
            return [value(each) for each in given]
        if given in values:
            return values[given]
        return torch.from_numpy(given.val.copy()) if isinstance(given.val, np.ndarray) else given.val

    for operation in function.operations:
        if operation.op_type == "const":
            continue
        if operation.op_type.startswith("constexpr"):
            made = torch.from_numpy(operation.materialized_val_inference())
        else:
            given = {name: value(each) for name, each in operation.inputs.items() if each is not None}
            made = OPERATIONS[operation.op_type](**widened(given))
        made = made if isinstance(made, (list, tuple)) else [made]
        for var, tensor in zip(operation.outputs, made, strict=True):
            tensor = torch.as_tensor(tensor).to(getattr(torch, KINDS[types.builtin_to_string(var.dtype)]))
            assert tuple(tensor.shape) == tuple(var.shape), (operation.op_type, operation.name)
            values[var] = tensor
    return {var.name: value(var).numpy() for var in function.outputs}


KINDS = {"fp16": "float16", "fp32": "float32", "int32": "int32", "int16": "int16", "uint16": "int32", "bool": "bool"}


def widened(given: dict) -> dict:
    """Halves are added up in float32, as hardware does, and rounded when they are stored."""
    if isinstance(given, torch.Tensor):
        return given.float() if given.dtype == torch.float16 else given
    if isinstance(given, list):
        return [widened(each) for each in given]
    return {name: widened(each) if isinstance(each, (list, torch.Tensor)) else each for name, each in given.items()}


def plain(function):
    """An operation of one tensor, or of two."""
    return lambda x, y=None, **_: function(x) if y is None else function(*map(torch.as_tensor, (x, y)))


def reduced(function):
    def reduce(x, axes, keep_dims):
        return function(x, tuple(axes.tolist()), bool(keep_dims))

    return reduce


def slice_by_index(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    count = x.ndim
    stride, begin_mask, end_mask, squeeze_mask = (
        [default] * count if each is None else each.tolist()
        for each, default in ((stride, 1), (begin_mask, False), (end_mask, False), (squeeze_mask, False))
    )
    taken = []
    for axis, (low, high) in enumerate(zip(begin.tolist(), end.tolist(), strict=True)):
        if squeeze_mask[axis]:
            taken.append(low)
        else:
            parts = None if begin_mask[axis] else low, None if end_mask[axis] else high, stride[axis]
            taken.append(slice(*parts))
    return torch.as_tensor(x.numpy()[tuple(taken)].copy())


def conv(x, weight, strides, pad_type, dilations, groups, pad=None, bias=None):
    sides = x.ndim - 2
    pad = pad.tolist() if pad_type == "custom" else [0] * 2 * sides
    assert pad_type in ("custom", "valid")
    flat = [side for axis in reversed(range(sides)) for side in pad[2 * axis : 2 * axis + 2]]
    function = {1: F.conv1d, 2: F.conv2d}[sides]
    return function(F.pad(x, flat), weight, bias, strides.tolist(), 0, dilations.tolist(), int(groups))


def matmul(x, y, transpose_x, transpose_y):
    x, y = (torch.as_tensor(each).float() for each in (x, y))
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def padded(x, pad, mode, constant_val):
    assert mode == "constant"
    sides = pad.tolist()
    flat = [side for axis in reversed(range(len(sides) // 2)) for side in sides[2 * axis : 2 * axis + 2]]
    return F.pad(x, flat, value=float(constant_val))


def topk(x, k, axis, ascending, sort, return_indices, output_indices_dtype=None):
    values, indices = torch.sort(x, dim=int(axis), descending=not ascending, stable=True)
    return [each.narrow(int(axis), 0, int(k)) for each in (values, indices)]


def split(x, axis, num_splits=None, split_sizes=None):
    sizes = x.shape[int(axis)] // int(num_splits) if split_sizes is None else split_sizes.tolist()
    return list(x.split(sizes, dim=int(axis)))


def taken(x, indices, axis, batch_dims=0, validate_indices=False):
    assert not batch_dims
    indices = torch.as_tensor(indices).long()
    assert bool((indices >= 0).all()) and bool((indices < x.shape[int(axis)]).all())
    found = x.index_select(int(axis), indices.reshape(-1))
    return found.reshape(*x.shape[: int(axis)], *indices.shape, *x.shape[int(axis) + 1 :])


def normed(x, axes, epsilon, gamma=None, beta=None):
    assert axes.tolist() in ([-1], [x.ndim - 1])
    return F.layer_norm(x, x.shape[-1:], gamma, beta, float(epsilon))


def batch_normed(x, mean, variance, epsilon, gamma=None, beta=None):
    return F.batch_norm(x, mean, variance, gamma, beta, eps=float(epsilon))


def gelu(x, mode):
    return F.gelu(x, approximate={"EXACT": "none", "TANH_APPROXIMATION": "tanh"}[mode])


CASTS = {"fp16": torch.float16, "fp32": torch.float32, "int32": torch.int32, "bool": torch.bool}
CASTS |= {"int16": torch.int16, "uint16": torch.int32}

OPERATIONS = {
    **{name: plain(getattr(torch, name)) for name in ("exp", "relu", "sqrt", "square", "cos", "sin", "floor")},
    **{name: plain(getattr(torch, name)) for name in ("add", "sub", "mul", "maximum", "minimum", "pow")},
    **{name: plain(getattr(torch, name)) for name in ("greater", "greater_equal", "less", "less_equal", "not_equal")},
    **{name: plain(getattr(torch, name)) for name in ("logical_and", "logical_or", "logical_not")},
    "identity": plain(lambda x: x),
    "equal": plain(torch.eq),
    "real_div": plain(torch.true_divide),
    "floor_div": plain(torch.floor_divide),
    "log": lambda x, epsilon: torch.log(x + float(epsilon)),
    "rsqrt": lambda x, epsilon: torch.rsqrt(x + float(epsilon)),
    "relu6": plain(F.relu6),
    "sigmoid": plain(torch.sigmoid),
    "silu": plain(F.silu),
    "softplus": plain(F.softplus),
    "gelu": gelu,
    "clip": lambda x, alpha, beta: x.clamp(float(alpha), float(beta)),
    "cast": lambda x, dtype: torch.as_tensor(x).to(CASTS[dtype]),
    "select": lambda cond, a, b: torch.where(cond, *map(torch.as_tensor, (a, b))),
    "reduce_sum": reduced(torch.sum),
    "reduce_mean": reduced(torch.mean),
    "reduce_max": reduced(torch.amax),
    "reduce_log_sum_exp": reduced(torch.logsumexp),
    "reduce_l2_norm": reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep)),
    "softmax": lambda x, axis: x.softmax(dim=int(axis)),
    "cumsum": lambda x, axis, exclusive, reverse: x.cumsum(dim=int(axis)),
    "reshape": lambda x, shape: x.reshape(shape.tolist()),
    "transpose": lambda x, perm: x.permute(perm.tolist()),
    "expand_dims": lambda x, axes: torch.from_numpy(np.expand_dims(np.asarray(x), tuple(axes.tolist()))),
    "squeeze": lambda x, axes=None: x.squeeze(tuple(axes.tolist())),
    "concat": lambda values, axis, interleave: torch.cat(values, dim=int(axis)),
    "stack": lambda values, axis: torch.stack(values, dim=int(axis)),
    "split": split,
    "tile": lambda x, reps: x.repeat(reps.tolist()),
    "fill_like": lambda ref_tensor, value: torch.full(ref_tensor.shape, float(value)),
    "slice_by_index": slice_by_index,
    "gather": taken,
    "gather_along_axis": lambda x, indices, axis, validate_indices=False: x.gather(int(axis), indices.long()),
    "topk": topk,
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "matmul": matmul,
    "conv": conv,
    "pad": padded,
    "layer_norm": normed,
    "batch_norm": batch_normed,
}


class Runner:
    """A `fastcap.export.converted.Runner` of a folder of Core ML's packages."""

    def __init__(self, folder: Path, parts: dict, threads: int) -> None:
        self.parts = parts
        self.programs = {name: read(folder / part["file"])[0] for name, part in parts.items()}

    @torch.no_grad()
    def run(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        part = self.parts[name]
        given = {key: np.asarray(value, part["inputs"][key]["type"]) for key, value in inputs.items()}
        made = run(self.programs[name], given)
        return {key: made[facts["as"]] for key, facts in part["outputs"].items()}
