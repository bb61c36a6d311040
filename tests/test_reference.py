"""The oracle judges everything else, so it is judged first: hand-computed values and finite differences."""

import numpy as np
import pytest
import reference as ref

RANDOM = np.random.default_rng(7)
X = RANDOM.standard_normal((2, 5, 4, 6))
W = RANDOM.standard_normal((3, 2, 6, 4))
B = RANDOM.standard_normal(4)
GAMMA, BETA = RANDOM.standard_normal(6), RANDOM.standard_normal(6)
MASK = RANDOM.random(X.shape) < 0.5
# Distinct values, far apart, so that a finite step never changes which one is the largest.
DISTINCT = RANDOM.permutation(X.size).reshape(X.shape) / 10.0

OPERATIONS = {
    "group norm": (lambda *a: ref.group_norm(*a, groups=3), (X, GAMMA, BETA)),
    "group norm, all channels": (lambda *a: ref.group_norm(*a, groups="all-channels"), (X, GAMMA, BETA)),
    "group norm, C in front": (
        lambda *a: ref.group_norm(*a, groups=2, data_format="SCBS"),
        (X.transpose(1, 3, 0, 2), GAMMA, BETA),
    ),
    "group norm, no batch": (lambda *a: ref.group_norm(*a, groups=2, data_format="SSC"), (X[0], GAMMA, BETA)),
    "instance norm": (ref.instance_norm, (X, GAMMA, BETA)),
    "layer norm": (ref.layer_norm, (X, GAMMA, BETA)),
    "layer norm, channel-only": (lambda *a: ref.layer_norm(*a, dimension="channel-only"), (X, GAMMA, BETA)),
    "batch norm": (ref.batch_norm, (X, GAMMA, BETA)),
    "zscore": (lambda x: ref.input_normalization(x, "zscore", mean=GAMMA, standard_deviation=abs(BETA)), (X,)),
    "rescale": (lambda x: ref.input_normalization(x, "rescale-symmetric", min=GAMMA - 9, max=GAMMA), (X,)),
    "convolution": (ref.convolution, (X, W, B)),
    "convolution, all options": (
        lambda *a: ref.convolution(*a, stride=(2, 1), dilation=(1, 2), padding=[(0, 1), (2, 1)], groups=2, value=0.5),
        (X, W[:, :, :3], B),
    ),
    "convolution, same, stride": (lambda *a: ref.convolution(*a, stride=2, padding="same"), (X, W, B)),
    "convolution, 1-D": (lambda *a: ref.convolution(*a, dilation=2, padding=1), (X[0], W[0], B)),
    "convolution, 3-D": (lambda *a: ref.convolution(*a, padding="same"), (X[None, ..., :2], W[None, ..., :2, :], B)),
    "transposed convolution": (
        lambda *a: ref.transposed_convolution(*a, stride=(2, 3), cropping=[(1, 0), (0, 2)]),
        (X, W.transpose(0, 1, 3, 2), B),
    ),
    "transposed convolution, same, window under stride": (
        lambda *a: ref.transposed_convolution(*a, stride=(2, 3), cropping="same"),
        (X, W.transpose(0, 1, 3, 2), B),
    ),
    "max pool": (lambda x: ref.max_pool(x, window=(2, 3), stride=2, padding="same"), (DISTINCT,)),
    "average pool": (lambda x: ref.average_pool(x, window=(3, 2), stride=(1, 2), padding=1), (X,)),
    "average pool, mean": (lambda x: ref.average_pool(x, window=(3, 2), padding=1, count_padding=False), (X,)),
    "global average pool": (ref.global_average_pool, (X,)),
    "resize, nearest": (lambda x: ref.resize(x, (7, 3), axes=(1, 2)), (X,)),
    "resize, linear": (lambda x: ref.resize(x, (8, 2), axes=(1, 2), method="linear"), (X,)),
    "resize, linear, corners": (
        lambda x: ref.resize(x, (3, 9), axes=(1, 2), method="linear", coordinates="align-corners"),
        (X,),
    ),
    "local response": (lambda x: ref.local_response(x, 3, alpha=0.7, beta=0.6, k=1.5), (X,)),
    "softmax": (ref.softmax, (X,)),
    "dropout": (lambda x: ref.dropout(x, MASK, probability=0.3), (X,)),
    "fully connected": (ref.fully_connected, (X, RANDOM.standard_normal((3, 120)), B[:3])),
    "matrix product": (ref.matrix_product, (X, RANDOM.standard_normal((5, 6, 3)))),
    "matrix product, crosswise": (
        lambda *a: ref.matrix_product(*a, first=True, second=True),
        (X, RANDOM.standard_normal((2, 1, 3, 4))),
    ),
    "addition": (ref.addition, (X, X**2, X - 1)),
    "concatenation": (ref.depth_concatenation, (X, X[..., :1], X[..., 2:])),
} | {
    mode: (lambda x, mode=mode: ref.pad(x, [(3, 1), (2, 3)], mode=mode), (X,))
    for mode in ("symmetric-include-edge", "symmetric-exclude-edge", "replicate")
}

