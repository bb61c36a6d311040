"""Convolutions that normalize what they read give the bits of the norm and the convolution one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from support.execution import Execute
from support.sets import diagonal, few

CASES = [
    # (x, window, filters, groups of the norm, attributes, dtype)
    ((2, 9, 13, 16), (1, 1), 24, 4, {}, "float32"),
    ((2, 8, 33, 20), (1, 1), 70, 20, {"stride": (2, 2)}, "float32"),
    ((1, 11, 10, 6), (5, 5), 33, 1, {"stride": (2, 1), "padding": (2, 2, 2, 2)}, "float32"),
    ((2, 7, 9, 8), (3, 3), 12, 2, {"groups": 2, "padding": (1, 2, 1, 0)}, "float64"),
    ((2, 6, 17, 40), (1, 1), 3, 5, {}, "float32"),
    ((3, 5, 300, 24), (3, 5), 16, 3, {"dilation": (1, 2), "padding": (0, 0, 4, 4)}, "float32"),
]


def extents(x, window, attributes):
    """Rows and columns of y."""
    pads, strides, dilation = (attributes[name] for name in ("padding", "stride", "dilation"))
    return [
        (n + pads[2 * i] + pads[2 * i + 1] - (window[i] - 1) * dilation[i] - 1) // strides[i] + 1
        for i, n in enumerate(x.shape[1:-1])
    ]


@pytest.mark.few
@pytest.mark.parametrize(
    ("activation", "partials", "shape", "window", "filters", "norm_groups", "more", "dtype"),
    few(diagonal([("", False), ("relu", True), ("leaky-relu", False)], CASES), 3),
)
def test_same_bits(execute: Execute, shape, window, filters, norm_groups, more, dtype, activation, partials):
    rng, c = np.random.default_rng(1), shape[-1]
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (0,) * 4, "groups": 1, "activation": "relu", **more}
    x = (rng.standard_normal(shape) * 3 + 50).astype(dtype)
    w = rng.standard_normal((*window, c // attributes["groups"], filters)).astype(dtype)
    scale, offset = rng.standard_normal((2, c)).astype(dtype)
    bias = [rng.standard_normal(filters).astype(dtype)] if partials else []
    epilogue = {"activation": activation, "alpha": 0.1}
    norm = {"groups": norm_groups, "epsilon": 1e-5}
    kind = ((shape[0], norm_groups, 3), dtype)
    y = ((shape[0], *extents(x, window, attributes), filters), dtype)
    results = [y, ((shape[0], 2, 3, filters), "float64")] if partials else [y]
    attributes["parts"] = 2 * partials

    normalized, statistics = execute("group_norm", [x, scale, offset], [(shape, dtype), kind], norm | epilogue)
    (alone,) = execute("group_statistics", [x], [kind], norm)
    np.testing.assert_array_equal(alone, statistics)
    expected = execute("convolution", [normalized, w, *bias], results, attributes)
    attributes |= {"norm_groups": norm_groups, "norm_activation": activation, "norm_alpha": 0.1}
    found = execute("convolution", [x, w, *bias, statistics, scale, offset], results, attributes)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
