"""What the lines of the specification compute, on the CPU and as compiled PTX in the emulator: one row a line."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, assert_same_network, randomize
from support.formats import entrance
from support.targets import TARGETS

import gncodegen as gnc

NORM, WEIGHTED = ("scale", "offset"), ("weights", "bias")
FEATURES, LINE, IMAGE, VOLUME = ("C", (6,)), ("SC", (5, 6)), ("SSC", (3, 5, 6)), ("SSSC", (2, 3, 2, 6))
SEQUENCE, LINES = ("TC", (4, 6)), ("TSC", (3, 4, 6))
IMAGES, VOLUMES = ("TSSC", (2, 3, 3, 6)), ("TSSSC", (2, 2, 2, 3, 6))


@dataclass(frozen=True)
class Row:
    """Layers behind an input of this format and shape, and what they compute.

    Args:
        size: format and shape of one observation.
        layers: type names and arguments, one layer after the other.
        nodes: the oracle's operation of each, its learnables and options.
        more: keyword arguments of `assert_same_network`.
    """

    size: tuple[str, tuple[int, ...]]
    layers: tuple[gnc.layers.base.Layer, ...]
    nodes: tuple[tuple[Any, tuple[str, ...], dict[str, Any]], ...]
    more: dict[str, Any] = field(default_factory=dict)


def group_norm(size, groups=2, more=None, **options):
    layer = gnc.GroupNormalizationLayer(groups, name="0", **options)
    return Row(size, (layer,), ((ref.group_norm, NORM, {"groups": groups, **options}),), more or {})


def activation(layer, function, **constants):
    return Row(IMAGE, (layer,), ((ref.activation, (), {"function": function, **constants}),))


def one(shape, layer, operation, learned=(), more=None, /, **options):
    return Row(shape, (layer,), ((operation, learned, options),), more or {})


def flat(x):
    x = np.asarray(x)
    return x.reshape(len(x), -1), lambda dy: (np.asarray(dy).reshape(x.shape),)


CLASSES = np.array([2, 0])
ROWS = {
    **{f"1: {'B' + size[0]}": group_norm(size) for size in (
        FEATURES, LINE, IMAGE, VOLUME, SEQUENCE, LINES, IMAGES, VOLUMES
    )},
    "1: all-channels": group_norm(IMAGE, "all-channels"),
    "1: channel-wise": group_norm(IMAGE, "channel-wise", {"tolerance": 2e-5}),
    "1: three groups, epsilon": group_norm(IMAGE, 3, epsilon=0.5),
    "2: batch normalization": one(
        IMAGE, gnc.BatchNormalizationLayer(name="0"), ref.batch_norm, NORM, {"training": True}
    ),
    "2: batch normalization over time": one(
        LINES, gnc.BatchNormalizationLayer(name="0"), ref.batch_norm, NORM, {"training": True}
    ),
    **{f"2: layer normalization, {dimension}": one(
        IMAGE, gnc.LayerNormalizationLayer(operation_dimension=dimension, name="0"), ref.layer_norm, NORM,
        dimension="channel-only" if dimension == "channel-only" else "spatial-channel",
    ) for dimension in ("auto", "channel-only", "spatial-channel", "batch-excluded")},
    "2: layer normalization of a sequence": one(
        SEQUENCE, gnc.LayerNormalizationLayer(name="0"), ref.layer_norm, NORM, dimension="channel-only"
    ),
    "2: instance normalization": one(
        IMAGE, gnc.InstanceNormalizationLayer(name="0"), ref.instance_norm, NORM, {"tolerance": 2e-5}
    ),
    "2: local response normalization": one(
        IMAGE, gnc.CrossChannelNormalizationLayer(3, name="0"), ref.local_response, window=3, alpha=1e-4, beta=0.75, k=2
    ),
    "2: convolution 2-D": one(
        IMAGE, gnc.Convolution2dLayer(3, 4, padding="same", stride=2, name="0"), ref.convolution, WEIGHTED,
        padding="same", stride=2,
    ),
    "2: grouped convolution": one(
        IMAGE, gnc.GroupedConvolution2dLayer(3, 2, 3, name="0"), ref.convolution, WEIGHTED, groups=3
    ),
    "2: channel-wise convolution": one(
        IMAGE, gnc.GroupedConvolution2dLayer(2, 1, "channel-wise", name="0"), ref.convolution, WEIGHTED, groups=6
    ),
    "2: transposed convolution": one(
        IMAGE, gnc.TransposedConvolution2dLayer(2, 3, stride=2, name="0"), ref.transposed_convolution, WEIGHTED,
        stride=2,
    ),
    "2: fully connected flattens S and C": one(
        IMAGE, gnc.FullyConnectedLayer(3, name="0"), ref.fully_connected, WEIGHTED
    ),
    "2: fully connected keeps T": one(
        LINES, gnc.FullyConnectedLayer(3, name="0"), ref.each_step(ref.fully_connected), WEIGHTED
    ),
    "2: relu": activation(gnc.ReluLayer(name="0"), "relu"),
    "2: leaky relu": activation(gnc.LeakyReluLayer(name="0"), "leaky-relu", alpha=0.01),
    "2: clipped relu": activation(gnc.ClippedReluLayer(0.5, name="0"), "clipped-relu", alpha=0.5),
    "2: elu": activation(gnc.EluLayer(name="0"), "elu", alpha=1.0),
    "2: tanh": activation(gnc.TanhLayer(name="0"), "tanh"),
    "2: sigmoid": activation(gnc.SigmoidLayer(name="0"), "sigmoid"),
    "2: swish": activation(gnc.SwishLayer(name="0"), "swish"),
    "2: gelu": activation(gnc.GeluLayer(name="0"), "gelu"),
    "2: gelu, tanh": activation(gnc.GeluLayer(approximation="tanh", name="0"), "gelu-tanh"),
    "2: softplus": activation(gnc.SoftplusLayer(name="0"), "softplus"),
    "2: softmax": one(IMAGE, gnc.SoftmaxLayer(name="0"), ref.softmax),
    "2: max pooling": one(
        IMAGE, gnc.MaxPooling2dLayer(2, padding=1, name="0"), ref.max_pool, window=(2, 2), padding=1
    ),
    "2: average pooling counts zeros": one(
        IMAGE, gnc.AveragePooling2dLayer(2, padding=1, name="0"), ref.average_pool, window=(2, 2), padding=1
    ),
    "2: average pooling, mean": one(
        IMAGE, gnc.AveragePooling2dLayer(2, padding=1, padding_value="mean", name="0"), ref.average_pool,
        window=(2, 2), padding=1, count_padding=False,
    ),
    "2: global average": one(IMAGE, gnc.GlobalAveragePooling2dLayer(name="0"), ref.global_average_pool),
    "2: global max": one(IMAGE, gnc.GlobalMaxPooling2dLayer(name="0"), ref.global_max_pool),
    "2: dropout is the identity at prediction": one(
        IMAGE, gnc.DropoutLayer(name="0"), lambda x: (x, lambda dy: (dy,))
    ),
    "2: flatten": one(IMAGE, gnc.FlattenLayer(name="0"), flat),
    "2: classification": one(
        FEATURES, gnc.SoftmaxLayer(name="0"), ref.softmax, (), {"loss": ref.cross_entropy, "t": np.eye(6)[CLASSES]}
    ),
    "6.14: C/G = 3, spatial 1": group_norm(("SSC", (1, 1, 6))),
    "6.14: C/G = 5, spatial prime": group_norm(("SSC", (13, 7, 15)), 3),
    "6.14: a group larger than shared memory": group_norm(("SSC", (70, 61, 12)), 1),
    "6.12: float64": group_norm(IMAGE, more={"dtype": "float64"}),
    "6.12: float64, one element": group_norm(FEATURES, "channel-wise", {"dtype": "float64"}),
}  # fmt: skip
"""Line of the specification → what it computes."""


def numbers(shape, seed=0):
    """Distinct values, far apart, so that a finite step never changes which one of a window is the largest."""
    return (np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape) + 0.5) / np.prod(shape) * 4 - 2


@pytest.mark.few
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("line", ROWS)
def test_forward_and_gradients(line, target):
    row = ROWS[line]
    if row.more.get("loss") is ref.cross_entropy:
        output = gnc.ClassificationLayer()
    else:
        output = gnc.RegressionLayer()
    nodes = [ref.Node(f"{i}", each, learned, options=options) for i, (each, learned, options) in enumerate(row.nodes)]
    x = numbers((2, *row.size[1]))
    assert_same_network([entrance(*row.size), *row.layers, output], nodes, x, target=target, **row.more)


# ---- graphs, activations of special values, dropout ----------------------------------------------------------------


def made(layers, target, **options):
    """Compiled for a target, with random learnables."""
    compiled = gnc.compile(layers, target, emulate=target != "cpu", seed=0, **options)
    randomize(compiled)
    return compiled


@pytest.mark.full(like="networks/test_pointwise.py::test_addition_of_three")
@pytest.mark.parametrize("target", TARGETS)
def test_addition_multiplication_and_concatenation(target):
    """Of x and its squares: 2: addition, multiplication, depth concatenation."""
    graph = gnc.LayerGraph([gnc.FeatureInputLayer(3, normalization="none", name="x")])
    graph.add([gnc.MultiplicationLayer(2, name="square")]).connect("x", "square/in1").connect("x", "square/in2")
    graph.add([gnc.AdditionLayer(2, name="add")]).connect("x", "add/in1").connect("square", "add/in2")
    graph.add([gnc.DepthConcatenationLayer(2, name="both"), gnc.RegressionLayer()])
    graph.connect("x", "both/in1").connect("add", "both/in2")
    x = numbers((2, 3)).astype(np.float32)
    compiled = made(graph, target, batch_size=2)
    np.testing.assert_allclose(compiled.predict(x), np.concatenate([x, x + x * x], 1), rtol=1e-6)
    dy = np.concatenate([x, x + x * x], 1) / 2
    gradient = compiled.gradients(x, np.zeros((2, 6), np.float32))["input"]
    np.testing.assert_allclose(gradient, dy[:, :3] + dy[:, 3:] * (1 + 2 * x), rtol=1e-5, atol=1e-6)


@pytest.mark.full(like="networks/test_pointwise.py::test_activations_of_special_values")
@pytest.mark.parametrize("target", TARGETS)
def test_relu_of_nan_and_dropout_in_training(target):
    x = np.ones((2, 64), np.float32)
    layers = [gnc.FeatureInputLayer(64, normalization="none"), gnc.ReluLayer(), gnc.DropoutLayer(0.25)]
    compiled = made([*layers, gnc.RegressionLayer()], target, batch_size=2)
    x[0, 0], x[0, 1] = np.nan, -1
    y = compiled.predict(x)
    assert np.isnan(y[0, 0])
    np.testing.assert_array_equal(y.ravel()[1:], [0, *np.ones(126)])
    compiled.train_step(np.ones_like(x), x)
    assert set(np.unique(compiled.last_scores)) == {np.float32(0), np.float32(4 / 3)}


# ---- section 3: steps ----------------------------------------------------------------------------------------------

STEPS = {
    "3: defaults": {},
    "3: momentum 0": {"momentum": 0.0},
    "3: L2": {"l2_regularization": 0.3},
    "3: l2norm": {"gradient_threshold": 0.2},
    "3: global-l2norm": {"gradient_threshold": 0.3, "gradient_threshold_method": "global-l2norm"},
    "3: absolute-value": {"gradient_threshold": 0.05, "gradient_threshold_method": "absolute-value"},
    "3: adam": {"solver": "adam"},
    "3: rmsprop": {"solver": "rmsprop"},
}
WORDS = {"l2_regularization": "l2", "gradient_threshold": "threshold", "gradient_threshold_method": "method"}


@pytest.mark.full(like="networks/test_solvers.py::test_steps_are_the_oracles")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("line", STEPS)
def test_steps(line, target):
    """Two steps beside the oracle's; the scale of the norm is frozen and keeps its bits (6.7)."""
    layers = [
        gnc.FeatureInputLayer(4, normalization="none"), gnc.FullyConnectedLayer(6, name="a"),
        gnc.GroupNormalizationLayer(2, scale_learn_rate_factor=0, offset_l2_factor=2, name="gn"), gnc.ReluLayer(),
        gnc.FullyConnectedLayer(3, name="b"), gnc.SoftmaxLayer(), gnc.ClassificationLayer(class_weights=(1, 2, 0.5)),
    ]  # fmt: skip
    given = {"initial_learn_rate": 0.05, **STEPS[line]}
    solver = given.pop("solver", "sgdm")
    compiled = made(layers, target, batch_size=4, options=gnc.training_options(solver, **given))
    nodes = [
        ref.Node("a", ref.fully_connected, WEIGHTED), ref.Node("gn", ref.group_norm, NORM, options={"groups": 2}),
        ref.Node("relu", ref.relu), ref.Node("b", ref.fully_connected, WEIGHTED), ref.Node("softmax", ref.softmax),
    ]  # fmt: skip
    options = {WORDS.get(name, name): value for name, value in given.items() if name != "initial_learn_rate"}
    optimizer = ref.SOLVERS[solver](
        rate=0.05, learn_rate_factors={"gn.scale": 0}, l2_factors={"a.bias": 0, "b.bias": 0, "gn.offset": 2}, **options
    )
    twin = ref.ReferenceNetwork(
        nodes, dict(compiled.parameters), optimizer=optimizer, loss_options={"class_weights": (1, 2, 0.5)}
    )
    frozen = np.array(compiled.parameters["gn.scale"])
    for step in range(2):
        x, labels = numbers((4, 4), step).astype(np.float32), np.array([0, 1, 2, 1])
        assert compiled.train_step(x, labels) == pytest.approx(twin.train_step(x, ref.one_hot(labels, 3)), rel=1e-5)
    for name, value in compiled.parameters.items():
        assert_near(value, twin.parameters[name], 2e-5, name)
    np.testing.assert_array_equal(compiled.parameters["gn.scale"], frozen)


