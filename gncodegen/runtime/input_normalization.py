"""Inputs of a type that a network's cannot hold: normalized in float64, then converted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.layers.formats import permutation
from gncodegen.layers.inputs import InputLayer
from gncodegen.layers.network import Node

_BLOCK = 1 << 15
"""Elements normalized at a time, or one observation: float64 copies that stay in a cache."""


@dataclass(frozen=True)
class InputNormalization:
    """y = (x - shift) factor + added, what `gn.input_normalization` computes.

    Args:
        shift, factor: float64, broadcast over observations in the order that kernels read.
        added: a number.
    """

    shift: NDArray[np.float64]
    factor: NDArray[np.float64]
    added: float

    def __call__(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Writes the normalized x (N, …) to `out`, of a narrower type."""
        step = max(1, _BLOCK // max(1, prod(x.shape[1:])))
        for start in range(0, len(x), step):
            block = np.subtract(x[start : start + step], self.shift, dtype=np.float64)
            block *= self.factor
            block += self.added
            with np.errstate(over="ignore"):  # beyond the type's range is an infinity, as in any conversion
                out[start : start + step] = block


def input_normalization(
    node: Node, statistics: Mapping[str, NDArray[np.float64]], order: str
) -> InputNormalization | None:
    """That of an input layer; None where it has none with statistics.

    Args:
        node: the layer.
        statistics: by key "imageinput.mean".
        order: the axes of arrays, B first.
    """
    layer = node.layer
    if not isinstance(layer, InputLayer) or not node.parameters:
        return None
    letters = "B" + node.size.format
    first, *others = (
        statistics[f"{node.name}.{parameter.name}"].reshape(
            (1,) * (len(letters) - len(parameter.shape)) + parameter.shape
        )
        for parameter in node.parameters
    )
    shift, spread, width, added = first, np.ones_like(first), 1.0, 0.0
    if layer.normalization == "zscore":
        spread = others[0]
    elif layer.normalization in ("rescale-symmetric", "rescale-zero-one"):
        spread = others[0] - first
        width, added = (2.0, -1.0) if layer.normalization == "rescale-symmetric" else (1.0, 0.0)
    factor = np.where(spread == 0, 1.0, width / np.where(spread == 0, 1.0, spread))
    axes = permutation(letters, order)
    return InputNormalization(shift.transpose(axes), factor.transpose(axes), added)
