"""What every gn op means, in NumPy, through the oracle; and a module or Program run with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import reference as ref
from xdsl.dialects.builtin import ModuleOp

from gncodegen.ir.function import Slot, function_of, operations_of, results, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.values import tensor_of
from gncodegen.kernels.hyperparameters import COUNT, PARTS, slot
from gncodegen.kernels.hyperparameters import slots as number_slots
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Launch, Plan, Problem, Schedule
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.kernels.update_problem import UpdateProblem
from support.numpy_norms import group_statistics, masked_norm

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[tuple[str, str], Array]
"""(kind, name) → array, for arguments and results."""

WITH_HYPERPARAMETERS = ("dropout", "update", "gradient_norms", "accumulate")


def _pairs(padding: Sequence[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(padding[::2], padding[1::2], strict=True))


def _window(a: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: _pairs(a[name]) if name == "padding" else a[name] for name in names}


def _convolution(x: Array, weights: Array, bias: Array | None, a: Mapping[str, Any]) -> tuple[Array, Any]:
    given = np.zeros(weights.shape[-1]) if bias is None else bias
    window = _window(a, "stride", "dilation", "padding")
    return _merged(
        x, weights.ndim - 2, lambda x: ref.convolution(x, weights, given, **window, groups=a.get("groups", 1))
    )


def _merged(x: Array, rank: int, run: Callable[[Array], tuple[Array, Any]]) -> tuple[Array, Any]:
    """A window of `rank` axes over x, whose axes in front of them, such as time steps, count as observations."""
    ahead = x.shape[: -rank - 1]
    y, back = run(x.reshape(-1, *x.shape[-rank - 1 :]))

    def backward(dy: Array) -> tuple[Array, ...]:
        dx, *rest = back(dy.reshape(y.shape))
        return (dx.reshape(x.shape), *rest)

    return y.reshape(*ahead, *y.shape[1:]), backward


def _pool(x: Array, a: Mapping[str, Any], op: str) -> tuple[Array, Any]:
    options = _window(a, "window", "stride", "padding")
    if op.startswith("max"):
        return _merged(x, len(a["window"]), lambda x: ref.max_pool(x, **options))
    counted = a.get("count_padding", True)
    mean, back = _merged(x, len(a["window"]), lambda x: ref.average_pool(x, **options, count_padding=counted))
    size = math.prod(a["window"]) if a.get("total") else 1
    return mean * size, lambda dy: back(dy * size)


def _sparse_product(x: Array, a: Mapping[str, Any]) -> Array:
    lines = np.moveaxis(x, a["axis"], 0)
    spans = pairwise(a["starts"])
    rows = [sum((a["weights"][k] * lines[a["columns"][k]] for k in range(*span)), 0 * lines[0]) for span in spans]
    return np.moveaxis(np.array(rows), 0, a["axis"])


def _norm(x: Array, scale: Array, offset: Array, a: Mapping[str, Any]) -> tuple[Array, Any]:
    epsilon, reduced = a["epsilon"], a.get("reduced", "spatial-channel")
    if reduced == "batch-spatial":
        return ref.batch_norm(x, scale, offset, epsilon=epsilon)
    if reduced in ("channel", "step"):
        rows = x.reshape(-1, *x.shape[2 if reduced == "step" else -1 :])
        y, back = ref.group_norm(rows, scale, offset, groups=a["groups"], epsilon=epsilon)

        def backward(dy: Array) -> tuple[Array, Array, Array]:
            dx, dscale, doffset = back(dy.reshape(y.shape))
            return dx.reshape(x.shape), dscale, doffset

        return y.reshape(x.shape), backward
    return ref.group_norm(x, scale, offset, groups=a["groups"], epsilon=epsilon)


def partials(x: Array, parts: int) -> Array:
    """Per part of the rows and channel: sum and sum of squares of deviations from 0, and that 0."""
    cuts = [x[:, x.shape[1] * i // parts : x.shape[1] * (i + 1) // parts] for i in range(parts)]
    axes = tuple(range(1, x.ndim - 1))
    found = [[cut.sum(axes), (cut**2).sum(axes), np.zeros((len(x), x.shape[-1]))] for cut in cuts]
    return np.array(found).transpose(2, 0, 1, 3)


def _normalized(x: Array, statistics: Array, scale: Array, offset: Array, a: Mapping[str, Any]) -> Array:
    """activation((x − mean)·scale/deviation + offset), as a convolution reads it."""
    mean, inverse = (
        part.repeat(x.shape[-1] // a["norm_groups"], -1).reshape(len(x), *[1] * (x.ndim - 2), -1)
        for part in (statistics[..., 0] + statistics[..., 1], statistics[..., 2])
    )
    y = (x - mean) * inverse * scale + offset
    return _epilogue(y, {"activation": a["norm_activation"], "alpha": a["norm_alpha"]})


def _activation(x: Array, a: Mapping[str, Any]) -> tuple[Array, Any]:
    return ref.activation(x, a["function"], alpha=a.get("alpha", 0.0), beta=a.get("beta", 0.0))


def _input_of(y: Array, a: Mapping[str, Any]) -> Array:
    """An x at which a growing activation is y, by bisection."""
    low, high = np.full_like(y, -1e3), np.full_like(y, 1e3)
    for _ in range(64):
        middle = (low + high) / 2
        below = _activation(middle, a)[0] < y
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


def _epilogue(y: Array, a: Mapping[str, Any]) -> Array:
    return ref.activation(y, a["activation"], alpha=a.get("alpha", 0.0))[0] if a.get("activation") else y


def _masked(y: Array, dy: Array, a: Mapping[str, Any]) -> Array:
    if not a.get("activation"):
        return dy
    return ref.activation(y, a["activation"], alpha=a.get("alpha", 0.0))[1](dy)[0]


def _input(x: Array, statistics: Sequence[Array], a: Mapping[str, Any]) -> tuple[Array, Any]:
    names = ("min", "max") if a["method"].startswith("rescale") else ("mean", "standard_deviation")
    return ref.input_normalization(x, a["method"], **dict(zip(names, statistics, strict=False)))


def _folded(weights: Array, given: Sequence[Array], a: Mapping[str, Any]) -> list[Array]:
    """Weights and bias whose product is the steps' result: the steps at 0 and at the weights."""
    moved = np.moveaxis(weights, a["axis"], -1)
    at, left = np.concatenate([moved.reshape(-1, moved.shape[-1]), np.zeros((1, moved.shape[-1]))]), list(given)
    for step, epsilon in zip(a["steps"], a["epsilons"], strict=True):
        if step == "normalize":
            at, left = ref.channel_normalize(at, *left[:4], epsilon=epsilon)[0], left[4:]
        else:
            at, left = ref.elementwise(step, at, left[0].ravel())[0], left[1:]
    folded = (at[:-1] - at[-1]).reshape(moved.shape)
    return [np.moveaxis(folded, -1, a["axis"]), at[-1]]


