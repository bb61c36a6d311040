"""Sequences of different lengths in one batch: with a mask each is computed as if it were alone."""

import numpy as np
import pytest
import reference as ref
from support.targets import EMULATED, WITH_CUDA

import gncodegen as gnc
from gncodegen.runtime import sequences

CHANNELS, STEPS = 3, 11
LENGTHS = [11, 4, 7]
MEAN, DEVIATION = np.full(CHANNELS, 0.5), np.full(CHANNELS, 2.0)
NORMS = "kernels/test_masked_norm.py::test_each_sequence_is_alone"
CPU_AND_EMULATED = ["cpu", pytest.param(EMULATED, marks=[WITH_CUDA, pytest.mark.full(like=NORMS)])]


def drawn(lengths=LENGTHS, seed=0, width=CHANNELS):
    draw = np.random.default_rng(seed)
    return [draw.normal(size=(n, width)).astype(np.float32) for n in lengths]


def on(target):
    return {} if target == "cpu" else {"target": target, "emulate": True}


def classifier(**of_input):
    """A norm over all steps, then windows over what is not 0 behind a sequence, with pads and a stride."""
    given = {"min_length": STEPS, "padding": "mask", "normalization": "zscore", **of_input}
    return [
        gnc.SequenceInputLayer(CHANNELS, mean=MEAN, standard_deviation=DEVIATION, **given),
        gnc.Convolution1dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(2), gnc.SigmoidLayer(),
        gnc.AveragePooling1dLayer(3, padding=1, padding_value="mean"), gnc.MaxPooling1dLayer(2, stride=2),
        gnc.GlobalAveragePooling1dLayer(), gnc.FullyConnectedLayer(4), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ]  # fmt: skip


def classifier_alone(parameters):
    """The same in float64, of one sequence."""
    of_fc = ("weights", "bias")
    return ref.ReferenceNetwork([
        ref.Node("input", ref.input_normalization,
                 options={"method": "zscore", "mean": MEAN, "standard_deviation": DEVIATION}, inputs=("input",)),
        ref.Node("conv_1", ref.convolution, of_fc, options={"padding": ((1, 1),)}),
        ref.Node("groupnorm_1", ref.group_norm, ("scale", "offset"), options={"groups": 2}),
        ref.Node("sigmoid", ref.activation, options={"function": "sigmoid"}),
        ref.Node("mean", ref.average_pool, options={"window": (3,), "padding": ((1, 1),), "count_padding": False}),
        ref.Node("max", ref.max_pool, options={"window": (2,), "stride": (2,)}),
        ref.Node("all", ref.global_average_pool),
        ref.Node("fc_1", ref.fully_connected, of_fc),
        ref.Node("softmax", ref.softmax),
    ], parameters)  # fmt: skip


@pytest.fixture(scope="module")
def compiled():
    """The classifier, with the batch size of the training below: kernels are shared."""
    return gnc.compile(classifier(), batch_size=8, seed=3, training=False)


@pytest.mark.parametrize("target", CPU_AND_EMULATED)
def test_each_sequence_is_computed_as_if_it_were_alone(compiled, target):
    network = (
        compiled if target == "cpu" else gnc.compile(classifier(), batch_size=8, seed=3, training=False, **on(target))
    )
    x, t = drawn(), np.array([0, 3, 1])
    y, gradients, loss = network.predict(x), network.gradients(x, t), network.loss(x, t)
    alone = classifier_alone({name: np.asarray(value) for name, value in network.parameters.items()})
    sums, losses = {}, []
    for each, label, found, dx in zip(x, t, y, gradients["input"], strict=True):
        rows = ref.one_hot([label], 4)
        np.testing.assert_allclose(found, alone.predict(each[None])[0], atol=1e-5)
        losses.append(alone.loss(each[None], rows))
        expected = alone.gradients(each[None], rows)
        np.testing.assert_allclose(dx, expected.pop("input")[0] / len(x), atol=1e-5)
        for name, value in expected.items():
            sums[name] = sums.get(name, 0.0) + value / len(x)
    assert loss == pytest.approx(np.mean(losses), abs=1e-5)
    for name, value in sums.items():
        np.testing.assert_allclose(gradients[name], value.reshape(gradients[name].shape), atol=1e-5, err_msg=name)


