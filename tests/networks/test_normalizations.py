"""Batch, layer, instance normalization and the input layer's: forward, gradients, finite differences, state."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, assert_same_network, randomize
from support.sets import few

import gncodegen as gnc

LEARNED = ("scale", "offset")


def image(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape) * 2 + 1


def around(layer, shape, **options):
    return [gnc.ImageInputLayer(shape, normalization="none"), layer, gnc.RegressionLayer()]


@pytest.mark.parametrize(
    ("shape", "batch", "dtype"),
    few([((5, 3, 7), 2, "float32"), ((1, 1, 17), 5, "float32"), ((3, 7, 1), 2, "float64")], 1),
)
def test_batch_norm_in_training_and_prediction(shape, batch, dtype):
    layers = around(gnc.BatchNormalizationLayer(name="bn"), shape)
    assert_same_network(
        layers, [ref.Node("bn", ref.batch_norm, LEARNED)], image(batch, *shape), dtype=dtype, training=True
    )


def test_batch_norm_with_relu():
    layers = [
        gnc.ImageInputLayer((5, 3, 7), normalization="none"),
        gnc.BatchNormalizationLayer(name="bn", epsilon=1e-3),
        gnc.ReluLayer(name="relu"),
        gnc.RegressionLayer(),
    ]
    nodes = [
        ref.Node("bn", ref.batch_norm, LEARNED, options={"epsilon": 1e-3}),
        ref.Node("relu", ref.relu),
    ]
    assert_same_network(layers, nodes, image(2, 5, 3, 7), training=True)


def test_batch_norm_moves_its_running_statistics_in_training_only():
    layers = around(gnc.BatchNormalizationLayer(name="bn", mean_decay=0.3, variance_decay=0.3), (3, 3, 5))
    compiled = gnc.compile(layers, batch_size=4, training=True, seed=0)
    mean, variance = (np.array(compiled.parameters[f"bn.trained_{what}"]) for what in ("mean", "variance"))
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(variance, 1)
    for seed in range(3):
        x = image(4, 3, 3, 5, seed=seed).astype(np.float32)
        mean, variance = ref.running_statistics(x, mean, variance, decay=0.3)
        compiled.predict(x)
        compiled.loss(x, x)
        compiled.gradients(x, x)
        compiled.train_step(x, x)
        assert_near(compiled.parameters["bn.trained_mean"], mean, 1e-6, "trained mean")
        assert_near(compiled.parameters["bn.trained_variance"], variance, 1e-6, "trained variance")


def test_batch_norm_of_a_large_mean_keeps_its_variance():
    compiled = gnc.compile(around(gnc.BatchNormalizationLayer(name="bn"), (8, 8, 5)), batch_size=4, training=True)
    x = (image(4, 8, 8, 5) + 1e4).astype(np.float32)
    compiled.train_step(x, x)
    mean, variance = ref.running_statistics(x, np.zeros(5), np.ones(5), decay=0.1)
    assert_near(compiled.parameters["bn.trained_mean"], mean, 1e-6)
    assert_near(compiled.parameters["bn.trained_variance"], variance, 1e-5)


def test_batch_norm_in_prediction_treats_every_observation_alone():
    compiled = gnc.compile(around(gnc.BatchNormalizationLayer(name="bn"), (3, 3, 5)), batch_size=4, seed=0)
    randomize(compiled)
    x = image(4, 3, 3, 5).astype(np.float32)
    np.testing.assert_array_equal(compiled.predict(x)[1:2], compiled.predict(x[1:2]))


@pytest.mark.few
@pytest.mark.parametrize(
    ("dimension", "reduced"),
    [
        ("auto", "spatial-channel"),
        ("spatial-channel", "spatial-channel"),
        ("batch-excluded", "spatial-channel"),
        ("channel-only", "channel-only"),
    ],
)
def test_layer_norm_dimensions(dimension, reduced):
    layers = around(gnc.LayerNormalizationLayer(name="ln", operation_dimension=dimension), (5, 3, 7))
    nodes = [ref.Node("ln", ref.layer_norm, LEARNED, options={"dimension": reduced})]
    assert_same_network(layers, nodes, image(2, 5, 3, 7))
    if dimension == "channel-only":
        assert_same_network(layers, nodes, image(2, 5, 3, 7), dtype="float64")


def test_layer_norm_of_features():
    layers = [
        gnc.FeatureInputLayer(19, normalization="none"),
        gnc.LayerNormalizationLayer(name="ln"),
        gnc.RegressionLayer(),
    ]
    assert_same_network(layers, [ref.Node("ln", ref.layer_norm, LEARNED)], image(5, 19))


@pytest.mark.parametrize(("shape", "dtype"), few([((5, 3, 7), "float32"), ((4, 5, 1), "float64")], 1))
def test_instance_norm(shape, dtype):
    layers = around(gnc.InstanceNormalizationLayer(name="norm"), shape)
    nodes = [ref.Node("norm", ref.instance_norm, LEARNED)]
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert_same_network(layers, nodes, image(2, *shape), dtype=dtype, tolerance=tolerance)


@pytest.mark.few
@pytest.mark.parametrize(
    ("method", "extent"),
    few([
        *((method, "channel") for method in ("none", "zerocenter", "zscore", "rescale-symmetric", "rescale-zero-one")),
        *((method, extent) for method in ("zscore", "rescale-symmetric") for extent in ("element", "all")),
    ], 5),
)  # fmt: skip
def test_input_normalizations(method, extent):
    shape = {"channel": (7,), "element": (5, 3, 7), "all": (1,)}[extent]
    low, span = image(*shape, seed=1), np.abs(image(*shape, seed=2)) + 0.5
    span.flat[0] = 0 if extent != "all" else 1  # a constant channel must not yield NaN
    statistics = {
        "none": {},
        "zerocenter": {"mean": low},
        "zscore": {"mean": low, "standard_deviation": span},
        "rescale-symmetric": {"min": low, "max": low + span},
        "rescale-zero-one": {"min": low, "max": low + span},
    }[method]
    # Both sides get the same float32 statistics.
    statistics = {name: np.asarray(value, np.float32) for name, value in statistics.items()}
    layers = [
        gnc.ImageInputLayer((5, 3, 7), normalization=method, **statistics),
        gnc.LeakyReluLayer(0.5, name="relu"),
        gnc.RegressionLayer(),
    ]
    nodes = [
        ref.Node("normalization", ref.input_normalization, options={"method": method, **statistics}),
        ref.Node("relu", ref.activation, options={"function": "leaky-relu", "alpha": 0.5}),
    ]
    assert_same_network(layers, nodes, image(2, 5, 3, 7))
