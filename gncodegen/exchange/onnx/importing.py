"""`from_onnx`: every node of a model becomes layers, or is listed as unsupported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import NetworkError
from gncodegen.exchange.construction import Construction, Unsupported, Value
from gncodegen.exchange.onnx.folding import fold
from gncodegen.exchange.onnx.node import MANY, Batching, Node, Operand
from gncodegen.exchange.onnx.operators import OPERATORS
from gncodegen.exchange.onnx.patterns import recognised
from gncodegen.exchange.onnx.reading import Model, Shape, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gncodegen.layers.graph import LayerGraph


def from_onnx(model: Any, shapes: Mapping[str, Sequence[int | None]] | None = None) -> LayerGraph:
    """A layer graph of an ONNX model, whose layers carry the weights.

    The graph takes and returns arrays in the model's own order of axes. The first axis is that of observations, and
    prediction takes any number of them, whatever the model says there. A model that computes along its first axis, and
    whose shapes are all known, is taken as one observation.

    Args:
        model: the path of a file, the bytes of one, or an onnx.ModelProto; opset 7 or newer.
        shapes: input name → shape, such as {"x": (None, 3, 224, 224)}, where the model leaves extents open.

    Raises:
        NetworkError: the model is damaged, or has nodes that no layer covers; `issues` names every one of them.

    Source: the Open Neural Network Exchange, operator schemas.
    """
    checked = read(model, shapes)
    issues: list[str] = []
    for batching in _batchings(checked):
        translation = _Translation(checked, batching)
        graph = translation.run()
        if graph is not None:
            return graph
        issues = issues or translation.issues
    raise NetworkError(issues)


def _batchings(model: Model) -> list[Batching]:
    """The ways to read the model's arrays, the usual one first."""
    shapes = list(model.inputs.values())
    found: list[Batching] = []
    declared = frozenset(shape[0] for shape in shapes if shape and shape[0] is not None)
    # Inputs of different first extents cannot have the same observations there.
    if all(shapes) and shapes and len(declared) <= 1:
        found.append(Batching(True, declared))
    if all(None not in shape for shape in shapes):
        found.append(Batching(False))
    return found or [Batching(True)]


@dataclass
class _Translation:
    """One walk over the nodes.

    Args:
        model: what is imported.
        batching: how its arrays hold observations.
        issues: what was not supported, one sentence each.
    """

    model: Model
    batching: Batching
    issues: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._construction = Construction()
        self._known: dict[str, Operand | None] = dict(self.model.constants)
        self._producers = {name: proto for proto in self.model.graph.node for name in proto.output}
        self._reads: dict[str, Sequence[str]] = {}
        self._faults: list[tuple[Sequence[str], str]] = []

    def run(self) -> LayerGraph | None:
        """The graph; None where something is not supported."""
        for name, shape in self.model.inputs.items():
            self._known[name] = self._input(self._construction, name, shape)
        for number, proto in enumerate(self.model.graph.node, 1):
            results = self._node(proto, number)
            self._known |= dict(zip(proto.output, results, strict=False))
        names = [entry.name for entry in self.model.graph.output]
        needed = self._needed(names)
        self.issues += [issue for outputs, issue in self._faults if not needed.isdisjoint(outputs)]
        constant = [name for name in names if isinstance(self._known.get(name), np.ndarray)]
        if constant:
            self.issues.append(f"from_onnx: output {constant[0]!r} is a constant; allowed: outputs of the inputs")
        values = [value for value in map(self._known.get, names) if isinstance(value, Value)]
        return None if self.issues else self._construction.returning(values, names)

    def _needed(self, names: Sequence[str]) -> set[str]:
        """The arrays on which these depend."""
        needed: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self._reads.get(name, ())
        return needed

    def _input(self, construction: Construction, name: str, shape: Shape) -> Value | None:
        own = shape[self.batching.skipped :]
        extents = tuple(extent for extent in own if extent is not None)
        if len(extents) != len(own):
            cure = tuple(None if extent is None else extent for extent in shape)
            self.issues.append(
                f"from_onnx: input {name!r} has the shape {cure}; allowed: one open extent, the first; "
                f"write shapes={{{name!r}: (None, 3, 224, 224)}}"
            )
            return None
        return construction.input(name, extents, self.batching.batched)

    def _node(self, proto: Any, number: int) -> Sequence[Operand | None]:
        """What the node's outputs stand for; None where that is not known, since something is not supported."""
        operands = tuple(self._known.get(name) if name else None for name in proto.input)
        missing = any(operand is None and name for operand, name in zip(operands, proto.input, strict=True))
        title = proto.name or f"{proto.op_type}_{number}"
        self._reads |= dict.fromkeys(proto.output, proto.input)
        construction = self._construction.titled(title)
        try:
            node = Node(proto, operands, self.model.opset, self.batching, construction, _attributes(proto))
            whole = recognised(node, self._known, self._producers)
            if whole:
                value, self._reads[proto.output[0]] = whole
                return [value]
            results = [None] * len(proto.output) if missing else _converted(node)
        except Unsupported as reason:
            self._fault(proto.output, number, proto, str(reason))
            return [None] * len(proto.output)
        if len(results) < len(proto.output):
            others = proto.output[len(results) :]
            self._fault(others, number, proto, f"its outputs {', '.join(others)}; allowed: the first {len(results)}")
        return results

    def _fault(self, outputs: Sequence[str], number: int, proto: Any, reason: str) -> None:
        """Notes what is an issue if the model's outputs need one of these arrays."""
        title = proto.name or f"{proto.op_type}_{number}"
        self._faults.append((outputs, f"from_onnx: node {number} {title!r} ({proto.op_type}): {reason}"))


def _converted(node: Node) -> Sequence[Operand]:
    """The outputs of a node whose inputs are all there: computed now, or by layers."""
    proto = node.proto
    if proto.op_type in ("Shape", "Size") and isinstance(node.operands[0], Value):
        return [_shape_of(node)]
    if not any(isinstance(operand, Value) for operand in node.operands):
        return fold(proto, node.opset, [operand for operand in node.operands if not isinstance(operand, Value)])
    row = OPERATORS.get(proto.op_type) if proto.domain in ("", "ai.onnx") else None
    if row is None:
        raise Unsupported("no layer computes it; allowed: the operators of docs/exchange.md")
    return row.convert(node)


def _attributes(proto: Any) -> dict[str, Any]:
    from onnx import helper  # noqa: PLC0415

    attributes = {entry.name: helper.get_attribute_value(entry) for entry in proto.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in attributes.items()}


def _shape_of(node: Node) -> np.ndarray[Any, Any]:
    shape = np.array(node.shape(node.value()), np.int64)
    if node.proto.op_type == "Size":
        if MANY in shape:
            raise Unsupported("it counts the elements of all observations")
        return np.asarray(shape.prod())
    return shape[node.attributes.get("start", 0) : node.attributes.get("end")]