def test_what_stands_in_the_padding_changes_no_bit(compiled, monkeypatch):
    x, t = drawn(), np.array([0, 3, 1])
    y, gradients = compiled.predict(x), compiled.gradients(x, t)
    own = sequences.padded
    for value in (np.nan, 1e30):
        monkeypatch.setattr(
            sequences, "padded", lambda a, n, axis, _, *more, v=value, **how: own(a, n, axis, v, *more, **how)
        )
        assert np.array_equal(compiled.predict(x), y)
        for name, array in compiled.gradients(x, t).items():
            pairs = zip(array, gradients[name], strict=True) if name == "input" else [(array, gradients[name])]
            assert all(np.array_equal(*pair) for pair in pairs), name


def test_any_slice_of_a_batch_has_the_same_bits(compiled):
    x = drawn([*LENGTHS, 5, 2])
    whole = compiled.predict(x)
    assert np.array_equal(
        np.concatenate([compiled.predict(x[:2]), compiled.predict(x[2:4]), compiled.predict(x[4:])]), whole
    )
    full = np.stack([x[0]] * 2)
    assert np.array_equal(compiled.predict(full), compiled.predict(list(full)))


def test_the_loss_of_many_sequences_is_that_of_batches(compiled):
    x, t = drawn(LENGTHS * 4), np.arange(12) % 4
    batches = [compiled.loss(x[:8], t[:8]), compiled.loss(x[8:], t[8:])]
    loss, y = compiled.evaluate(x, t)
    assert loss == pytest.approx(np.average(batches, weights=[8, 4]), abs=1e-6)
    assert np.array_equal(y, compiled.predict(x))


def to_steps(loss, **of_input):
    """Twice as many steps out as in, through a norm whose groups are single channels."""
    return [
        gnc.SequenceInputLayer(CHANNELS, min_length=STEPS, **{"padding": "mask", **of_input}),
        gnc.Convolution1dLayer(3, 4, padding=(2, 0)), gnc.InstanceNormalizationLayer(), gnc.TanhLayer(),
        gnc.TransposedConvolution1dLayer(3, 4, stride=2, cropping=(0, 1)), gnc.FullyConnectedLayer(2), *loss,
    ]  # fmt: skip


def to_steps_alone(parameters, loss):
    of_fc = ("weights", "bias")
    return ref.ReferenceNetwork([
        ref.Node("conv_1", ref.convolution, of_fc, options={"padding": ((2, 0),)}),
        ref.Node("instancenorm_1", ref.group_norm, ("scale", "offset"), options={"groups": "channel-wise"}),
        ref.Node("tanh", ref.activation, options={"function": "tanh"}),
        ref.Node("transposedconv_1", ref.transposed_convolution, of_fc,
                 options={"stride": (2,), "cropping": ((0, 1),)}),
        ref.Node("fc_1", ref.each_step(ref.fully_connected), of_fc),
    ], parameters, loss=loss)  # fmt: skip


