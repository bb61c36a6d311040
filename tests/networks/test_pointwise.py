"""Activations, fully connected, softmax, losses, addition, concatenation, dropout: forward, gradients, differences."""

import numpy as np
import pytest
import reference as ref
from hypothesis import example, given
from hypothesis import strategies as st
from support.comparison import assert_near, assert_same_network
from support.sets import diagonal, few

import gncodegen as gnc


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("shape", "dtype", "kind"),
    diagonal([((5, 3, 7), "float32"), ((1, 1, 1), "float32"), ((5, 3, 7), "float64")], ["relu", "leaky-relu"]),
)
def test_activations(kind, shape, dtype):
    layer = gnc.ReluLayer(name="a") if kind == "relu" else gnc.LeakyReluLayer(0.1, name="a")
    layers = [gnc.ImageInputLayer(shape, normalization="none"), layer, gnc.RegressionLayer()]
    nodes = [ref.Node("a", ref.activation, options={"function": kind, "alpha": 0.1})]
    assert_same_network(layers, nodes, normal(2, *shape), dtype=dtype)


@pytest.mark.parametrize("layer", [gnc.ReluLayer, gnc.LeakyReluLayer])
def test_activations_of_special_values(layer):
    layers = [gnc.FeatureInputLayer(19, normalization="none"), layer(name="a")]
    x = np.zeros((1, 19), np.float32)
    x[0, :6] = [np.nan, np.inf, -np.inf, -0.0, 1e-45, -3]
    x[0, 18] = np.nan
    y = gnc.compile(layers, batch_size=1).predict(x)
    expected = x.copy()
    expected[0, [2, 5]] = [0, 0] if layer is gnc.ReluLayer else [-np.inf, -0.03]
    np.testing.assert_allclose(y, expected, rtol=1e-6)


@given(
    shape=st.sampled_from([(1, 1, 1), (2, 3, 5), (4, 4, 8), (3, 1, 7)]),
    outputs=st.sampled_from([1, 2, 5, 10, 16, 33]),
    batch=st.sampled_from([1, 2, 7]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example((12, 12, 20), 10, 4, "float32")
@example((2, 3, 5), 3, 3, "float64")
def test_fully_connected(shape, outputs, batch, dtype):
    layers = [
        gnc.ImageInputLayer(shape, normalization="none"),
        gnc.FullyConnectedLayer(outputs, name="fc"),
        gnc.RegressionLayer(),
    ]
    nodes = [ref.Node("fc", ref.fully_connected, ("weights", "bias"))]
    assert_same_network(layers, nodes, normal(batch, *shape), dtype=dtype)


def test_two_fully_connected_layers_of_features():
    layers = [
        gnc.FeatureInputLayer(13, normalization="none"),
        gnc.FullyConnectedLayer(9, name="fc_a"),
        gnc.ReluLayer(name="relu"),
        gnc.FullyConnectedLayer(3, name="fc_b"),
        gnc.RegressionLayer(),
    ]
    nodes = [
        ref.Node("fc_a", ref.fully_connected, ("weights", "bias")),
        ref.Node("relu", ref.relu),
        ref.Node("fc_b", ref.fully_connected, ("weights", "bias")),
    ]
    assert_same_network(layers, nodes, normal(5, 13), dtype="float64")


def classifier(inputs, classes, **options):
    return [
        gnc.FeatureInputLayer(inputs, normalization="none"),
        gnc.FullyConnectedLayer(classes, name="fc"),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(**options),
    ]


CLASSIFIER = [ref.Node("fc", ref.fully_connected, ("weights", "bias")), ref.Node("softmax", ref.softmax)]


@pytest.mark.parametrize(
    ("classes", "weighted", "dtype"), few([(17, True, "float32"), (2, False, "float32"), (10, False, "float64")], 2)
)
def test_softmax_and_cross_entropy(classes, weighted, dtype):
    weights = [0.5 + i for i in range(classes)] if weighted else None
    t = ref.one_hot(np.arange(7) % classes, classes)
    layers = classifier(6, classes, class_weights=weights)
    options = {"class_weights": weights}
    assert_same_network(layers, CLASSIFIER, normal(7, 6), t, dtype=dtype, loss=ref.cross_entropy, loss_options=options)


def test_softmax_in_the_middle_of_a_network():
    layers = [
        gnc.FeatureInputLayer(11, normalization="none"),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.FullyConnectedLayer(4, name="fc"),
        gnc.RegressionLayer(),
    ]
    nodes = [ref.Node("softmax", ref.softmax), ref.Node("fc", ref.fully_connected, ("weights", "bias"))]
    assert_same_network(layers, nodes, normal(3, 11) * 3, dtype="float64")


def test_class_indices_are_one_hot_rows():
    compiled = gnc.compile(classifier(6, 5), batch_size=4, training=True, seed=0)
    x, labels = normal(4, 6).astype(np.float32), np.array([4, 0, 2, 2])
    one_hot = ref.one_hot(labels, 5).astype(np.float32)
    assert compiled.loss(x, labels) == compiled.loss(x, one_hot)
    by_labels, by_rows = compiled.gradients(x, labels), compiled.gradients(x, one_hot)
    for name, gradient in by_labels.items():
        np.testing.assert_array_equal(gradient, by_rows[name])


def test_the_loss_of_extreme_scores_is_finite_and_right():
    layers = [
        gnc.FeatureInputLayer(3, normalization="none"),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(),
    ]
    compiled = gnc.compile(layers, batch_size=3, training=True)
    x = np.array([[1000, 0, -1000], [-1e30, 0, 0], [88, 89, 90]], np.float32)
    labels = np.array([2, 1, 2])
    y = compiled.predict(x)
    np.testing.assert_allclose(y[:2], [[1, 0, 0], [0, 0.5, 0.5]], atol=1e-6)
    third = np.log(1 + np.exp(-1) + np.exp(-2))
    assert compiled.loss(x, labels) == pytest.approx((2000 + np.log(2) + third) / 3, rel=1e-6)
    gradient = compiled.gradients(x, labels)["input"]
    expected = np.array([[1, 0, -1], [0, -0.5, 0.5], [*np.exp([-2 - third, -1 - third]), np.exp(-third) - 1]]) / 3
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def graph(shape, *branches_into_join):
    """Two branches, a and b, of the input into a join: (graph, names of the join's inputs)."""
    return gnc.LayerGraph([gnc.ImageInputLayer(shape, normalization="none", name="input"), *branches_into_join])


@pytest.mark.parametrize(("dtype", "relu"), few([("float32", True), ("float64", False), ("float64", True)], 1))
def test_addition_of_three(dtype, relu):
    tail = [gnc.ReluLayer(name="tail")] if relu else []
    layers = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((5, 3, 7), normalization="none", name="start"),
            gnc.LeakyReluLayer(0.3, name="a"),
            gnc.AdditionLayer(3, name="add"),
            *tail,
            gnc.RegressionLayer(name="loss"),
        ]
    )
    layers.add([gnc.LeakyReluLayer(0.6, name="b")])
    layers.connect("start", "b")
    layers.connect("b", "add/in2")
    layers.connect("start", "add/in3")
    nodes = [
        ref.Node("a", ref.activation, options={"function": "leaky-relu", "alpha": 0.3}),
        ref.Node("b", ref.activation, inputs=("input",), options={"function": "leaky-relu", "alpha": 0.6}),
        ref.Node("add", ref.addition, inputs=("a", "b", "input")),
        *([ref.Node("tail", ref.relu)] if relu else []),
    ]
    assert_same_network(layers, nodes, normal(2, 5, 3, 7), dtype=dtype)


