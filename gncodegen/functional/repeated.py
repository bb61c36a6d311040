"""Calls of a form like one before: what they have in common, and the short way to their kernels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import isnan
from typing import Any, NamedTuple
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from gncodegen.calls import T
from gncodegen.direct import DirectCall
from gncodegen.functional.call import Call, Given
from gncodegen.functional.prepared import MOST, Order, Prepared, inner_axes, inward, outward
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.runtime.backend import Key

LARGEST = 256
"""Classes whose one-hot rows are kept; of more the long way makes them."""

_PLAIN = frozenset((int, float, str, bool, type(None), tuple))
"""Types of arguments that say by their value what is computed."""


class Repeated:
    """The short ways of one form, by what calls alike have in common."""

    def __init__(self) -> None:
        self.ways: dict[tuple[Any, ...], Way | _ByValue] = {}

    def run(self, key: tuple[Any, ...], values: tuple[Any, ...]) -> Any:
        """The result; None where only the long way gives it, or tells what is wrong."""
        try:
            way = self.ways.get(key)
        except TypeError:  # a list in a tuple
            return None
        if isinstance(way, _ByValue):
            way = way.ways.get(way.key(values))
        return None if way is None else way.run(values)

    def keep(self, key: tuple[Any, ...], values: tuple[Any, ...], way: Way) -> None:
        """Keeps the short way of calls like this one.

        Arrays that kernels do not read, such as weights of classes, decide by their values what is compiled.
        """
        read = {0, way.targets, *(place for _, place in way.keys)}
        deciding = tuple(i for i, value in enumerate(values) if type(value) is np.ndarray and i not in read)
        if len(self.ways) >= MOST:
            self.ways.clear()
        if not deciding:
            self.ways[key] = way
            return
        known = self.ways.get(key)
        if not isinstance(known, _ByValue) or len(known.ways) >= MOST:
            known = self.ways[key] = _ByValue(deciding, {})
        known.ways[known.key(values)] = way


class _ByValue(NamedTuple):
    """Calls that arrays of the same types and shapes tell apart.

    Args:
        places: which arguments these arrays are.
        ways: by the bytes of all.
    """

    places: tuple[int, ...]
    ways: dict[tuple[bytes, ...], Way]

    def key(self, values: tuple[Any, ...]) -> tuple[bytes, ...]:
        """What tells a call apart."""
        return tuple([values[place].tobytes() for place in self.places])


def key_of(values: tuple[Any, ...], names: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What calls alike have in common: shapes and types of arrays, all other values; None where that is not said.

    Args:
        values: of all arguments, x first.
        names: of the last ones.
    """
    key: list[Any] = [*names]
    for value in values:
        kind = type(value)
        if kind is np.ndarray:
            key += value.shape, value.dtype
        elif kind in _PLAIN:
            key += kind, value
        else:
            return None
    return tuple(key)


class Way(NamedTuple):
    """The short way.

    Args:
        ready: what runs, as long as it stays compiled.
        direct: its function.
        order: of the caller's axes.
        observations: that kernels read.
        shape: of the result, where axes mean nothing; else None.
        letters: axes of the result; "" = it is a number.
        moves: whether axes of the result are those of kernels in another order.
        keys: the network's names of parameters, each with the argument that it is; -1 = it is zeros.
        changed: names of those that a run changes.
        targets: which argument the targets are; 0 = there are none.
        aims: how they become what kernels read.
    """

    ready: ref[Prepared]
    direct: DirectCall
    order: Order
    observations: int
    shape: tuple[int, ...] | None
    letters: str
    moves: bool
    keys: tuple[tuple[str, int], ...]
    changed: frozenset[str]
    targets: int
    aims: Aims | None

    def run(self, values: tuple[Any, ...]) -> Any:
        """As Repeated.run."""
        ready = self.ready()
        if ready is None:
            return None
        x, direct, others = values[0], self.direct, NOTHING
        if self.moves:
            x = inward(x, self.order)
        if x.dtype is not direct.dtype or not x.flags.c_contiguous:
            x = np.ascontiguousarray(x, direct.dtype)
        if self.aims is not None:
            rows = self.aims.rows(values[self.targets])
            if rows is None:
                return None
            others = {T: rows}
        with ready.lock:
            if self.keys:
                ready.set_again(self.keys, values)
            y = direct.run(x, others, self.observations)
            if self.changed:
                ready.changed(self.changed)
        if not self.letters:
            loss = float(y)
            return None if isnan(loss) else loss
        if self.shape is not None:
            return y.reshape(self.shape)
        return outward(y, self.order, self.letters) if self.moves else y