@pytest.mark.full(like="networks/test_sequences.py::test_each_sequence_is_computed_as_if_it_were_alone")
@pytest.mark.parametrize("target", CPU_AND_EMULATED)
def test_steps_in_steps_out(target):
    network = gnc.compile(to_steps([gnc.RegressionLayer()]), batch_size=3, seed=1, data_format="BCT", **on(target))
    x = drawn()
    t = [each[:, :2] for each in drawn([2 * n for n in LENGTHS], 5)]
    y, gradients = (
        network.predict([each.T for each in x]),
        network.gradients([each.T for each in x], [each.T for each in t]),
    )
    alone = to_steps_alone(
        {name: np.asarray(value) for name, value in network.parameters.items()}, ref.half_squared_error
    )
    sums, losses = {}, []
    for each, target_, found, dx in zip(x, t, y, gradients["input"], strict=True):
        np.testing.assert_allclose(found.T, alone.predict(each[None])[0], atol=1e-5)
        losses.append(alone.loss(each[None], target_[None]))
        expected = alone.gradients(each[None], target_[None])
        np.testing.assert_allclose(dx.T, expected.pop("input")[0] / len(x), atol=1e-5)
        for name, value in expected.items():
            sums[name] = sums.get(name, 0.0) + value / len(x)
    assert network.loss([each.T for each in x], [each.T for each in t]) == pytest.approx(np.mean(losses), rel=1e-5)
    for name, value in sums.items():
        np.testing.assert_allclose(gradients[name], value.reshape(gradients[name].shape), atol=2e-5, err_msg=name)


def of_batch():
    """A batch norm in the middle: its statistics are those of all steps there are."""
    return [
        gnc.SequenceInputLayer(CHANNELS, min_length=STEPS, padding="mask"),
        gnc.Convolution1dLayer(3, 4, padding="same"),
        gnc.BatchNormalizationLayer(name="bn"), gnc.TanhLayer(), gnc.FullyConnectedLayer(2), gnc.RegressionLayer(),
    ]  # fmt: skip


def of_batch_alone(parameters, x, t):
    """Loss, gradients and new statistics in float64: all but the batch norm of each sequence alone."""
    p = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
    ends = np.cumsum([len(each) for each in x])[:-1]
    windows = [ref.convolution(each[None], p["conv_1.weights"], p["conv_1.bias"], padding=((1, 1),)) for each in x]
    z = np.concatenate([y[0] for y, _ in windows])
    n, norm = ref.batch_norm(z, p["bn.scale"], p["bn.offset"])
    a, activation = ref.activation(n, "tanh")
    y, product = ref.fully_connected(a, p["fc_1.weights"], p["fc_1.bias"])
    rest = y - np.concatenate(t)
    da, weights, bias = product(rest / len(x))
    dz, scale, offset = norm(activation(da)[0])
    found = [back(dy[None]) for (_, back), dy in zip(windows, np.split(dz, ends), strict=True)]
    gradients = {
        "conv_1.weights": sum(each[1] for each in found), "conv_1.bias": sum(each[2] for each in found),
        "bn.scale": scale, "bn.offset": offset, "fc_1.weights": weights, "fc_1.bias": bias,
    }  # fmt: skip
    statistics = ref.running_statistics(z, np.zeros(4), np.ones(4))
    return 0.5 * np.sum(rest**2) / len(x), [each[0][0] for each in found], gradients, statistics


@pytest.mark.parametrize("target", CPU_AND_EMULATED)
def test_a_batch_norm_takes_the_steps_there_are(target, monkeypatch):
    network = gnc.compile(of_batch(), batch_size=4, seed=1, options=options(), **on(target))
    x, t = drawn(), drawn(seed=5, width=2)
    loss, dx, expected, statistics = of_batch_alone(network.parameters, x, t)
    assert network.loss(x, t) == pytest.approx(loss, rel=1e-5)
    gradients = network.gradients(x, t)
    for found, wanted in zip(gradients["input"], dx, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name], value.reshape(gradients[name].shape), atol=2e-5, err_msg=name)
    own = sequences.padded
    monkeypatch.setattr(sequences, "padded", lambda a, n, axis, _, *more, **how: own(a, n, axis, np.nan, *more, **how))
    for name, array in network.gradients(x, t).items():
        pairs = zip(array, gradients[name], strict=True) if name == "input" else [(array, gradients[name])]
        assert all(np.array_equal(*pair) for pair in pairs), name
    network.train_step(x, t)
    for name, value in zip(("trained_mean", "trained_variance"), statistics, strict=True):
        np.testing.assert_allclose(network.parameters[f"bn.{name}"], value, rtol=1e-5, atol=1e-6)
    trained = np.concatenate([network.activations(x, "conv_1")[i] for i in range(3)])
    p = network.parameters
    z = (trained - p["bn.trained_mean"]) / np.sqrt(p["bn.trained_variance"] + 1e-5) * p["bn.scale"] + p["bn.offset"]
    np.testing.assert_allclose(
        np.concatenate(network.predict(x)), np.tanh(z) @ np.asarray(p["fc_1.weights"]).T + p["fc_1.bias"], atol=1e-5
    )


