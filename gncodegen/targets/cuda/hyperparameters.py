"""The run-time numbers of a training step as kernels see them in device memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.hyperparameters import COUNT, slot

BYTES = 16 * COUNT
"""Of the block: eight, four and four for every number."""


def device_block(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The block of `kernels.hyperparameters` for a device: as float64, as float32, and whole numbers as uint32.

    float32 kernels need no float64 arithmetic then, and iteration and seed, a low and a high word, are exact.

    Args:
        values: float64 (COUNT,).
    """
    words: NDArray[Any] = np.zeros(COUNT, np.uint32)
    iteration, seed = slot("iteration"), slot("seed")
    number = int(values[seed])
    words[iteration] = int(values[iteration]) & 0xFFFFFFFF
    words[seed], words[seed + 1] = number & 0xFFFFFFFF, number >> 32 & 0xFFFFFFFF
    with np.errstate(over="ignore"):
        parts = (values, values.astype(np.float32), words)
    block = np.concatenate([part.view(np.uint8) for part in parts])
    assert block.nbytes == BYTES
    return block
