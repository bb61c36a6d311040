"""A plain NumPy twin of a network: operations in order, each fed by earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reference.losses import Loss, cross_entropy
from reference.normalization import batch_norm, channel_normalize, running_statistics
from reference.solvers import Sgdm, Solver

Array = NDArray[np.float64]
Backward = Callable[[Array], tuple[Array, ...]]
Given = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True)
class Node:
    """One operation of the twin.

    Args:
        name: the layer's name, the part before the dot of its parameters.
        operation: an oracle function; called as operation(*inputs, *parameters, **options).
        parameters: the parts after the dot, in operand order; whole names of those that are another node's.
        inputs: names of earlier nodes, "input" for the network's input; empty means the node before.
        options: keyword arguments.
        prediction: the operation in prediction mode, with the same arguments; None = the same.
    """

    name: str
    operation: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    prediction: Callable[..., Any] | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Whole names of the parameters."""
        return tuple(name if "." in name else f"{self.name}.{name}" for name in self.parameters)


class ReferenceNetwork:
    """A twin of a layer array with the same parameter mapping ("conv_1.weights" …), all in float64.

    Of several inputs x is a mapping of the names that nodes read, such as "input/a", to arrays.

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

    def predict(self, x: Given) -> Array:
        """The output of the last node, in prediction mode."""
        return self.run(x, training=False)[0][self.nodes[-1].name]

    def activations(self, x: Given, name: str) -> Array:
        """The output of one node, in prediction mode."""
        return self.run(x, training=False)[0][name]

    def loss(self, x: Given, t: ArrayLike, *, training: bool = True) -> float:
        """The loss of the last node's output against t."""
        values, _ = self.run(x, training)
        return self.loss_function(values[self.nodes[-1].name], t, **self.loss_options)[0]

    def gradients(self, x: Given, t: ArrayLike, *, training: bool = True) -> dict[str, Array]:
        """The gradient of the loss by every learnable, and by the input under "input"."""
        return self._backward(*self.run(x, training), t)[1]

    def train_step(self, x: Given, t: ArrayLike) -> float:
        """One step of the optimizer; returns the loss before it."""
        values, backwards = self.run(x, training=True)
        loss, gradients = self._backward(values, backwards, t)
        learned = {name: gradient for name, gradient in gradients.items() if name in self.parameters}
        self.parameters = self.optimizer.step(self.parameters, learned)
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
            for key, gradient in zip(node.keys, results[len(sources) :], strict=True):
                own = np.reshape(gradient, self.parameters[key].shape)
                found[key] = found[key] + own if key in found else own
        return loss, found | flowing

    def _sources(self, index: int) -> tuple[str, ...]:
        """The names of what feeds a node."""
        return self.nodes[index].inputs or (self.nodes[index - 1].name if index else "input",)

    def run(self, x: Given, training: bool) -> tuple[dict[str, Array], dict[str, Backward]]:
        """Every node's output and backward function."""
        given = x if isinstance(x, Mapping) else {"input": x}
        values = {name: np.asarray(value, np.float64) for name, value in given.items()}
        backwards: dict[str, Backward] = {}
        for index, node in enumerate(self.nodes):
            inputs = [values[source] for source in self._sources(index)]
            learned = [self.parameters[key] for key in node.keys]
            operation = node.operation if training else node.prediction or node.operation
            if operation is batch_norm and not training:
                state = [self.parameters[f"{node.name}.{name}"] for name in ("trained_mean", "trained_variance")]
                operation, learned = channel_normalize, [*state, *learned]
            values[node.name], backwards[node.name] = operation(*inputs, *learned, **node.options)
        return values, backwards


class ReferenceSequences(ReferenceNetwork):
    """The twin of a network of masked sequences, lists of arrays (T, …, C): each is computed as if it were alone.

    Results that have time are lists, too. Batch norms and dropout, in which sequences are not alone, are not meant.
    """

    def predict(self, x: Given) -> Any:
        """The outputs, in prediction mode."""
        return [super(ReferenceSequences, self).predict(each[None])[0] for each in _sequences(x)]

    def loss(self, x: Given, t: ArrayLike, *, training: bool = True) -> float:
        """The mean loss of all sequences."""
        losses = [super(ReferenceSequences, self).loss(each, of, training=training) for each, of in _pairs(x, t)]
        return float(np.mean(losses))

    def gradients(self, x: Given, t: ArrayLike, *, training: bool = True) -> dict[str, Any]:
        """The gradients of the mean loss; of the input a list."""
        each = [super(ReferenceSequences, self).gradients(*pair, training=training) for pair in _pairs(x, t)]
        inputs = [found.pop("input")[0] / len(each) for found in each]
        return {name: np.mean([found[name] for found in each], axis=0) for name in each[0]} | {"input": inputs}


def _sequences(x: Given | ArrayLike) -> list[Array]:
    return [np.asarray(each, np.float64) for each in cast("Sequence[ArrayLike]", x)]


def _pairs(x: Given, t: ArrayLike) -> list[tuple[Array, Array]]:
    """Each sequence and its target, as batches of one."""
    return [(each[None], of[None]) for each, of in zip(_sequences(x), _sequences(cast("Given", t)), strict=True)]
