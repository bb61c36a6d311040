"""A layer compiled for arrays of one shape: what function forms run, kept for the next call of that shape."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.compiled import Compiled
from gncodegen.errors import ArrayError
from gncodegen.layers.base import Layer, Size
from gncodegen.layers.checks import shown
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.inputs import input_layer
from gncodegen.layers.network import Network
from gncodegen.layers.tensors import TensorInputLayer
from gncodegen.options import CompileOptions
from gncodegen.process import forks
from gncodegen.runtime.state import Hyperparameters

MOST = 256
"""Layers with shapes that stay compiled; what was unused longest goes first."""

SMALL = 16 << 10
"""Bytes of a parameter up to which it is quicker to compare it with the last one than to write it."""

ZEROS = (None, b"")
"""What stands for the bytes of a parameter that was left out."""

_FORMATS = {2: "BC", 3: "BTC", 4: "BSSC", 5: "BSSSC"}
"""Axis order assumed for an array of that many axes."""


class Kind:
    """A layer with its properties; equal ones are one object, which is quick to look up."""

    __slots__ = ("layer",)

    def __init__(self, layer: Layer) -> None:
        self.layer = layer


def kind(layer: type[Layer], *positional: Any, **properties: Any) -> Kind:
    """The layer with these properties.

    Raises:
        LayerError: one is not allowed.
    """
    try:
        return _kind(layer, *positional, **properties)
    except TypeError:  # a list or an array, which cannot be looked up, or a name that the layer does not know
        given = [tuple(value) if isinstance(value, list) else value for value in positional]
        named = {name: tuple(value) if isinstance(value, list) else value for name, value in properties.items()}
    try:
        return _kind(layer, *given, **named)
    except TypeError:  # the layer says what is wrong
        return Kind(layer(*given, **named))


@lru_cache(maxsize=1024, typed=True)
def _kind(layer: type[Layer], *positional: Any, **properties: Any) -> Kind:
    return Kind(layer(*positional, **properties))


class Order(NamedTuple):
    """Where the axes of a caller's arrays lie.

    Args:
        letters: of his arrays, B first if they have none.
        batched: whether they have one.
        inner: those that kernels read.
        inward: for each of these the caller's; None where both orders are one.
    """

    letters: str
    batched: bool
    inner: str
    inward: tuple[int, ...] | None


FLAT = Order("BC", True, "BC", None)
"""The order of one observation of all elements."""


def order_of(data_format: str | None, axes: int, form: str) -> Order:
    """The order of an array.

    Args:
        data_format: one letter per axis; None = by their number.
        axes: of the array.
        form: the function's name, for messages.

    Raises:
        ArrayError: the array has no such order.
    """
    known = data_format is None or isinstance(data_format, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    order = _order_of(data_format, axes) if known else None
    if order is None:
        letters = _FORMATS.get(axes, "") if data_format is None else data_format
        raise ArrayError(
            f"{form}: data_format = {shown(letters)} for an array of {axes} axes; allowed: one letter per axis, C "
            "once, B and T at most once, S up to three times, in any order; write data_format='BSSC' for images"
        )
    return order


@lru_cache(maxsize=MOST)
def _order_of(data_format: str | None, axes: int) -> Order | None:
    letters = _FORMATS.get(axes, "") if data_format is None else data_format
    most = {"S": 3, "C": 1, "B": 1, "T": 1}
    fits = set(letters) <= set(most) and all(letters.count(letter) <= count for letter, count in most.items())
    if not fits or "C" not in letters or len(letters) != axes:
        return None
    batched = "B" in letters
    whole = letters if batched else "B" + letters
    places = inner_axes(whole)
    inner = "".join(whole[place] for place in places)
    return Order(whole, batched, inner, None if inner == whole else places)


@lru_cache(maxsize=MOST)
def inner_axes(letters: str) -> tuple[int, ...]:
    """For each axis that kernels read, B first and C last, the place among these."""
    return permutation(letters, "".join(sorted(letters, key="BTSC".index)))


class Prepared:
    """A layer compiled for arrays of one shape.

    Args:
        layer: named, as messages have it.
        letters: the axes of an observation, channel last.
        shape: of one.
        count: observations of a call.
        dtype: of all arrays.
        target: where it runs.
    """

    def __init__(self, layer: Layer, letters: str, shape: tuple[int, ...], count: int, dtype: str, target: str) -> None:
        entry = input_layer(Size(letters, shape), "none") or TensorInputLayer(shape)
        network = Network.build([entry, layer], require_output=False)
        options = CompileOptions(target=target, batch_size=max(count, 1), training=False, dtype=dtype)
        self.compiled = Compiled(network, options, Hyperparameters())
        self.size = network.output.size
        self._name = network.nodes[-1].name
        self._values = self.compiled.parameters.stored
        self._shapes = dict(self._values.shapes)
        self._written: dict[str, tuple[np.dtype[Any] | None, bytes]] = {}  # small arrays that the network has still
        self._version = self._values.version

        self.lock = forks.lock(forks.Rank.CALL)
        """Held while parameters are those of a call."""

    def key(self, parameter: str) -> str:
        """The name that the network has for a parameter of the layer."""
        return f"{self._name}.{parameter}"

    def set(self, parameters: Mapping[str, Any]) -> None:
        """Copies values in; None stands for zeros. A vector may have any shape of as many elements.

        Raises:
            ArrayError: one has another shape.
        """
        if self._version != self._values.version:
            self._forget()
        for name, value in parameters.items():
            self._write(self.key(name), value)

    def set_again(self, keys: Iterable[tuple[str, int]], values: tuple[Any, ...]) -> None:
        """The same, quickly where the network has the values already.

        Args:
            keys: the network's names of parameters, each with its place among `values`; -1 = it is zeros.
            values: arrays.
        """
        if self._version != self._values.version:
            self._forget()
        written = self._written
        for key, place in keys:
            if place < 0:
                if written.get(key) is not ZEROS:
                    self._write(key, None)
                continue
            value = values[place]
            if value.nbytes > SMALL or written.get(key) != (value.dtype, value.tobytes()):
                self._write(key, value)

    def changed(self, names: frozenset[str]) -> None:
        """A run has changed these parameters, as statistics, and no others."""
        for key in names:
            self._written.pop(key, None)
        self._version = self._values.version

    def _forget(self) -> None:
        """Somebody else has changed some of them."""
        self._written.clear()
        self._version = self._values.version

    def _write(self, key: str, value: Any) -> None:
        # What the network has already is not written again: kernels that follow from it alone would run anew.
        shape = self._shapes[key]
        usual = type(value) is np.ndarray and value.shape == shape and value.dtype.kind in "fiub"
        small = usual and value.nbytes <= SMALL
        now = ZEROS if value is None else (value.dtype, value.tobytes()) if small else None
        if now is not None and self._written.get(key) == now:
            return
        self._written.pop(key, None)
        self._values.write(key, value if usual else self._shaped(key, value))
        self._version = self._values.version
        if now is not None:
            self._written[key] = now

    def _shaped(self, key: str, value: Any) -> NDArray[Any]:
        """A value as an array of a parameter's shape."""
        shape = self._shapes[key]
        array = np.zeros(shape) if value is None else self.compiled.parameters.on_host(key, value)
        if array.shape != shape:
            if array.size != prod(shape) or len(shape) > 1:
                raise ArrayError(f"{key} has shape {array.shape}; allowed: {shape}; give an array of that shape")
            array = array.reshape(shape)
        return array


@lru_cache(maxsize=MOST)
def prepared(
    form: str, given: Kind, letters: str, shape: tuple[int, ...], count: int, dtype: str, target: str
) -> Prepared:
    """The layer compiled for a shape, once."""
    return Prepared(replace(given.layer, name=form), letters, shape, count, dtype, target)


atexit.register(prepared.cache_clear)  # while the modules are there that give its memory back


def inward(x: NDArray[Any], order: Order) -> NDArray[Any]:
    """An array of the caller's in the order that kernels read."""
    x = x if order.batched else x[None]
    return x if order.inward is None else x.transpose(order.inward)


def outward(y: Any, order: Order, letters: str) -> Any:
    """A result in the caller's order of axes; `letters` are its own, B first and C last."""
    if order.inward is not None and isinstance(y, np.ndarray):
        found: NDArray[Any] = y
        y = np.ascontiguousarray(found.transpose(permutation(letters, axis_order(order.letters, letters))))
    return y if order.batched else y[0]