NOTHING: Mapping[Key, Any] = {}


class Aims(NamedTuple):
    """Targets as kernels read them.

    Args:
        order: for each of their axes the caller's; None where both orders are one.
        dtype: of what kernels read.
        classes: rows that stand for class indices, behind them as many of NaN for negative ones; None = rows are given.
    """

    order: tuple[int, ...] | None
    dtype: np.dtype[Any]
    classes: NDArray[Any] | None

    def rows(self, targets: NDArray[Any]) -> NDArray[Any] | None:
        """What kernels read; holds NaN or is None where an index is out of range."""
        if self.order is not None:
            targets = targets.transpose(self.order)
        if self.classes is None:
            return np.ascontiguousarray(targets, self.dtype)
        try:
            return self.classes.take(targets, 0)
        except IndexError:
            return None


@cache
def _classes(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows of `count` classes, and as many of NaN."""
    return np.concatenate([np.eye(count, dtype=dtype), np.full((count, count), np.nan, dtype)])


def way_of(call: Call, given: Given, values: tuple[Any, ...]) -> Way | None:
    """The short way of calls like this one, which has a result; None where there is more to do."""
    ready, read = call.ready, dict(given.parameters)
    if given.targets is not None:
        read["targets"] = given.targets
    arrays = {name: value for name, value in read.items() if value is not None}
    found = {name: [i for i, each in enumerate(values) if each is value] for name, value in arrays.items()}
    own = given.x is values[0] and isinstance(call.x, np.ndarray) and call.observations
    if not own or any(type(value) is not np.ndarray for value in arrays.values()):
        return None
    if any(len(places) != 1 for places in found.values()):
        return None  # one array as two of them, or one that is made of the arguments
    places = {name: at[0] for name, at in found.items()}
    function = "loss" if given.targets is not None else "training_forward" if given.training else "predict"
    direct, target = ready.compiled.calls.direct("", function), places.pop("targets", 0)
    aims = _aims(call, arrays["targets"]) if target else None
    if direct is None or (target and aims is None):
        return None
    letters = "" if target else "B" + ready.size.format
    keys = tuple((ready.key(name), place) for name, place in places.items())
    keys += tuple((ready.key(name), -1) for name, value in read.items() if value is None)
    moves = not call.order.batched or call.order.inward is not None
    result = call.shape, letters, moves
    return Way(ref(ready), direct, call.order, call.observations, *result, keys, direct.program.changed, target, aims)


def _aims(call: Call, targets: NDArray[Any]) -> Aims | None:
    """How targets become what kernels read; None where that takes more than one step."""
    if not call.order.batched:
        return None
    letters, size = call.letters_of(targets), call.ready.size.shape
    order = inner_axes(letters) if targets.ndim == len(letters) else None
    shape = targets.shape if order is None else tuple(targets.shape[axis] for axis in order)
    rows = [n for n in shape[1:] if n != 1] == [n for n in size if n != 1] and len(shape) > 1
    dtype, classes = call.x.dtype, None
    if isinstance(call.ready.compiled.network.output_layer, ClassificationLayer) and not rows:
        if size[-1] > LARGEST or not np.can_cast(targets.dtype, np.intp):
            return None
        classes = _classes(size[-1], dtype)
    return Aims(None if order == tuple(range(len(shape))) else order, dtype, classes)
