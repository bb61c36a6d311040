"""`from_onnx`: a model's nodes as steps of the shared translation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.allocation import give_back
from gncodegen.exchange.node import Step
from gncodegen.exchange.onnx.factors import with_factors
from gncodegen.exchange.onnx.folding import fold
from gncodegen.exchange.onnx.reading import Model, read
from gncodegen.exchange.onnx.sharing import with_shared_parameters
from gncodegen.exchange.translation import Source, translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gncodegen.layers.graph import LayerGraph


def from_onnx(model: Any, shapes: Mapping[str, Sequence[int | None]] | None = None) -> LayerGraph:
    """A layer graph of an ONNX model, whose layers carry the weights.

    The graph takes and returns arrays in the model's own order of axes. The first axis is that of observations, and
    prediction takes any number of them, whatever the model says there. A model that computes along its first axis, and
    whose shapes are all known, is taken as one observation. An initializer that several layers have as their weights,
    in any order of axes, is one parameter.

    Args:
        model: the path of a file, the bytes of one, or an onnx.ModelProto; opset 7 or newer.
        shapes: input name → shape, such as {"x": (None, 3, 224, 224)}, where the model leaves extents open.

    Raises:
        NetworkError: the model is damaged, or has nodes that no layer covers; `issues` names every one of them.

    Source: the Open Neural Network Exchange, operator schemas.
    """
    graph = _imported(_source(read(model, shapes)))
    give_back()
    return graph


def _imported(source: Source) -> LayerGraph:
    return with_shared_parameters(source, translated(source))


def _source(model: Model) -> Source:
    """The model as steps."""
    from onnx import TensorProto  # noqa: PLC0415

    protos = list(model.graph.node)

    def folded(step: Step, operands: Sequence[NDArray[Any] | None]) -> Sequence[NDArray[Any]]:
        return fold(protos[step.number - 1], model.opset, operands)

    steps = [_step(proto, number) for number, proto in enumerate(protos, 1)]
    outputs = [entry.name for entry in model.graph.output]
    kinds = {entry.name: entry.type.tensor_type.elem_type for entry in model.graph.input}
    whole = frozenset(name for name, kind in kinds.items() if kind in (TensorProto.INT32, TensorProto.INT64))
    return Source("from_onnx", steps, model.inputs, outputs, model.constants, model.opset, folded, whole)


def _step(proto: Any, number: int) -> Step:
    """A node as the operator table reads it."""
    from onnx import helper  # noqa: PLC0415

    attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
    return Step(
        operator=proto.op_type if proto.domain in ("", "ai.onnx") else "",
        kind=proto.op_type,
        title=proto.name or f"{proto.op_type}_{number}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes={name: _plain(value) for name, value in attributes.items()},
        number=number,
        finish=lambda layer: with_factors(layer, proto),
    )


def _plain(value: Any) -> Any:
    """Texts as str; the float32 of an attribute as the shortest number that it can stand for: 1e-05."""
    if isinstance(value, float):
        return float(str(np.float32(value)))
    return value.decode() if isinstance(value, bytes) else value
