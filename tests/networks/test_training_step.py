"""The training step: hand-computed updates, frozen parameters, the three clip modes, a rate drop."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near, randomize
from support.targets import EMULATED, WITH_CUDA

import gncodegen as gnc


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def line(batch=2, inputs=1, *, factors=None, **options):
    """y = weights · x + bias with a regression loss."""
    layers = [
        gnc.FeatureInputLayer(inputs, normalization="none"),
        gnc.FullyConnectedLayer(1, name="fc", **(factors or {})),
        gnc.RegressionLayer(),
    ]
    options = gnc.training_options("sgdm", **options)
    return gnc.compile(layers, batch_size=batch, training=True, options=options, seed=0)


def set_line(compiled, weights, bias):
    compiled.parameters["fc.weights"] = np.asarray(weights, np.float32).reshape(1, -1)
    compiled.parameters["fc.bias"] = np.asarray([bias], np.float32)


def read_line(compiled):
    return np.concatenate([np.ravel(compiled.parameters["fc.weights"]), np.ravel(compiled.parameters["fc.bias"])])


def test_two_steps_by_hand():
    """rate 0.1, momentum 0.5, L2 0.2, x = (1, 3), t = (0, 2), start w = 2, b = 1; the bias has L2 factor 0.

    Step 1: y = (3, 7), errors (3, 5), loss (9 + 25) / 4 = 8.5. dw = (3·1 + 5·3) / 2 + 0.2·2 = 9.4, db = 4.
            w = 2 − 0.94 = 1.06, b = 1 − 0.4 = 0.6.
    Step 2: y = (1.66, 3.78), errors (1.66, 1.78), loss (2.7556 + 3.1684) / 4 = 1.481.
            dw = (1.66 + 5.34) / 2 + 0.2·1.06 = 3.712, db = 1.72; velocities −0.47 − 0.3712 and −0.2 − 0.172.
            w = 1.06 − 0.8412 = 0.2188, b = 0.6 − 0.372 = 0.228.
    """
    compiled = line(initial_learn_rate=0.1, momentum=0.5, l2_regularization=0.2)
    set_line(compiled, [2], 1)
    x, t = np.array([[1], [3]], np.float32), np.array([[0], [2]], np.float32)
    assert compiled.train_step(x, t) == pytest.approx(8.5, rel=1e-6)
    np.testing.assert_allclose(read_line(compiled), [1.06, 0.6], rtol=1e-6)
    assert compiled.train_step(x, t) == pytest.approx(1.481, rel=1e-6)
    np.testing.assert_allclose(read_line(compiled), [0.2188, 0.228], rtol=2e-6)


def test_the_default_options_are_those_of_sgdm():
    """Rate 0.01, momentum 0.9, L2 1e-4 on the weights; one step from w = 2, b = 1 with x = 1, t = 0: y = 3."""
    layers = [gnc.FeatureInputLayer(1, normalization="none"), gnc.FullyConnectedLayer(1, name="fc")]
    compiled = gnc.compile([*layers, gnc.RegressionLayer()], batch_size=1, training=True)
    set_line(compiled, [2], 1)
    x, t = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    compiled.train_step(x, t)
    first = np.array([2 - 0.01 * (3 + 2e-4), 1 - 0.03])
    np.testing.assert_allclose(read_line(compiled), first, rtol=2e-7)
    compiled.train_step(x, t)
    y = first.sum()
    second = first + 0.9 * (first - [2, 1]) - 0.01 * np.array([y + 1e-4 * first[0], y])
    np.testing.assert_allclose(read_line(compiled), second, rtol=3e-7)


# Factors.


def small_network(factors, **options):
    layers = [
        gnc.ImageInputLayer((6, 6, 2), normalization="none"),
        gnc.Convolution2dLayer(3, 6, name="conv", **factors.get("conv", {})),
        gnc.GroupNormalizationLayer(2, name="gn", **factors.get("gn", {})),
        gnc.ReluLayer(name="relu"),
        gnc.FullyConnectedLayer(3, name="fc", **factors.get("fc", {})),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(),
    ]
    options = gnc.training_options("sgdm", **options)
    compiled = gnc.compile(layers, batch_size=4, training=True, options=options, seed=0)
    randomize(compiled)
    return compiled


NODES = [
    ref.Node("conv", ref.convolution, ("weights", "bias")),
    ref.Node("gn", ref.group_norm, ("scale", "offset"), options={"groups": 2}),
    ref.Node("relu", ref.relu),
    ref.Node("fc", ref.fully_connected, ("weights", "bias")),
    ref.Node("softmax", ref.softmax),
]
LABELS = np.array([0, 1, 2, 1])
DEFAULT_L2 = {"conv.bias": 0.0, "fc.bias": 0.0}


def follow(compiled, steps, **optimizer):
    """Trains the network and its twin for some steps and compares losses and all parameters."""
    twin = ref.ReferenceNetwork(NODES, dict(compiled.parameters), optimizer=ref.Sgdm(**optimizer))
    for step in range(steps):
        x = normal(4, 6, 6, 2, seed=step)
        expected = twin.train_step(x, ref.one_hot(LABELS, 3))
        assert compiled.train_step(x, LABELS) == pytest.approx(expected, rel=2e-5)
    for name, value in compiled.parameters.items():
        assert_near(value, twin.parameters[name], 2e-5, name)


def test_every_factor_has_its_effect():
    factors = {
        "conv": {"weight_learn_rate_factor": 2, "bias_learn_rate_factor": 0.5, "weight_l2_factor": 3},
        "gn": {"scale_learn_rate_factor": 0.25, "scale_l2_factor": 0, "offset_l2_factor": 2},
        "fc": {"bias_l2_factor": 1},
    }
    follow(
        small_network(factors, initial_learn_rate=0.02, momentum=0.8, l2_regularization=0.1),
        3,
        rate=0.02,
        momentum=0.8,
        l2=0.1,
        learn_rate_factors={"conv.weights": 2, "conv.bias": 0.5, "gn.scale": 0.25},
        l2_factors={"conv.bias": 0, "fc.bias": 1, "conv.weights": 3, "gn.scale": 0, "gn.offset": 2},
    )


def test_by_default_scale_and_offset_decay_and_biases_do_not():
    follow(small_network({}, l2_regularization=0.5), 2, l2=0.5, l2_factors=DEFAULT_L2)


@pytest.mark.parametrize(
    ("layer", "factor", "names"),
    [
        ("gn", "scale_learn_rate_factor", {"gn.scale"}),
        ("gn", "offset_learn_rate_factor", {"gn.offset"}),
        ("conv", "weight_learn_rate_factor", {"conv.weights"}),
        ("fc", "bias_learn_rate_factor", {"fc.bias"}),
    ],
)
def test_factor_zero_freezes_bit_for_bit(layer, factor, names):
    compiled = small_network({layer: {factor: 0}}, l2_regularization=0.5, momentum=0.9)
    for name in names:
        compiled.parameters[name] = np.where(np.array(compiled.parameters[name]) < 0, -0.0, compiled.parameters[name])
    before = {name: np.array(value) for name, value in compiled.parameters.items()}
    assert all(np.signbit(before[name][before[name] == 0]).any() for name in names)
    for step in range(3):
        compiled.train_step(normal(4, 6, 6, 2, seed=step), LABELS)
    compiled.train_step(np.full((4, 6, 6, 2), np.nan, np.float32), LABELS)
    same = {name for name, value in compiled.parameters.items() if np.array(value).tobytes() == before[name].tobytes()}
    assert same == names


def test_a_frozen_parameter_still_has_its_gradient():
    free, frozen = small_network({}), small_network({"gn": {"scale_learn_rate_factor": 0}})
    x = normal(4, 6, 6, 2)
    left, right = free.gradients(x, LABELS), frozen.gradients(x, LABELS)
    np.testing.assert_array_equal(left["gn.scale"], right["gn.scale"])


# Clipping.


def clipped_step(method, threshold, x, t, **options):
    """What one step of rate 1 without momentum subtracts from weights (two) and bias, which start at zero."""
    compiled = line(
        1,
        2,
        initial_learn_rate=1.0,
        momentum=0.0,
        l2_regularization=0.0,
        gradient_threshold_method=method,
        gradient_threshold=threshold,
        **options,
    )
    set_line(compiled, [0, 0], 0)
    compiled.train_step(np.array([x], np.float32), np.array([[t]], np.float32))
    return -read_line(compiled)


# With x = (3, 4) and t = −2 the gradient is (6, 8) for the weights, of norm 10, and 2 for the bias.
GLOBAL = np.sqrt(104)


@pytest.mark.parametrize(
    ("method", "threshold", "expected"),
    [
        ("l2norm", 20, [6, 8, 2]),
        ("l2norm", 10, [6, 8, 2]),
        ("l2norm", 5, [3, 4, 2]),
        ("l2norm", 1, [0.6, 0.8, 1]),
        ("global-l2norm", 11, [6, 8, 2]),
        ("global-l2norm", GLOBAL / 2, [3, 4, 1]),
        ("global-l2norm", 1, np.array([6, 8, 2]) / GLOBAL),
        ("absolute-value", 9, [6, 8, 2]),
        ("absolute-value", 8, [6, 8, 2]),
        ("absolute-value", 7, [6, 7, 2]),
        ("absolute-value", 1.5, [1.5, 1.5, 1.5]),
        ("l2norm", np.inf, [6, 8, 2]),
        ("global-l2norm", np.inf, [6, 8, 2]),
        ("absolute-value", np.inf, [6, 8, 2]),
    ],
)
def test_clipping_below_at_and_above_the_threshold(method, threshold, expected):
    step = clipped_step(method, threshold, [3, 4], -2)
    np.testing.assert_allclose(step, expected, rtol=1e-6)
    if threshold in (10, 8, np.inf):
        np.testing.assert_array_equal(step, expected)


def test_absolute_value_clips_negative_gradients_too():
    np.testing.assert_array_equal(clipped_step("absolute-value", 5, [-3, 4], -2), [-5, 5, 2])


@pytest.mark.parametrize("method", ["l2norm", "global-l2norm", "absolute-value"])
def test_a_zero_gradient_stays_zero(method):
    np.testing.assert_array_equal(clipped_step(method, 1e-3, [3, 4], 0), [0, 0, 0])


@pytest.mark.parametrize("method", ["l2norm", "global-l2norm", "absolute-value"])
def test_a_nan_gradient_stays_visible(method):
    assert np.isnan(clipped_step(method, 1.0, [3, 4], np.nan)).all()
    assert np.isnan(clipped_step(method, 1.0, [np.nan, 4], 1)[0])


def test_absolute_value_clips_what_stands_beside_a_nan():
    """A NaN in one channel of a channel-wise norm leaves the other channels' gradients, which are clipped as always."""
    layers = [
        gnc.ImageInputLayer((3, 3, 5), normalization="none"),
        gnc.GroupNormalizationLayer("channel-wise", name="gn"),
        gnc.RegressionLayer(),
    ]
    options = {"initial_learn_rate": 1.0, "momentum": 0.0, "l2_regularization": 0.0, "gradient_threshold": 0.01}
    options = gnc.training_options("sgdm", gradient_threshold_method="absolute-value", **options)
    compiled = gnc.compile(layers, batch_size=2, training=True, options=options)
    x = normal(2, 3, 3, 5)
    x[0, 1, 1, 2] = np.nan
    compiled.train_step(x, np.full_like(x, 3))
    offset = compiled.parameters["gn.offset"]
    assert np.isnan(offset[2])
    np.testing.assert_array_equal(np.delete(offset, 2), np.full(4, np.float32(0.01)))


