"""The CPU's exponential, over the whole range of float32."""

import numpy as np


def test_exponential_is_accurate_over_the_whole_range(execute):
    """float32 functions within a few units in the last place, denormal results included."""
    x = np.linspace(-110, 90, 4001, dtype=np.float32)
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "elu", "alpha": 1.0})
    negative = x < 0
    expected = np.expm1(x[negative].astype(np.float64))
    assert np.abs((y[negative] - expected) / np.spacing(np.abs(expected).astype(np.float32))).max() < 2
    (s,) = execute("activation", [x], [(x.shape, "float32")], {"function": "sigmoid", "alpha": 0.0})
    middle = x > -87
    exact = 1 / (1 + np.exp(-x[middle].astype(np.float64)))
    assert np.abs((s[middle] - exact) / np.spacing(exact.astype(np.float32))).max() < 3
