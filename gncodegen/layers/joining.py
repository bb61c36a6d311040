"""Layers with several inputs: addition and depth concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import integer_from

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class JoiningLayer(Layer):
    """A layer with inputs in1 … inN.

    Args:
        num_inputs: how many inputs N, at least 2.
    """

    # A field, where other layers have the property. Its default also hides that property from the instance.
    num_inputs: Annotated[int, integer_from(2, "an int ≥ 2", "2")] = 2  # pyright: ignore[reportIncompatibleMethodOverride, reportIncompatibleVariableOverride]

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
