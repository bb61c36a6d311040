"""What moves elements: reshapes, permutations, joins, parts, pads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from gncodegen.exchange.torch.call import OWN, Array, Call, Row, require, row

LAST = np.iinfo(np.int64).max
"""An end behind all elements."""


def reshaped(call: Call) -> Array:
    """The same elements in the shape that torch found."""
    return call.reshape(call.first, call.shape)


def permuted(order: Callable[[Call, list[int]], Sequence[int]]) -> Callable[[Call], Array]:
    """The conversion of a permutation; `order` gets the call and the axes."""

    def convert(call: Call) -> Array:
        axes = list(range(call.rank(call.first)))
        return call.emit("Transpose", call.first, perm=[int(axis) % len(axes) for axis in order(call, axes)])

    return convert


def _swapped(first: int, second: int, axes: list[int]) -> list[int]:
    axes[first], axes[second] = axes[second], axes[first]
    return axes


def expanded(call: Call) -> Array:
    """Repeated along axes of extent 1."""
    return call.emit("Expand", call.first, np.asarray(call.shape, np.int64))


def repeated(call: Call) -> Array:
    """The whole array so many times along each axis."""
    extents, counts = call.shape_of(call.first), [int(n) for n in call["repeats"]]
    require(len(counts) == len(extents), f"repeats = {counts}", f"{len(extents)} of them, one per axis")
    apart: list[int] = []
    wide: list[int] = []
    for extent, count in zip(extents, counts, strict=True):
        apart += [1, extent] if count > 1 else [extent]
        wide += [count, extent] if count > 1 else [extent]
    between = call.emit("Expand", call.reshape(call.first, apart), np.asarray(wide, np.int64))
    return call.reshape(between, call.shape)


def tiled(call: Call) -> Array:
    """The whole array so many times along its last axes."""
    counts = [int(n) for n in call["dims"]]
    require(len(counts) <= call.rank(call.first), f"dims = {counts}", f"up to {call.rank(call.first)}, one per axis")
    return call.emit("Tile", call.first, np.asarray([1] * (call.rank(call.first) - len(counts)) + counts, np.int64))


def interleaved(call: Call) -> Array:
    """Each element so many times along one axis, one beside the other."""
    count, extents = call["repeats"], list(call.shape_of(call.first))
    require(isinstance(count, int), "a number of its own for each element", "one number for all")
    require(call.get("dim") is not None, "no dim, which mixes observations", "an axis")
    behind = call.axis(call["dim"], call.first) + 1
    apart, wide = [*extents[:behind], 1, *extents[behind:]], [*extents[:behind], int(count), *extents[behind:]]
    return call.reshape(call.emit("Expand", call.reshape(call.first, apart), np.asarray(wide, np.int64)), call.shape)


def joined(call: Call) -> Array:
    """One after another along an axis."""
    arrays = call["tensors"]
    return call.emit("Concat", *arrays, axis=call.axis(call.get("dim", 0), arrays[0]))


def stacked(call: Call) -> Array:
    """The same along a new axis."""
    axis = int(call.get("dim", 0)) % len(call.shape)
    single = (*call.shape[:axis], 1, *call.shape[axis + 1 :])
    found = call.emit("Concat", *(call.reshape(array, single) for array in call["tensors"]), axis=axis)
    call.writer.stacks[found] = call["tensors"], axis
    return found


def _sizes(call: Call, extent: int) -> list[int]:
    given = call.get("split_size", call.get("split_sizes"))
    if isinstance(given, list):
        return [int(size) for size in given]
    if given is None:
        given = -(-extent // int(call["chunks"]))
    return [min(int(given), extent - start) for start in range(0, extent, int(given))]


def split(call: Call) -> Sequence[Array]:
    """Parts of given sizes."""
    axis = call.axis(call.get("dim", 0), call.first)
    sizes = _sizes(call, call.shape_of(call.first)[axis])
    return call.emit_several("Split", len(sizes), call.first, np.asarray(sizes, np.int64), axis=axis)


def unbound(call: Call) -> list[Array]:
    """Every element along an axis, without it."""
    axis = call.axis(call.get("dim", 0), call.first)
    count = call.shape_of(call.first)[axis]
    require(count <= 1024, f"{count} parts", "up to 1,024")
    return [call.emit("Gather", call.first, np.asarray(i), axis=axis) for i in range(count)]


def _slice(call: Call, array: Array, axis: int, start: int, end: int, step: int) -> Array:
    bounds = (np.asarray([n], np.int64) for n in (start, end, axis, step))
    return call.emit("Slice", array, *bounds)


def sliced(call: Call) -> Array:
    """Start, end and step along an axis."""
    axis = call.axis(call.get("dim", 0), call.first)
    return _slice(call, call.first, axis, call.get("start", 0), call.get("end", LAST), call.get("step", 1))


def replaced(call: Call) -> Array:
    """Self with another array in the place of a slice."""
    axis = call.axis(call.get("dim", 0), call.first)
    extent = call.shape_of(call.first)[axis]
    start, end, step = slice(call.get("start"), call.get("end"), call.get("step", 1)).indices(extent)
    require(step == 1, f"step = {step}", "1")
    parts = [call["src"]]
    if start > 0:
        parts.insert(0, _slice(call, call.first, axis, 0, start, 1))
    if end < extent:
        parts.append(_slice(call, call.first, axis, end, extent, 1))
    return call.emit("Concat", *parts, axis=axis) if len(parts) > 1 else call.emit("Identity", *parts)


def narrowed(call: Call) -> Array:
    """A length from a start on."""
    axis, start = call.axis(call["dim"], call.first), int(call["start"])
    start %= call.shape_of(call.first)[axis]
    return _slice(call, call.first, axis, start, start + int(call["length"]), 1)


def selected(call: Call) -> Array:
    """One element along an axis, without it; or those at constant places."""
    return call.emit(
        "Gather", call.first, np.asarray(call["index"]) if isinstance(call["index"], int) else call["index"],
        axis=call.axis(call["dim"], call.first),
    )  # fmt: skip


def indexed(call: Call) -> Array:
    """Those at places along one axis, or at constant places along several neighbouring ones."""
    given = {axis: index for axis, index in enumerate(call["indices"]) if index is not None}
    observed = given.get(0) is OWN  # of each observation its own: the first axis of the result, too
    if observed:
        del given[0]
    known = {axis: call.known(index) for axis, index in given.items()}
    for axis, index in given.items():
        places = known[axis]
        mask = index in call.writer.conditions if places is None else places.dtype.kind not in "iu"
        require(not mask, "a mask as index", "places; torch.where keeps the shape")
    if not given:
        return call.reshape(call.first, call.shape)
    first, last = min(given), max(given)
    if first == last and not observed:
        return call.emit("Gather", call.first, given[first] if known[first] is None else known[first], axis=first)
    constants = [places for places in known.values() if places is not None]
    neighbours = len(constants) == last - first + 1 and (first == 1 if observed else first > 0)
    require(neighbours, f"indices along axes {sorted(given)}", "neighbouring, constant ones behind the first axis")
    extents = call.shape_of(call.first)
    joined = call.reshape(call.first, (*extents[:first], prod(extents[first : last + 1]), *extents[last + 1 :]))
    within = [places % extent for places, extent in zip(constants, extents[first : last + 1], strict=True)]
    places = np.ravel_multi_index(np.broadcast_arrays(*within), extents[first : last + 1])
    if not observed:
        return call.emit("Gather", joined, places, axis=first)
    return call.reshape(call.emit("Gather", joined, places.ravel(), axis=1), call.shape)


def windowed(call: Call) -> Array:
    """Windows along one axis, whose elements stand along a new last one."""
    axis, size, step = call.axis(call["dimension"], call.first), int(call["size"]), int(call["step"])
    places = np.arange(call.shape[axis])[:, None] * step + np.arange(size)
    apart = call.emit("Gather", call.first, places, axis=axis)
    order = [*range(axis + 1), *range(axis + 2, len(call.shape)), axis + 1]
    return call.emit("Transpose", apart, perm=order)


def looked_up(call: Call) -> Array:
    """The rows of a table at places."""
    return call.emit("Gather", call["weight"], call["indices"], axis=0)


def one_hot(call: Call) -> Array:
    """1 at the place that an element names along a new last axis, else 0."""
    count = int(call["num_classes"])
    require(count > 0, f"num_classes = {count}", "how many there are")
    return call.emit("Gather", np.eye(count), call.first, axis=0)


def gathered(call: Call) -> Array:
    """For each place along one axis the element of the same line that it names."""
    return call.emit("GatherElements", call.first, call["index"], axis=call.axis(call["dim"], call.first))


def flipped(call: Call) -> Array:
    """Axes read backwards."""
    array = call.first
    for dim in call["dims"]:
        array = _slice(call, array, call.axis(dim, call.first), -1, -LAST, -1)
    return array


def rolled(call: Call) -> Array:
    """What leaves an axis at its end comes back at its begin."""
    array = call.first
    require(len(call["dims"]) == len(call["shifts"]), "no dims", "as many dims as shifts")
    for dim, shift in zip(call["dims"], call["shifts"], strict=True):
        axis = call.axis(dim, call.first)
        cut = -int(shift) % call.shape_of(call.first)[axis]
        if cut:
            parts = (_slice(call, array, axis, start, end, 1) for start, end in ((cut, LAST), (0, cut)))
            array = call.emit("Concat", *parts, axis=axis)
    return array


MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def padded(mode: str = "") -> Callable[[Call], Array]:
    """The conversion of a pad of one mode, or of the mode that the call says; sides stand from the last axis on."""

    def convert(call: Call) -> Array:
        given, rank = [int(n) for n in call.get("pad", call.get("padding"))], call.rank(call.first)
        own = mode or call.get("mode", "constant")
        require(own in MODES, f"mode = {own!r}", ", ".join(MODES))
        begins, ends = [0] * rank, [0] * rank
        for place in range(len(given) // 2):
            begins[rank - 1 - place], ends[rank - 1 - place] = given[2 * place], given[2 * place + 1]
        sides = np.asarray([*begins, *ends], np.int64)
        return call.emit("Pad", call.first, sides, float(call.get("value", 0.0)), mode=MODES[own])

    return convert


def shuffled_up(call: Call) -> Array:
    """Channels to positions."""
    return call.emit("DepthToSpace", call.first, blocksize=int(call["upscale_factor"]), mode="CRD")


def shuffled_down(call: Call) -> Array:
    """Positions to channels."""
    return call.emit("SpaceToDepth", call.first, blocksize=int(call["downscale_factor"]), mode="CRD")


def channel_shuffle(call: Call) -> Array:
    """Channel i of group g becomes channel g of group i."""
    count, channels, *positions = call.shape_of(call.first)
    groups = int(call["groups"])
    apart = call.reshape(call.first, (count, groups, channels // groups, *positions))
    order = [0, 2, 1, *range(3, 3 + len(positions))]
    return call.reshape(call.emit("Transpose", apart, perm=order), call.shape)


OPERATORS: Mapping[str, Row] = {
    **{
        name: row(reshaped, "Reshape")
        for name in (
            "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_copy",
            "squeeze_copy", "unsqueeze_copy", "_reshape_copy",
        )
    },
    "permute": row(permuted(lambda call, axes: call["dims"]), "Transpose"),
    "transpose": row(permuted(lambda call, axes: _swapped(call["dim0"], call["dim1"], axes)), "Transpose"),
    "t": row(permuted(lambda call, axes: axes[::-1]), "Transpose"),
    "numpy_T": row(permuted(lambda call, axes: axes[::-1]), "Transpose"),
    "expand": row(expanded, "Expand"),
    "copy": row(lambda call: call.emit("Expand", call["src"], np.asarray(call.shape, np.int64)), "Expand"),
    "repeat_interleave": row(interleaved, "Reshape", "Expand"),
    "index": row(indexed, "Reshape", "Gather"),
    "tile": row(tiled, "Tile"),
    "repeat": row(repeated, "Reshape", "Expand"),
    "cat": row(joined, "Concat"),
    "stack": row(stacked, "Reshape", "Concat"),
    "split": row(split, "Split"),
    "split_with_sizes": row(split, "Split"),
    "chunk": row(split, "Split"),
    "unbind": row(unbound, "Gather"),
    "slice": row(sliced, "Slice"),
    "slice_scatter": row(replaced, "Slice", "Concat"),
    "narrow": row(narrowed, "Slice"),
    "select": row(selected, "Gather"),
    "index_select": row(selected, "Gather"),
    "unfold": row(windowed, "Gather", "Transpose"),
    "embedding": row(looked_up, "Gather"),
    "one_hot": row(one_hot, "Gather"),
    "gather": row(gathered, "GatherElements"),
    "flip": row(flipped, "Slice"),
    "roll": row(rolled, "Slice", "Concat"),
    "pad": row(padded(), "Pad"),
    "constant_pad_nd": row(padded("constant"), "Pad"),
    **{f"reflection_pad{rank}d": row(padded("reflect"), "Pad") for rank in (1, 2, 3)},
    **{f"replication_pad{rank}d": row(padded("replicate"), "Pad") for rank in (1, 2, 3)},
    "pixel_shuffle": row(shuffled_up, "DepthToSpace"),
    "pixel_unshuffle": row(shuffled_down, "SpaceToDepth"),
    "channel_shuffle": row(channel_shuffle, "Reshape", "Transpose"),
    "native_channel_shuffle": row(channel_shuffle, "Reshape", "Transpose"),
}  # fmt: skip
