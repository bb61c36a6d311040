"""Plans of the CUDA kernels: the same ops as on the CPU, over grids of thread blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cuda import (
    bias,
    convolution,
    elementwise,
    folding,
    fully_connected,
    loss,
    masked_norm,
    matrices,
    movement,
    normalization,
    pooling,
    sparse_product,
    update,
)
from gncodegen.kernels.schedule import Plan, Problem

PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    **bias.PLANS,
    **convolution.PLANS,
    **elementwise.PLANS,
    **fully_connected.PLANS,
    **folding.PLANS,
    **normalization.PLANS,
    **pooling.PLANS,
    **sparse_product.PLANS,
    **movement.PLANS,
    **loss.PLANS,
    **masked_norm.PLANS,
    **matrices.PLANS,
    **update.PLANS,
}
"""Op → its plan."""


def parts(problem: Problem) -> int:
    """0: no convolution of a GPU leaves partial statistics."""
    return 0


def takes_norm(problem: Problem) -> bool:
    """False: no convolution of a GPU normalizes what it reads."""
    return False