def test_concatenation_of_unequal_depths():
    layers = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((5, 3, 7), normalization="none", name="start"),
            gnc.LeakyReluLayer(0.3, name="a"),
            gnc.DepthConcatenationLayer(3, name="concat"),
            gnc.RegressionLayer(name="loss"),
        ]
    )
    layers.add([gnc.Convolution2dLayer(1, 3, name="b")])
    layers.connect("start", "b")
    layers.connect("b", "concat/in2")
    layers.connect("start", "concat/in3")
    nodes = [
        ref.Node("a", ref.activation, options={"function": "leaky-relu", "alpha": 0.3}),
        ref.Node("b", ref.convolution, ("weights", "bias"), inputs=("input",)),
        ref.Node("concat", ref.depth_concatenation, inputs=("a", "b", "input")),
    ]
    assert_same_network(layers, nodes, normal(2, 5, 3, 7))


def dropout_network(probability, seed=0):
    layers = [
        gnc.FeatureInputLayer(501, normalization="none"),
        gnc.DropoutLayer(probability, name="drop"),
        gnc.RegressionLayer(),
    ]
    return gnc.compile(layers, batch_size=8, training=True, seed=seed)


def mask_of(compiled):
    """The mask in use, read off the gradient: with x = 1 and t = 0 it is zero exactly where an element was dropped."""
    ones = np.ones((8, 501), np.float32)
    return compiled.gradients(ones, np.zeros_like(ones))["input"] != 0


@pytest.mark.parametrize("probability", few([0.5, 0.2, 0.9], 1))
def test_dropout_keeps_the_right_share_and_scales_it(probability):
    compiled = dropout_network(probability)
    x, t = (1 + np.abs(normal(8, 501))).astype(np.float32), normal(8, 501, seed=1).astype(np.float32)
    mask = mask_of(compiled)
    assert abs(mask.mean() - (1 - probability)) < 5 * np.sqrt(probability * (1 - probability) / mask.size)
    assert np.ptp(mask.mean(axis=1)) > 0
    y, backward = ref.dropout(x, mask, probability=probability)
    loss, slope = ref.half_squared_error(y, t)
    assert compiled.loss(x, t) == pytest.approx(loss, rel=1e-5)
    assert_near(compiled.gradients(x, t)["input"], backward(slope())[0], 1e-5)


def test_dropout_is_the_identity_in_prediction():
    x = normal(8, 501).astype(np.float32)
    np.testing.assert_array_equal(dropout_network(0.5).predict(x), x)


def test_dropout_draws_anew_each_step_from_its_seed():
    x = np.ones((8, 501), np.float32)
    first, again, other = dropout_network(0.5), dropout_network(0.5), dropout_network(0.5, seed=1)
    before = mask_of(first)
    np.testing.assert_array_equal(before, mask_of(again))
    assert 0.3 < (before != mask_of(other)).mean() < 0.7
    first.train_step(x, x)
    again.train_step(x, x)
    assert 0.3 < (before != mask_of(first)).mean() < 0.7
    np.testing.assert_array_equal(mask_of(first), mask_of(again))


def test_two_dropouts_of_one_network_differ():
    layers = [
        gnc.FeatureInputLayer(501, normalization="none"),
        gnc.DropoutLayer(0.5, name="a"),
        gnc.DropoutLayer(0.5, name="b"),
        gnc.RegressionLayer(),
    ]
    kept = mask_of(gnc.compile(layers, batch_size=8, training=True, seed=0)).mean()
    assert 0.2 < kept < 0.3
