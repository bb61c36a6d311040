"""What a function form is: a layer, applied to arrays; its result, and its vector-Jacobian product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, ParamSpec
from weakref import ref

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.functional.prepared import FLAT, MOST, Kind, Order, Prepared, order_of, outward, prepared
from gncodegen.layers.checks import shown
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.runtime.arrays import as_array, on_gpu

P = ParamSpec("P")

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


class Form(Generic[P]):
    """A function form: called, it gives the layer's result.

    Results are computed in float64 where x is, else in float32. The layer is compiled at the first call for arrays of a
    shape. An x in a GPU's memory is read there, channels last, and the result is a DeviceArray; parameters and targets
    lie on the host or there.

    Args:
        describe: what a call with these arguments means.
    """

    def __init__(self, describe: Callable[P, Given]) -> None:
        update_wrapper(self, describe)
        self.describe, self.name = describe, describe.__name__
        self._repeated: dict[tuple[Any, ...], _Repeated] = {}

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> Any:
        """The layer's result."""
        key, repeated = None if named else _key(arguments), None
        if key is not None:
            try:
                repeated = self._repeated.get(key)
            except TypeError:  # a list among the values
                key = None
        if repeated is not None and (ready := repeated.ready()) is not None:
            return repeated.run(ready, arguments)
        given = self.describe(*arguments, **named)
        call = self._call(given)
        if key is not None and (repeated := _repeated(call, given, arguments)):
            if len(self._repeated) >= MOST:
                self._repeated.clear()
            self._repeated[key] = repeated
        ready, x = call.ready, call.x
        with ready.lock:
            ready.set(given.parameters)
            if given.targets is not None:
                return ready.compiled.loss(x, call.targets(given.targets))
            if not call.observations:
                return call.outward(np.empty((0, *ready.size.shape), x.dtype), ready.size.format)
            y = ready.compiled.forward(x) if given.training else ready.compiled.predict(x)
        return call.outward(y, ready.size.format)

    def vjp(self, given: Given, dy: Any) -> tuple[Any, dict[str, Any]]:
        """As the function `vjp`; dy = None stands for ones."""
        call = self._call(given)
        ready, x = call.ready, call.x
        with ready.lock:
            ready.set(given.parameters)
            if given.targets is not None:
                t = call.targets(given.targets)
                y: Any = ready.compiled.loss(x, t)
                dx = ready.compiled.gradients(x, t)["input"]
                found = {"input": dx if dy is None else dx * np.asarray(dy, dx.dtype)}
            else:
                shape = (call.observations, *ready.size.shape)
                cotangent = np.ones(shape, ready.compiled.options.array_dtype) if dy is None else call.inward(dy)
                y, found = ready.compiled.vjp(x, cotangent, training=given.training)
                y = call.outward(y, ready.size.format)
        own = {name: ready.key(name) for name, value in given.parameters.items() if value is not None}
        gradients = {name: found[key] for name, key in own.items() if key in found}
        return y, {"x": call.outward(found["input"], call.order.inner[1:]), **gradients}

    def _call(self, given: Given) -> _Call:
        """What runs on which array."""
        x, shape = given.x, None
        if type(x) is not np.ndarray or x.dtype.kind not in "biuf":
            if on_gpu(x):
                return self._on_gpu(given)
            x = as_array(x, f"{self.name}: x")
        if given.elementwise:
            shape, order, extents = x.shape, FLAT, (1, x.size) if x.size else (0, 1)
        else:
            order = order_of(given.data_format, x.ndim, self.name)
            x = x if order.batched else x[None]
            x = x if order.inward is None else x.transpose(order.inward)
            extents = x.shape
        dtype, name = (FLOAT64, "float64") if x.dtype == FLOAT64 else (FLOAT32, "float32")
        # It compares the extents with the memory there is, before x is copied, whose axes may be repeated.
        ready = prepared(self.name, given.kind, order.inner[1:], extents[1:], extents[0], name, "cpu")
        if x.dtype != dtype or not x.flags.c_contiguous:
            x = np.ascontiguousarray(x, dtype)
        return _Call(ready, x if shape is None else x.reshape(extents), extents[0], order, shape)

    def _on_gpu(self, given: Given) -> _Call:
        facts = getattr(given.x, "__cuda_array_interface__", None)
        if facts is None:
            raise ArrayError(
                f"{self.name}: x lies on a GPU and tells no address; allowed: arrays with __cuda_array_interface__, as "
                "of PyTorch and CuPy; detach it, or give a NumPy array"
            )
        shape, dtype = tuple(facts["shape"]), np.dtype(facts["typestr"]).name
        order = order_of(given.data_format, len(shape), self.name)
        if order.inward is not None or not order.batched:
            raise ArrayError(
                f"{self.name}: x lies on a GPU in the order {order.letters!r}; allowed: {order.inner!r}; copy it into "
                "that order, or give a NumPy array"
            )
        ready = prepared(self.name, given.kind, order.inner[1:], shape[1:], shape[0], dtype, "cuda")
        return _Call(ready, given.x, shape[0], order, None)


