"""The tables of the exporter: one row per operation of the gn dialect, and per layer that is one ONNX operator."""

from __future__ import annotations

from collections.abc import Mapping

from gncodegen.exchange.onnx.operations import elementwise, movement, normalization, windows
from gncodegen.exchange.onnx.operations.row import LayerRow, Row
from gncodegen.layers.base import Layer

OPERATIONS: Mapping[str, Row] = {**windows.ROWS, **normalization.ROWS, **elementwise.ROWS, **movement.ROWS}
"""Operation of a layer's chain → its nodes."""

LAYERS: Mapping[type[Layer], LayerRow] = {**windows.LAYERS, **normalization.LAYERS, **movement.LAYERS}
"""Kind of layer, whatever its number of axes → its node."""
