"""`compiled.export("net.onnx")`: every layer becomes nodes, or is listed as one that ONNX cannot say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.compiler import check_format
from gncodegen.errors import LayerError, NetworkError, OptionsError
from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.onnx.emission import Array, Emission, identity
from gncodegen.exchange.onnx.factors import keep_factors
from gncodegen.exchange.onnx.operations import LAYERS, OPERATIONS
from gncodegen.exchange.onnx.operations.row import LayerRow, Step
from gncodegen.exchange.onnx.package import package
from gncodegen.layers.base import Operation
from gncodegen.layers.checks import shown
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.network import Network, Node
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.layers.tensors import is_one_number
from gncodegen.saving import written_beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gncodegen.compiled import Compiled

OLDEST_OPSET = 21
"""Since it, group normalization has scale and offset per channel."""

LARGEST = 2**31 - 2**20
"""Bytes of weights that a protobuf holds; more lie in a file beside it."""

BATCH = "N"
"""The name of the axis of observations."""


def write(compiled: Compiled, path: Path, *, opset: int = OLDEST_OPSET, data_format: str = "") -> None:
    """Writes a model for prediction, which `onnx.checker` has accepted.

    Args:
        compiled: the network, with its values of now.
        path: of the file; weights beyond 2 GB lie beside it in `<name>.data`.
        opset: version of the operator set, 21 or newer.
        data_format: axis order of the arrays it takes and gives; "" = that of `compiled.predict`.

    Raises:
        NetworkError: ONNX cannot say what some layers do; `issues` names every one.
        OptionsError: the opset is older, or the installed onnx does not know it.
        SaveError: the file cannot be written.
    """
    onnx = package("export")
    newest = onnx.defs.onnx_opset_version()
    whole = isinstance(opset, int) and not isinstance(opset, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not whole or not OLDEST_OPSET <= opset <= newest:
        raise OptionsError(f"opset = {shown(opset)}; allowed: {OLDEST_OPSET} to {newest}; write opset={OLDEST_OPSET}")
    options = compiled.options
    letters = data_format or options.data_format or ""
    proto = model(compiled.network, dict(compiled.parameters), options.array_dtype, letters, opset)
    size = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    with written_beside(path) as draft:
        place = draft / path.name
        onnx.save_model(
            proto, place, save_as_external_data=size > LARGEST, location=f"{path.name}.data", size_threshold=0
        )
        try:
            onnx.checker.check_model(place, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            issue = f"export: onnx.checker refuses the model: {error}; allowed: models that it accepts"
            raise NetworkError([f"{issue}; try another opset or dtype, and report this"]) from error


def model(
    network: Network,
    values: Mapping[str, NDArray[Any]],
    dtype: str = "float32",
    data_format: str = "",
    opset: int = OLDEST_OPSET,
) -> Any:
    """The ModelProto of a network with these values of its parameters, by key; the rest as of `write`."""
    from onnx import helper, numpy_helper  # noqa: PLC0415

    check_format(network, data_format)
    drawing = _Drawing(network, values, dtype, data_format)
    drawing.run()
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in described.items()]
        for described in (drawing.inputs, drawing.outputs)
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in drawing.emission.constants.items()]
    graph = helper.make_graph(drawing.emission.nodes, "gncodegen", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports)
    proto = helper.make_model(graph, opset_imports=imports, ir_version=version, producer_name="gncodegen")
    output = network.output_layer
    if isinstance(output, ClassificationLayer) and output.classes != "auto":
        helper.set_model_props(proto, {"classes": json.dumps(output.classes)})
    return proto


_Returned = tuple[str, str, list[int | str]]
"""Tensor, layer and extents of an output."""


class _Drawing:
    """One walk over the layers.

    Args:
        network: what is exported.
        values: of its parameters, by key.
        dtype: of all floats.
        data_format: axis order of inputs and outputs; "" = the layers' own.
    """

    def __init__(self, network: Network, values: Mapping[str, NDArray[Any]], dtype: str, data_format: str) -> None:
        self.network, self.values, self.format = network, values, data_format
        self.emission = Emission(dtype)
        self.inputs: dict[str, list[int | str]] = {}
        self.outputs: dict[str, list[int | str]] = {}
        self._arrays: dict[str, Array] = {}

    def run(self) -> None:
        """Fills the emission, inputs and outputs; raises NetworkError with every layer that ONNX cannot say."""
        issues: list[str] = []
        for node in self.network.nodes:
            if node.layer.is_output:
                continue
            try:
                self._arrays[node.name] = self._layer(node)
            except (Unsupported, LayerError) as reason:
                issues.append(f"export: {node.label} ({type(node.layer).__name__}): {reason}")
                # What follows is looked at as if this layer had been written.
                shape = node.size.shape
                self._arrays[node.name] = Array(shape, {identity(len(shape)): node.name})
        if issues:
            raise NetworkError(issues)
        returned: list[_Returned] = []
        for name in self.network.outputs:
            returned.append(self._output(self.network[name], returned))
        self._name_outputs(returned)

    def _layer(self, node: Node) -> Array:
        fed = (self._input(node),) if node.layer.is_input else tuple(self._arrays[name] for name in node.inputs)
        before = len(self.emission.nodes)
        row = _layer_row(node)
        if row is not None:
            result = row.emit(self._step(node, node.layer.operations(node.input_sizes)[0], fed, node.name))
        else:
            result = self._chain(node, fed)
        if len(self.emission.nodes) > before:
            keep_factors(node.layer, self.emission.nodes[-1])
        return result

    def _chain(self, node: Node, arrays: tuple[Array, ...]) -> Array:
        """The operations of a layer, one after another."""
        chain, inputs = _merged(node.layer.operations(node.input_sizes)), arrays
        for position, operation in enumerate(chain, 1):
            if operation.op not in OPERATIONS:
                raise Unsupported(f"gn.{operation.op} has no operator; allowed: {', '.join(OPERATIONS)}")
            title = node.name if position == len(chain) else f"{node.name}/{operation.op}"
            row = OPERATIONS[operation.op]
            arrays = (*arrays, *inputs) if operation.with_inputs else arrays
            arrays = (row.emit(self._step(node, operation, arrays, title)),)
        return arrays[0]

    def _step(self, node: Node, operation: Operation, arrays: tuple[Array, ...], title: str) -> Step:
        values = tuple(node.array(name, self.values) for name in operation.parameters)
        return Step(self.emission, node, operation, arrays, values, title)

    def _input(self, node: Node) -> Array:
        """What callers give, as layers read it."""
        if callable(getattr(node.layer, "normalization", None)):
            raise Unsupported(
                "its normalization is a callable, which no file holds; allowed: the names of normalizations; "
                "normalize the arrays before they are given"
            )
        shape, own = node.size.shape, "B" + node.size.format
        letters = axis_order(self.format, own)
        places = permutation(own, letters)
        dims: list[int | str] = [(BATCH, *shape)[place] for place in places]
        name = self.emission.free(node.name)
        batched, given = getattr(node.layer, "batched", True), getattr(node.layer, "shape", shape)
        if not batched or not given:
            # One observation without an axis of its own, or numbers without any other axis.
            self.inputs[name] = ([BATCH] if batched else []) + list(given)
            target = self.emission.constant(f"{node.name}/shape", [-1 if batched else 1, *shape])
            tensor = self.emission.node("Reshape", [name, target], f"{node.name}/reshape")
            return Array(shape, {identity(len(shape)): tensor})
        self.inputs[name] = dims
        if letters[0] == "B":
            return Array(shape, {tuple(place - 1 for place in places[1:]): name})
        back = self.emission.node("Transpose", [name], f"{node.name}/transpose", perm=permutation(letters, own))
        return Array(shape, {identity(len(shape)): back})

    def _output(self, node: Node, returned: Sequence[_Returned]) -> _Returned:
        """What prediction returns, in the caller's order of axes."""
        array, emission, title = self._arrays[node.name], self.emission, node.name
        scores = isinstance(self.network.output_layer, ClassificationLayer)
        single = is_one_number(node.layer)
        own = "BC" if scores else "B" if single else "B" + node.size.format
        letters = axis_order(self.format, own)
        if single or (scores and array.rank > 1):
            flat = Operation("reshape", (), {"shape": () if single else (node.size.channels,)})
            array = OPERATIONS["reshape"].emit(Step(emission, node, flat, (array,), (), f"{title}/scores"))
        places = permutation(own, letters)
        dims: list[int | str] = [(BATCH, *array.shape)[place] for place in places]
        if not self.network.batched:
            dims = [*array.shape]
            tensor = emission.stored(array, identity(array.rank), title)
            target = emission.constant(f"{title}/shape", list(array.shape))
            tensor = emission.node("Reshape", [tensor, target], f"{title}/reshape")
        elif letters[0] == "B":
            tensor = emission.stored(array, tuple(place - 1 for place in places[1:]), title)
        else:
            present = array.order
            order = [present.index(place - 1) + 1 if place else 0 for place in places]
            tensor = emission.node("Transpose", [array.tensors[present]], f"{title}/transpose", perm=order)
        if tensor in self.inputs or any(tensor == taken for taken, _, _ in returned):
            tensor = emission.node("Identity", [tensor], f"{title}/output")
        return tensor, title, dims

    def _name_outputs(self, returned: Sequence[_Returned]) -> None:
        """Outputs get the names of their layers."""
        for tensor, title, dims in returned:
            name = tensor
            if tensor != title and title not in self.inputs:
                if title in self.emission.names:  # the same array in another order
                    self.emission.renamed(title, self.emission.free(f"{title}/own"))
                self.emission.renamed(tensor, title)
                name = title
            self.outputs[name] = dims


def _merged(chain: Sequence[Operation]) -> list[Operation]:
    """The chain, in which a bias is one more parameter of the product in front of it."""
    merged: list[Operation] = []
    for operation in chain:
        front = merged[-1] if merged else None
        if operation.op == "bias" and front and front.op in _WITH_BIAS:
            merged[-1] = replace(front, parameters=(*front.parameters, *operation.parameters))
        else:
            merged.append(operation)
    return merged


_WITH_BIAS = ("convolution", "transposed_convolution", "fully_connected")


def _layer_row(node: Node) -> LayerRow | None:
    """The row of a layer that is one operator."""
    row = next((LAYERS[kind] for kind in type(node.layer).__mro__ if kind in LAYERS), None)
    return row if row is not None and row.covers(node) else None