def _mask(shape: Sequence[int], a: Mapping[str, Any]) -> Array:
    return np.random.default_rng(a["index"]).random(tuple(shape)) >= a["probability"]


def _update(operands: Sequence[Array], h: Array, a: Mapping[str, Any]) -> list[Array]:
    count, clip, arrays = len(a["learn_rate_factors"]), a.get("clip", "none"), ref.SOLVERS[a["solver"]].ARRAYS
    p, g, *state = (operands[i * count : (i + 1) * count] for i in range(2 + arrays))
    names = [str(i) for i in range(count)]
    numbers = {name: float(h[place]) for name, place in number_slots(a["solver"]).items()}
    row = SOLVERS[a["solver"]]
    optimizer = ref.SOLVERS[a["solver"]](
        rate=numbers["learn_rate"], l2=numbers["l2_regularization"],
        method="l2norm" if clip == "none" else clip,
        threshold=np.inf if clip == "none" else numbers["gradient_threshold"],
        learn_rate_factors=dict(zip(names, a["learn_rate_factors"], strict=True)),
        l2_factors=dict(zip(names, a["l2_factors"], strict=True)),
        state=dict(zip(names, zip(*state, strict=True), strict=True)),
        **{each.name: numbers[each.name] for each in row.hyperparameters},
    )  # fmt: skip
    new = optimizer.step(dict(zip(names, p, strict=True)), dict(zip(names, g, strict=True)))
    return [*(new[n] for n in names), *(optimizer.state[n][array] for array in range(arrays) for n in names)]


