"""Inputs with their targets, checked against the network that is to learn them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order
from gncodegen.layers.network import Network
from gncodegen.runtime.sequences import len_of, require_no_steps
from gncodegen.train.inputs import checked_inputs
from gncodegen.train.targets import Targets, are_of_steps, targets_of


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
    steps = None
    if are_of_steps(y, network) and (own := network.maskings[network.loss.inputs[0]].steps):
        time = axis_order(data_format, "B" + network.input.size.format).replace("B", "").index("T")
        whole = network.input.size.shape[0]
        steps = own.of(len_of(array, time) if array.dtype == object else np.full(array.shape[axis], whole))
    else:
        require_no_steps(y, network.loss)
    targets = targets_of(y, network.loss, steps)
    observations, count = array.shape[axis], len(targets.whole())
    if count != observations:
        raise ArrayError(
            f"{what} {observations} observations but {count} targets; allowed: one target per observation; "
            "give x and y of the same length"
        )
    return Pair(array, targets, axis)