# ---- section 6 -----------------------------------------------------------------------------------------------------


@cache
def norms(target, groups, **options):
    options = {"epsilon": 1e-5, **options}
    layers = [entrance(*IMAGE), gnc.GroupNormalizationLayer(groups, name="gn", **options), gnc.RegressionLayer()]
    return made(layers, target, batch_size=2)


@pytest.mark.full(like="networks/test_groupnorm.py::test_a_bad_value_spoils_its_own_group_and_nothing_else")
@pytest.mark.parametrize("target", TARGETS)
class TestGroupNorm:
    """Section 6 of a group norm of 3×5 pixels and six channels."""

    X = numbers((2, 3, 5, 6)).astype(np.float32)

    @pytest.mark.parametrize(("count", "word"), [(1, "all-channels"), (6, "channel-wise")])
    def test_words_are_numbers(self, target, count, word):
        """6.2."""
        y, same = (norms(target, groups).predict(self.X) for groups in (count, word))
        np.testing.assert_array_equal(y, same)

    @pytest.mark.parametrize("epsilon", [1e-3, 1e-12])
    def test_epsilon_stands_inside_the_root(self, target, epsilon):
        """6.5."""
        compiled = norms(target, 2, epsilon=epsilon)
        x = self.X * np.float32(1e-4)
        expected, _ = ref.group_norm(
            x, compiled.parameters["gn.scale"], compiled.parameters["gn.offset"], groups=2, epsilon=epsilon
        )
        assert_near(compiled.predict(x), expected, 5e-6)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_a_bad_value_stays_in_its_group(self, target, bad):
        """6.6."""
        compiled, x = norms(target, 2), self.X.copy()
        x[1, 1, 2, 4] = bad
        y, good = compiled.predict(x), compiled.predict(self.X)
        assert np.isnan(y[1, :, :, 3:]).all()
        np.testing.assert_array_equal(y[0], good[0])
        np.testing.assert_array_equal(y[1, :, :, :3], good[1, :, :, :3])

    def test_any_number_of_observations(self, target):
        """6.9 and 6.13: none, one, five; a slice alone has the bits that it has in the batch."""
        compiled = norms(target, 2)
        x = numbers((5, 3, 5, 6)).astype(np.float32)
        y = compiled.predict(x)
        assert compiled.predict(x[:0]).shape == (0, 3, 5, 6)
        np.testing.assert_array_equal(compiled.predict(x[3:4]), y[3:4])
        np.testing.assert_array_equal(compiled.predict(x[1:]), y[1:])

    def test_axis_orders_and_kinds_of_arrays(self, target):
        """6.11."""
        compiled, y = norms(target, 2), norms(target, 2).predict(self.X)
        for order, letters in (((0, 3, 1, 2), "BCSS"), ((3, 0, 1, 2), "CBSS"), ((1, 2, 3, 0), "SSCB")):
            moved = compiled.predict(self.X.transpose(order), data_format=letters)
            np.testing.assert_array_equal(moved, y.transpose(order))
        fixed = self.X.copy()
        fixed.flags.writeable = False
        for same in (np.asfortranarray(self.X), fixed, self.X.astype(np.float64), np.repeat(self.X, 2, 1)[:, ::2]):
            np.testing.assert_array_equal(compiled.predict(same), y)
        whole = np.round(self.X * 9)
        np.testing.assert_array_equal(compiled.predict(whole.astype(np.int64)), compiled.predict(whole))

    def test_the_input_gradient_sums_to_zero(self, target):
        """6.12, gamma constant."""
        compiled = norms(target, 3)
        compiled.parameters["gn.scale"] = np.full(6, 1.5, np.float32)
        dx = compiled.gradients(self.X, np.zeros_like(self.X) + self.X[::-1])["input"].astype(np.float64)
        sums = dx.reshape(2, 15, 3, 2).sum((1, 3))
        assert np.abs(sums).max() < 1e-5 * np.abs(dx).max() * 30

    def test_one_element_and_constant_groups(self, target):
        """6.4 and 6.12: exactly the offset, and gradients that are numbers."""
        layers = [
            gnc.FeatureInputLayer(6, normalization="none"),
            gnc.GroupNormalizationLayer("channel-wise", name="gn"),
        ]
        single = made([*layers, gnc.RegressionLayer()], target, batch_size=2)
        for compiled, x in ((single, self.X[:, 0, 0]), (norms(target, 2), np.full_like(self.X, 0.1))):
            offset = compiled.parameters["gn.offset"]
            np.testing.assert_array_equal(compiled.predict(x), np.broadcast_to(offset, x.shape))
            assert all(np.isfinite(each).all() for each in compiled.gradients(x, np.ones_like(x)).values())


