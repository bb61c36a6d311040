"""Functions of arrays that repeat along axes they lack: the walk over a result in rows, and plans of both targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from gncodegen.kernels.arithmetic import arithmetic
from gncodegen.kernels.launches import modelled_rows
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Tensor


@dataclass(frozen=True)
class Broadcast:
    """A result and its operands with the fewest axes: axes along which the same operands repeat are one.

    Args:
        extents: of the result's axes; the last is a row.
        repeats: per operand and axis, whether the operand has one value for all of the axis.
    """

    extents: tuple[int, ...]
    repeats: tuple[tuple[bool, ...], ...]

    @property
    def length(self) -> int:
        """Values of a row."""
        return self.extents[-1]

    @property
    def rows(self) -> int:
        """Rows of the result."""
        return prod(self.extents[:-1])

    def constants(self) -> dict[str, Constant]:
        """The constants that templates name."""
        outer = len(self.extents) - 1
        return {
            "length": self.length,
            "inputs": len(self.repeats),
            "extents": self.extents[:-1],
            "divisors": tuple(prod(self.extents[axis + 1 : -1]) for axis in range(outer)),
            "strides": tuple(stride for repeats in self.repeats for stride in self._strides(repeats)),
            "steps": tuple(int(not repeats[-1]) for repeats in self.repeats),
        }

    def inner(self) -> dict[str, Constant]:
        """The constants that are the same for any extent of the first axis, and of a single row."""
        single = self.rows == 1
        following = ("extents", "length") if single else ("extents",)
        constants = {name: value for name, value in self.constants().items() if name not in following}
        return constants | {"inner_extents": self.extents[1:-1], "single": single}

    def _strides(self, repeats: tuple[bool, ...]) -> tuple[int, ...]:
        """How far apart neighbours along each outer axis lie in an operand; 0 where it repeats."""
        owned = [1 if repeat else extent for extent, repeat in zip(self.extents, repeats, strict=True)]
        return tuple(0 if repeats[axis] else prod(owned[axis + 1 :]) for axis in range(len(owned) - 1))


def broadcast(result: Tensor, operands: Sequence[Tensor]) -> Broadcast:
    """How operands repeat to the shape of a result."""
    rank = len(result.shape)
    shapes = [(1,) * (rank - len(operand.shape)) + operand.shape for operand in operands]
    extents: list[int] = []
    patterns: list[tuple[bool, ...]] = []
    for axis, extent in enumerate(result.shape):
        if extent == 1:
            continue
        pattern = tuple(shape[axis] == 1 for shape in shapes)
        if patterns and patterns[-1] == pattern:
            extents[-1] *= extent
        else:
            extents.append(extent)
            patterns.append(pattern)
    if not extents:
        return Broadcast((1,), ((False,),) * len(shapes))
    return Broadcast(tuple(extents), tuple(zip(*patterns, strict=True)))


def modelled(problem: Problem, walk: Broadcast) -> Broadcast:
    """The walk of the problem's model, where only the numbers of observations differ."""
    y, model = problem.results[0], problem.modelled
    pairs = zip(problem.operands, model.operands, strict=True)
    alike = all(given.shape[1:] == other.shape[1:] for given, other in pairs)
    base = modelled_rows(problem, y) if alike else y
    return walk if base is y else broadcast(base, model.operands)  # one observation has no axis of them


def plans(
    by_rows: Callable[[Problem, Broadcast, Mapping[str, Constant], int], Launch],
) -> dict[str, Callable[[Problem], Plan]]:
    """The plans of a target, from its launch over the rows of a result."""

    def plan(problem: Problem, place: int, operands: int) -> Plan:
        row = arithmetic(problem.text("function"), operands)
        y = problem.results[0]
        shape: dict[str, Constant] = {"function": row.name, "place": place}
        launch = by_rows(problem, broadcast(y, problem.operands), shape, row.flops * operands)
        places = reversed(range(len(problem.operands)))
        return Plan((launch,), in_place=tuple((0, i) for i in places if problem.operands[i] == y))

    return {
        "elementwise": lambda problem: plan(problem, -1, len(problem.operands)),
        "elementwise_gradient": lambda problem: plan(problem, problem.integer("operand"), len(problem.operands) - 1),
    }
