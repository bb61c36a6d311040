"""What the Problems of slices, transposition and padding say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from gncodegen.kernels.launches import modelled_rows
from gncodegen.kernels.schedule import Constant, Problem, Tensor
from gncodegen.kernels.window_axis import SPATIAL, three


def run(problem: Problem, tensor: Tensor) -> int:
    """Elements side by side of an operand or result of a slice or concatenation: from its axis on."""
    return prod(tensor.shape[problem.integer("axis", -1) :])


def collapsed(shape: tuple[int, ...], permutation: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same transposition with the fewest axes: no axis of extent 1, and axes that stay neighbours are one."""
    runs: list[list[int]] = []
    for axis in (axis for axis in permutation if shape[axis] != 1):
        # Axes of extent 1 between two neighbours do not part them.
        if runs and all(shape[between] == 1 for between in range(runs[-1][-1] + 1, axis)) and runs[-1][-1] < axis:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    order = sorted(range(len(runs)), key=lambda i: runs[i])
    extents = tuple(prod(shape[axis] for axis in runs[i]) for i in order)
    return extents, tuple(order.index(i) for i in range(len(runs)))


@dataclass(frozen=True)
class Transposition:
    """A transposition with the fewest axes, as matrices whose rows and columns change places.

    Besides the last axes of x and of y, every axis is an outer one, in the order of y.

    Args:
        width: of the rows that stay as they are, in another order; 0 where rows and columns change places.
        outers: rows, or matrices.
        share: of an observation; 0 where observations do not follow one another in y.
        shape: constants of the template; rows, columns and their strides only where those change places.
    """

    width: int
    outers: int
    share: int
    shape: dict[str, Constant]

    @staticmethod
    def of(problem: Problem) -> Transposition | None:
        """That of a problem; None where it only copies."""
        x, permutation = problem.operands[0], problem.integers("permutation")
        leads = permutation[:1] == (0,)
        model = modelled_rows(problem, x) if leads else x
        extents, permutation = collapsed(model.shape, permutation)
        if len(extents) <= 1 or x.count == 0:
            return None
        strides = tuple(prod(extents[axis + 1 :]) for axis in range(len(extents)))
        outs = tuple(extents[axis] for axis in permutation)
        out_strides = tuple(prod(outs[axis + 1 :]) for axis in range(len(outs)))
        last, turned = len(extents) - 1, permutation[-1]
        outer = [place for place, axis in enumerate(permutation) if axis not in (last, turned)]
        outers = prod(outs[place] for place in outer) * x.count // model.count
        # The axis of observations is the first of the outer ones where it is the first of y too.
        share = outers // x.shape[0] if leads and 0 not in (last, turned) else 0
        shape: dict[str, Constant] = {
            "inner": tuple(outs[place] for place in outer[1:]),  # the first of them ends with the grid
            "outer_from": tuple(strides[permutation[place]] for place in outer),
            "outer_to": tuple(out_strides[place] for place in outer),
        }
        if turned == last:
            return Transposition(extents[last], outers, share, shape)
        shape |= {
            "rows": extents[turned],
            "columns": extents[last],
            "from_stride": strides[turned],
            "to_stride": out_strides[permutation.index(last)],
        }
        return Transposition(0, outers, share, shape)

    def number(self, name: str) -> int:
        """A constant that is a number."""
        return int(str(self.shape[name]))


def padded_axes(problem: Problem, shape: tuple[int, ...]) -> Iterator[tuple[str, int, int, int]]:
    """Name, extent and pads (before, after) of the axes of an array of `shape`; those it lacks have extent 1."""
    padding = problem.integers("padding")
    extents = three(shape[-1 - len(padding) // 2 : -1], 1)
    return zip(SPATIAL, extents, three(padding[::2], 0), three(padding[1::2], 0), strict=True)
