"""Max, average and global average pooling: windows, strides, padding, ties; forward, gradients, finite differences."""

import numpy as np
import pytest
import reference as ref
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.comparison import assert_same_network

import gncodegen as gnc


def compare(kind, shape, window, *, stride, padding=0, dtype="float32", batch=2):
    """One pooling layer as a network of its own; kind is "max", "average" or "mean" (padding not counted)."""
    value = {"padding_value": "mean"} if kind == "mean" else {}
    layer = gnc.MaxPooling2dLayer if kind == "max" else gnc.AveragePooling2dLayer
    layers = [
        gnc.ImageInputLayer(shape, normalization="none"),
        layer(window, stride=stride, padding=padding, name="pool", **value),
        gnc.RegressionLayer(),
    ]
    options = {"window": window, "stride": stride, "padding": padding}
    if isinstance(padding, tuple):
        options["padding"] = [padding[:2], padding[2:]]
    if kind != "max":
        options["count_padding"] = kind == "average"
    operation = ref.max_pool if kind == "max" else ref.average_pool
    # Distinct values, far apart, so that rounding or a finite step never changes which one is the largest.
    x = np.random.default_rng(0).permutation(batch * int(np.prod(shape))).reshape(batch, *shape) / 64 - 1
    return assert_same_network(layers, [ref.Node("pool", operation, options=options)], x, dtype=dtype)


@pytest.mark.full(like="kernels/test_pooling.py::test_max_pool")
@given(
    kind=st.sampled_from(["max", "average", "mean"]),
    height=st.sampled_from([1, 2, 5, 8, 13]),
    width=st.sampled_from([1, 3, 6, 11]),
    channels=st.sampled_from([1, 3, 5, 8, 17, 20]),
    window=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    padding=st.sampled_from(["same", 0, 1, (1, 0, 0, 1)]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example("max", 24, 24, 20, (2, 2), (2, 2), 0, "float32")
@example("max", 7, 6, 3, (3, 3), (2, 2), "same", "float64")
@example("average", 7, 6, 5, (3, 2), (1, 2), (1, 0, 0, 1), "float64")
@example("mean", 6, 5, 17, (3, 3), (2, 1), 1, "float32")
def test_drawn_shapes(kind, height, width, channels, window, stride, padding, dtype):
    if padding != "same":
        added = {0: (0, 0), 1: (2, 2), (1, 0, 0, 1): (1, 1)}[padding]
        least = {0: 1, 1: 2, (1, 0, 0, 1): 2}[padding]
        assume(min(window) >= least)
        assume(all(n + a >= f for n, a, f in zip((height, width), added, window, strict=True)))
    compare(kind, (height, width, channels), window, stride=stride, padding=padding, dtype=dtype)


@pytest.mark.parametrize(("shape", "dtype"), [((7, 5, 6), "float32"), ((3, 4, 5), "float64")])
def test_global_average(shape, dtype):
    layers = [
        gnc.ImageInputLayer(shape, normalization="none"),
        gnc.GlobalAveragePooling2dLayer(name="pool"),
        gnc.RegressionLayer(),
    ]
    x = np.random.default_rng(0).standard_normal((3, *shape))
    assert_same_network(layers, [ref.Node("pool", ref.global_average_pool)], x, dtype=dtype)


def test_the_default_stride_is_one():
    layers = [gnc.ImageInputLayer((5, 6, 2), normalization="none"), gnc.MaxPooling2dLayer(2)]
    assert gnc.compile(layers, batch_size=1).predict(np.zeros((1, 5, 6, 2), np.float32)).shape == (1, 4, 5, 2)


def test_max_pads_with_minus_infinity():
    layers = [gnc.ImageInputLayer((3, 3, 2), normalization="none"), gnc.MaxPooling2dLayer(3, padding="same")]
    y = gnc.compile(layers, batch_size=1).predict(np.full((1, 3, 3, 2), -5, np.float32))
    np.testing.assert_array_equal(y, np.full((1, 3, 3, 2), -5))


def test_the_gradient_of_equal_elements_goes_to_one_of_them():
    layers = [
        gnc.ImageInputLayer((4, 4, 9), normalization="none"),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.RegressionLayer(),
    ]
    compiled = gnc.compile(layers, batch_size=1, training=False)
    dx = compiled.gradients(np.ones((1, 4, 4, 9), np.float32), np.zeros((1, 2, 2, 9), np.float32))["input"]
    expected = np.zeros((1, 4, 4, 9))
    expected[:, ::2, ::2] = 1
    np.testing.assert_array_equal(dx, expected)


def test_max_of_a_window_with_nan_is_nan():
    layers = [gnc.ImageInputLayer((4, 4, 17), normalization="none"), gnc.MaxPooling2dLayer(2, stride=2)]
    compiled = gnc.compile(layers, batch_size=1)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x = np.random.default_rng(0).standard_normal((1, 4, 4, 17)).astype(np.float32)
        x[0, 2 + place[0], place[1], 16] = np.nan
        y = compiled.predict(x)
        assert np.isnan(y[0, 1, 0, 16])
        assert np.isnan(y).sum() == 1
