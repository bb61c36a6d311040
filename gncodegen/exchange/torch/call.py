"""One call of an ATen operator, as the rows of the table see it, and the steps that they make of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.node import MANY, Step


class Array(str):
    """The name of an array; other texts are texts."""

    __slots__ = ()


OWN = Array("the number of each observation")
"""An index that says of every observation itself: 0 … N − 1 along the first axis."""

Extents = tuple[int, ...]


@dataclass
class Writer:
    """The steps under construction.

    Args:
        steps: written so far.
        constants: known arrays by name.
        shapes: of the arrays that the graph has, `MANY` for the observations.
        stacks: what an array is a stack of, and along which axis.
        conditions: the computed arrays of truth values.
    """

    steps: list[Step] = field(default_factory=list[Step])
    constants: dict[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    shapes: dict[str, Extents] = field(default_factory=dict[str, Extents])
    conditions: set[str] = field(default_factory=set[str])
    stacks: dict[str, tuple[Sequence[Array], int]] = field(default_factory=dict[str, tuple[Sequence[Array], int]])

    def constant(self, value: Any, name: str = "") -> Array:
        """A known array under a name of its own."""
        array = np.asarray(value)
        key = name or f"constant {len(self.constants)}"
        self.constants[key], self.shapes[key] = array, array.shape
        return Array(key)


@dataclass
class Call:
    """One call.

    Args:
        kind: "aten.conv2d.default".
        title: what it is called in messages, and its layer.
        number: position in the graph, from 1.
        arguments: by the names of the operator's schema, defaults filled in.
        shape: of its first result.
        dtype: of its first result, as torch names it.
        results: how many it has.
        writer: where steps go.
    """

    kind: str
    title: str
    number: int
    arguments: Mapping[str, Any]
    shape: Extents
    dtype: str
    results: int
    writer: Writer

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or the default where this overload has none or it is None."""
        found = self.arguments.get(name)
        return default if found is None else found

    @property
    def first(self) -> Any:
        """The first argument, "self" or "input"."""
        return next(iter(self.arguments.values()))

    def shape_of(self, array: Array) -> Extents:
        """The shape of an array that the graph has."""
        return self.writer.shapes[array]

    def rank(self, array: Array) -> int:
        """Axes of an array, that of observations too."""
        return len(self.shape_of(array))

    def axis(self, axis: int, array: Array) -> int:
        """An axis, counted from the first."""
        return axis % max(self.rank(array), 1)

    def known(self, operand: Any) -> NDArray[Any] | None:
        """The array, if it is a constant."""
        if isinstance(operand, Array):
            return self.writer.constants.get(operand)
        return None if operand is None else np.asarray(operand)

    def emit(self, operator: str, *inputs: Any, **attributes: Any) -> Array:
        """A step with one result: names of arrays, None where an input is left out, else a constant."""
        return self.emit_several(operator, 1, *inputs, **attributes)[0]

    def emit_several(self, operator: str, results: int, *inputs: Any, **attributes: Any) -> tuple[Array, ...]:
        """The same with several results."""
        number = len(self.writer.steps)
        names = tuple(Array(f"{self.title} {number}/{place}") for place in range(results))
        given = tuple(each if isinstance(each, Array) else self._operand(each) for each in inputs)
        self.writer.steps.append(Step(operator, self.kind, self.title, given, names, attributes, self.number))
        return names

    def _operand(self, value: Any) -> str:
        return "" if value is None else self.writer.constant(value)

    def reshape(self, array: Array, shape: Sequence[int]) -> Array:
        """The elements of an array in another shape."""
        known = self.known(array)
        if known is not None and max((*shape, 0)) < MANY:
            return self.writer.constant(known.reshape(shape))
        return self.emit("Reshape", array, np.asarray(shape, np.int64), allowzero=1)

    def refuse(self, reason: str) -> tuple[Array, ...]:
        """A step that no layer covers; the walk lists it where a result depends on it."""
        arrays = [each for argument in self.arguments.values() for each in _arrays(argument)]
        names = self.emit_several("", max(self.results, 1), *arrays)
        self.writer.steps[-1] = self.writer.steps[-1].refused(reason)
        return names


def _arrays(argument: Any) -> list[Array]:
    if isinstance(argument, Array):
        return [argument]
    return [each for each in argument if isinstance(each, Array)] if isinstance(argument, (list, tuple)) else []


@dataclass(frozen=True)
class Row:
    """How one ATen operator is said in steps.

    Args:
        convert: writes the steps of a call and gives its results; raises Unsupported.
        operators: the operators of these steps, for the table in the documentation.
    """

    convert: Callable[[Call], Array | Sequence[Array]]
    operators: tuple[str, ...]


def row(convert: Callable[[Call], Array | Sequence[Array]], *operators: str) -> Row:
    """A row, in short."""
    return Row(convert, operators)


def require(holds: bool, given: str, allowed: str) -> None:
    """Refuses a call unless the condition holds."""
    if not holds:
        raise Unsupported(f"{given}; allowed: {allowed}")


def per_axis(value: Any, rank: int) -> list[int]:
    """One number for each of `rank` axes; ATen gives one for all, too."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return [int(n) for n in (numbers * rank if len(numbers) == 1 else numbers)]


def of_observations(extent: int) -> bool:
    """Whether an extent is a number of observations, or a multiple of it."""
    return extent >= MANY