ACTIVATIONS = {
    "relu": 0.0,
    "leaky-relu": 0.01,
    "clipped-relu": 0.7,
    "elu": 1.3,
    "tanh": 0.0,
    "sigmoid": 0.0,
    "swish": 0.0,
    "gelu": 0.0,
    "gelu-tanh": 0.0,
    "softplus": 0.0,
}


def check(operation, operands):
    """Every gradient of `operation`, for a random dy, against one finite difference per element."""
    y, backward = operation(*operands)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    gradients = backward(dy)
    assert len(gradients) == len(operands)
    for place, gradient in enumerate(gradients):

        def value(changed, place=place):
            return float(np.sum(operation(*operands[:place], changed, *operands[place + 1 :])[0] * dy))

        expected = ref.numeric_gradient(value, operands[place])
        assert gradient.shape == operands[place].shape
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients_are_the_finite_differences(name):
    check(*OPERATIONS[name])


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_activation_slopes_are_the_finite_differences(function):
    check(lambda x: ref.activation(x, function, alpha=ACTIVATIONS[function]), (X[0],))


def test_losses_have_the_right_gradients():
    y = ref.softmax(X.reshape(-1, 6))[0]
    t = ref.one_hot(RANDOM.integers(0, 6, len(y)), 6)
    for loss in (
        lambda v: ref.cross_entropy(v, t, class_weights=[1, 2, 3, 4, 5, 6]),
        lambda v: ref.half_squared_error(v, t),
    ):
        expected = ref.numeric_gradient(lambda v, loss=loss: loss(v)[0], y, 1e-6)
        np.testing.assert_allclose(loss(y)[1](), expected, rtol=1e-5, atol=1e-8)


def test_losses_by_hand():
    assert ref.half_squared_error([[1, 2], [0, 4]], [[0, 0], [0, 1]])[0] == pytest.approx((5 + 9) / 4)
    y, t = [[0.5, 0.5], [0.2, 0.8]], [[1, 0], [0, 1]]
    assert ref.cross_entropy(y, t)[0] == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert ref.cross_entropy(y, t, class_weights=[3, 1])[0] == pytest.approx(-(3 * np.log(0.5) + np.log(0.8)) / 2)


def test_group_norm_of_zero_to_seven():
    y, _ = ref.group_norm(np.arange(8.0).reshape(1, 8), np.ones(8), np.zeros(8), groups=1)
    np.testing.assert_allclose(y[0, 4:], [0.21821768, 0.65465305, 1.09108841, 1.52752378], atol=5e-9)
    np.testing.assert_allclose(y[0, :4], -y[0, :3:-1], atol=1e-15)


def test_group_norm_of_every_axis_order_is_one_function():
    plain, _ = ref.group_norm(X, GAMMA, BETA, groups=2)
    for letters, order in (("BCSS", (0, 3, 1, 2)), ("SSCB", (1, 2, 3, 0)), ("CSBS", (3, 1, 0, 2))):
        y, backward = ref.group_norm(X.transpose(order), GAMMA, BETA, groups=2, data_format=letters)
        np.testing.assert_allclose(y, plain.transpose(order), atol=1e-14)
        assert backward(y)[0].shape == y.shape


