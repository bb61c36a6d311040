"""Nodes whose inputs are all known are computed when a model is imported."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.exchange.construction import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

LARGEST_CONSTANT = 1 << 28
"""Elements of an array that a node may make of smaller ones."""


def fold(node: Any, opset: int, inputs: Sequence[NDArray[Any] | None]) -> list[NDArray[Any]]:
    """The outputs of a node, by ONNX's own reference.

    Args:
        node: its NodeProto.
        opset: version of the default operator set.
        inputs: one per input; None where it is left out.

    Raises:
        Unsupported: the reference cannot compute it, or it would make a very large array.
    """
    import onnx  # noqa: PLC0415
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415

    _refuse_huge(node, inputs)
    known = {name: array for name, array in zip(node.input, inputs, strict=True) if array is not None}
    types = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in known.items()
    ]
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "folded", types, results)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, known)]
    except Exception as error:
        raise Unsupported(f"it cannot be computed from constants: {str(error).splitlines()[:1]}") from error


def _refuse_huge(node: Any, inputs: Sequence[NDArray[Any] | None]) -> None:
    """The ops that make large arrays of small ones."""
    size = 0.0
    if node.op_type in ("ConstantOfShape", "Expand") and inputs[-1] is not None:
        size = prod(map(float, inputs[-1].ravel()))
    elif node.op_type == "Tile" and inputs[0] is not None and inputs[1] is not None:
        size = inputs[0].size * prod(map(float, inputs[1].ravel()))
    elif node.op_type == "Range":
        start, limit, step = (float(array) if array is not None else 1.0 for array in inputs)
        size = abs((limit - start) / step) if step else float("inf")
    if size > LARGEST_CONSTANT:
        raise Unsupported(f"it makes an array of {size:.3g} elements; allowed: up to {LARGEST_CONSTANT:,}")
