"""Transposed convolution: stride, cropping, odd sizes; forward, gradients, finite differences, training, saving."""

import numpy as np
import pytest
import reference as ref
from hypothesis import assume, example, given
from hypothesis import strategies as st
from support.comparison import assert_near, assert_same_network
from support.sets import few

import gncodegen as gnc


def image_input(shape):
    return gnc.ImageInputLayer(shape, normalization="none")


def up_node(name="up", *, stride=1, cropping=0):
    """The twin of a layer with these properties."""
    if isinstance(cropping, tuple):
        top, bottom, left, right = cropping if len(cropping) == 4 else (*cropping[:1] * 2, *cropping[1:] * 2)
        cropping = [(top, bottom), (left, right)]
    options = {"stride": stride, "cropping": cropping}
    return ref.Node(name, ref.transposed_convolution, ("weights", "bias"), options=options)


def compare(shape, filter_size, filters, *, dtype="float32", batch=2, **options):
    """One transposed convolution as a network of its own; `options` in the layer's words."""
    up = gnc.TransposedConvolution2dLayer(filter_size, filters, name="up", **options)
    x = np.random.default_rng(0).standard_normal((batch, *shape))
    return assert_same_network([image_input(shape), up, gnc.RegressionLayer()], [up_node(**options)], x, dtype=dtype)


PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.mark.full(like="networks/test_transposed_convolution.py::test_by_hand")
@given(
    height=st.sampled_from([1, 2, 5, 7]),
    width=st.sampled_from([1, 3, 6, 11]),
    channels=st.sampled_from([1, 2, 3, 5, 8, 16]),
    filters=st.sampled_from([1, 3, 4, 7, 8, 17, 33]),
    window=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=PAIR,
    cropping=st.sampled_from(["same", 0, 1, (2, 1), (0, 1, 2, 0)]),
    dtype=st.sampled_from(["float32", "float64"]),
    batch=st.integers(1, 3),
)
@example(8, 8, 16, 32, (2, 2), (2, 2), 0, "float32", 3)
@example(6, 7, 16, 16, (3, 3), (1, 1), 1, "float32", 2)
@example(5, 4, 5, 7, (3, 2), (2, 3), (1, 0, 2, 1), "float64", 2)
@example(5, 6, 3, 2, (1, 2), (3, 1), "same", "float64", 1)
@example(5, 6, 8, 9, (5, 4), (2, 2), "same", "float32", 2)
def test_drawn_shapes(height, width, channels, filters, window, stride, cropping, dtype, batch):
    if cropping != "same":
        cut = {0: (0, 0), 1: (2, 2), (2, 1): (4, 2), (0, 1, 2, 0): (1, 2), (1, 0, 2, 1): (1, 3)}[cropping]
        assume(all(s * (n - 1) + f > c for n, f, s, c in zip((height, width), window, stride, cut, strict=True)))
    compare((height, width, channels), window, filters, stride=stride, cropping=cropping, dtype=dtype, batch=batch)


