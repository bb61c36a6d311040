"""Sequences of different lengths: a list of arrays becomes one padded array, and results are cut to their own lengths.

Until a batch is run, sequences stay apart as the elements of an array of objects (N,): it is shuffled, sliced and
gathered like any array of observations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.base import Layer
from gncodegen.layers.formats import permutation
from gncodegen.layers.inputs import SequenceInputLayer
from gncodegen.layers.network import Network, Node
from gncodegen.layers.sequences import Steps
from gncodegen.runtime.arrays import as_array


def pads(layer: Layer) -> TypeGuard[SequenceInputLayer]:
    """Whether an input layer takes sequences that are shorter than others."""
    return isinstance(layer, SequenceInputLayer) and layer.padding != "none"


def is_listed(value: Any) -> TypeGuard[Sequence[Any] | NDArray[Any]]:
    """Whether something may hold arrays of different lengths: a list, a tuple, or an array of objects."""
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.dtype == object)


def listed(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays as the elements of an array of objects."""
    found = np.empty(len(arrays), object)
    for place, array in enumerate(arrays):
        found[place] = array
    return found


def sequences_of(x: Any, node: Node, order: str) -> NDArray[Any] | None:
    """The sequences among which x is a list of, each checked; None where x is no list or the layer takes none.

    Args:
        x: what a caller gave for an input.
        node: the input layer.
        order: axis order of x; that of a sequence is the same without B.

    Raises:
        ArrayError: a sequence has another step than the layer, no step, or more than it has room for.
    """
    layer = node.layer
    if not is_listed(x) or not isinstance(layer, SequenceInputLayer):
        return None
    if not pads(layer):
        _require_one_shape(x, f"{node.label}: x", 'give the input layer padding="mask" or "include", or pad them')
        return None
    known = [type(each) is np.ndarray and each.dtype.kind in "fiu" for each in x]
    what = f"{node.label}: x: sequence"
    found = listed([each if known[i] else as_array(each, f"{what} {i}") for i, each in enumerate(x)])
    axes = order.replace("B", "")
    time, wanted = axes.index("T"), [node.size.shape[axis] for axis in permutation(node.size.format, axes)]
    for index, each in enumerate(found):
        step = each.shape[:time] + each.shape[time + 1 :]
        shown = ", ".join("T" if axis == time else str(n) for axis, n in enumerate(wanted))
        if each.ndim != len(wanted) or step != tuple(wanted[:time] + wanted[time + 1 :]) or not each.shape[time]:
            raise ArrayError(
                f"{node.label}: x: sequence {index} has shape {each.shape}; allowed: ({shown}) ({axes}) with T from 1 "
                f"to {layer.min_length}; reshape it, or drop it where it is empty"
            )
        if each.shape[time] > layer.min_length:
            raise ArrayError(
                f"{node.label}: x: sequence {index} has {each.shape[time]} steps; allowed: up to "
                f"{layer.min_length}; cut it, or write min_length={max(len_of(found, time))}"
            )
    return found


def _require_one_shape(values: Sequence[Any] | NDArray[Any], what: str, cure: str) -> None:
    shapes = list(dict.fromkeys(each.shape for each in values if isinstance(each, np.ndarray)))
    if len(shapes) > 1:
        raise ArrayError(
            f"{what} is a list of arrays of shapes {', '.join(map(str, shapes[:3]))}{' …' if shapes[3:] else ''}; "
            f"allowed: one shape; {cure}"
        )


def require_no_steps(targets: Any, node: Node) -> None:
    """Refuses targets of steps that are a list, where padding has no mask.

    Args:
        targets: what a caller gave.
        node: the output layer.

    Raises:
        ArrayError: they are arrays of different shapes.
    """
    if is_listed(targets):
        _require_one_shape(targets, f"{node.label}: targets", 'give the input layer padding="mask", or pad them')


def len_of(sequences: NDArray[Any], time: int) -> NDArray[np.int64]:
    """The number of steps of each sequence, whose axis `time` they are."""
    return np.array([each.shape[time] for each in sequences], np.int64)


def padded(
    arrays: NDArray[Any], steps: int, axis: int, value: float, dtype: DTypeLike | None = None, *, left: bool = False
) -> NDArray[Any]:
    """One array (N, …) of arrays that differ in the length of one axis.

    Args:
        arrays: at least one.
        steps: length of that axis.
        axis: which, of an array.
        value: what stands in the padding.
        dtype: of the result where that can hold the arrays; else one that can.
        left: whether padding stands in front.
    """
    own = np.result_type(*{each.dtype for each in arrays})
    shape = list(arrays[0].shape)
    shape[axis] = steps
    kind = own if dtype is None or not np.can_cast(own, dtype) else np.dtype(dtype)
    found = np.full((len(arrays), *shape), value, kind if kind.kind == "f" else np.result_type(kind, np.float32))
    for index, each in enumerate(arrays):
        count = each.shape[axis]
        part = slice(steps - count, steps) if left else slice(0, count)
        found[(index, *(slice(None),) * axis, part)] = each
    return found


