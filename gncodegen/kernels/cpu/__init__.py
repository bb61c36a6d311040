"""Plans of the CPU's kernels: tiles that one core works through, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu import (
    bias,
    channel_normalize,
    convolution,
    elementwise,
    folding,
    fully_connected,
    group_norm,
    group_norm_gradient,
    loss,
    masked_norm,
    matrices,
    movement,
    pooling,
    sparse_product,
    update,
)
from gncodegen.kernels.cpu.convolution import parts, takes_norm
from gncodegen.kernels.schedule import Plans, Problem

__all__ = ["PLANS", "parts", "takes_norm"]

PLANS: Mapping[str, Callable[[Problem], Plans]] = {
    **bias.PLANS,
    **convolution.PLANS,
    **fully_connected.PLANS,
    **folding.PLANS,
    **elementwise.PLANS,
    **loss.PLANS,
    **masked_norm.PLANS,
    **matrices.PLANS,
    **movement.PLANS,
    **pooling.PLANS,
    **sparse_product.PLANS,
    **update.PLANS,
    **group_norm.PLANS,
    **group_norm_gradient.PLANS,
    **channel_normalize.PLANS,
}
"""Op → its plan."""
