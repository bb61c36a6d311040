"""The operator table: one row per operator, named as ONNX names it; importers of other frameworks speak these names."""

from __future__ import annotations

from collections.abc import Mapping

from gncodegen.exchange.operators import (
    along,
    arithmetic,
    attention,
    elementwise,
    logic,
    movement,
    normalization,
    ordering,
    pieces,
    products,
    reduction,
    resizing,
    sampling,
    windows,
)
from gncodegen.exchange.operators.row import Operator

OPERATORS: Mapping[str, Operator] = {
    **windows.OPERATORS,
    **normalization.OPERATORS,
    **products.OPERATORS,
    **attention.OPERATORS,
    **elementwise.OPERATORS,
    **arithmetic.OPERATORS,
    **logic.OPERATORS,
    **reduction.OPERATORS,
    **movement.OPERATORS,
    **pieces.OPERATORS,
    **along.OPERATORS,
    **ordering.OPERATORS,
    **resizing.OPERATORS,
    **sampling.OPERATORS,
}
"""Operator of the default domain → how it becomes layers."""