# ---- section 3: trainings ------------------------------------------------------------------------------------------


@pytest.mark.full(like="train/test_checkpoint.py::test_a_stopped_training_goes_on_with_the_same_bits")
@pytest.mark.parametrize("target", TARGETS)
def test_a_training(target, tmp_path):
    """Iterations, calls, a rate drop, validation, the best network, checkpoints and resumption (3, 6.9, 6.10)."""
    x = numbers((11, 4)).astype(np.float32)
    y = np.array(list("abc"))[np.argmax(x[:, :3], 1)]
    layers = [
        gnc.FeatureInputLayer(4, normalization="zscore"), gnc.FullyConnectedLayer(6),
        gnc.BatchNormalizationLayer(name="bn"), gnc.ReluLayer(), gnc.DropoutLayer(0.2),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ]  # fmt: skip
    calls = []
    given = {
        "mini_batch_size": 4, "shuffle": "every-epoch", "verbose": False, "seed": 3, "validation_data": (x, y),
        "validation_frequency": 2, "learn_rate_schedule": "piecewise", "learn_rate_drop_period": 1,
        "checkpoint_path": tmp_path, "output_network": "best-validation-loss",
    }  # fmt: skip
    where = {"target": target, "emulate": target != "cpu"}

    def trained(epochs, **more):
        options = gnc.training_options(
            "sgdm", max_epochs=epochs, output_fcn=lambda info: calls.append(info.state), **given
        )
        return gnc.train_network(x, y, layers, options, **where, **more)

    net, info = trained(3)
    assert len(info.training_loss) == 6
    assert len(calls) == 6 + 2
    np.testing.assert_allclose(info.base_learn_rate, np.repeat([0.01, 0.001, 0.0001], 2), rtol=1e-6)
    losses = info.validation_loss
    assert info.output_network_iteration == np.nanargmin(losses) + 1
    assert net.classify(x)[1].shape == (11, 3)
    given["checkpoint_path"] = tmp_path / "resumed"
    trained(2)
    again, later = trained(3, resume=tmp_path / "resumed")
    np.testing.assert_array_equal(later.training_loss, info.training_loss)
    for name, value in net.compiled.parameters.items():
        np.testing.assert_array_equal(again.compiled.parameters[name], value, err_msg=name)
