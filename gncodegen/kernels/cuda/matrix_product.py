"""What a matrix product C = A·B is, to the kernels that compute it: extents, and how its operands lie in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

from gncodegen.kernels.cuda.matrix_tile import BlockTile
from gncodegen.kernels.schedule import COMPUTED_IN, ITEM_SIZE, Constant, Problem


@dataclass(frozen=True)
class Product:
    """C (rows × columns) = A·B per group and phase.

    Args:
        rows, columns, depth: extents; depth is that of the phase with the most products.
        left: how A lies: "windows", "pixels" or "rows"; see templates/cuda/matrix_product.py.jinja.
        right: how B lies: "rows" or "columns".
        dtype: that products and sums are computed in.
        a_lanes, b_lanes, c_lanes: values of one access.
        slots: arguments for A, B, the bias, the residual ("" = none) and C.
        total: argument for the sums of A's rows or B's columns, "" = none; `sums` says which: "left" or "right".
        groups, phases: independent products in one launch.
        out_pixel: values from row to row of C.
        many: matrices of A, B and C, where there are several; observations are among them, and not among the rows.
        free: whether the depth is cut as the machine likes; else by the depth alone, so that a batch slice has the
            same bits.
        narrow: whether C lies in 16 bits, so that no partial sum may lie there.
        shape: what else the template wants to know.
        epilogue: constants of bias, residual and activation.
        flops: of all products.
    """

    rows: int
    columns: int
    depth: int
    left: str
    right: str
    dtype: str
    a_lanes: int
    b_lanes: int
    c_lanes: int
    slots: tuple[str, str, str, str, str]
    out_pixel: int
    groups: int = 1
    phases: int = 1
    many: int = 0
    total: str = ""
    sums: str = ""
    free: bool = False
    narrow: bool = False
    shape: Mapping[str, Constant] = field(default_factory=dict[str, Constant])
    epilogue: Mapping[str, Constant] = field(default_factory=lambda: {"bias": False, "activation": "", "alpha": 0.0})
    flops: int = 0

    def tiles(self, tile: BlockTile) -> int:
        """Tiles of C."""
        return (
            -(-self.rows // tile.rows)
            * -(-self.columns // tile.columns)
            * self.groups
            * self.phases
            * max(1, self.many)
        )


def stored_types(problem: Problem, **arguments: str) -> dict[str, Constant]:
    """`name_dtype` of those arguments that lie in memory in 16 bits; templates take the others as they compute.

    Args:
        problem: the op.
        arguments: name in the template → what it is, such as "operand0"; "" = there is none.
    """
    tensors = {f"operand{i}": tensor for i, tensor in enumerate(problem.operands)}
    tensors |= {f"result{i}": tensor for i, tensor in enumerate(problem.results)}
    found = {name: tensors[slot].dtype for name, slot in arguments.items() if slot in tensors}
    return {f"{name}_dtype": dtype for name, dtype in found.items() if dtype in COMPUTED_IN}


def vector_lanes(dtype: str, *extents: int) -> int:
    """Values of one access of up to 16 bytes whose every address is a multiple of its size."""
    return gcd(16 // ITEM_SIZE[dtype], *extents)
