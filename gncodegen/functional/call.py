"""One call of a form: what was given, and what runs on which array."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.functional.prepared import FLAT, Kind, Order, Prepared, inner_axes, inward, order_of, outward, prepared
from gncodegen.layers.formats import axis_order
from gncodegen.runtime.arrays import as_array, on_gpu

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class Given(NamedTuple):
    """One call of a form.

    Args:
        kind: the layer.
        x: the array that it is applied to.
        parameters: its learnables and statistics by name; None = zeros.
        data_format: axis order of x; None = by its number of axes.
        targets: of a loss; None where the layer is none.
        training: whether it takes the batch's statistics.
        elementwise: whether the axes of x mean nothing to it.
    """

    kind: Kind
    x: Any
    parameters: Mapping[str, Any] = MappingProxyType({})
    data_format: str | None = None
    targets: Any = None
    training: bool = False
    elementwise: bool = False


class Call(NamedTuple):
    """One call, resolved.

    Args:
        ready: what runs.
        x: the array as it takes it.
        observations: in it.
        order: how its axes lie in the caller's arrays.
        shape: the caller's, where the axes mean nothing; else None.
    """

    ready: Prepared
    x: Any
    observations: int
    order: Order
    shape: tuple[int, ...] | None

    def outward(self, y: Any, letters: str) -> Any:
        """A result in the caller's order of axes; `letters` are those of an observation."""
        return outward(y, self.order, "B" + letters) if self.shape is None else y.reshape(self.shape)

    def inward(self, dy: Any) -> Any:
        """A cotangent as the network takes it."""
        if on_gpu(dy):
            return dy
        array = as_array(dy, "dy")
        if self.shape is not None:
            return array.reshape(1, -1)
        return self._inner(array, axis_order(self.order.letters, "B" + self.ready.size.format))

    def targets(self, given: Any) -> Any:
        """Targets as the network takes them: rows have the axes of x, class indices those without C."""
        return given if on_gpu(given) else self._inner(as_array(given, "targets"), self.letters_of(given))

    def letters_of(self, targets: Any) -> str:
        """Their axes in the caller's order, B first if they have none."""
        rows = np.ndim(targets) + (not self.order.batched) == len(self.order.letters)
        return self.order.letters if rows else self.order.letters.replace("C", "")

    def _inner(self, array: NDArray[Any], letters: str) -> NDArray[Any]:
        """An array of the caller's with these axes, B first and C last; what has others is refused by the network."""
        array = array if self.order.batched else array[None]
        return array.transpose(inner_axes(letters)) if array.ndim == len(letters) else array


def resolve(form: str, given: Given) -> Call:
    """What runs on which array, in a form of that name."""
    x, shape = given.x, None
    if type(x) is not np.ndarray or x.dtype.kind not in "biuf":
        if on_gpu(x):
            return _on_gpu(form, given)
        x = as_array(x, f"{form}: x")
    if given.elementwise:
        shape, order, extents = x.shape, FLAT, (1, x.size) if x.size else (0, 1)
    else:
        order = order_of(given.data_format, x.ndim, form)
        x = inward(x, order)
        extents = x.shape
    dtype, name = (FLOAT64, "float64") if x.dtype == FLOAT64 else (FLOAT32, "float32")
    # It compares the extents with the memory there is, before x is copied, whose axes may be repeated.
    ready = prepared(form, given.kind, order.inner[1:], extents[1:], extents[0], name, "cpu")
    if x.dtype != dtype or not x.flags.c_contiguous:
        x = np.ascontiguousarray(x, dtype)
    return Call(ready, x if shape is None else x.reshape(extents), extents[0], order, shape)


def _on_gpu(form: str, given: Given) -> Call:
    facts = getattr(given.x, "__cuda_array_interface__", None)
    if facts is None:
        raise ArrayError(
            f"{form}: x lies on a GPU and tells no address; allowed: arrays with __cuda_array_interface__, as "
            "of PyTorch and CuPy; detach it, or give a NumPy array"
        )
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["typestr"]).name
    order = order_of(given.data_format, len(shape), form)
    if order.inward is not None or not order.batched:
        raise ArrayError(
            f"{form}: x lies on a GPU in the order {order.letters!r}; allowed: {order.inner!r}; copy it into "
            "that order, or give a NumPy array"
        )
    ready = prepared(form, given.kind, order.inner[1:], shape[1:], shape[0], dtype, "cuda")
    return Call(ready, given.x, shape[0], order, None)