class _Call(NamedTuple):
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
        if on_gpu(given):
            return given
        array = as_array(given, "targets")
        rows = array.ndim + (not self.order.batched) == len(self.order.letters)
        return self._inner(array, self.order.letters if rows else self.order.letters.replace("C", ""))

    def _inner(self, array: NDArray[Any], letters: str) -> NDArray[Any]:
        """An array of the caller's with these axes, B first and C last; what has others is refused by the network."""
        array = array if self.order.batched else array[None]
        inner = "".join(sorted(letters, key="BTSC".index))
        return array if inner == letters or array.ndim != len(letters) else array.transpose(permutation(letters, inner))


class _Repeated(NamedTuple):
    """The short way of a call like one before, for an array that is read as it is.

    Args:
        ready: what runs, as long as it stays compiled.
        extents: those that it reads.
        shape: the result's, of a layer without parameters, where axes mean nothing; None = as it comes.
        absent: parameters that are zeros.
        places: which argument each of the others is.
        targets: which argument the targets are; 0 = there are none.
        training: as Given.training.
    """

    ready: ref[Prepared]
    extents: tuple[int, ...]
    shape: tuple[int, ...] | None
    absent: Mapping[str, None]
    places: tuple[tuple[str, int], ...]
    targets: int
    training: bool

    def run(self, ready: Prepared, arguments: tuple[Any, ...]) -> Any:
        """The result."""
        x = arguments[0]
        if self.shape is not None:
            return ready.compiled.predict(x.reshape(self.extents)).reshape(self.shape)
        with ready.lock:
            ready.set({**self.absent, **{name: arguments[place] for name, place in self.places}})
            if self.targets:
                return ready.compiled.loss(x, arguments[self.targets])
            return ready.compiled.forward(x) if self.training else ready.compiled.predict(x)


def _key(arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """What calls alike have in common: types, shapes of arrays, all other values; None where that is not said."""
    x = arguments[0] if arguments else None
    if type(x) is not np.ndarray or not x.flags.c_contiguous:
        return None
    values = [value.shape if type(value) is np.ndarray else value for value in arguments]
    return (x.dtype.char, *map(type, arguments), *values)


def _repeated(call: _Call, given: Given, arguments: tuple[Any, ...]) -> _Repeated | None:
    """The short way of calls like this one; None where there is more to do."""
    plain = call.order.batched and call.order.inward is None and call.observations
    own = isinstance(call.x, np.ndarray) and call.x.dtype == arguments[0].dtype
    if not plain or not own or given.x is not arguments[0]:
        return None
    if call.shape is not None and given.parameters:
        return None
    absent = {name: None for name, value in given.parameters.items() if value is None}
    read = {name: value for name, value in given.parameters.items() if value is not None}
    read |= {} if given.targets is None else {"targets": given.targets}
    found = {name: [i for i, each in enumerate(arguments) if each is value] for name, value in read.items()}
    arrays = sum(type(each) is np.ndarray for each in arguments)
    if not all(len(places) == 1 for places in found.values()) or arrays > 1 + len(found):
        return None  # one array as two of them, or one that is made of the arguments, or decides what the layer is
    places = {name: at[0] for name, at in found.items()}
    targets = places.pop("targets", 0)
    return _Repeated(ref(call.ready), call.x.shape, call.shape, absent, tuple(places.items()), targets, given.training)


def vjp(function: Form[P], dy: Any, *arguments: P.args, **named: P.kwargs) -> tuple[Any, dict[str, Any]]:
    """The result of a function form, and the gradient of Σ dy·y for each of its arrays: a vector-Jacobian product.

        y, gradients = gnc.functional.vjp(gnc.groupnorm, dy, x, 2, offset, scale)
        gradients["x"], gradients["scale"]

    Args:
        function: of `gncodegen.functional`.
        dy: cotangent, shaped like the result; a number for a loss.
        arguments: of the function.
        named: likewise.

    Returns:
        The result, and gradients by the names of the function's arguments. Targets and statistics have none.

    Raises:
        ArrayError: it is no function form, or as the function itself.
    """
    return _form(function).vjp(function.describe(*arguments, **named), dy)


def gradient(function: Form[P], *arguments: P.args, **named: P.kwargs) -> dict[str, Any]:
    """The gradient of the sum of a function form's result, or of a loss, for each of its arrays; otherwise as `vjp`.

    gnc.gradient(gnc.functional.crossentropy, y, targets)["x"]
    """
    return _form(function).vjp(function.describe(*arguments, **named), None)[1]


def _form(function: Any) -> Form[Any]:
    if not isinstance(function, Form):
        raise ArrayError(
            f"{shown(function)} is no function form; allowed: functions of gncodegen.functional, such as "
            "gncodegen.groupnorm; compile a network for others, and call compiled.vjp"
        )
    return function
