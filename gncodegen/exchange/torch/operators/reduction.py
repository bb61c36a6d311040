"""Reductions over axes, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from gncodegen.exchange.torch.call import Array, Call, Row, require, row


def _axes(call: Call) -> list[int]:
    """The axes to reduce, counted from the first; all where none are said."""
    dim, rank = call.get("dim"), call.rank(call.first)
    given = list(range(rank)) if dim is None or dim == [] else dim if isinstance(dim, list) else [dim]
    return sorted(int(axis) % max(rank, 1) for axis in given)


OF_ARRAYS = {"ReduceSum": "Sum", "ReduceMean": "Mean", "ReduceMax": "Max", "ReduceMin": "Min"}
"""Reduction of a stack → the same of the arrays in it."""


def _reduced(call: Call, operator: str, array: Array, keep: bool) -> Array:
    axes = _axes(call)
    arrays, along = call.writer.stacks.get(array, ((), None))
    if operator in OF_ARRAYS and axes == [along] and not keep:
        return call.emit(OF_ARRAYS[operator], *arrays)
    return call.emit(operator, array, axes=axes, keepdims=int(keep))


def reduction(operator: str) -> Callable[[Call], Array]:
    """The conversion of a reduction that both have."""
    return lambda call: _reduced(call, operator, call.first, bool(call.get("keepdim", False)))


def extreme(operator: str) -> Callable[[Call], list[Array] | Array]:
    """The largest or least over an axis, and where it stands; or of two arrays."""
    elementwise = operator.removeprefix("Reduce")

    def convert(call: Call) -> list[Array] | Array:
        if "other" in call.arguments:
            return call.emit(elementwise, call.first, call["other"])
        found = _reduced(call, operator, call.first, bool(call.get("keepdim", False)))
        return [found, place(f"Arg{elementwise}")(call)] if call.results > 1 else found

    return convert


def place(operator: str) -> Callable[[Call], Array]:
    """The conversion of where the largest or least stands along an axis."""

    def convert(call: Call) -> Array:
        require(call.get("dim") is not None, "no dim, which mixes observations", "an axis")
        axis, keep = call.axis(call["dim"], call.first), int(bool(call.get("keepdim", False)))
        return call.emit(operator, call.first, axis=axis, keepdims=keep)

    return convert


def norm(call: Call) -> Array:
    """The p-norm over axes, p of 1 or 2."""
    order = float(call.get("ord", call.get("p", 2)))
    require(order in (1, 2), f"the norm of order {order}", "1, 2")
    return _reduced(call, "ReduceL1" if order == 1 else "ReduceL2", call.first, bool(call.get("keepdim", False)))


def cosine_similarity(call: Call) -> Array:
    """X1 · x2 / (max(|x1|, ε) max(|x2|, ε)) along one axis."""
    axis, least = call.axis(call["dim"], call["x1"]), float(call["eps"])
    units: list[Array] = []
    for array in (call["x1"], call["x2"]):
        length = call.emit("ReduceL2", array, axes=[axis], keepdims=1)
        units.append(call.emit("Div", array, call.emit("Max", length, least)))
    return call.emit("ReduceSum", call.emit("Mul", *units), axes=[axis], keepdims=0)


def distances(call: Call) -> Array:
    """The p-norm of every row of one matrix minus every row of another, p of 1 or 2."""
    order, rows, columns = float(call.get("p", 2)), call["x1"], call["x2"]
    require(order in (1, 2), f"p = {order}", "1, 2")
    apart = [
        call.reshape(array, (*call.shape_of(array)[:-2], *extents, call.shape_of(array)[-1]))
        for array, extents in ((rows, (call.shape_of(rows)[-2], 1)), (columns, (1, call.shape_of(columns)[-2])))
    ]
    return call.emit("ReduceL1" if order == 1 else "ReduceL2", call.emit("Sub", *apart), axes=[-1], keepdims=0)


def cumulated(call: Call) -> Array:
    """Sums of the elements up to each place along one axis."""
    return call.emit("CumSum", call.first, np.asarray(call.axis(call["dim"], call.first)))


def cumulated_product(call: Call) -> Array:
    """Products of the elements up to each place along one axis."""
    return call.emit("CumProd", call.first, np.asarray(call.axis(call["dim"], call.first)))


def largest(call: Call) -> Sequence[Array]:
    """The k largest or least along one axis and their places; of a sort, all."""
    axis = call.axis(call.get("dim", -1), call.first)
    count = call.get("k", call.shape_of(call.first)[axis])
    up = not call.get("largest", True) if "k" in call.arguments else not call.get("descending", False)
    return call.emit_several("TopK", 2, call.first, np.asarray([int(count)]), axis=axis, largest=int(not up))


def _variance(call: Call, keep: bool) -> Array:
    """Mean((x - mean)²), times n / (n - correction)."""
    axes, correction = _axes(call), call.get("correction", 1)
    if "unbiased" in call.arguments:
        correction = int(bool(call["unbiased"]))
    mean = call.emit("ReduceMean", call.first, axes=axes, keepdims=1)
    squares = call.emit("Pow", call.emit("Sub", call.first, mean), 2.0)
    found = call.emit("ReduceMean", squares, axes=axes, keepdims=int(keep))
    count = 1
    for axis in axes:
        count *= call.shape_of(call.first)[axis]
    require(count > correction, f"correction = {correction} of {count} elements", "fewer than there are")
    return found if correction == 0 else call.emit("Mul", found, count / (count - correction))


def variance(call: Call) -> Array:
    """The variance over axes."""
    return _variance(call, bool(call.get("keepdim", False)))


def deviation(call: Call) -> Array:
    """Its root."""
    return call.emit("Sqrt", variance(call))


def variance_and_mean(call: Call) -> list[Array]:
    """Both."""
    keep = bool(call.get("keepdim", False))
    return [_variance(call, keep), _reduced(call, "ReduceMean", call.first, keep)]


OPERATORS: Mapping[str, Row] = {
    "mean": row(reduction("ReduceMean"), "ReduceMean", "Mean"),
    "sum": row(reduction("ReduceSum"), "ReduceSum", "Sum"),
    "amax": row(reduction("ReduceMax"), "ReduceMax", "Max"),
    "amin": row(reduction("ReduceMin"), "ReduceMin", "Min"),
    "max": row(extreme("ReduceMax"), "ReduceMax", "ArgMax", "Max"),
    "min": row(extreme("ReduceMin"), "ReduceMin", "ArgMin", "Min"),
    "argmax": row(place("ArgMax"), "ArgMax"),
    "argmin": row(place("ArgMin"), "ArgMin"),
    "prod": row(reduction("ReduceProd"), "ReduceProd"),
    "logsumexp": row(reduction("ReduceLogSumExp"), "ReduceLogSumExp"),
    "linalg_vector_norm": row(norm, "ReduceL1", "ReduceL2"),
    "norm": row(norm, "ReduceL1", "ReduceL2"),
    "cosine_similarity": row(cosine_similarity, "ReduceL2", "Max", "Div", "Mul", "ReduceSum"),
    **{name: row(distances, "Reshape", "Sub", "ReduceL1", "ReduceL2") for name in ("cdist", "_cdist_forward")},
    "cumsum": row(cumulated, "CumSum"),
    "cumprod": row(cumulated_product, "CumProd"),
    "topk": row(largest, "TopK"),
    "sort": row(largest, "TopK"),
    "argsort": row(lambda call: largest(call)[1], "TopK"),
    "var": row(variance, "ReduceMean", "Sub", "Pow"),
    "std": row(deviation, "ReduceMean", "Sub", "Pow", "Sqrt"),
    "var_mean": row(variance_and_mean, "ReduceMean", "Sub", "Pow"),
}
