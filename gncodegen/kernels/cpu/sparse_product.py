"""The plan of a sparse product along an axis: a tile is a block of rows of y, a row the values of one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.elementwise import BLOCK
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.schedule import Launch, Order, Plan, Problem
from gncodegen.kernels.sparse_product import constants, flops


def _sparse_product(problem: Problem) -> Plan:
    """Y[i] = Σ weights[k] · x[columns[k]] along one axis."""
    y, matrix = problem.results[0], constants(problem)
    width = int(str(matrix["width"]))
    rows, block = y.count // width, max(1, BLOCK // width)
    tiles = {"block": block, "vector": problem.machine.lanes(y.dtype)}
    schedule = problem.schedule("sparse_product", y.dtype, shape=matrix, tiles=tiles, numbers=("rows",))
    order = Order(block, rows // y.shape[0]) if y.count else ()
    launch = Launch(
        schedule,
        slots(problem),
        -(-rows // block),
        (1,),
        traffic(problem),
        flops(problem),
        order=order,
        numbers=(rows,),
    )
    return Plan((launch,))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"sparse_product": _sparse_product}