def as_batch(
    sequences: NDArray[Any], node: Node, order: str, dtype: DTypeLike
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The padded array of sequences from `sequences_of`, and their lengths.

    Args:
        sequences: of one input.
        node: the input layer.
        order: axis order of the result, B first.
        dtype: as for `padded`.
    """
    layer, time = node.layer, order.index("T") - 1
    assert pads(layer)
    if not len(sequences):
        shape = (0, *(node.size.shape[axis] for axis in permutation(node.size.format, order[1:])))
        return np.empty(shape, dtype), np.empty(0, np.int64)
    left = layer.padding_direction == "left"
    array = padded(sequences, layer.min_length, time, layer.padding_value, dtype, left=left)
    return array, len_of(sequences, time)


def cut(result: Any, lengths: NDArray[np.int64], batch: int, time: int, *, left: bool = False) -> list[Any]:
    """A result as a list of arrays, each without the steps behind its own.

    Args:
        result: with axes of observations and of time.
        lengths: own steps of each.
        batch: the number of the axis of observations.
        time: that of the other one.
        left: whether padding stands in front.
    """
    rows = np.moveaxis(np.asarray(result), batch, 0)
    at = time - (batch < time)
    extent = rows.shape[1 + at]
    parts = (slice(extent - n, extent) if left else slice(0, n) for n in lengths.tolist())
    return [row[(slice(None),) * at + (part,)] for row, part in zip(rows, parts, strict=True)]


Lengths = Mapping[str, NDArray[np.int64]]
"""Input layer → the lengths of its sequences, where they were given as a list."""


class SequenceArrays:
    """What becomes of the sequences of one network on their way in and out.

    Args:
        network: checked and connected.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._left = {node.name: pads(node.layer) and node.layer.padding_direction == "left" for node in network.inputs}

    def steps(self, name: str) -> Steps | None:
        """The steps that a layer's output has of each sequence; None where it has no time, or padding counts."""
        masking = self._network.maskings.get(name)
        return masking.steps if masking else None

    def masks(self, lengths: Lengths, count: int, dtype: DTypeLike) -> dict[str, NDArray[Any]]:
        """The masks that the network takes, by the names of their arguments.

        Args:
            lengths: of the sequences; those of an input that is missing are all as long as can be.
            count: observations.
            dtype: of the masks.

        Raises:
            ArrayError: a sequence is too short for a window.
        """
        if lengths:
            self._require_steps(lengths)
        found: dict[str, NDArray[Any]] = {}
        for mask in self._network.masks:
            whole = np.full(count, self._room(mask.steps.source))
            found[mask.name] = mask.array(lengths.get(mask.steps.source, whole), dtype)
        return found

    def _room(self, source: str) -> int:
        return self._network[source].size.shape[0]

    def _require_steps(self, lengths: Lengths) -> None:
        for name, masking in self._network.maskings.items():
            steps = masking.steps
            if steps is None or steps.source not in lengths:
                continue
            own, room = lengths[steps.source], self._room(steps.source)
            if np.any(few := steps.of(own) < 1):
                least = next(n for n in range(1, room + 1) if steps.of(n) > 0)
                index = int(np.argmax(few))
                raise ArrayError(
                    f"{self._network[name].label}: sequence {index} has {own[index]} steps, of which none is left "
                    f"here; allowed: {least} to {room} steps; drop it, or make the windows in front shorter"
                )

    def cut(self, result: Any, name: str, lengths: Lengths, order: str) -> Any:
        """A layer's output, or an input's gradient, as a list of arrays if it has the steps of listed sequences.

        Args:
            result: the array.
            name: of the layer.
            lengths: of the sequences.
            order: axis order of the array.
        """
        steps = self.steps(name)
        if steps is None:
            # Padding that counts: what has as many steps as the sequences have room for has their steps.
            alike = [s for s in lengths if "T" in order and self._room(s) == self._network[name].size.shape[0]]
            steps = Steps(alike[0]) if alike and not self._network.masks else None
        if steps is None or steps.source not in lengths:
            return result
        own = steps.of(lengths[steps.source])
        return cut(result, own, order.index("B"), order.index("T"), left=self._left[steps.source])

    def whole(self, values: Any, name: str, lengths: Lengths, what: str, ranks: Mapping[int, float], time: int) -> Any:
        """What belongs to each step of a layer's output as one array, padded where it is a list of arrays.

        Args:
            values: what the caller gave.
            name: of the layer.
            lengths: of the sequences.
            what: how messages name the values.
            ranks: number of axes that an array of the list may have → what stands in the padding.
            time: which of them is time.

        Raises:
            ArrayError: some have other axes, or not as many steps as their sequence.
        """
        steps = self.steps(name)
        if steps is None:
            require_no_steps(values, self._network.loss)
        if steps is None or not is_listed(values) or not len(values) or np.ndim(values[0]) not in ranks:
            return values
        arrays = listed([as_array(each, f"{what} of sequence {i}") for i, each in enumerate(values)])
        own = steps.of(lengths[steps.source]) if steps.source in lengths else len_of(arrays, time)
        for index, (each, count) in enumerate(zip(arrays, own.tolist(), strict=False)):
            if each.ndim != arrays[0].ndim or each.shape[time] != count:
                raise ArrayError(
                    f"{what} of sequence {index} have shape {each.shape}; allowed: {arrays[0].ndim} axes, of which "
                    f"axis {time} has its {count} steps; give one for each step"
                )
        return padded(arrays, self._network[name].size.shape[0], time, ranks[arrays[0].ndim])

    def cleared(self, array: NDArray[Any], name: str, lengths: Lengths, time: int) -> NDArray[Any]:
        """An array of what belongs to each step of a layer's output, 0 behind the steps; B is in front."""
        steps = self.steps(name)
        if steps is None or steps.source not in lengths:
            return array
        own = np.arange(array.shape[time]) < steps.of(lengths[steps.source])[:, None]
        shape = [n if axis in (0, time) else 1 for axis, n in enumerate(array.shape)]
        return np.where(own.reshape(shape), array, array.dtype.type(0))
