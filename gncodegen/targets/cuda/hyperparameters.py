"""The run-time numbers of a training step as kernels see them in device memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BYTES = 128
"""float64[8] at 0, the same as float32[8] at byte 64, as uint32[8] at byte 96; iteration and seed are exact there."""


def device_block(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The block of [learn_rate, momentum, l2, threshold, iteration, seed, 0, 0].

    float32 kernels read its second part and need no float64 arithmetic; words hold iteration (96 + 16), and the seed's
    low (96 + 20) and high (96 + 24) half.

    Args:
        values: float64 (8,).
    """
    block = np.zeros(BYTES, np.uint8)
    block[:64] = values.view(np.uint8)
    with np.errstate(over="ignore"):
        block[64:96] = values.astype(np.float32).view(np.uint8)
    words: NDArray[Any] = np.zeros(8, np.uint32)
    seed = int(values[5])
    words[4], words[5], words[6] = int(values[4]) & 0xFFFFFFFF, seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
    block[96:] = words.view(np.uint8)
    return block