def test_group_norm_reduces_time_with_space():
    y, _ = ref.group_norm(X, GAMMA, BETA, groups=3, data_format="BSTC")
    np.testing.assert_array_equal(y, ref.group_norm(X, GAMMA, BETA, groups=3)[0])


def test_norms_are_members_of_one_family():
    layer, _ = ref.layer_norm(X, GAMMA, BETA)
    np.testing.assert_allclose(layer, ref.group_norm(X, GAMMA, BETA, groups=1)[0], atol=1e-14)
    np.testing.assert_array_equal(ref.instance_norm(X, GAMMA, BETA)[0], ref.group_norm(X, GAMMA, BETA, groups=6)[0])
    trained, _ = ref.channel_normalize(X, X.mean((0, 1, 2)), X.var((0, 1, 2)), GAMMA, BETA)
    np.testing.assert_allclose(ref.batch_norm(X, GAMMA, BETA)[0], trained, atol=1e-14)


def test_running_statistics_by_hand():
    mean, variance = ref.running_statistics([[1.0], [3.0]], [10.0], [5.0], decay=0.1)
    assert (mean[0], variance[0]) == (pytest.approx(0.1 * 2 + 0.9 * 10), pytest.approx(0.1 * 1 + 0.9 * 5))


def test_input_normalizations_by_hand():
    x = np.array([[1.0, 5.0], [3.0, 5.0]])
    low, high = x.min(0), x.max(0)
    cases = {
        "none": x,
        "zerocenter": [[-1, 0], [1, 0]],
        "zscore": [[-1, 0], [1, 0]],
        "rescale-zero-one": [[0, 0], [1, 0]],
        "rescale-symmetric": [[-1, -1], [1, -1]],
    }
    for method, expected in cases.items():
        y, _ = ref.input_normalization(x, method, mean=x.mean(0), standard_deviation=x.std(0), min=low, max=high)
        np.testing.assert_array_equal(y, expected)


def test_convolution_by_hand():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    y, _ = ref.convolution(x, np.array([[1.0, 0], [0, 10]]).reshape(2, 2, 1, 1), [0.5])
    np.testing.assert_array_equal(y[0, ..., 0], [[40.5, 51.5], [73.5, 84.5]])


def test_grouped_convolution_is_convolutions_side_by_side():
    y, _ = ref.convolution(X, W[:, :, :3], B, groups=2)
    left, _ = ref.convolution(X[..., :3], W[:, :, :3, :2], B[:2])
    right, _ = ref.convolution(X[..., 3:], W[:, :, :3, 2:], B[2:])
    np.testing.assert_allclose(y, np.concatenate([left, right], axis=-1), atol=1e-13)


def test_transposed_convolution_by_hand():
    x, weights = np.array([1.0, 10]).reshape(1, 1, 2, 1), np.array([2.0, 3, 4]).reshape(1, 3, 1, 1)
    whole, _ = ref.transposed_convolution(x, weights, [0.5], stride=2)
    np.testing.assert_array_equal(whole.ravel(), [2.5, 3.5, 24.5, 30.5, 40.5])
    same, _ = ref.transposed_convolution(x, weights, [0.5], stride=2, cropping="same")
    assert same.shape == (1, 2, 4, 1)
    np.testing.assert_array_equal(same.ravel(), [2.5, 3.5, 24.5, 30.5, *[0.5] * 4])


