"""Layers for arrays of any meaning, as imported models have them: an input of any shape, axes reordered, reshaped."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import flag, non_negative_int, positive_int, tuple_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_RANKS = range(9)
_SHAPE = tuple_of(positive_int, _RANKS, "up to 8 positive ints", "(3, 32, 32)")
_ORDER = tuple_of(non_negative_int, _RANKS, "the axes of one observation, each once", "(1, 2, 0)")


def size_of(shape: tuple[int, ...]) -> Size:
    """The size of one observation of this shape, whose last axis layers read as channels and all others as space."""
    return Size("S" * (len(shape) - 1) + "C" if shape else "C", shape or (1,))


@dataclass(frozen=True, eq=False)
class TensorInputLayer(Layer):
    """Takes arrays of any rank: `TensorInputLayer((3, 32, 32))` takes (N, 3, 32, 32) in exactly this order of axes.

    Layers read the last axis as channels; `PermuteLayer` brings another axis there.

    Args:
        shape: extents of one observation; () = one number each.
        batched: False = the array has no axis of observations: it is one observation.
        whole: the array holds whole numbers, as the places of an embedding are.
    """

    shape: Annotated[tuple[int, ...], _SHAPE]
    batched: Annotated[bool, flag] = True
    whole: Annotated[bool, flag] = False
    kind: ClassVar[str] = "input"
    numbered: ClassVar[bool] = False
    is_input: ClassVar[bool] = True

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return size_of(self.shape)


@dataclass(frozen=True, eq=False)
class PermuteLayer(Layer):
    """The axes of each observation in another order: axis i of the result is axis order[i] of the input.

    Args:
        order: every axis of the input once, the batch not counted.
    """

    order: Annotated[tuple[int, ...], _ORDER]
    kind: ClassVar[str] = "permute"

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        axes = tuple(range(len(inputs[0].shape)))
        if tuple(sorted(self.order)) != axes:
            yield f"order = {self.order} for the input {inputs[0]}; allowed: {axes} in any order; write order={axes}"

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        shape = inputs[0].shape
        return size_of(tuple(shape[axis] for axis in self.order if axis < len(shape)))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("transpose", (), {"permutation": (0, *(axis + 1 for axis in self.order))}),)


@dataclass(frozen=True, eq=False)
class ReshapeLayer(Layer):
    """The elements of each observation, in the same order, in another shape.

    Args:
        shape: extents of one observation.
    """

    shape: Annotated[tuple[int, ...], _SHAPE]
    kind: ClassVar[str] = "reshape"

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        if prod(self.shape) != inputs[0].count:
            yield (
                f"shape = {self.shape} has {prod(self.shape)} elements; allowed: shapes of {inputs[0].count} elements, "
                f"as its input {inputs[0]} has; write shape=({inputs[0].count},)"
            )

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return size_of(self.shape)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("reshape"),)


def is_one_number(layer: Layer) -> bool:
    """Whether a layer gives one number for each observation, without an axis of its own."""
    return isinstance(layer, ReshapeLayer) and not layer.shape
