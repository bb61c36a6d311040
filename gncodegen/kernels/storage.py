"""What lies in memory in 16 bits where a network's type is float16 or bfloat16: one row per op.

Activations and their gradients do. Parameters and their gradients, statistics, sums, losses and what a network returns
are float32. An op whose kernels read and write 16 bits takes them as they are; others get float32 through casts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Stored:
    """How the arrays of an op are stored.

    Args:
        results: numbers of the results that are activations or gradients of them, if an operand is one.
        families: whose kernels read and write 16 bits, where operands and results are activations.
        disjoint: those that do so only where no element lies in two windows.
        alike: whether they do so only where all operands are activations.
        wide: whether the op reads float32, so that what nobody else reads stays float32.
        kept: whether its results stay float32 as well.
        widens: whether those kernels may also write float32 where they read 16 bits.
        of_loss: whether its result is the gradient of a loss, which is where that is scaled.
    """

    results: tuple[int, ...] = (0,)
    families: tuple[str, ...] = ()
    disjoint: tuple[str, ...] = ()
    alike: bool = False
    wide: bool = False
    kept: bool = False
    widens: bool = False
    of_loss: bool = False


_CPU, _CUDA, _BOTH = ("cpu",), ("cuda",), ("cpu", "cuda")
_SUMS = Stored(results=())
"""Ops whose results are sums over activations, or no activations at all."""

STORED: Mapping[str, Stored] = {
    # Forward.
    "input_normalization": Stored(wide=True),
    "convolution": Stored(families=_BOTH, widens=True),
    "transposed_convolution": Stored(families=_BOTH, widens=True),
    "fully_connected": Stored(families=_BOTH, widens=True),
    "bias": Stored(families=_BOTH),
    "group_norm": Stored(families=_BOTH),
    "group_statistics": Stored(families=_CPU, results=()),
    "channel_normalize": Stored(families=_BOTH),
    "max_pool": Stored(families=_BOTH),
    "average_pool": Stored(families=_BOTH),
    "activation": Stored(families=_BOTH),
    "dropout": Stored(families=_BOTH),
    "add": Stored(families=_BOTH, alike=True),
    "elementwise": Stored(families=_BOTH, alike=True),
    "sparse_product": Stored(families=_BOTH),
    "matrix_product": Stored(families=_BOTH, alike=True),
    "concatenate": Stored(families=_BOTH, alike=True),
    "slice": Stored(families=_BOTH),
    "pad": Stored(families=_BOTH),
    "reshape": Stored(families=_BOTH),
    "transpose": Stored(families=_BOTH),
    "softmax": Stored(wide=True, kept=True),
    "cross_entropy": Stored(results=(), wide=True),
    "softmax_cross_entropy": Stored(results=(1,), wide=True, kept=True),
    "half_squared_error": Stored(results=(), wide=True),
    # Gradients.
    "convolution_input_gradient": Stored(families=_BOTH),
    "convolution_weight_gradient": Stored(families=_BOTH, results=()),
    "fully_connected_input_gradient": Stored(families=_BOTH),
    "fully_connected_weight_gradient": Stored(families=_BOTH, results=()),
    "bias_gradient": Stored(families=_BOTH, results=()),
    "group_norm_gradient": Stored(families=_BOTH, results=(0, 3)),
    "channel_normalize_gradient": Stored(families=_BOTH),
    "statistics_gradient": Stored(families=_BOTH),
    # Where windows overlap, kernels of the CPU add to what lies in memory, which would round every sum.
    "max_pool_gradient": Stored(families=_CUDA, disjoint=_CPU),
    "average_pool_gradient": Stored(families=_CUDA, disjoint=_CPU),
    "pad_gradient": Stored(families=_CUDA),
    "activation_gradient": Stored(families=_BOTH),
    "elementwise_gradient": Stored(families=_BOTH, alike=True),
    "softmax_gradient": Stored(wide=True),
    "cross_entropy_gradient": Stored(wide=True, of_loss=True),
    "softmax_cross_entropy_gradient": Stored(wide=True, of_loss=True),
    "half_squared_error_gradient": Stored(wide=True, of_loss=True),
    "input_normalization_gradient": Stored(wide=True),
    # Of parameters.
    "folded_parameters": _SUMS,
    "gradient_norms": _SUMS,
    "update": _SUMS,
    "update_statistics": _SUMS,
    "update_loss_scale": _SUMS,
    "all_reduce": _SUMS,
}
"""Op → its row."""


def stored(op: str) -> Stored:
    """The row of an op; one without writes an activation, and reads and writes float32."""
    return STORED.get(op, Stored())