@pytest.mark.parametrize(
    ("extent", "window", "stride", "dilation", "expected"),
    [(5, 3, 1, 1, (1, 1)), (5, 2, 1, 1, (0, 1)), (6, 3, 2, 1, (0, 1)), (5, 1, 2, 1, (0, 0)), (7, 3, 1, 2, (2, 2))],
)
def test_same_padding_by_hand(extent, window, stride, dilation, expected):
    before, after = ref.same_padding(extent, window, stride, dilation)
    assert (before, after) == expected
    out = (extent + before + after - ((window - 1) * dilation + 1)) // stride + 1
    assert out == -(-extent // stride)


def test_pools_by_hand():
    x = np.array([[1.0, -2, 3], [-4, 5, -6], [-7, -8, -9]]).reshape(1, 3, 3, 1)
    largest, backward = ref.max_pool(x, window=(2, 2), stride=2, padding=[(0, 1), (0, 1)])
    np.testing.assert_array_equal(largest[0, ..., 0], [[5, 3], [-7, -9]])
    np.testing.assert_array_equal(backward(largest)[0][0, ..., 0], [[0, 0, 3], [0, 5, 0], [-7, 0, -9]])
    counted, _ = ref.average_pool(x, window=(2, 2), stride=2, padding=[(0, 1), (0, 1)])
    np.testing.assert_array_equal(counted[0, ..., 0], [[0, -3 / 4], [-15 / 4, -9 / 4]])
    uncounted, _ = ref.average_pool(x, window=(2, 2), stride=2, padding=[(0, 1), (0, 1)], count_padding=False)
    np.testing.assert_array_equal(uncounted[0, ..., 0], [[0, -3 / 2], [-15 / 2, -9]])
    np.testing.assert_allclose(ref.global_average_pool(x)[0].reshape(-1), [-3])


def test_max_pool_gives_the_gradient_of_equal_elements_to_the_first():
    _, backward = ref.max_pool(np.ones((1, 2, 2, 1)), window=(2, 2))
    np.testing.assert_array_equal(backward(np.ones((1, 1, 1, 1)))[0].reshape(-1), [1, 0, 0, 0])


def test_clipping_by_hand():
    gradients = {"a": np.array([3.0, 4.0]), "b": np.array([0.0, 12.0]), "c": np.zeros(2)}
    np.testing.assert_allclose(ref.clip_gradients(gradients, "l2norm", 6)["b"], [0, 6])
    np.testing.assert_array_equal(ref.clip_gradients(gradients, "l2norm", 5)["a"], [3, 4])
    np.testing.assert_allclose(ref.clip_gradients(gradients, "global-l2norm", 6.5)["a"], [1.5, 2])
    np.testing.assert_array_equal(ref.clip_gradients(gradients, "absolute-value", 3.5)["a"], [3, 3.5])
    assert all(not np.any(ref.clip_gradients(gradients, m, 1)["c"]) for m in ("l2norm", "global-l2norm"))


def test_two_sgdm_steps_by_hand():
    optimizer = ref.Sgdm(rate=0.1, momentum=0.5, l2=0.2, learn_rate_factors={"frozen": 0}, l2_factors={"bias": 0})
    p = {"weights": np.array([2.0]), "bias": np.array([2.0]), "frozen": np.array([2.0])}
    g = {name: np.array([1.0]) for name in p}
    p = optimizer.step(p, g)
    assert p["weights"][0] == pytest.approx(2 - 0.1 * 1.4)
    assert p["bias"][0] == pytest.approx(1.9)
    p = optimizer.step(p, g)
    assert p["weights"][0] == pytest.approx(1.86 + 0.5 * -0.14 - 0.1 * (1 + 0.2 * 1.86))
    assert p["bias"][0] == pytest.approx(1.9 - 0.05 - 0.1)
    assert p["frozen"][0] == 2


def test_two_adam_steps_by_hand():
    """Decay factors 1/2 and 3/4, rate 1/10, gradients 2 and -1, one parameter that starts at 1.

    Step 1: m = 1, v = 1; sqrt(1 - 3/4) / (1 - 1/2) = 1; p = 1 - 0.1 * 1 / 1.
    Step 2: m = 0, v = 3/4 + 1/4 = 1; p stays.
    """
    optimizer = ref.Adam(rate=0.1, gradient_decay_factor=0.5, squared_gradient_decay_factor=0.75, epsilon=0, l2=0)
    p = optimizer.step({"w": np.array([1.0])}, {"w": np.array([2.0])})
    assert p["w"][0] == pytest.approx(0.9)
    p = optimizer.step(p, {"w": np.array([-1.0])})
    assert p["w"][0] == pytest.approx(0.9)


def test_two_rmsprop_steps_by_hand():
    """Decay factor 3/4, rate 1/10, gradients 2 and 1: v = 1, then 3/4 + 1/4 = 1, and epsilon doubles the divisor."""
    optimizer = ref.RmsProp(rate=0.1, squared_gradient_decay_factor=0.75, epsilon=1, l2=0)
    p = optimizer.step({"w": np.array([1.0])}, {"w": np.array([2.0])})
    assert p["w"][0] == pytest.approx(1 - 0.1 * 2 / 2)
    p = optimizer.step(p, {"w": np.array([1.0])})
    assert p["w"][0] == pytest.approx(0.9 - 0.1 * 1 / 2)


def test_learn_rate_drops_after_each_period():
    rates = [ref.learn_rate(1.0, epoch, schedule="piecewise", factor=0.5, period=2) for epoch in (1, 2, 3, 4, 5)]
    assert rates == [1, 1, 0.5, 0.5, 0.25]
    assert ref.learn_rate(1.0, 99) == 1


def test_reference_network_with_branches_against_finite_differences():
    nodes = [
        ref.Node("conv_1", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("batchnorm_1", ref.batch_norm, ("scale", "offset")),
        ref.Node("add_1", ref.addition, inputs=("conv_1", "batchnorm_1")),
        ref.Node("concat_1", ref.depth_concatenation, inputs=("add_1", "input", "add_1")),
        ref.Node("fc_1", ref.fully_connected, ("weights", "bias")),
        ref.Node("softmax_1", ref.softmax),
    ]
    parameters = {
        "conv_1.weights": W,
        "conv_1.bias": B,
        "batchnorm_1.scale": GAMMA[:4],
        "batchnorm_1.offset": BETA[:4],
        "batchnorm_1.trained_mean": np.zeros(4),
        "batchnorm_1.trained_variance": np.ones(4),
        "fc_1.weights": RANDOM.standard_normal((3, 280)) / 17,
        "fc_1.bias": np.zeros(3),
    }
    t = ref.one_hot([2, 0], 3)
    for training in (True, False):
        twin = ref.ReferenceNetwork(nodes, parameters, loss_options={"class_weights": [1, 2, 3]})
        gradients = twin.gradients(X, t, training=training)
        assert set(gradients) == {"input", *(name for name in parameters if "trained" not in name)}
        for name, gradient in gradients.items():

            def value(changed, name=name, twin=twin, training=training):
                if name == "input":
                    return twin.loss(changed, t, training=training)
                kept, twin.parameters[name] = twin.parameters[name], changed
                try:
                    return twin.loss(X, t, training=training)
                finally:
                    twin.parameters[name] = kept

            point = X if name == "input" else parameters[name]
            assert ref.directional_error(value, point, gradient) < 1e-6, name


def test_reference_network_learns_and_moves_the_running_statistics():
    nodes = [
        ref.Node("batchnorm_1", ref.batch_norm, ("scale", "offset")),
        ref.Node("fc_1", ref.fully_connected, ("weights", "bias")),
    ]
    start = {
        "batchnorm_1.scale": np.ones(6),
        "batchnorm_1.offset": np.zeros(6),
        "batchnorm_1.trained_mean": np.zeros(6),
        "batchnorm_1.trained_variance": np.ones(6),
        "fc_1.weights": np.zeros((1, 6)),
        "fc_1.bias": np.zeros(1),
    }
    twin = ref.ReferenceNetwork(nodes, start, loss=ref.half_squared_error, optimizer=ref.Sgdm(rate=0.05, l2=0))
    x = RANDOM.standard_normal((50, 6)) + 3
    t = x[:, :1] * 2 - 5
    losses = [twin.train_step(x, t) for _ in range(100)]
    assert losses[-1] < losses[0] / 1000
    np.testing.assert_allclose(twin.parameters["batchnorm_1.trained_mean"], x.mean(0), rtol=1e-3)
    np.testing.assert_allclose(twin.parameters["batchnorm_1.trained_variance"], x.var(0), rtol=1e-3)
    assert twin.loss(x, t, training=False) == pytest.approx(twin.loss(x, t), rel=0.1)


def test_a_slope_that_is_zero_is_compared_absolutely():
    """Rounding of a gradient that is zero passes; a gradient that misses a small slope does not."""
    x = np.linspace(-1, 1, 7)

    def rounded(array):
        return 3.0 + float((array - array.mean()).mean())  # zero but for rounding, in any direction

    assert ref.directional_error(rounded, x, np.full(7, 5e-13)) < 1e-6
    assert ref.directional_error(lambda array: 3.0 + 1e-8 * float(array.sum()), x, np.zeros(7)) > 1e-5
