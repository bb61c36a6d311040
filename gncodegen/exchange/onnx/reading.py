"""An ONNX model from a file, bytes or a ModelProto: parsed, checked, and its external data kept inside its folder."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import NetworkError
from gncodegen.exchange.onnx.functions import opened
from gncodegen.exchange.onnx.package import package
from gncodegen.exchange.translation import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

OLDEST_OPSET = 7
"""Before it, broadcasting was said by attributes."""

FLOATS = ("float32", "float64")
WHOLE = ("int32", "int64")

UNCHECKED = "gncodegen"
"""A domain whose operators onnx.checker does not know, so that it looks at their names alone."""


@dataclass(frozen=True)
class Model:
    """A checked model.

    Args:
        graph: its nodes, inputs and outputs, a GraphProto.
        opset: version of the default operator set.
        constants: initializers by name.
        inputs: name → shape of every array that the caller gives.
    """

    graph: Any
    opset: int
    constants: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, Shape]


def read(model: Any, shapes: Mapping[str, Sequence[int | None]] | None) -> Model:
    """The checked model.

    Args:
        model: path of a file, the bytes of one, or a ModelProto.
        shapes: input name → shape, where the model's own is not what is wanted or not known.

    Raises:
        NetworkError: it is no ONNX model, is damaged, of a version that is not known, or its data lie outside its
            folder; or `shapes` names no input.
    """
    onnx = package("from_onnx")
    proto, folder = _parsed(onnx, model)
    _load_external(onnx, proto, folder)
    opset = next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if not OLDEST_OPSET <= opset <= newest:
        raise _refused(
            f"the model is of opset {opset}",
            f"{OLDEST_OPSET} to {newest}",
            "convert it with onnx.version_converter.convert_version, or install a newer onnx",
        )
    try:
        onnx.checker.check_model(_strict(proto, opset))
    except (onnx.checker.ValidationError, ValueError, TypeError) as error:
        raise _refused(f"the model is not valid: {_first_line(error)}", "a model that onnx.checker accepts") from error
    if not all(isinstance(name, str) for name in _names(proto.graph)):
        raise _refused("a name in the model is no UTF-8 text", "names of text", "fetch the file again: it is damaged")
    constants = {tensor.name: _array(onnx, tensor) for tensor in proto.graph.initializer}
    if proto.graph.sparse_initializer:
        raise _refused("the model has sparse initializers", "dense ones", "export it with dense tensors")
    for entry in proto.graph.output:
        if entry.type.tensor_type.elem_type == onnx.TensorProto.BOOL:
            raise _refused(
                f"output {entry.name!r} is a condition", "outputs of floats", "put a Cast to float behind it"
            )
    graph = opened(onnx, proto, opset)
    given = [entry for entry in proto.graph.input if entry.name not in constants]
    inputs = {entry.name: _shape(onnx, entry, graph) for entry in given}
    for name, shape in (shapes or {}).items():
        if name not in inputs:
            raise _refused(f"shapes names {name!r}", f"inputs of the model: {', '.join(inputs)}", "correct the name")
        inputs[name] = tuple(None if extent is None else int(extent) for extent in shape)
    return Model(_without_arrays(graph), opset, constants, inputs)


def _without_arrays(graph: Any) -> Any:
    """A graph of the same nodes: the memory of initializers goes with the model that they came in."""
    copy = type(graph)()
    for name in ("node", "input", "output"):
        getattr(copy, name).extend(getattr(graph, name))
    return copy


def _strict(proto: Any, opset: int) -> Any:
    """The model as onnx.checker wants it: a copy where it says less about its outputs, or has the group norm of 18."""
    shapeless = [i for i, entry in enumerate(proto.graph.output) if not entry.type.tensor_type.HasField("shape")]
    norms = [i for i, node in enumerate(proto.graph.node) if node.op_type == "GroupNormalization" and opset < 21]
    if not shapeless and not norms:
        return proto
    copy = type(proto)()
    copy.CopyFrom(proto)
    for i in shapeless:
        copy.graph.output[i].type.tensor_type.shape.SetInParent()
    for i in norms:
        copy.graph.node[i].domain = UNCHECKED
    copy.opset_import.add(domain=UNCHECKED, version=1)
    return copy


def _names(graph: Any) -> Iterator[Any]:
    """All names in a graph; protobuf gives bytes where they are no text."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    yield from (entry.name for entry in (*graph.input, *graph.output, *graph.initializer))


