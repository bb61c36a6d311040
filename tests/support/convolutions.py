"""Convolutions under test: shapes, arrays, the oracle's results, and how far one is off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import reference


@dataclass(frozen=True)
class Convolution:
    """x is (batch, *extents, channels), weights (*window, channels / groups, filters)."""

    batch: int
    extents: tuple[int, ...]
    channels: int
    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = ()
    groups: int = 1
    dtype: str = "float32"

    @property
    def attributes(self):
        return {"stride": self.stride, "dilation": self.dilation, "padding": self.padding, "groups": self.groups}

    def __post_init__(self):
        object.__setattr__(self, "padding", self.padding or (0, 0) * len(self.window))

    def arrays(self):
        rng = np.random.default_rng(self.channels * 1000 + self.filters)
        x = rng.standard_normal((self.batch, *self.extents, self.channels)).astype(self.dtype)
        weights = rng.standard_normal((*self.window, self.channels // self.groups, self.filters)).astype(self.dtype)
        return x, weights, rng.standard_normal(self.filters).astype(self.dtype)

    def oracle(self, x, weights, bias):
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))
        facts = {"stride": self.stride, "dilation": self.dilation, "padding": pairs, "groups": self.groups}
        return reference.convolution(x, weights, bias, **facts)


SAME = (1, 1, 1, 1)


def error(got, expected):
    return np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)
