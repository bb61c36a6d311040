"""What a function form is: a layer, applied to arrays; its result, and its vector-Jacobian product."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec

import numpy as np

from gncodegen.errors import ArrayError
from gncodegen.functional.call import Call, Given, resolve
from gncodegen.functional.repeated import Repeated, key_of, way_of
from gncodegen.layers.checks import shown

P = ParamSpec("P")


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
        self._repeated = Repeated()

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> Any:
        """The layer's result."""
        values: tuple[Any, ...] = (*arguments, *named.values()) if named else arguments
        key = key_of(values, named) if arguments else None
        if key is not None and (y := self._repeated.run(key, values)) is not None:
            return y
        given = self.describe(*arguments, **named)
        call = resolve(self.name, given)
        y = self._result(given, call)
        if key is not None and (way := way_of(call, given, values)):
            self._repeated.keep(key, values, way)
        return y

    def _result(self, given: Given, call: Call) -> Any:
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
        call = resolve(self.name, given)
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
