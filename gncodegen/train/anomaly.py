"""detect_anomaly: where the first NaN or infinity of a training step comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import AnomalyError
from gncodegen.layers.network import Network

Arrays = Mapping[str, NDArray[Any]]


class Traceable(Protocol):
    """What the search asks of a compiled network."""

    @property
    def network(self) -> Network:
        """The checked network."""
        ...

    @property
    def parameters(self) -> MutableMapping[str, NDArray[Any]]:
        """Name → array; assigning copies the values in."""
        ...

    def trace(self, x: NDArray[Any], t: NDArray[Any], data_format: str = "") -> tuple[Arrays, Arrays]:
        """Outputs by layer, and gradients by parameter, of one batch in training mode."""
        ...


def is_finite(loss: float, parameters: Arrays) -> bool:
    """Whether a step left neither NaN nor infinity."""
    return bool(np.isfinite(loss)) and all(bool(np.isfinite(value).all()) for value in parameters.values())


def anomaly(compiled: Traceable, before: Arrays, x: NDArray[Any], t: NDArray[Any], iteration: int) -> AnomalyError:
    """The error that names layer, op and iteration of a step that went wrong; the values before it come back.

    The batch is run once more with every layer's output kept, so the first that is not finite is the place.

    Args:
        compiled: the network after the step.
        before: its parameters before the step.
        x: inputs of the mini-batch.
        t: its targets.
        iteration: of the step.
    """
    after = dict(compiled.parameters)
    compiled.parameters.update(before)
    for layer, op, what, values in _places(compiled, x, t, after):
        finite = np.isfinite(values)
        if not finite.all():
            place = [int(index) for index in np.argwhere(~finite)[0]]
            label = compiled.network[layer].label if layer else "the mini-batch"
            return AnomalyError(
                f"{label}: {op}: {what} holds {np.isnan(values).sum()} NaN and {np.isinf(values).sum()} infinities in "
                f"iteration {iteration}, the first at {place}; allowed: finite numbers where detect_anomaly is True; "
                "look at what goes in there, or take a smaller initial_learn_rate or a gradient_threshold",
                layer=layer,
                op=op,
                iteration=iteration,
            )
    return AnomalyError(
        f"the loss of iteration {iteration} is not finite, though every output is; allowed: finite numbers where "
        "detect_anomaly is True; scale the targets",
        iteration=iteration,
    )


def _places(
    compiled: Traceable, x: NDArray[Any], t: NDArray[Any], after: Arrays
) -> Iterator[tuple[str, str, str, NDArray[Any]]]:
    """(layer, op, what, values) in the order of computation; "" for the layer of the data."""
    network, parameters = compiled.network, compiled.parameters
    yield "", "data", "x", np.concatenate([each.ravel() for each in x]) if x.dtype == object else x
    yield "", "data", "the targets", t
    for name, value in parameters.items():
        yield name.rpartition(".")[0], "parameter", name, value
    outputs, gradients = compiled.trace(x, t)
    for node in network.nodes:
        chain = node.layer.operations(node.input_sizes)
        if node.name in outputs and chain:
            yield node.name, " + ".join(f"gn.{link.op}" for link in chain), "its output", outputs[node.name]
    for name in reversed(network.parameters):
        if name in gradients:
            yield name.rpartition(".")[0], "gradient", f"the gradient of {name}", gradients[name]
    for name, value in after.items():
        op = "gn.update" if network.parameters[name].learnable else "gn.update_statistics"
        yield name.rpartition(".")[0], op, f"the new {name}", value
