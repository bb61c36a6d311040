"""Local response normalization."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import Epsilon, FiniteNumber, PositiveInt
from gncodegen.layers.resampling import along


@dataclass(frozen=True, eq=False)
class CrossChannelNormalizationLayer(Layer):
    """y_c = x_c / (k + alpha · s_c / window)^beta, where s_c sums the squares of the `window` channels around c.

    Channels that a window has beyond the first and the last count as 0; of an even window the larger half lies behind.

    Args:
        window_channel_size: channels of a window.
        alpha: factor of the mean square.
        beta: exponent.
        k: summand, > 0.

    Source: Krizhevsky, Sutskever and Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012.
    """

    window_channel_size: PositiveInt
    _: KW_ONLY
    alpha: FiniteNumber = 1e-4
    beta: FiniteNumber = 0.75
    k: Epsilon = 2.0
    kind: ClassVar[str] = "crossnorm"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        channels, window = inputs[0].channels, self.window_channel_size
        distance = np.arange(channels) - np.arange(channels)[:, None]
        near = (distance >= -((window - 1) // 2)) & (distance <= window // 2)
        return (
            Operation("activation", (), {"function": "square", "alpha": 0.0}),
            along(near.astype(np.float64) * (self.alpha / window), len(inputs[0].shape)),
            Operation("activation", (), {"function": "shifted-power", "alpha": self.k, "beta": -self.beta}),
            Operation("elementwise", (), {"function": "multiply"}, with_inputs=True),
        )