@pytest.mark.parametrize("method", ["l2norm", "global-l2norm", "absolute-value"])
def test_l2_comes_before_the_clip(method):
    """Without a data gradient, the decay alone is clipped: start (3, 4), L2 1, threshold 1."""
    options = {"initial_learn_rate": 1.0, "momentum": 0.0, "l2_regularization": 1.0, "gradient_threshold": 1.0}
    compiled = line(1, 2, gradient_threshold_method=method, **options)
    set_line(compiled, [3, 4], 0)
    compiled.train_step(np.zeros((1, 2), np.float32), np.zeros((1, 1), np.float32))
    moved = [2, 3, 0] if method == "absolute-value" else [2.4, 3.2, 0]
    np.testing.assert_allclose(read_line(compiled), moved, rtol=1e-6)


def test_a_frozen_parameter_counts_in_no_global_norm():
    """The bias gradient 2 is out, so the norm is 10, at the threshold."""
    step = clipped_step_frozen("global-l2norm", 10)
    np.testing.assert_array_equal(step, [6, 8, 0])


def clipped_step_frozen(method, threshold):
    options = {"initial_learn_rate": 1.0, "momentum": 0.0, "l2_regularization": 0.0}
    options |= {"gradient_threshold_method": method, "gradient_threshold": threshold}
    compiled = line(1, 2, factors={"bias_learn_rate_factor": 0}, **options)
    set_line(compiled, [0, 0], 0)
    compiled.train_step(np.array([[3, 4]], np.float32), np.array([[-2]], np.float32))
    return -read_line(compiled)