def test_statistics_of_the_population_are_over_steps_that_sequences_have():
    x, t = drawn([11, 3, 5, 8, 2, 9]), drawn([11, 3, 5, 8, 2, 9], 5, 2)
    net, _ = gnc.train_network(x, t, of_batch(), options(max_epochs=2, mini_batch_size=4))
    inside = np.concatenate(net.activations(x, "conv_1")).astype(np.float64)
    np.testing.assert_allclose(net.layers[2].trained_mean, inside.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.layers[2].trained_variance, inside.var(0), rtol=1e-5)


def built(*middle, **of_input):
    given = {"min_length": STEPS, "padding": "mask", **of_input}
    return gnc.compile([gnc.SequenceInputLayer(CHANNELS, **given), *middle], batch_size=2, training=False)


# Training.

LABELS = np.array(["low", "mid", "high"])


def labeller(**of_input):
    """A class for each step."""
    given = {"min_length": STEPS, "padding": "mask", "normalization": "zscore", **of_input}
    return [
        gnc.SequenceInputLayer(CHANNELS, **given), gnc.Convolution1dLayer(3, 8, padding="same"),
        gnc.GroupNormalizationLayer(2), gnc.SigmoidLayer(), gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]  # fmt: skip


def labelled(count, seed=0):
    """Sequences and the label of each step, by its first channel."""
    lengths = np.random.default_rng(seed).integers(2, STEPS + 1, count)
    x = drawn(lengths, seed)
    return x, [LABELS[np.digitize(each[:, 0], [-0.5, 0.5])] for each in x]


def options(**more):
    given = {"max_epochs": 12, "mini_batch_size": 8, "initial_learn_rate": 0.02, "seed": 4, "verbose": False, **more}
    return gnc.training_options("adam", **given)


def test_training_takes_lists_of_sequences_and_of_labels():
    (x, y), validation = labelled(24), labelled(6, 1)
    net, info = gnc.train_network(x, y, labeller(), options(validation_data=validation, shuffle="every-epoch"))
    steps = np.concatenate(x).astype(np.float64)
    layer = net.layers[0]
    np.testing.assert_allclose(layer.mean, steps.mean(0), rtol=1e-6)
    np.testing.assert_allclose(layer.standard_deviation, steps.std(0), rtol=1e-6)
    assert info.training_loss[-1] < 0.5 * info.training_loss[0]
    labels, scores = net.classify(validation[0])
    assert [len(each) for each in labels] == [len(each) for each in scores] == [len(each) for each in validation[0]]
    right = np.concatenate(labels) == np.concatenate(validation[1])
    assert info.final_validation_accuracy == pytest.approx(100 * right.mean())
    targets = [np.searchsorted(net.classes, each) for each in y[:8]]
    filled = np.stack([np.pad(each, (0, STEPS - len(each)), constant_values=1) for each in targets])
    assert net.compiled.loss(x[:8], targets) == net.compiled.loss(x[:8], filled), "targets in the padding do not count"
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 24, 8)]
    given = {"mean": layer.mean, "standard_deviation": layer.standard_deviation}
    streamed, _ = gnc.train_network(batches, None, labeller(**given), options(max_epochs=1))
    whole, _ = gnc.train_network(x, y, labeller(**given), options(max_epochs=1, shuffle="never"))
    for name, value in whole.compiled.parameters.items():
        assert np.array_equal(value, streamed.compiled.parameters[name]), name