def test_by_hand():
    """Two pixels three apart each paint a window of two; the third column only holds the bias."""
    layers = [image_input((1, 2, 1)), gnc.TransposedConvolution2dLayer((1, 2), 1, stride=3, name="up")]
    compiled = gnc.compile(layers, batch_size=1)
    compiled.parameters["up.weights"] = np.array([2.0, 5.0]).reshape(1, 2, 1, 1)
    compiled.parameters["up.bias"] = [0.5]
    y = compiled.predict(np.array([10.0, 100.0], np.float32).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(y.ravel(), [20.5, 50.5, 0.5, 200.5, 500.5])


def test_it_is_the_adjoint_of_the_convolution():
    """⟨up(x), z⟩ = ⟨x, conv(z)⟩ for the same weights, stride and padding."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((3, 2, 4, 5))
    up = gnc.TransposedConvolution2dLayer((3, 2), 4, stride=2, cropping=(1, 0, 0, 1), weights=weights)
    conv = gnc.Convolution2dLayer((3, 2), 5, stride=2, padding=(1, 0, 0, 1), weights=weights)
    x = random.standard_normal((2, 4, 3, 5))
    y = gnc.compile([image_input((4, 3, 5)), up], batch_size=2, dtype="float64").predict(x)
    z = random.standard_normal(y.shape)
    back = gnc.compile([image_input(y.shape[1:]), conv], batch_size=2, dtype="float64").predict(z)
    assert float(np.sum(y * z)) == pytest.approx(float(np.sum(x * back)), rel=1e-12)


def test_a_nan_spoils_only_what_its_pixel_paints():
    layers = [image_input((5, 5, 3)), gnc.TransposedConvolution2dLayer(2, 17, stride=2)]
    compiled = gnc.compile(layers, batch_size=2, seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
    clean = compiled.predict(x)
    x[1, 3, 2, 1] = np.nan
    spoiled = compiled.predict(x)
    hit = np.zeros(clean.shape, bool)
    hit[1, 6:8, 4:6] = True
    assert np.isnan(spoiled[hit]).all()
    np.testing.assert_array_equal(spoiled[~hit], clean[~hit])


def test_a_batch_slice_keeps_its_bits():
    layers = [image_input((5, 6, 7)), gnc.TransposedConvolution2dLayer(3, 9, stride=2, cropping="same")]
    x = np.random.default_rng(0).standard_normal((4, 5, 6, 7)).astype(np.float32)
    whole, one = (gnc.compile(layers, batch_size=n, seed=0).predict(x[:n]) for n in (4, 1))
    np.testing.assert_array_equal(whole[:1], one)


def autoencoder(dtype="float32"):
    """Down and up again, with bias and relu behind the transposed convolution; and its twin."""
    layers = [
        image_input((6, 8, 3)),
        gnc.Convolution2dLayer(3, 6, stride=2, padding="same", name="down"),
        gnc.TransposedConvolution2dLayer(2, 5, stride=2, name="up"),
        gnc.ReluLayer(name="relu"),
        gnc.TransposedConvolution2dLayer(3, 2, cropping="same", name="last"),
        gnc.RegressionLayer(),
    ]
    nodes = [
        ref.Node("down", ref.convolution, ("weights", "bias"), options={"stride": 2, "padding": "same"}),
        up_node("up", stride=2),
        ref.Node("relu", ref.relu),
        up_node("last", cropping="same"),
    ]
    return layers, nodes, np.random.default_rng(0).standard_normal((3, 6, 8, 3)).astype(dtype)


@pytest.mark.full(like="kernels/test_transposed_convolution.py::test_bias_residual_and_relu_in_its_epilogue")
def test_bias_and_relu_are_fused_and_training_follows_the_twin():
    layers, nodes, x = autoencoder("float64")
    compiled = assert_same_network(layers, nodes, x, dtype="float64", training=True)
    assert "up + relu" in compiled.fused
    ops = {schedule.op for schedule in compiled.program.kernels.values()}
    assert "transposed_convolution" in ops
    assert not {"bias", "activation"} & ops
    optimizer = ref.Sgdm(l2_factors={f"{name}.bias": 0 for name in ("down", "up", "last")})
    twin = ref.ReferenceNetwork(nodes, dict(compiled.parameters), loss=ref.half_squared_error, optimizer=optimizer)
    t = np.random.default_rng(5).standard_normal((3, 6, 8, 2))
    for _ in range(3):
        assert_near(compiled.train_step(x, t), twin.train_step(x, t), 1e-12, "loss")
    for name, value in compiled.parameters.items():
        assert_near(value, twin.parameters[name], 1e-12, name)


@pytest.mark.parametrize("function", few(["tanh", "clipped-relu"], 1))
def test_other_activations_behind_it(function):
    layer = {"tanh": gnc.TanhLayer(name="act"), "clipped-relu": gnc.ClippedReluLayer(0.7, name="act")}[function]
    layers = [
        image_input((4, 3, 2)),
        gnc.TransposedConvolution2dLayer(3, 4, stride=2, name="up"),
        layer,
        gnc.RegressionLayer(),
    ]
    nodes = [up_node(stride=2), ref.Node("act", ref.activation, options={"function": function, "alpha": 0.7})]
    assert_same_network(layers, nodes, np.random.default_rng(0).standard_normal((2, 4, 3, 2)))


@pytest.mark.full(like="networks/test_transposed_convolution.py::test_by_hand")
def test_trained_saved_and_loaded(tmp_path):
    layers, _, x = autoencoder()
    options = gnc.training_options("sgdm", max_epochs=8, mini_batch_size=3, verbose=False, seed=0)
    net, info = gnc.train_network(x, np.tanh(x[..., :2]), layers, options)
    assert info.training_loss[-1] < info.training_loss[0]
    net.save(tmp_path / "net")
    twin = gnc.load(tmp_path / "net")
    assert twin.network["up"].layer == net.network["up"].layer
    np.testing.assert_array_equal(twin.predict(x), net.predict(x))


@pytest.mark.full(like="networks/test_transposed_convolution.py::test_by_hand")
def test_channels_first_arrays():
    layers, _, x = autoencoder()
    inner = gnc.compile(layers, batch_size=3, seed=0).predict(x)
    outer = gnc.compile(layers, batch_size=3, seed=0, data_format="BCSS").predict(x.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(outer.transpose(0, 2, 3, 1), inner)


@pytest.mark.full(like="kernels/test_transposed_convolution.py::test_bias_residual_and_relu_in_its_epilogue")
def test_a_network_in_the_emulator_matches_the_cpu():
    layers = [
        gnc.ImageInputLayer((4, 4, 3), normalization="none"),
        gnc.Convolution2dLayer(3, 8, stride=2, padding="same"),
        gnc.GroupNormalizationLayer(2),
        gnc.ReluLayer(),
        gnc.TransposedConvolution2dLayer(2, 4, stride=2),
        gnc.LeakyReluLayer(0.1),
        gnc.TransposedConvolution2dLayer(3, 2, cropping=(1, 0, 2, 1)),
        gnc.RegressionLayer(),
    ]
    host, ours = (
        gnc.compile(layers, batch_size=2, seed=3, **where) for where in ({}, {"target": "sm_90", "emulate": True})
    )
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, 4, 3)).astype(np.float32)
    t = random.standard_normal(host.predict(x).shape).astype(np.float32)
    np.testing.assert_allclose(ours.predict(x), host.predict(x), atol=1e-5)
    wanted = host.gradients(x, t)
    for name, gradient in ours.gradients(x, t).items():
        np.testing.assert_allclose(gradient, wanted[name], atol=2e-5 * np.abs(wanted[name]).max(), err_msg=name)
    for _ in range(2):
        assert ours.train_step(x, t) == pytest.approx(host.train_step(x, t), rel=1e-5)
