"""Drawn data of the shapes that a network takes, where what is measured does not depend on them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.readable import Readable


def drawn(compiled: Readable) -> tuple[Any, ...]:
    """(x, t) of a batch, or (x,) where the network has no output layer; the same in every call."""
    random, network, count = np.random.default_rng(0), compiled.network, compiled.options.batch_size
    inputs: dict[str, Any] = {}
    for node in network.inputs:
        letters = "B" + node.size.format
        order = permutation(letters, axis_order(compiled.options.data_format or "", letters))
        array = random.normal(size=(count, *node.size.shape)).astype(compiled.options.array_dtype)
        inputs[node.name] = array.transpose(order)
    x = next(iter(inputs.values())) if len(inputs) == 1 else inputs
    layer = network.output_layer
    if layer is None:
        return (x,)
    size = network.output.size
    if isinstance(layer, ClassificationLayer):
        return x, random.integers(size.channels, size=(count, *size.shape[:-1]))
    return x, random.normal(size=(count, *size.shape)).astype(compiled.options.array_dtype)