@pytest.mark.parametrize("method", ["l2norm", "global-l2norm", "absolute-value"])
def test_clipping_of_a_whole_network_follows_the_twin(method):
    threshold = 0.02 if method == "absolute-value" else 0.3
    options = {"gradient_threshold_method": method, "gradient_threshold": threshold, "initial_learn_rate": 0.1}
    follow(small_network({}, **options), 3, rate=0.1, method=method, threshold=threshold, l2_factors=DEFAULT_L2)


# In parts.


PARTED = [
    ("sgdm", "l2norm", {}),
    pytest.param("sgdm", "none", {}, marks=pytest.mark.full),
    pytest.param("adam", "global-l2norm", {}, marks=pytest.mark.full),
    pytest.param("rmsprop", "absolute-value", {}, marks=pytest.mark.full),
    ("sgdm", "global-l2norm", {"dtype": "float16"}),
    pytest.param("sgdm", "l2norm", {"target": EMULATED, "emulate": True}, marks=[WITH_CUDA, pytest.mark.full]),
]


@pytest.mark.parametrize(("solver", "clip", "where"), PARTED)
def test_a_step_in_parts_is_the_step_of_the_whole_batch(solver, clip, where):
    """Eleven observations in three parts, of which one is smaller; a frozen parameter; L2 and clipping."""
    layers = [
        gnc.FeatureInputLayer(4, normalization="none"),
        gnc.FullyConnectedLayer(6, name="fc", bias_learn_rate_factor=0),
        gnc.GroupNormalizationLayer(2, name="gn"),
        gnc.FullyConnectedLayer(2, name="out"),
        gnc.RegressionLayer(),
    ]
    clips = {} if clip == "none" else {"gradient_threshold": 0.1, "gradient_threshold_method": clip}
    options = gnc.training_options(solver, l2_regularization=0.05, **clips)
    whole, parted = (gnc.compile(layers, batch_size=n, options=options, seed=0, **where) for n in (11, 4))
    x, t = normal(11, 4), normal(11, 2, seed=1)
    for _ in range(2):
        assert parted.train_step(x, t, parts=3) == pytest.approx(whole.train_step(x, t), rel=1e-6)
        np.testing.assert_allclose(parted.last_scores, whole.last_scores, rtol=1e-5, atol=1e-6)
    assert parted.hyperparameters.iteration == 2
    for name, value in whole.parameters.items():
        np.testing.assert_allclose(parted.parameters[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(parted.parameters["fc.bias"], 0)


def test_each_part_has_a_dropout_mask_of_its_own():
    layers = [gnc.FeatureInputLayer(64, normalization="none"), gnc.DropoutLayer(0.5), gnc.RegressionLayer()]
    compiled = gnc.compile(layers, batch_size=2, seed=0)
    x = np.ones((4, 64), np.float32)
    compiled.train_step(x, x, parts=2)
    masks = compiled.last_scores > 0
    assert 0.3 < masks.mean() < 0.7
    assert (masks[:2] != masks[2:]).any()


# Through train_network.


def test_a_piecewise_rate_drops_and_velocities_stay():
    x, t = normal(8, 3), normal(8, 1, seed=1)
    layers = [
        gnc.FeatureInputLayer(3, normalization="none"),
        gnc.FullyConnectedLayer(1, name="fc", weights=[[1.0, -2.0, 0.5]]),
        gnc.RegressionLayer(),
    ]
    options = gnc.training_options(
        "sgdm",
        initial_learn_rate=0.1,
        learn_rate_schedule="piecewise",
        learn_rate_drop_factor=0.1,
        learn_rate_drop_period=2,
        max_epochs=5,
        mini_batch_size=4,
        shuffle="never",
        verbose=False,
    )
    net, info = gnc.train_network(x, t, layers, options)
    rates = [0.1] * 4 + [0.01] * 4 + [0.001] * 2
    np.testing.assert_allclose(info.base_learn_rate, rates, rtol=1e-12)
    start = {"fc.weights": np.array([[1.0, -2.0, 0.5]]), "fc.bias": np.zeros(1)}
    optimizer = ref.Sgdm(l2_factors={"fc.bias": 0})
    nodes = [ref.Node("fc", ref.fully_connected, ("weights", "bias"))]
    twin = ref.ReferenceNetwork(nodes, start, loss=ref.half_squared_error, optimizer=optimizer)
    losses = []
    for iteration, rate in enumerate(rates):
        epoch = 1 + iteration // 2
        optimizer.rate = ref.learn_rate(0.1, epoch, schedule="piecewise", period=2)
        assert optimizer.rate == pytest.approx(rate)
        half = slice(4 * (iteration % 2), 4 * (iteration % 2) + 4)
        losses.append(twin.train_step(x[half], t[half]))
    np.testing.assert_allclose(info.training_loss, losses, rtol=1e-5)
    assert_near(net.predict(x), twin.predict(x), 1e-5)
