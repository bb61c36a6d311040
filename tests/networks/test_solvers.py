"""Every solver in whole networks: two steps by hand, the oracle's steps on every target, saved and gone on with."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, randomize
from support.sets import diagonal, few
from support.targets import TARGETS

import gncodegen as gnc
from gncodegen.kernels.solvers import SOLVERS

SOLVER = pytest.mark.parametrize("solver", SOLVERS)


@pytest.fixture(params=TARGETS)
def where(request):
    """The arguments of `compile` that name a target."""
    return {} if request.param == "cpu" else {"target": request.param, "emulate": True}


def line(solver, where, **options):
    """Y = w · x with a regression loss, w = 1 at first; for x = 1 the gradient is 1 − t."""
    layers = [
        gnc.FeatureInputLayer(1, normalization="none"),
        gnc.FullyConnectedLayer(1, name="fc", weights=[[1.0]], bias_learn_rate_factor=0),
        gnc.RegressionLayer(),
    ]
    options = gnc.training_options(solver, l2_regularization=0, initial_learn_rate=0.1, **options)
    return gnc.compile(layers, batch_size=1, options=options, **where)


def walk(compiled, targets):
    """The weight after each step."""
    found = []
    for t in targets:
        compiled.train_step(np.ones((1, 1), np.float32), np.full((1, 1), t, np.float32))
        found.append(float(compiled.parameters["fc.weights"][0, 0]))
    return found


def test_two_steps_of_adam_by_hand(where):
    """β1 1/2, β2 3/4, ε 0+: g = 2, m = 1, v = 1, correction 1, w = 0.9; then g = −1, m = 0, v = 1: w stays."""
    compiled = line("adam", where, gradient_decay_factor=0.5, squared_gradient_decay_factor=0.75, epsilon=1e-30)
    np.testing.assert_allclose(walk(compiled, [-1, 1.9]), [0.9, 0.9], rtol=1e-6)


def test_two_steps_of_rmsprop_by_hand(where):
    """β2 3/4, ε 1: g = 2, v = 1, w = 1 − 0.1 · 2 / 2; then g = 1, v = 1, w = 0.9 − 0.1 · 1 / 2."""
    compiled = line("rmsprop", where, squared_gradient_decay_factor=0.75, epsilon=1)
    np.testing.assert_allclose(walk(compiled, [-1, -0.1]), [0.9, 0.85], rtol=1e-6)


FACTORS = {"scale_learn_rate_factor": 0, "offset_learn_rate_factor": 2, "offset_l2_factor": 3}
NODES = [
    ref.Node("conv", ref.convolution, ("weights", "bias")),
    ref.Node("gn", ref.group_norm, ("scale", "offset"), options={"groups": 2}),
    ref.Node("relu", ref.relu),
    ref.Node("fc", ref.fully_connected, ("weights", "bias")),
    ref.Node("softmax", ref.softmax),
]
LABELS = np.array([0, 1, 2, 1])


def network(solver, where, **options):
    """A small classifier whose scale is frozen."""
    layers = [
        gnc.ImageInputLayer((6, 6, 2), normalization="none"),
        gnc.Convolution2dLayer(3, 6, name="conv"), gnc.GroupNormalizationLayer(2, name="gn", **FACTORS),
        gnc.ReluLayer(name="relu"), gnc.FullyConnectedLayer(3, name="fc"), gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(),
    ]  # fmt: skip
    options = gnc.training_options(solver, l2_regularization=0.1, **options)
    compiled = gnc.compile(layers, batch_size=4, options=options, seed=0, dtype="float64", **where)
    randomize(compiled)
    return compiled


def images(seed):
    return np.random.default_rng(seed).standard_normal((4, 6, 6, 2))


@pytest.mark.few
@pytest.mark.parametrize(
    ("solver", "method"), few(diagonal(list(SOLVERS), ["none", "l2norm", "global-l2norm", "absolute-value"]), 3)
)
def test_steps_are_the_oracles(solver, method, where):
    clip = {} if method == "none" else {"gradient_threshold": 0.3, "gradient_threshold_method": method}
    compiled = network(solver, where, **clip)
    frozen = np.array(compiled.parameters["gn.scale"])
    optimizer = ref.SOLVERS[solver](
        l2=0.1, method="l2norm" if method == "none" else method, threshold=np.inf if method == "none" else 0.3,
        learn_rate_factors={"gn.scale": 0, "gn.offset": 2}, l2_factors={"conv.bias": 0, "fc.bias": 0, "gn.offset": 3},
    )  # fmt: skip
    twin = ref.ReferenceNetwork(NODES, dict(compiled.parameters), optimizer=optimizer)
    for step in range(3):
        expected = twin.train_step(images(step), ref.one_hot(LABELS, 3))
        assert compiled.train_step(images(step), LABELS) == pytest.approx(expected, rel=1e-10)
    for name, value in compiled.parameters.items():
        # A gradient of about 0 in front of the norm is rounding, and adam makes steps of the learning rate of it.
        if name != "conv.bias":
            assert_near(value, twin.parameters[name], 1e-8, name)
    np.testing.assert_array_equal(compiled.parameters["gn.scale"], frozen)


@pytest.mark.few
@SOLVER
def test_a_saved_network_goes_on_with_equal_bits(solver, where, tmp_path):
    whole, first = network(solver, where), network(solver, where)
    for step in range(4):
        whole.train_step(images(step), LABELS)
    for step in range(2):
        first.train_step(images(step), LABELS)
    first.save(tmp_path)
    second = gnc.load(tmp_path)
    assert second.hyperparameters.steps == 2
    for step in range(2, 4):
        second.train_step(images(step), LABELS)
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(second.parameters[name], value, err_msg=name)


def test_names_of_layers_and_of_the_state_do_not_collide(tmp_path):
    names = ["a", "velocity:a", "velocity"]
    layers = [
        gnc.FeatureInputLayer(2, normalization="none"), *(gnc.FullyConnectedLayer(2, name=name) for name in names),
        gnc.RegressionLayer(),
    ]  # fmt: skip
    whole = gnc.compile(layers, batch_size=1)
    x, t = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    whole.train_step(x, t)
    whole.save(tmp_path)
    other = gnc.load(tmp_path)
    for compiled in (whole, other):
        compiled.train_step(x, t)
    assert set(whole.parameters) == {f"{name}.{part}" for name in names for part in ("weights", "bias")}
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], value, err_msg=name)


@pytest.mark.parametrize("solver", ["adam", "rmsprop"])
def test_training_learns(solver):
    x = np.random.default_rng(0).standard_normal((64, 3)).astype(np.float32)
    y = np.where(x.sum(axis=1) > 0, "up", "down")
    layers = [gnc.FeatureInputLayer(3), gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]
    options = gnc.training_options(
        solver, initial_learn_rate=0.05, max_epochs=20, mini_batch_size=16, verbose=False, seed=0
    )
    net, info = gnc.train_network(x, y, layers, options)
    assert net.compiled.hyperparameters.steps == len(info.training_loss) == 80
    assert np.mean(net.classify(x)[0] == y) > 0.95
