"""Inputs with their targets, checked against the network that is to learn them."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.network import Network
from gncodegen.train.inputs import checked_inputs
from gncodegen.train.targets import Targets, targets_of


class Pair(NamedTuple):
    """N observations: inputs, targets, and the position of B in the inputs' format."""

    x: NDArray[Any]
    targets: Targets
    axis: int


def checked(x: Any, y: Any, network: Network, data_format: str, what: str) -> Pair:
    """Inputs and targets as arrays.

    Args:
        x: observations, as for `checked_inputs`.
        y: labels or responses, as for `targets_of`.
        network: that is to learn them.
        data_format: axis order of x.
        what: how messages begin: "x and y:", "a batch of".

    Raises:
        ArrayError: they do not fit the network, or are not as many of both.
    """
    array, axis = checked_inputs(x, network.input, data_format)
    targets = targets_of(y, network.loss)
    observations, count = array.shape[axis], len(targets.whole())
    if count != observations:
        raise ArrayError(
            f"{what} {observations} observations but {count} targets; allowed: one target per observation; "
            "give x and y of the same length"
        )
    return Pair(array, targets, axis)