def _parsed(onnx: Any, model: Any) -> tuple[Any, Path | None]:
    """The ModelProto, and the folder of its file."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    if isinstance(model, onnx.ModelProto):
        # Loading data into the caller's own message would change it.
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy, None
    folder = None
    if isinstance(model, (str, Path)):
        path = Path(model).expanduser()
        try:
            if not path.is_file():
                raise _refused(f"{path} is no file", "the path of an .onnx file", "check the path")
            data, folder = path.read_bytes(), path.resolve().parent
        except OSError as error:
            raise _refused(f"{path} cannot be read: {error}", "a file that can be read", "check the path") from error
    elif isinstance(model, (bytes, bytearray, memoryview)):
        data = bytes(model)
    else:
        raise _refused(
            f"the model is {type(model).__name__}", "a path, bytes or onnx.ModelProto", "give the path of a file"
        )
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except (DecodeError, ValueError) as error:
        raise _refused(f"this is no ONNX model: {_first_line(error)}", "an ONNX protobuf") from error
    if not proto.graph.node and not proto.graph.output:
        raise _refused("this is no ONNX model: it has no graph", "an ONNX protobuf")
    return proto, folder


def _load_external(onnx: Any, proto: Any, folder: Path | None) -> None:
    """Reads tensors that lie in files beside the model, and in no others."""
    external = [t for t in proto.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in external:
        facts = {entry.key: entry.value for entry in tensor.external_data}
        where = f"tensor {tensor.name!r} lies in {facts.get('location')!r}"
        if folder is None:
            raise _refused(f"{where}, which bytes do not hold", "tensors inside the model", "give the model's path")
        path = (folder / facts.get("location", "")).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            raise _refused(f"{where}", f"files inside the model's folder {folder}", "move the file beside the model")
        try:
            start, size = int(facts.get("offset", 0)), int(facts.get("length", path.stat().st_size))
        except ValueError as error:
            raise _refused(f"{where} at {facts}", "an offset and a length in bytes") from error
        if start < 0 or size < 0 or start + size > path.stat().st_size:
            raise _refused(f"{where}, bytes {start} to {start + size}", f"up to {path.stat().st_size}, its size")
        with path.open("rb") as file:
            file.seek(start)
            tensor.raw_data = file.read(size)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _array(onnx: Any, tensor: Any) -> NDArray[Any]:
    """An initializer as an array; its size is compared with what the file holds before memory is asked for."""
    from onnx import numpy_helper  # noqa: PLC0415

    extents = tuple(tensor.dims)
    held = len(tensor.raw_data) or 8 * sum(len(getattr(tensor, name)) for name in _FIELDS)
    if any(extent < 0 for extent in extents) or prod(extents) > 8 * max(held, 1):
        raise _refused(f"tensor {tensor.name!r} of shape {extents} holds {held} bytes", "as many as its shape needs")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise _refused(f"tensor {tensor.name!r}: {_first_line(error)}", "a dense tensor") from error


_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


PLACES = {"Gather", "GatherElements"}
"""Operators whose second input is places."""


def _is_of_places(graph: Any, name: str) -> bool:
    """Whether an input is read as places, or made floats or conditions of, and nothing else."""
    readers = [node for node in graph.node if name in node.input]
    return all(
        node.op_type == "Cast" or (node.op_type in PLACES and list(node.input).index(name) == 1) for node in readers
    )


def _shape(onnx: Any, entry: Any, graph: Any) -> Shape:
    """The shape of an input; raises NetworkError for anything but tensors of floats and of places."""
    kind = entry.type.tensor_type
    if not entry.type.HasField("tensor_type"):
        raise _refused(f"input {entry.name!r} is no tensor", "dense tensors of floats")
    known = kind.elem_type in onnx.TensorProto.DataType.values() and kind.elem_type
    name = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name if known else "unknown"
    if name not in FLOATS and not (name in WHOLE and _is_of_places(graph, entry.name)):
        allowed = f"{' and '.join(FLOATS)}; {' and '.join(WHOLE)} as places of {' and '.join(sorted(PLACES))}"
        raise _refused(f"input {entry.name!r} is of type {name}", allowed, "convert the model")
    if not kind.HasField("shape"):
        raise _refused(
            f"input {entry.name!r} has no shape", "a shape", f"write shapes={{{entry.name!r}: (None, 3, 224, 224)}}"
        )
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _refused(given: str, allowed: str, cure: str = "export the model again") -> NetworkError:
    return NetworkError([f"from_onnx: {given}; allowed: {allowed}; {cure}"])