def _norms(operands: Sequence[Array], h: Array, a: Mapping[str, Any]) -> Array:
    count = len(a["l2_factors"])
    pairs = zip(operands[:count], operands[count:], a["l2_factors"], strict=True)
    return np.array([np.linalg.norm(g + h[slot("l2_regularization")] * factor * p) for p, g, factor in pairs])


def evaluate(op: str, o: Sequence[Array], a: Mapping[str, Any], h: Array) -> Sequence[Array]:  # noqa: C901, PLR0911, PLR0912, PLR0915
    """The results of op `op` on operands `o`, attributes `a` and hyperparameters `h`."""
    bias = bool(a.get("bias"))
    match op:
        case "input_normalization":
            return [_input(o[0], o[1:], a)[0]]
        case "input_normalization_gradient":
            return _input(o[0], o[1:], a)[1](o[0])
        case "convolution":
            if a.get("norm_groups"):
                *o, statistics, scale, offset = o
                o[0] = _normalized(o[0], statistics, scale, offset, a)
            y = _epilogue(sum(o[2:], _convolution(o[0], o[1], None, a)[0]), a)
            return [y, partials(y, a["parts"])] if a.get("parts") else [y]
        case "transposed_convolution":
            image = np.zeros((*o[0].shape[: -len(a["extents"]) - 1], *a["extents"], o[1].shape[-2]))
            return [_epilogue(sum(o[2:], _convolution(image, o[1], None, a)[1](o[0])[0]), a)]
        case "convolution_input_gradient":
            return _convolution(np.zeros(a["input_shape"]), o[1], None, a)[1](o[0])[:1]
        case "convolution_weight_gradient":
            return _convolution(o[0], np.zeros(a["weights_shape"]), None, a)[1](o[1])[1 : 3 if bias else 2]
        case "pad":
            return [ref.pad(o[0], _pairs(a["padding"]), mode=a["mode"], value=a.get("value", 0.0))[0]]
        case "pad_gradient":
            pairs = _pairs(a["padding"])
            inside = [n - before - after for n, (before, after) in zip(o[0].shape[1:-1], pairs, strict=True)]
            return ref.pad(np.zeros((len(o[0]), *inside, o[0].shape[-1])), pairs, mode=a["mode"])[1](o[0])
        case "bias":
            return [o[0] + o[1]]
        case "bias_gradient":
            return [o[0].reshape(-1, o[0].shape[-1]).sum(0)]
        case "group_norm":
            more = o[3:]
            if a.get("parts"):
                *more, given = more
                np.testing.assert_allclose(given, partials(o[0], a["parts"]), rtol=1e-9, atol=1e-12)
            return [_epilogue(sum(more, _norm(*o[:3], a)[0]), a), group_statistics(o[0], a)]
        case "group_statistics":
            return [group_statistics(o[0], a)]
        case "group_norm_gradient":
            y, back = _norm(o[0], o[2], o[3], a)
            g = _masked(sum(o[5:], y), o[1], a)
            return [*back(g), *([g] if a.get("residual") else [])]
        case "masked_group_norm" | "masked_group_norm_gradient" | "masked_batch_norm" | "masked_batch_norm_gradient":
            return masked_norm(op, o, a)
        case "channel_normalize":
            return [_epilogue(ref.channel_normalize(*o, epsilon=a["epsilon"])[0], a)]
        case "channel_normalize_gradient":
            y, back = ref.channel_normalize(o[0], *o[2:], epsilon=a["epsilon"])
            return back(_masked(y, o[1], a))
        case "statistics_gradient":
            dx, x, mean, variance, scale, dscale, doffset = o
            inverse = 1 / np.sqrt(variance + a["epsilon"])
            return [dx - scale * inverse * (doffset + (x - mean) * inverse * dscale) / (x.size / len(mean))]
        case "folded_parameters":
            return _folded(o[0], o[1:], a)
        case "activation":
            return [_activation(o[0], a)[0]]
        case "activation_gradient":
            x = _input_of(o[0], a) if a.get("from") == "output" else o[0]
            return _activation(x, a)[1](o[1])
        case "max_pool" | "average_pool":
            return [_pool(o[0], a, op)[0]]
        case "max_pool_gradient":
            return _pool(o[0], a, op)[1](o[2])
        case "average_pool_gradient":
            return _pool(np.zeros(a["input_shape"]), a, op)[1](o[0])
        case "fully_connected":
            rows = o[0].reshape(-1, o[1].shape[1])
            y = ref.fully_connected(rows, o[1], np.zeros(len(o[1])))[0]
            return [_epilogue(sum(o[2:], y.reshape(*o[0].shape[: 1 + a.get("kept", 0)], -1)), a)]
        case "fully_connected_input_gradient":
            return [(o[0] @ o[1]).reshape(a["input_shape"])]
        case "fully_connected_weight_gradient":
            return [o[1].T @ o[0].reshape(len(o[0]), -1), o[1].sum(0)][: 1 + bias]
        case "dropout":
            return [ref.dropout(o[0], _mask(o[0].shape, a), probability=a["probability"])[0]]
        case "softmax":
            return [ref.softmax(o[0])[0]]
        case "softmax_gradient":
            return [o[0] * (o[1] - (o[0] * o[1]).sum(-1, keepdims=True))]
        case "cross_entropy" | "cross_entropy_gradient":
            loss, back = ref.cross_entropy(*o, class_weights=a.get("class_weights") or None)
            return [back() if op.endswith("gradient") else np.array(loss)]
        case "softmax_cross_entropy":
            y = ref.softmax(o[0])[0]
            return [np.array(ref.cross_entropy(y, o[1], class_weights=a.get("class_weights") or None)[0]), y]
        case "softmax_cross_entropy_gradient":
            weighted = o[1] * np.array(a.get("class_weights") or [1.0])
            return [(o[0] * weighted.sum(-1, keepdims=True) - weighted) / len(o[0])]
        case "half_squared_error" | "half_squared_error_gradient":
            loss, back = ref.half_squared_error(*o)
            return [back() if op.endswith("gradient") else np.array(loss)]
        case "add":
            return [_epilogue(np.sum(o, axis=0), a)]
        case "elementwise":
            return [ref.elementwise(a["function"], *o)[0]]
        case "elementwise_gradient":
            *operands, dy = o
            wide = [np.broadcast_to(operand, dy.shape) for operand in operands]
            return [ref.elementwise(a["function"], *wide)[1](dy)[a["operand"]]]
        case "concatenate":
            return [np.concatenate(o, a.get("axis", -1))]
        case "slice":
            return [np.take(o[0], range(a["start"], a["start"] + a["length"]), a.get("axis", -1))]
        case "matrix_product":
            return [ref.matrix_product(*o, first=a.get("left_crosswise"), second=a.get("right_crosswise"))[0]]
        case "sparse_product":
            return [_sparse_product(o[0], a)]
        case "reshape":
            return [o[0].reshape(a["shape"])]
        case "transpose":
            return [o[0].transpose(a["permutation"])]
        case "gradient_norms":
            return [_norms(o, h, a)]
        case "update":
            return _update(o, h, a)
        case "accumulate":
            share, summed = (h[PARTS[name]] for name in ("share", "summed"))
            sums, gradients = o[: len(o) // 2], o[len(o) // 2 :]
            return [share * g + (s if summed else 0) for s, g in zip(sums, gradients, strict=True)]
        case "update_statistics":
            high, low, inverse = o[0][0].T
            mean, variance = high + low, 1 / inverse**2 - a["epsilon"]
            variance = variance + sum(o[3:])
            decay, variance_decay = a["decays"]
            return [decay * mean + (1 - decay) * o[1], variance_decay * variance + (1 - variance_decay) * o[2]]
        case _:
            raise NotImplementedError(op)


def run_module(module: ModuleOp, arguments: Arrays) -> Arrays:
    """Runs the gn function of a module on float64 arrays; its results by (kind, name), updates as what they update."""
    function = function_of(module)
    values = {value: arguments[slot.kind, slot.name] for value, slot in slots(function)}
    for operation in operations_of(function):
        assert isinstance(operation, GnOperation)
        op = operation.name.removeprefix("gn.")
        operands = [values[operand] for operand in operation.operands]
        hyperparameters = operands.pop() if operation.READS_HYPERPARAMETERS else np.zeros(COUNT)
        computed = evaluate(op, operands, dict(operation.values), hyperparameters)
        for result, array in zip(operation.results, computed, strict=True):
            assert array.shape == tensor_of(result).shape, (op, array.shape, tensor_of(result))
            values[result] = array
    return {_key(slot): values[value] for value, slot in results(function)}


def _key(slot: Slot) -> tuple[str, str]:
    return (slot.updates if slot.kind == "update" else slot.kind, slot.name)


IN_PLACE = {
    "activation": ((0, 0),), "bias": ((0, 0),), "dropout": ((0, 0),), "softmax": ((0, 0),), "add": ((0, 0), (0, 1)),
    "activation_gradient": ((0, 1), (0, 0)), "group_norm": ((0, 0), (0, 3)),
    "group_norm_gradient": ((0, 0), (0, 1), (3, 1), (3, 5)), "update_statistics": ((0, 1), (1, 2)),
    "softmax_cross_entropy": ((1, 0),), "softmax_cross_entropy_gradient": ((0, 0),),
}  # fmt: skip


def plan(problem: Problem) -> Plan:
    """A stand-in for the catalog: one launch that `evaluate` can run, for some ops two with a workspace between."""
    operands = [f"operand{i}" for i in range(len(problem.operands))]
    named = [f"result{i}" for i in range(len(problem.results))]
    in_place = tuple(pair for pair in IN_PLACE.get(problem.op, ()) if pair[1] < len(operands))
    if problem.op == "update":
        in_place = UpdateProblem(problem).in_place
    workspaces, launches = (), []
    dtype = problem.results[0].dtype
    if problem.op in ("convolution", "group_norm_gradient", "max_pool_gradient"):
        copy = Schedule("copy", "copy", problem.machine.target, dtype)
        launches.append(Launch(copy, ("operand0", "workspace0"), 1, (1,)))
        operands[0] = "workspace0"
        workspaces = (problem.operands[0],)
    extra = ["hyperparameters"] if problem.op in WITH_HYPERPARAMETERS else []
    schedule = Schedule(problem.op, "numpy", problem.machine.target, dtype, shape=dict(problem.attributes))
    arguments = (*operands, *extra, *named)
    writes = tuple(range(len(arguments) - len(named), len(arguments)))
    launches.append(Launch(schedule, arguments, 4, writes, bytes=1, flops=2))
    return Plan(tuple(launches), workspaces, in_place)


def run_program(program: Program, arguments: Arrays) -> Arrays:
    """Runs a Program that `plan` chose, in one arena full of NaN; updates arguments, returns the outputs."""
    sizes = {"arena": program.arena_bytes, "constant": program.constant_bytes}
    memory = {kind: np.full(size + 64, 0xFF, np.uint8) for kind, size in sizes.items()}
    arrays: list[Array] = []
    outputs: Arrays = {}
    for buffer in program.buffers:
        if buffer.kind in memory:
            raw = memory[buffer.kind][buffer.offset : buffer.offset + buffer.bytes]
            arrays.append(raw.view(buffer.dtype).reshape(buffer.shape))
        elif buffer.kind == "view":
            arrays.append(arrays[buffer.of].reshape(buffer.shape))
        elif (buffer.kind, buffer.name) in arguments:
            arrays.append(arguments[buffer.kind, buffer.name])
        else:
            arrays.append(np.full(buffer.shape, np.nan, buffer.dtype))
            outputs[buffer.kind, buffer.name] = arrays[-1]
    for call in program.calls:
        schedule = program.kernels[call.kernel]
        slots_ = [arrays[index] for index in call.arguments]
        read = [array.copy() for slot, array in enumerate(slots_) if slot not in call.writes]
        if schedule.op == "copy":
            computed: Sequence[Array] = read
        else:
            hyperparameters = read.pop() if schedule.op in WITH_HYPERPARAMETERS else np.zeros(COUNT)
            computed = evaluate(schedule.op, read, schedule.shape, hyperparameters)
        for written, array in zip(call.writes, computed, strict=True):
            slots_[written][...] = array
    return outputs
