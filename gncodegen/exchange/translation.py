"""The walk over a source's steps: every one becomes layers, or is listed as unsupported."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from gncodegen.errors import NetworkError
from gncodegen.exchange.construction import Construction, Unsupported, Value
from gncodegen.exchange.displaced import MOVEMENTS, Displaced, Found, displaced
from gncodegen.exchange.node import MANY, Batching, Node, Operand, Step
from gncodegen.exchange.operators import OPERATORS
from gncodegen.exchange.patterns import recognised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from gncodegen.layers.graph import LayerGraph

T = TypeVar("T")

OF_SHAPES = ("Shape", "Size")
"""Operators that read no element."""

NO_LAYER = "no layer computes it; allowed: the operators of docs/exchange.md"

Shape = tuple[int | None, ...]
"""Extents; None = not known."""


@dataclass(frozen=True)
class Source:
    """A computation of another framework.

    Args:
        importer: the function that the user called, for messages.
        steps: what it computes, each after those it reads.
        inputs: name → shape of every array that the caller gives.
        outputs: names of the results, in order.
        constants: known arrays by name.
        opset: version of ONNX's default operator set, in which the steps are said.
        fold: computes a step of constants.
        whole: names of inputs that are whole numbers.
    """

    importer: str
    steps: Sequence[Step]
    inputs: Mapping[str, Shape]
    outputs: Sequence[str]
    constants: Mapping[str, NDArray[Any]]
    opset: int
    fold: Callable[[Step, Sequence[NDArray[Any] | None]], Sequence[NDArray[Any]]]
    whole: frozenset[str] = frozenset()


@np.errstate(all="ignore")  # a model's numbers may be infinite
def translated(source: Source) -> LayerGraph:
    """The layer graph of a source.

    Raises:
        NetworkError: steps that no layer covers; `issues` names every one of them.
    """
    issues: list[str] = []
    for batching in _batchings(source.inputs):
        translation = _Translation(source, batching)
        graph = translation.run()
        if graph is not None:
            return graph
        issues = issues or translation.issues
    raise NetworkError(issues)


def _batchings(inputs: Mapping[str, Shape]) -> list[Batching]:
    """The ways to read the source's arrays, the usual one first."""
    shapes = list(inputs.values())
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
    """One walk over the steps.

    Args:
        source: what is imported.
        batching: how its arrays hold observations.
        issues: what was not supported, one sentence each.
    """

    source: Source
    batching: Batching
    issues: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._construction = Construction()
        self._known: dict[str, Found | None] = dict(self.source.constants)
        self._producers = {name: step for step in self.source.steps for name in step.outputs}
        self._reads: dict[str, Sequence[str]] = {}
        self._faults: list[tuple[Sequence[str], str]] = []
        self._shapes: set[str] = set()  # what follows from shapes that are not known

    def run(self) -> LayerGraph | None:
        """The graph; None where something is not supported."""
        source = self.source
        for name, shape in source.inputs.items():
            self._known[name] = self._input(self._construction, name, shape)
        for step in source.steps:
            self._known |= dict(zip(step.outputs, self._step(step), strict=False))
        needed = reached(source.outputs, lambda name: self._reads.get(name, ()))
        self.issues += [issue for outputs, issue in self._faults if not needed.isdisjoint(outputs)]
        constant = [name for name in source.outputs if isinstance(self._known.get(name), np.ndarray)]
        if constant:
            self.issues.append(
                f"{source.importer}: output {constant[0]!r} is a constant; allowed: outputs of the inputs"
            )
        for name in source.outputs:
            if isinstance(self._known.get(name), Displaced):
                self.issues.append(
                    f"{source.importer}: output {name!r} has observations in another axis than the first; allowed: the "
                    "first; transpose it"
                )
        values = [value for value in map(self._known.get, source.outputs) if isinstance(value, Value)]
        return None if self.issues else self._construction.returning(values, source.outputs)

    def _input(self, construction: Construction, name: str, shape: Shape) -> Value | None:
        own = shape[self.batching.skipped :]
        extents = tuple(extent for extent in own if extent is not None)
        if len(extents) != len(own):
            self.issues.append(
                f"{self.source.importer}: input {name!r} has the shape {shape}; allowed: one open extent, the first; "
                f"write shapes={{{name!r}: (None, 3, 224, 224)}}"
            )
            return None
        return construction.input(name, extents, self.batching.batched, name in self.source.whole)

    def _step(self, step: Step) -> Sequence[Found | None]:
        """What the step's outputs stand for; None where that is not known, since something is not supported."""
        operands = tuple(self._known.get(name) if name else None for name in step.inputs)
        missing = any(operand is None and name for operand, name in zip(operands, step.inputs, strict=True))
        self._reads |= dict.fromkeys(step.outputs, step.inputs)
        construction = self._construction.titled(step.title)
        try:
            plain = tuple(None if isinstance(operand, Displaced) else operand for operand in operands)
            node = Node(step, plain, self.source.opset, self.batching, construction)
            whole = (
                None
                if any(isinstance(each, Displaced) for each in operands)
                else recognised(node, self._plain, self._producers)
            )
            if whole:
                value, self._reads[step.outputs[0]] = whole
                return [value]
            results = self._beyond(step) if missing else self._converted(node, operands)
            construction.change(step.title, step.finish)
        except Unsupported as reason:
            self._fault(step.outputs, step, str(reason))
            return [None] * len(step.outputs)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of what no row foresees
            reason = f"its attributes and inputs do not fit together ({type(error).__name__}: {error})"
            self._fault(step.outputs, step, f"{reason}; allowed: those of the operator's definition; correct the model")
            return [None] * len(step.outputs)
        if len(results) < len(step.outputs):
            others = step.outputs[len(results) :]
            self._fault(others, step, f"its outputs {', '.join(others)}; allowed: the first {len(results)}")
        return results

    def _beyond(self, step: Step) -> Sequence[None]:
        """The outputs of a step that reads what is not known, of which may be said that no layer computes it."""
        missing = {name for name in step.inputs if name and self._known.get(name) is None}
        if step.operator in OF_SHAPES or missing <= self._shapes:  # it may follow from constants
            self._shapes.update(step.outputs)
        elif step.refusal or step.operator not in OPERATORS:
            raise Unsupported(step.refusal or NO_LAYER)
        return [None] * len(step.outputs)

    @property
    def _plain(self) -> Mapping[str, Operand | None]:
        """What names stand for, for patterns, which find no displaced arrays."""
        return cast("Mapping[str, Operand | None]", self._known)

    def _fault(self, outputs: Sequence[str], step: Step, reason: str) -> None:
        """Notes what is an issue if the source's outputs need one of these arrays."""
        issue = f"{self.source.importer}: node {step.number} {step.title!r} ({step.kind}): {reason}"
        self._faults.append((outputs, issue))

    def _converted(self, node: Node, operands: Sequence[Found | None]) -> Sequence[Found]:
        """The outputs of a step whose operands are all there: computed now, or by layers."""
        step = node.step
        if step.refusal:
            raise Unsupported(step.refusal)
        if step.operator in OF_SHAPES and isinstance(operands[0], (Value, Displaced)):
            return [_shape_of(node, operands[0])]
        if any(isinstance(operand, Displaced) for operand in operands):
            return displaced(node, operands)
        if not any(isinstance(operand, Value) for operand in node.operands):
            return self.source.fold(step, [entry for entry in node.operands if not isinstance(entry, Value)])
        row = OPERATORS.get(step.operator)
        if row is None:
            raise Unsupported(NO_LAYER)
        try:
            return row.convert(node)
        except Unsupported:
            if not self.batching.batched or step.operator not in MOVEMENTS:
                raise
            return displaced(node, operands)


def _shape_of(node: Node, array: Value | Displaced) -> np.ndarray[Any, Any]:
    shape = np.array(array.shape if isinstance(array, Displaced) else node.shape(array), np.int64)
    if node.step.operator == "Size":
        if any(extent % MANY == 0 for extent in shape):
            raise Unsupported("it counts the elements of all observations")
        return np.asarray(shape.prod())
    return shape[node.attributes.get("start", 0) : node.attributes.get("end")]


def reached(results: Iterable[T], reads: Callable[[T], Iterable[T]]) -> set[T]:
    """What results depend on, themselves too; `reads` says what one is computed from."""
    found: set[T] = set()
    waiting = list(results)
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += reads(each)
    return found
