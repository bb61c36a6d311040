"""Transposed convolution: the forward op that computes, and is planned as, a convolution's input gradient."""

from __future__ import annotations

from typing import ClassVar

from xdsl.builder import Builder
from xdsl.irdl import irdl_op_definition

from gncodegen.ir.gn.base import (
    EPILOGUE,
    RESIDUAL,
    WIDE,
    WINDOW,
    Cotangents,
    GnOperation,
    channels,
    expect,
    expect_shape,
    product_result,
    window_operands,
    window_shape,
)
from gncodegen.ir.gn.forward import Convolution, shape_of
from gncodegen.ir.gn.gradient import ConvolutionWeightGradient
from gncodegen.ir.operation import Declared
from gncodegen.ir.values import Values
from gncodegen.kernels.schedule import Tensor


@irdl_op_definition
class TransposedConvolution(GnOperation):
    """(x, weights (window, K, C)[, bias][, residual]) → y (N, extents, K); bias, residual, activation come by fusion.

    y is the input gradient, for a cotangent x, of the convolution with these weights, this stride and this padding;
    so the padding is what is cut off y.
    """

    name = "gn.transposed_convolution"
    ATTRIBUTES: ClassVar = (Declared("extents", "ints"), *WINDOW, *EPILOGUE, RESIDUAL, WIDE)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        x, weights, bias = window_operands(operands, values)
        filters, per_filter = weights.shape[-2:]
        expect(per_filter == channels(x), f"{channels(x)} channels do not fit weights for {per_filter} channels")
        if bias is not None:
            expect_shape("bias", bias, (filters,))
        extents, rank = values.integers("extents"), len(weights.shape) - 2
        expect(len(extents) == rank, f"extents = {list(extents)}; the window has {rank} axes")
        y = Tensor((*x.shape[: -rank - 1], *extents, filters), x.dtype)
        seen = window_shape(y, weights.shape[:-2], values, values.integers("dilation"))
        expect_shape("x", x, (*seen, per_filter))
        return (product_result(operands, values, y),)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        (dy,) = cotangents
        assert dy is not None
        x, weights = self.operands
        shared = {name: self.attribute(name) for name in ("stride", "dilation", "padding")}
        dw = ConvolutionWeightGradient((dy, x), {"weights_shape": shape_of(weights), **shared}, self.layers)
        dx = Convolution((dy, weights), shared, self.layers)
        builder.insert([dw, dx])  # x often dies with dw, and dx may then lie where it was
        return dx.results[0], dw.results[0]
