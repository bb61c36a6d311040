"""One step of a source's computation, as the rows of the operator table see it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.exchange.construction import Construction, Unsupported, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gncodegen.layers.base import Layer

Operand = Value | NDArray[Any]
"""What a name of the graph stands for: an array computed at run time, or a constant."""


@dataclass(frozen=True)
class Batching:
    """How the source's arrays hold observations.

    Args:
        batched: their first axis is that of observations; else an array is one observation.
        declared: the extents that the model's own inputs have there.
    """

    batched: bool
    declared: frozenset[int] = frozenset()

    @property
    def skipped(self) -> int:
        """Axes of an array in front of those of one observation."""
        return int(self.batched)


MANY = 1_000_003
"""The number of observations, where a model computes with shapes: a prime that no model has elsewhere."""


@dataclass(frozen=True)
class Step:
    """One operation of the source, in ONNX's terms.

    Args:
        operator: a row of the operator table; "" where there is none.
        kind: the operation as the source names it, for messages.
        title: the source's name of it, for messages and layers.
        inputs: names of its arrays; "" where an optional one is left out.
        outputs: names of its results.
        attributes: as Python values.
        number: position in the source, from 1.
        refusal: why no layer covers it, where that is known already.
        finish: what the source notes beside the step of its layer, put into the layer; raises Unsupported.
    """

    operator: str
    kind: str
    title: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    number: int = 0
    refusal: str = ""
    finish: Callable[[Layer], Layer] = lambda layer: layer

    def refused(self, reason: str) -> Step:
        """The step, which no layer covers."""
        return replace(self, refusal=reason)


@dataclass(frozen=True)
class Node:
    """A step with its operands.

    Args:
        step: what is computed.
        operands: one per input; None where an optional one is left out.
        opset: version of ONNX's default operator set, in which the step is said.
        batching: how arrays hold observations.
        construction: where layers are added.
    """

    step: Step
    operands: tuple[Operand | None, ...]
    opset: int
    batching: Batching
    construction: Construction

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its attributes as Python values."""
        return self.step.attributes

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.operands) and self.operands[index] is not None

    def value(self, index: int = 0) -> Value:
        """Input `index`, computed at run time."""
        operand = self.operands[index] if self.has(index) else None
        if not isinstance(operand, Value):
            raise Unsupported(f"its input {index + 1} is a constant; allowed: an array computed at run time")
        return operand

    def values(self) -> list[Value]:
        """All inputs, computed at run time."""
        return [self.value(index) for index in range(len(self.operands))]

    def constant(self, index: int) -> NDArray[Any]:
        """Input `index`, which must be known."""
        operand = self.operands[index] if self.has(index) else None
        if not isinstance(operand, np.ndarray):
            name = self.step.inputs[index] if index < len(self.step.inputs) else ""
            raise Unsupported(f"its input {name!r} is computed at run time; allowed: a constant")
        return operand

    def constant_of_rank(self, index: int, rank: int) -> NDArray[Any]:
        """Input `index`, which must be known and have so many axes."""
        constant = self.constant(index)
        if constant.ndim != rank:
            raise Unsupported(f"its input {index + 1} has the shape {constant.shape}; allowed: {rank} axes")
        return constant

    def constant_or(self, index: int, default: Any) -> NDArray[Any]:
        """Input `index`, which must be known, or the default where it is left out."""
        return self.constant(index) if self.has(index) else np.asarray(default)

    def integers(self, index: int, name: str) -> tuple[int, ...] | None:
        """Numbers that were an attribute `name` in old opsets and are input `index` since; None where left out."""
        if name in self.attributes:
            return tuple(int(entry) for entry in self.attributes[name])
        return tuple(int(entry) for entry in self.constant(index).ravel()) if self.has(index) else None

    def per_axis(self, name: str, count: int, default: int) -> tuple[int, ...]:
        """An attribute of so many whole numbers; the default as many times where it is left out.

        Raises:
            Unsupported: it has more or fewer.
        """
        numbers = tuple(self.attributes.get(name, (default,) * count))
        if len(numbers) != count:
            raise Unsupported(f"{name} = {numbers}; allowed: {count} whole numbers for the axes of its window")
        return numbers

    @property
    def declared(self) -> frozenset[int]:
        """The extents that stand for the number of observations."""
        return frozenset({MANY}) | self.batching.declared

    def axis(self, axis: int, rank: int) -> int:
        """The axis of one observation for an axis of an array whose observations have `rank` axes.

        Raises:
            Unsupported: it is the axis of observations, or there is none such.
        """
        whole = rank + self.batching.skipped
        if not -whole <= axis < whole:
            raise Unsupported(f"axis {axis} of an array of {whole} axes")
        own = axis % whole - self.batching.skipped
        if own < 0:
            raise Unsupported("it works along the axis of observations, 0; allowed: any other axis")
        return own

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """The same for several."""
        return tuple(self.axis(int(axis), rank) for axis in axes)

    def shape(self, value: Value) -> tuple[int, ...]:
        """The shape as the model sees it, `MANY` for the observations."""
        return (MANY, *value.shape) if self.batching.batched else value.shape

    def own(self, constant: NDArray[Any], value: Value) -> NDArray[Any]:
        """A constant as one observation of a value meets it; raises Unsupported where observations differ."""
        whole = value.rank + self.batching.skipped
        if not self.batching.batched or constant.ndim < whole:
            return constant
        if constant.ndim > whole or constant.shape[0] != 1:
            raise Unsupported(f"a constant of shape {constant.shape}; allowed: the same for all observations, (1, …)")
        return constant[0]

    def observation(self, target: Sequence[int], count: int) -> tuple[int, ...]:
        """The shape of one observation of an array that is reshaped to `target`.

        Args:
            target: the whole shape; -1 at most once.
            count: elements of one observation.

        Raises:
            Unsupported: observations would be mixed, or the number of elements changes.
        """
        extents = list(target)
        if self.batching.batched:
            if not extents:
                raise Unsupported("its result is one number for all observations")
            first, *extents = extents
            known = int(np.prod([n for n in extents if n != -1], dtype=np.int64))
            free = -1 not in extents and first == -1 and known == count
            if first not in self.declared and not free:
                raise Unsupported(f"it reshapes to {tuple(target)}, which mixes observations; allowed: (N, …)")
        if -1 in extents:
            known = int(np.prod([n for n in extents if n != -1], dtype=np.int64))
            extents[extents.index(-1)] = count // max(known, 1)
        if int(np.prod(extents, dtype=np.int64)) != count:
            raise Unsupported(f"it reshapes observations of {count} elements to {tuple(extents)}, which mixes them")
        return tuple(extents)
