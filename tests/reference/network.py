"""A plain NumPy twin of a network: operations in order, each fed by earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.losses import Loss, cross_entropy
from reference.normalization import batch_norm, channel_normalize, running_statistics
from reference.solvers import Sgdm, Solver

Array = NDArray[np.float64]
Backward = Callable[[Array], tuple[Array, ...]]


@dataclass(frozen=True)
class Node:
    """One operation of the twin.

    Args:
        name: the layer's name, the part before the dot of its parameters.
        operation: an oracle function; called as operation(*inputs, *parameters, **options).
        parameters: the parts after the dot, in operand order.
        inputs: names of earlier nodes, "input" for the network's input; empty means the node before.
        options: keyword arguments.
    """

    name: str
    operation: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


class ReferenceNetwork:
    """A twin of a layer array with the same parameter mapping ("conv_1.weights" …), all in float64.

    A node whose operation is `batch_norm` uses batch statistics in training, and in prediction the state
    "<name>.trained_mean" and "<name>.trained_variance", which `train_step` moves.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        parameters: Mapping[str, ArrayLike],
        *,
        loss: Callable[..., Loss] = cross_entropy,
        loss_options: Mapping[str, Any] | None = None,
        optimizer: Solver | None = None,
        decay: float = 0.1,
    ) -> None:
        self.nodes = tuple(nodes)
        self.parameters: dict[str, Array] = {n: np.array(value, np.float64) for n, value in parameters.items()}
        self.loss_function, self.loss_options = loss, dict(loss_options or {})
        self.optimizer = optimizer or Sgdm()
        self.decay = decay

    def predict(self, x: ArrayLike) -> Array:
        """The output of the last node, in prediction mode."""
        return self._run(x, training=False)[0][self.nodes[-1].name]

    def activations(self, x: ArrayLike, name: str) -> Array:
        """The output of one node, in prediction mode."""
        return self._run(x, training=False)[0][name]

    def loss(self, x: ArrayLike, t: ArrayLike, *, training: bool = True) -> float:
        """The loss of the last node's output against t."""
        values, _ = self._run(x, training)
        return self.loss_function(values[self.nodes[-1].name], t, **self.loss_options)[0]

    def gradients(self, x: ArrayLike, t: ArrayLike, *, training: bool = True) -> dict[str, Array]:
        """The gradient of the loss by every learnable, and by the input under "input"."""
        return self._backward(*self._run(x, training), t)[1]

    def train_step(self, x: ArrayLike, t: ArrayLike) -> float:
        """One step of the optimizer; returns the loss before it."""
        values, backwards = self._run(x, training=True)
        loss, gradients = self._backward(values, backwards, t)
        gradients.pop("input")
        shaped = {name: gradient.reshape(self.parameters[name].shape) for name, gradient in gradients.items()}
        self.parameters = self.optimizer.step(self.parameters, shaped)
        for index, node in enumerate(self.nodes):
            if node.operation is batch_norm:
                mean, variance = f"{node.name}.trained_mean", f"{node.name}.trained_variance"
                state = self.parameters[mean], self.parameters[variance]
                moved = running_statistics(values[self._sources(index)[0]], *state, decay=self.decay)
                self.parameters[mean], self.parameters[variance] = moved
        return loss

    def _backward(
        self, values: dict[str, Array], backwards: dict[str, Backward], t: ArrayLike
    ) -> tuple[float, dict[str, Array]]:
        """The loss of a run, and all gradients, collected from the last node to the first."""
        last = self.nodes[-1].name
        loss, slope = self.loss_function(values[last], t, **self.loss_options)
        flowing: dict[str, Array] = {last: slope()}
        found: dict[str, Array] = {}
        for index in reversed(range(len(self.nodes))):
            node, sources = self.nodes[index], self._sources(index)
            if node.name not in flowing:
                continue
            results = backwards[node.name](flowing.pop(node.name))
            for source, gradient in zip(sources, results, strict=False):
                flowing[source] = flowing[source] + gradient if source in flowing else gradient
            for parameter, gradient in zip(node.parameters, results[len(sources) :], strict=True):
                found[f"{node.name}.{parameter}"] = gradient
        return loss, {**found, "input": flowing["input"]}

    def _sources(self, index: int) -> tuple[str, ...]:
        """The names of what feeds a node."""
        return self.nodes[index].inputs or (self.nodes[index - 1].name if index else "input",)

    def _run(self, x: ArrayLike, training: bool) -> tuple[dict[str, Array], dict[str, Backward]]:
        """Every node's output and backward function."""
        values: dict[str, Array] = {"input": np.asarray(x, np.float64)}
        backwards: dict[str, Backward] = {}
        for index, node in enumerate(self.nodes):
            inputs = [values[source] for source in self._sources(index)]
            learned = [self.parameters[f"{node.name}.{parameter}"] for parameter in node.parameters]
            operation = node.operation
            if operation is batch_norm and not training:
                state = [self.parameters[f"{node.name}.{name}"] for name in ("trained_mean", "trained_variance")]
                operation, learned = channel_normalize, [*state, *learned]
            values[node.name], backwards[node.name] = operation(*inputs, *learned, **node.options)
        return values, backwards
