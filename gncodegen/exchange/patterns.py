"""Subgraphs that are one layer: a table of patterns, which a node is compared with before it is translated itself.

A pattern is the expression of an array, written down from its end. What a match leaves without a reader is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from math import pi, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node, Operand, Step

# ---- the terms of a pattern --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Array:
    """Any array that is computed at run time; of one label, the same one everywhere."""

    label: str


@dataclass(frozen=True)
class Constant:
    """A known array; where a number is given, equal to it but for `tolerance`, a part of it."""

    label: str = ""
    number: float | None = None
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Op:
    """The result of a node; its last inputs may be left out here.

    Args:
        operator: its type.
        inputs: terms of its inputs; those of Add and Mul match in any order.
        label: under which the match has the node.
        attributes: name → (what it must be, what it is where the node does not say it).
    """

    operator: str
    inputs: tuple[Term, ...]
    label: str = ""
    attributes: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


@dataclass(frozen=True)
class Either:
    """One of several terms."""

    terms: tuple[Term, ...]


Term = Array | Constant | Op | Either


@dataclass(frozen=True)
class Found:
    """A match: the names of arrays and the nodes that the labels stand for.

    Args:
        known: name of an array → what it stands for.
        names: label → name of an array, or of a node's first output.
        nodes: label → step.
    """

    known: Mapping[str, Operand | None]
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    nodes: Mapping[str, Step] = field(default_factory=dict[str, Step])

    def value(self, label: str) -> Value:
        """The array that was computed at run time."""
        found = self.known[self.names[label]]
        assert isinstance(found, Value)
        return found

    def constant(self, label: str, default: float = 0.0) -> NDArray[Any]:
        """The known array; the default where the pattern has none of this label."""
        return np.asarray(self.known[self.names[label]] if label in self.names else default)

    def reads(self) -> list[str]:
        """The arrays that the layer takes."""
        return [name for label, name in self.names.items() if label not in self.nodes]


def matches(term: Term, name: str, producers: Mapping[str, Step], found: Found) -> Iterator[Found]:
    """Every way to read the array `name` as a term.

    Args:
        term: what to compare with.
        name: of the array.
        producers: name of an array → the node that computes it.
        found: what is bound already.
    """
    array = found.known.get(name)
    match term:
        case Either(terms):
            for each in terms:
                yield from matches(each, name, producers, found)
        case Array(label):
            if isinstance(array, Value) and found.names.get(label, name) == name:
                yield _bound(found, label, name)
        case Constant(label, number, tolerance):
            if isinstance(array, np.ndarray) and (number is None or np.allclose(array, number, tolerance, 0)):
                yield _bound(found, label, name)
        case Op(operator, inputs, label, attributes):
            node = producers.get(name)
            if node is None or node.operator != operator or len(node.inputs) < len(inputs) or node.outputs[0] != name:
                return
            given = node.attributes
            if any(not np.isclose(given.get(key, default), want) for key, (want, default) in attributes.items()):
                return
            begun = Found(found.known, found.names, {**found.nodes, label: node} if label else found.nodes)
            for order in permutations(node.inputs) if operator in ("Add", "Mul") else [node.inputs[: len(inputs)]]:
                yield from _all(list(zip(inputs, order, strict=True)), producers, begun)


def _all(pairs: Sequence[tuple[Term, str]], producers: Mapping[str, Step], found: Found) -> Iterator[Found]:
    """Every way to read several arrays as a term each."""
    if not pairs:
        yield found
        return
    (term, name), *rest = pairs
    for each in matches(term, name, producers, found):
        yield from _all(rest, producers, each)


def _bound(found: Found, label: str, name: str) -> Found:
    return Found(found.known, {**found.names, label: name} if label else found.names, found.nodes)


# ---- what several patterns share ---------------------------------------------------------------------------------
X = Array("x")


def op(operator: str, *inputs: Term, label: str = "", **attributes: tuple[float, float]) -> Op:
    """A node, in short."""
    return Op(operator, inputs, label, attributes)


def number(value: float) -> Constant:
    """A constant equal to a number."""
    return Constant("", value)


ONE = Constant("", 1.0, 0.0)


def affine(term: Term) -> Term:
    """The term, or the term · scale + offset."""
    return op("Add", op("Mul", term, Constant("scale")), Constant("offset"))


def halved(term: Term) -> Either:
    """X · term / 2, in any order."""
    return Either((
        op("Mul", op("Mul", X, term), number(0.5)),
        op("Mul", X, op("Mul", term, number(0.5))),
        op("Mul", op("Mul", X, number(0.5)), term),
    ))  # fmt: skip


def standardized(x: Term) -> Either:
    """(x - mean) / sqrt(variance + epsilon), written with reductions."""
    centred = op("Sub", x, op("ReduceMean", x, label="mean"))
    square = Either((op("Pow", centred, number(2.0)), op("Mul", centred, centred)))
    variance = op("ReduceMean", square, label="variance")
    deviation = op("Sqrt", op("Add", variance, Constant("epsilon")))
    return Either((op("Div", centred, deviation), op("Mul", centred, op("Reciprocal", deviation))))


GROUPED = op("Reshape", X, Constant("groups"), label="grouped")
GROUP_NORM = op(
    "Reshape",
    Either((
        op("InstanceNormalization", GROUPED, Constant("group_scale"), Constant("group_offset"), label="norm"),
        standardized(GROUPED),
    )),
    Constant("shape"),
    label="back",
)  # fmt: skip
ERF = op("Add", op("Erf", Either((op("Div", X, number(sqrt(2))), op("Mul", X, number(sqrt(0.5)))))), number(1.0))
CUBIC = op("Add", X, op("Mul", op("Pow", X, number(3.0)), number(0.044715)))
TANH = op("Add", op("Tanh", op("Mul", CUBIC, number(sqrt(2 / pi)))), number(1.0))
CLIPPED = op("Clip", op("Add", X, number(3.0)), number(0.0), number(6.0))


# ---- the layers --------------------------------------------------------------------------------------------------
def _activation(make: Callable[[], Any]) -> Callable[[Node, Found], Value]:
    return lambda node, found: node.construction.alike(found.value("x"), make())


def _reduced(node: Node, found: Found, label: str, rank: int) -> tuple[int, ...]:
    """The axes of a ReduceMean that keeps them."""
    step = found.nodes[label]
    given = step.attributes
    axes = given["axes"] if "axes" in given else found.known.get(step.inputs[1]) if len(step.inputs) > 1 else None
    if not isinstance(axes, Sequence) and not isinstance(axes, np.ndarray):
        raise Unsupported("its axes are not said")
    if not given.get("keepdims", 1):
        raise Unsupported("it drops its axes")
    return tuple(sorted(node.axes([int(axis) for axis in axes], rank)))


def _per_axis(node: Node, found: Found, label: str, value: Value, axes: tuple[int, ...], default: float) -> Any:
    """A constant with a number per element of these axes."""
    constant = node.own(found.constant(label, default), value)
    shape = tuple(extent if axis in axes else 1 for axis, extent in enumerate(value.shape))
    if constant.size > 1 and (1,) * (value.rank - constant.ndim) + constant.shape != shape:
        raise Unsupported(f"{label} of shape {constant.shape}")
    return np.broadcast_to(constant.reshape(shape if constant.size > 1 else ()), shape).ravel()


def layer_normalization(node: Node, found: Found) -> Value:
    """Over any axes, which become the last one."""
    value, construction = found.value("x"), node.construction
    axes = _reduced(node, found, "mean", value.rank)
    if axes != _reduced(node, found, "variance", value.rank) or found.constant("epsilon").size != 1:
        raise Unsupported("mean and variance are of different axes")
    scale, offset = (
        _per_axis(node, found, label, value, axes, default) for label, default in (("scale", 1.0), ("offset", 0.0))
    )
    kept = tuple(axis for axis in value.layout if axis not in axes)
    layout = (*kept, *axes)
    extents = tuple(value.shape[axis] for axis in layout)
    source = construction.stored(value, layout)
    if len(axes) > 1:
        source = construction.add(gnc.ReshapeLayer((*extents[: len(kept)], prod(extents[len(kept) :]))), source)
    layer = gnc.LayerNormalizationLayer(
        scale=scale,
        offset=offset,
        epsilon=found.constant("epsilon").item(),
        operation_dimension="channel-only",
        **_frozen(found),
    )
    added = construction.add(layer, source)
    if len(axes) > 1:
        added = construction.add(gnc.ReshapeLayer(extents), added)
    return Value(value.shape, {layout: added})


def _frozen(found: Found) -> dict[str, Any]:
    """A norm without scale and offset stays so in training."""
    return {} if "scale" in found.names else {"scale_learn_rate_factor": 0.0, "offset_learn_rate_factor": 0.0}


def group_normalization(node: Node, found: Found) -> Value:
    """Groups of channels as the channels of an instance normalization."""
    value, grouped = found.value("x"), found.known[found.nodes["grouped"].outputs[0]]
    target = [int(n) for n in found.constant("shape")]
    whole = node.shape(value)
    target = [whole[i] if n == 0 and i < len(whole) else n for i, n in enumerate(target)]
    if not node.batching.batched or not isinstance(grouped, Value) or not grouped.rank:
        raise Unsupported("it has no channels")
    groups, channels = grouped.shape[0], value.shape[0]
    if channels % groups or node.observation(target, prod(value.shape)) != value.shape:
        raise Unsupported("its groups are not of channels")
    scale, offset = (
        _per_axis(node, found, label, value, (0,), default) for label, default in (("scale", 1.0), ("offset", 0.0))
    )
    if "norm" in found.nodes:
        epsilon = found.nodes["norm"].attributes.get("epsilon", 1e-5)
        own_scale, own_offset = (
            np.repeat(found.constant(label), channels // groups) for label in ("group_scale", "group_offset")
        )
        scale, offset = scale * own_scale, scale * own_offset + offset
    else:
        epsilon = found.constant("epsilon").item()
        everything = tuple(range(1, grouped.rank))
        if any(_reduced(node, found, label, grouped.rank) != everything for label in ("mean", "variance")):
            raise Unsupported("it normalizes over other axes")
    layer = gnc.GroupNormalizationLayer(groups, scale=scale, offset=offset, epsilon=epsilon, **_frozen(found))
    return node.construction.channels_last(value, lambda _: layer)


# ---- the table ---------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Pattern:
    """A row of the table.

    Args:
        becomes: the layer, for the documentation.
        term: the expression.
        make: adds the layer and gives its output; raises Unsupported where constants or axes are others.
    """

    becomes: str
    term: Term
    make: Callable[[Node, Found], Value]


PATTERNS: Sequence[Pattern] = (
    Pattern("GroupNormalization", affine(GROUP_NORM), group_normalization),
    Pattern("GroupNormalization", GROUP_NORM, group_normalization),
    Pattern("LayerNormalization", affine(standardized(X)), layer_normalization),
    Pattern("LayerNormalization", standardized(X), layer_normalization),
    Pattern("Gelu", halved(ERF), _activation(gnc.GeluLayer)),
    Pattern("Gelu", halved(TANH), _activation(lambda: gnc.GeluLayer(approximation="tanh"))),
    Pattern("Unary(expm1)", op("Sub", op("Exp", X), ONE), _activation(lambda: gnc.UnaryLayer("expm1"))),
    Pattern("Unary(log1p)", op("Log", op("Add", X, ONE)), _activation(lambda: gnc.UnaryLayer("log1p"))),
    Pattern("Swish", op("Mul", X, op("Sigmoid", X)), _activation(gnc.SwishLayer)),
    Pattern("Mish", op("Mul", X, op("Tanh", op("Softplus", X))), _activation(gnc.MishLayer)),
    Pattern(
        "HardSwish",
        Either((
            op("Mul", X, op("HardSigmoid", X, alpha=(1 / 6, 0.2), beta=(0.5, 0.5))),
            op("Div", op("Mul", X, CLIPPED), number(6.0)),
            op("Mul", X, op("Div", CLIPPED, number(6.0))),
        )),
        _activation(gnc.HardSwishLayer),
    ),
)  # fmt: skip


def recognised(
    node: Node, known: Mapping[str, Operand | None], producers: Mapping[str, Step]
) -> tuple[Value, Sequence[str]] | None:
    """The layer that a node and those in front of it are, and the arrays it takes; None where they are none."""
    for pattern in PATTERNS:
        for found in matches(pattern.term, node.step.outputs[0], producers, Found(known)):
            try:
                return pattern.make(node, found), found.reads()
            except Unsupported:
                continue
    return None
