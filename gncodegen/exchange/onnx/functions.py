"""Functions of a model, its own and those that define operators outside the table, replaced by what they compute."""

from __future__ import annotations

from typing import Any

from gncodegen.exchange.operators import OPERATORS
from gncodegen.exchange.translation import OF_SHAPES

DEEPEST = 8
"""Functions within functions."""

MOST_KNOWN = 1024
"""Elements of an initializer whose values may say what a function computes, such as axes and shapes."""

STANDARD = ("", "ai.onnx")
"""Names of the domain of ONNX's own operators."""


def opened(onnx: Any, proto: Any, opset: int) -> Any:
    """The graph of a model without calls of functions.

    An operator that the table lacks, and that reads what is computed at run time, becomes the function that its
    definition gives, where there is one.

    Args:
        onnx: the package.
        proto: the model, a ModelProto.
        opset: version of the default operator set.

    Returns:
        its GraphProto, as it is where it calls none.

    Source: the Open Neural Network Exchange, function bodies of operators.
    """
    graph = proto.graph
    for _ in range(DEEPEST):
        wanted = _called(onnx, proto, graph, opset)
        if not wanted:
            break
        model = _light(onnx, proto, graph)
        _with_defaults(onnx, model, wanted, opset)
        try:
            graph = onnx.inliner.inline_selected_functions(model, wanted, inline_schema_functions=True).graph
        except (RuntimeError, ValueError, TypeError):  # its nodes are told of as any that no layer covers
            break
    return graph


def _called(onnx: Any, proto: Any, graph: Any, opset: int) -> list[tuple[str, str]]:
    """(domain, name) of the functions that nodes call."""
    own = {(each.domain, each.name) for each in proto.functions}
    known = {each.name for each in graph.initializer} | {each.name for each in proto.graph.initializer}
    computed = {each.name for each in graph.input} - known
    found: dict[tuple[str, str], None] = {}
    for node in graph.node:
        # Shapes are known when a model is imported, and what follows from them.
        reads = node.op_type not in OF_SHAPES and any(name in computed for name in node.input)
        if reads:
            computed.update(node.output)
        kind = (node.domain, node.op_type)
        if kind in own or (reads and kind not in found and _is_defined(onnx, *kind, opset)):
            found[kind] = None
    return list(found)


def _is_defined(onnx: Any, domain: str, name: str, opset: int) -> bool:
    """Whether an operator is outside the table, and its definition says it in others."""
    if domain not in STANDARD or name in OPERATORS or not onnx.defs.has(name):
        return False
    try:
        schema = onnx.defs.get_schema(name, opset, "")
    except onnx.defs.SchemaError:  # it is newer than the model's opset
        return False
    return schema.has_function or schema.has_context_dependent_function


def _with_defaults(onnx: Any, model: Any, wanted: list[tuple[str, str]], opset: int) -> None:
    """Writes the attributes that such nodes leave out: a function's body reads those of the call alone."""
    own = {(each.domain, each.name) for each in model.functions}
    for node in model.graph.node:
        if (node.domain, node.op_type) not in wanted or (node.domain, node.op_type) in own:
            continue
        given = {each.name for each in node.attribute}
        for name, attribute in onnx.defs.get_schema(node.op_type, opset, "").attributes.items():
            if name not in given and attribute.default_value.type:
                node.attribute.append(attribute.default_value)


def _light(onnx: Any, proto: Any, graph: Any) -> Any:
    """The model with inputs in the place of large initializers: to open a function takes their types alone."""
    model = onnx.ModelProto(ir_version=proto.ir_version)
    model.opset_import.extend(proto.opset_import)
    model.functions.extend(proto.functions)
    for name in ("node", "input", "output", "value_info"):
        getattr(model.graph, name).extend(getattr(graph, name))
    model.graph.name = proto.graph.name or "opened"
    inputs = {each.name for each in graph.input}
    for tensor in proto.graph.initializer:
        if sum(tensor.dims) <= MOST_KNOWN and onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).kind == "i":
            model.graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            entry = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            model.graph.input.append(entry)
    return model
