"""Convolution: stride, dilation, padding, padding modes, odd sizes; forward, gradients, finite differences."""

import numpy as np
import pytest
import reference as ref
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.comparison import assert_same_network
from support.sets import few

import gncodegen as gnc


def compare(shape, filter_size, filters, *, dtype="float32", batch=2, **options):
    """One convolution as a network of its own; `options` in the layer's words."""
    layers = [
        gnc.ImageInputLayer(shape, normalization="none"),
        gnc.Convolution2dLayer(filter_size, filters, name="conv", **options),
        gnc.RegressionLayer(),
    ]
    words = {"stride": "stride", "dilation_factor": "dilation", "padding": "padding"}
    twin = {words[name]: value for name, value in options.items() if name in words}
    padding = twin.get("padding")
    if isinstance(padding, tuple):
        sides = padding * 2 if len(padding) == 2 else padding
        top, bottom, left, right = sides if len(padding) == 4 else (padding[0], padding[0], padding[1], padding[1])
        twin["padding"] = [(top, bottom), (left, right)]
    value = options.get("padding_value", 0)
    twin |= {"mode": value} if isinstance(value, str) else {"value": value}
    x = np.random.default_rng(0).standard_normal((batch, *shape))
    nodes = [ref.Node("conv", ref.convolution, ("weights", "bias"), options=twin)]
    return assert_same_network(layers, nodes, x, dtype=dtype)


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.full(like="networks/test_convolution.py::test_padding_values_and_modes")
@given(
    height=st.sampled_from([1, 2, 5, 7, 13]),
    width=st.sampled_from([1, 3, 6, 11, 17]),
    channels=st.sampled_from([1, 2, 3, 5, 8, 16]),
    filters=st.sampled_from([1, 3, 4, 7, 8, 17, 33]),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=PAIR,
    dilation=PAIR,
    padding=st.sampled_from(["same", 0, 1, (2, 1), (0, 1, 2, 0)]),
    dtype=st.sampled_from(["float32", "float64"]),
    batch=st.integers(1, 3),
)
@example(13, 17, 3, 20, (5, 5), (1, 1), (1, 1), 0, "float32", 2)
@example(8, 8, 16, 32, (3, 3), (1, 1), (1, 1), "same", "float32", 3)
@example(7, 6, 5, 7, (3, 2), (2, 3), (2, 1), (1, 0, 2, 1), "float64", 2)
@example(5, 6, 1, 1, (2, 4), (1, 2), (1, 1), "same", "float64", 1)
def test_drawn_shapes(height, width, channels, filters, window, stride, dilation, padding, dtype, batch):
    extents = [height, width]
    if padding != "same":
        sides = {0: (0, 0), 1: (2, 2), (2, 1): (4, 2), (0, 1, 2, 0): (1, 2), (1, 0, 2, 1): (1, 3)}[padding]
        extents = [n + added for n, added in zip(extents, sides, strict=True)]
        assume(all(n >= (f - 1) * d + 1 for n, f, d in zip(extents, window, dilation, strict=True)))
    compare(
        (height, width, channels),
        window,
        filters,
        stride=stride,
        dilation_factor=dilation,
        padding=padding,
        dtype=dtype,
        batch=batch,
    )


@pytest.mark.parametrize(
    ("value", "dtype"),
    few([
        (1.5, "float64"),
        ("symmetric-include-edge", "float32"),
        ("symmetric-exclude-edge", "float64"),
        ("replicate", "float32"),
    ], 2),
)  # fmt: skip
def test_padding_values_and_modes(value, dtype):
    compare((6, 5, 3), 3, 4, padding=(2, 1, 0, 2), padding_value=value, dtype=dtype)


def test_filters_larger_than_the_image():
    compare((2, 3, 4), 5, 6, padding="same")


def test_the_filter_of_the_whole_image():
    compare((6, 7, 3), (6, 7), 9)


def test_a_bias_alone_is_what_zero_weights_give():
    layers = [gnc.ImageInputLayer((4, 4, 2), normalization="none"), gnc.Convolution2dLayer(3, 5, name="conv")]
    compiled = gnc.compile(layers, batch_size=1)
    compiled.parameters["conv.weights"] = np.zeros((3, 3, 2, 5), np.float32)
    bias = np.arange(5, dtype=np.float32)
    compiled.parameters["conv.bias"] = bias.reshape(np.shape(compiled.parameters["conv.bias"]))
    y = compiled.predict(np.ones((1, 4, 4, 2), np.float32))
    np.testing.assert_array_equal(y, np.broadcast_to(bias, (1, 2, 2, 5)))


def test_a_nan_spoils_only_the_windows_that_see_it():
    layers = [gnc.ImageInputLayer((9, 9, 3), normalization="none"), gnc.Convolution2dLayer(3, 17, padding="same")]
    compiled = gnc.compile(layers, batch_size=2, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 9, 9, 3)).astype(np.float32)
    clean = compiled.predict(x)
    x[1, 4, 4, 1] = np.nan
    spoiled = compiled.predict(x)
    hit = np.zeros(clean.shape, bool)
    hit[1, 3:6, 3:6] = True
    assert np.isnan(spoiled[hit]).all()
    np.testing.assert_array_equal(spoiled[~hit], clean[~hit])


def test_two_convolutions_with_relu_between():
    """What fusion makes of convolution, bias and relu is still the same function."""
    layers = [
        gnc.ImageInputLayer((8, 7, 3), normalization="none"),
        gnc.Convolution2dLayer(3, 6, padding="same", name="conv_a"),
        gnc.ReluLayer(name="relu_a"),
        gnc.Convolution2dLayer(3, 5, stride=2, name="conv_b"),
        gnc.LeakyReluLayer(0.2, name="relu_b"),
        gnc.RegressionLayer(),
    ]
    nodes = [
        ref.Node("conv_a", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("relu_a", ref.relu),
        ref.Node("conv_b", ref.convolution, ("weights", "bias"), options={"stride": 2}),
        ref.Node("relu_b", ref.activation, options={"function": "leaky-relu", "alpha": 0.2}),
    ]
    x = np.random.default_rng(0).standard_normal((3, 8, 7, 3))
    assert_same_network(layers, nodes, x)