@pytest.mark.parametrize("direction", ["right", "left"])
def test_padding_that_counts_is_data(direction):
    """As in the reference: the same as padding by hand."""
    given = {"padding": "include", "padding_value": 0.25, "padding_direction": direction}
    network = built(
        gnc.FullyConnectedLayer(2), normalization="zscore", mean=MEAN, standard_deviation=DEVIATION, **given
    )
    x = drawn()
    by_hand = np.full((3, STEPS, CHANNELS), 0.25, np.float32)
    for row, each in zip(by_hand, x, strict=True):
        row[slice(len(each)) if direction == "right" else slice(STEPS - len(each), None)] = each
    for row, each, found in zip(network.predict(by_hand), x, network.predict(x), strict=True):
        assert np.array_equal(found, row[: len(each)] if direction == "right" else row[STEPS - len(each) :])


# Refusals.


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (gnc.Convolution1dLayer(3, 4, stride=2, padding="same"), "layer 2 'conv_1': .*\"same\".*padding=\\(1, 1\\)"),
        (gnc.Convolution1dLayer(3, 4, padding=1, padding_value="replicate"), "layer 2 'conv_1': it pads steps"),
        (gnc.ReshapeLayer((STEPS * CHANNELS,)), "layer 2 'reshape_1': it makes other axes of time"),
        (gnc.ElementwiseLayer("divide", 1, constant=np.ones(3)), "layer 2 'elementwise_1': it computes divide"),
        (gnc.PermuteLayer((1, 0)), "layer 2 'permute_1': it moves time"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_that_mix_steps_are_refused(layer, words):
    with pytest.raises(gnc.NetworkError, match=words):
        built(layer)


def test_sequences_that_do_not_fit_are_refused(compiled, tmp_path):
    refused = {
        r"sequence 1 has 12 steps; allowed: up to 11; cut it, or write min_length=12": drawn([3, 12]),
        r"sequence 0 has shape \(0, 3\)": drawn([0, 4]),
        r"sequence 1 has shape \(4, 5\); allowed: \(T, 3\)": [drawn([3])[0], np.ones((4, 5))],
        r"'maxpool_1': sequence 1 has 1 steps.*allowed: 2 to 11 steps": drawn([4, 1]),
    }
    for words, x in refused.items():
        with pytest.raises(gnc.ArrayError, match=words):
            compiled.predict(x)
    with pytest.raises(gnc.LayerError, match="padding_direction"):
        gnc.SequenceInputLayer(3, padding="mask", padding_direction="left")
    with pytest.raises(gnc.NetworkError, match=r"take no lengths.*net.graph\.replace\('sequenceinput'.*full-length"):
        compiled.export(tmp_path / "net.py")
    with pytest.raises(gnc.ArrayError, match=r"\(2, 7, 3\); allowed: \(N, 1, 3\).* write min_length=7 in the input"):
        gnc.train_network(np.ones((2, 7, 3)), [0, 1], [gnc.SequenceInputLayer(3), gnc.RegressionLayer()], options())
    x, y = labelled(3)
    with pytest.raises(gnc.ArrayError, match=r"x is a list of arrays of shapes .* padding=\"mask\" or \"include\""):
        gnc.train_network(x, y, labeller(padding="none"), options())
    with pytest.raises(gnc.ArrayError, match=r"targets is a list of arrays of shapes .* padding=\"mask\""):
        gnc.train_network(x, y, labeller(padding="include"), options())
    with pytest.raises(gnc.ArrayError, match="targets of sequence 2; allowed: one for each of its"):
        gnc.train_network(x, [*y[:2], y[2][1:]], labeller(), options())
