"""The CUDA plan of a sparse product along an axis: threads write y in order, each a vector of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import gcd

from gncodegen.kernels.cuda.elementwise import THREADS
from gncodegen.kernels.launches import row_size, slots, traffic
from gncodegen.kernels.schedule import Launch, Order, Plan, Problem
from gncodegen.kernels.sparse_product import constants, flops


def _sparse_product(problem: Problem) -> Plan:
    """Y[i] = Σ weights[k] · x[columns[k]] along one axis."""
    y, matrix = problem.results[0], constants(problem)
    lanes = gcd(problem.machine.lanes(y.dtype), int(str(matrix["width"])))
    vectors = y.count // lanes
    tiles = {"threads": THREADS, "lanes": lanes}
    schedule = problem.schedule("sparse_product", y.dtype, shape=matrix, tiles=tiles, numbers=("vectors",))
    launch = Launch(
        schedule, slots(problem), -(-vectors // THREADS), (1,), traffic(problem), flops=flops(problem),
        order=Order(THREADS, row_size(y) // lanes), numbers=(vectors,),
    )  # fmt: skip
    return Plan((launch,))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {"sparse_product": _sparse_product}
