"""CUDA convolution, forward and both gradients, in the emulator against the float64 oracle; bits; SASS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import reference
from cuda_kernels import machine

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@dataclass(frozen=True)
class Case:
    """x is (batch, *extents, channels), weights (*window, channels / groups, filters)."""

    batch: int
    extents: tuple[int, ...]
    channels: int
    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0, 0, 0)
    groups: int = 1
    dtype: str = "float32"

    @property
    def attributes(self):
        return {"stride": self.stride, "dilation": self.dilation, "padding": self.padding, "groups": self.groups}

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
CASES = {
    "same": Case(2, (7, 7), 16, 32, (3, 3), padding=SAME),
    "one-channel": Case(2, (9, 8), 1, 8, (3, 3), padding=SAME),
    "one-filter": Case(2, (6, 7), 5, 1, (3, 3), padding=SAME),
    "odd": Case(2, (7, 9), 5, 7, (3, 3), padding=(0, 2, 1, 0)),
    "stride-2": Case(1, (14, 15), 3, 12, (7, 7), (2, 2), padding=(3, 3, 3, 3)),
    "stride-2-wide": Case(2, (9, 8), 16, 8, (3, 3), (2, 2), padding=(0, 1, 0, 1)),
    "stride-2-3": Case(2, (12, 13), 4, 9, (3, 3), (2, 3), padding=(0, 1, 2, 1)),
    "stride-over-window": Case(2, (7, 8), 3, 4, (2, 1), (3, 2)),
    "stride-and-dilation": Case(1, (15, 11), 4, 9, (3, 3), (2, 2), (2, 3), padding=(2, 1, 0, 2)),
    "dilation": Case(2, (9, 8), 4, 12, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
    "wide-padding": Case(2, (6, 6), 3, 4, (2, 2), padding=(3, 2, 0, 4)),
    "pointwise": Case(3, (5, 7), 19, 13, (1, 1)),
    "pointwise-stride-2": Case(3, (6, 7), 8, 12, (1, 1), (2, 2)),
    "many-filters": Case(1, (11, 11), 8, 64, (1, 1)),
    "groups": Case(2, (6, 6), 8, 12, (3, 3), padding=SAME, groups=4),
    "channel-wise": Case(2, (8, 9), 6, 6, (3, 3), (2, 2), padding=SAME, groups=6),
    "channel-wise-wide": Case(2, (7, 6), 32, 32, (5, 3), (1, 3), (2, 1), (1, 2, 0, 2), groups=32),
    "one-axis": Case(2, (17,), 4, 9, (3,), (1,), (2,), (2, 1)),
    "float64": Case(2, (9, 10), 5, 11, (3, 3), (2, 1), padding=SAME, dtype="float64"),
    "float64-same": Case(2, (7, 7), 16, 8, (3, 3), padding=SAME, dtype="float64"),
}
SMALL = machine("sm_80", cores=2)
"""A GPU that is soon full, so that small shapes are not cut into many parts."""


def error(got, expected):
    return np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_oracle(execute, case):
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(case.dtype)
    dx, dweights, dbias = backward(dy)
    dtype, tolerance = case.dtype, TOLERANCE[case.dtype]

    (got,) = execute("convolution", [x, weights, bias], [(y.shape, dtype)], case.attributes, on=SMALL)
    assert error(got, y) <= tolerance
    attributes = {**case.attributes, "input_shape": x.shape}
    (got,) = execute("convolution_input_gradient", [dy, weights], [(x.shape, dtype)], attributes, on=SMALL)
    assert error(got, dx) <= tolerance
    results = [(weights.shape, dtype), (bias.shape, dtype)]
    got = execute("convolution_weight_gradient", [x, dy], results, {**case.attributes, "bias": True}, on=SMALL)
    assert error(got[0], dweights) <= tolerance
    assert error(got[1], dbias) <= tolerance
