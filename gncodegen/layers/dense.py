"""Layers that look at a whole observation or at single elements of it: fully connected, flatten, dropout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.checks import PositiveInt, Probability
from gncodegen.layers.learnables import WeightedLayer


def _flattened(size: Size) -> Size:
    """S and C become one C axis; T stays."""
    steps = tuple(n for letter, n in zip(size.format, size.shape, strict=True) if letter == "T")
    return Size("T" * len(steps) + "C", (*steps, size.count // (steps[0] if steps else 1)))


@dataclass(frozen=True, eq=False)
class FullyConnectedLayer(WeightedLayer):
    """y = weights · flatten(x) + bias, with the input flattened in array order (H, W, C), at each time step alike.

    Args:
        outputs: number of outputs K.

    Weights (K, inputs), bias (K,) and their factors are those of `WeightedLayer`.
    """

    outputs: PositiveInt
    kind: ClassVar[str] = "fc"

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        flat = _flattened(inputs[0])
        return Size(flat.format, (*flat.shape[:-1], self.outputs))

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        features = _flattened(inputs[0]).channels
        return self._weights_and_bias((self.outputs, features), self.outputs, (features, self.outputs))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        kept = {"kept": 1} if "T" in inputs[0].format else {}
        return (Operation("fully_connected", ("weights",), kept), Operation("bias", ("bias",)))


@dataclass(frozen=True, eq=False)
class FlattenLayer(Layer):
    """One C axis of all S and C axes, in array order: (H, W, C) → (H·W·C)."""

    kind: ClassVar[str] = "flatten"

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return _flattened(inputs[0])

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("reshape"),) if "S" in inputs[0].format else ()


@dataclass(frozen=True, eq=False)
class DropoutLayer(Layer):
    """While training, each element is zero with probability p and else x / (1 - p); prediction hands x on.

    Args:
        probability: p, at least 0 and below 1.

    Source: Srivastava et al., Dropout, JMLR 2014.
    """

    probability: Probability = 0.5
    kind: ClassVar[str] = "dropout"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        # The index is the layer's own random stream; whoever builds the IR numbers the dropout layers.
        return (Operation("dropout", (), {"probability": self.probability, "index": 0}),)
