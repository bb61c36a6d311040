"""Layers with several inputs: addition, multiplication, any elementwise function, depth concatenation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.checks import Array, Factor, integer_from, text

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_INPUTS = 4096
"""Of one layer; each is wired by name."""


@dataclass(frozen=True, eq=False)
class JoiningLayer(Layer):
    """A layer with inputs in1 … inN.

    Args:
        num_inputs: how many inputs N, at least 2.
    """

    # A field, where other layers have the property. Its default also hides that property from the instance.
    num_inputs: Annotated[int, integer_from(2, f"an int ≥ 2, up to {MOST_INPUTS}", "2", MOST_INPUTS)] = 2  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]

    def _compared(self, size: Size) -> tuple[object, ...]:
        """What must be the same for all inputs."""
        return (size.format, size.shape)

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        if len({self._compared(size) for size in inputs}) > 1:
            yield (
                f"its inputs are {', '.join(map(str, inputs))}; allowed: {self._rule}; "
                "change the branches so that their sizes agree, for example with stride or padding"
            )

    _rule: ClassVar[str]


@dataclass(frozen=True, eq=False)
class AdditionLayer(JoiningLayer):
    """y = x1 + … + xN, element by element; all inputs have the same size."""

    kind: ClassVar[str] = "addition"
    _rule: ClassVar[str] = "inputs of one size"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("add"),)


@dataclass(frozen=True, eq=False)
class MultiplicationLayer(JoiningLayer):
    """y = x1 · … · xN, element by element; all inputs have the same size."""

    kind: ClassVar[str] = "multiplication"
    _rule: ClassVar[str] = "inputs of one size"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("elementwise", (), {"function": "multiply"}),)


@dataclass(frozen=True, eq=False)
class ElementwiseLayer(Layer):
    """y = f(x1, …, xN), element by element; inputs repeat along axes where they have one element, as in NumPy.

    Args:
        function: "add", "multiply", "minimum", "maximum" of any number; of 2 "subtract", "divide", "power", "remainder"
            (with the sign of x1), "modulo" (with that of x2) and, 1 where they hold and else 0, "less",
            "less-or-equal", "greater", "greater-or-equal", "equal", "not-equal"; "select" of 3: x2 where x1 is not 0,
            else x3.
        num_inputs: how many inputs N.
        constant: one more operand, the last; its axes are the last ones of an observation.
        constant_learn_rate_factor: times the global rate, ≥ 0; 0 = the constant is not learned.
        constant_l2_factor: times the global L2, ≥ 0.
    """

    function: Annotated[str, text]
    num_inputs: Annotated[int, integer_from(1, f"an int ≥ 1, up to {MOST_INPUTS}", "2", MOST_INPUTS)] = 2  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]
    constant: Array = field(default=None, repr=False)
    constant_learn_rate_factor: Factor = 0.0
    constant_l2_factor: Factor = 1.0
    kind: ClassVar[str] = "elementwise"
    shaping: ClassVar[frozenset[str]] = frozenset({"constant"})

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        constants = () if self.constant is None else (self.constant,)
        try:
            shape = np.broadcast_shapes(*(size.shape for size in inputs), *(constant.shape for constant in constants))
        except ValueError:
            shape = ()
        if len({size.format for size in inputs}) > 1 or len(shape) != len(inputs[0].shape):
            given = "".join(f" and the constant {list(constant.shape)}" for constant in constants)
            raise LayerError(
                f"its inputs are {', '.join(map(str, inputs))}{given}; allowed: one format, axes that are equal or 1, "
                "counted from the last; change the branches or reshape the constant"
            )
        return Size(inputs[0].format, shape)

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        if self.constant is None:
            return ()
        rate, l2 = self.constant_learn_rate_factor, self.constant_l2_factor
        shape = self.constant.shape
        return (Parameter("constant", shape, "zeros", self.constant, rate, l2, learnable=rate > 0),)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        constants = () if self.constant is None else ("constant",)
        return (Operation("elementwise", constants, {"function": self.function}),)


@dataclass(frozen=True, eq=False)
class DepthConcatenationLayer(JoiningLayer):
    """The inputs' channels one after another; the inputs agree in everything but their channels."""

    kind: ClassVar[str] = "depthcat"
    _rule: ClassVar[str] = "inputs that differ in their channels only"

    def _compared(self, size: Size) -> tuple[object, ...]:
        return (size.format, size.shape[:-1])

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return Size(inputs[0].format, (*inputs[0].shape[:-1], sum(size.channels for size in inputs)))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("concatenate"),)
