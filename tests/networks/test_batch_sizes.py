"""Runs of any number of observations: one set of kernels, which read how many there are."""

import numpy as np
import pytest
from support.targets import EMULATED, WITH_CUDA

import gncodegen as gnc

COUNTS = (1, 2, 3, 7, 16, 33, 64, 100)
MOST = max(COUNTS)


def normalized(filters, name):
    return [
        gnc.Convolution2dLayer(3, filters, padding="same", name=f"conv_{name}"),
        gnc.GroupNormalizationLayer(4, name=f"gn_{name}"),
        gnc.ReluLayer(name=f"relu_{name}"),
    ]


IMAGES = [
    gnc.ImageInputLayer((9, 8, 3), normalization="zscore", mean=np.full(3, 0.1), standard_deviation=np.ones(3)),
    *normalized(8, "a"),
    gnc.MaxPooling2dLayer(2, stride=2, name="pool"),
    gnc.GroupedConvolution2dLayer(3, 1, "channel-wise", name="channelwise"),
    gnc.Convolution2dLayer(1, 24, name="pointwise"),
    gnc.BatchNormalizationLayer(name="bn"),
    gnc.EluLayer(name="elu"),
    gnc.FullyConnectedLayer(5, name="fc"),
    gnc.SoftmaxLayer(name="softmax"),
]
WIDE = [
    gnc.ImageInputLayer((6, 6, 8), normalization="none"),
    *normalized(160, "a"),
    *normalized(208, "b"),
    gnc.GlobalAveragePooling2dLayer(name="mean"),
]
VECTORS = [
    gnc.FeatureInputLayer(20, normalization="none"),
    gnc.FullyConnectedLayer(260, name="fc_1"),
    gnc.TanhLayer(name="tanh"),
    gnc.FullyConnectedLayer(7, name="fc_2"),
]
CASES = {"images": IMAGES, "heavy filters": WIDE, "vectors": VECTORS}


def drawn(net, count=MOST):
    return np.random.default_rng(0).standard_normal((count, *net.network.input.size.shape)).astype(np.float32)


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def net(request):
    return gnc.compile(request.param, training=False, batch_size=64)


@pytest.mark.few
def test_each_count_has_the_bits_of_single_observations(net):
    """Alone, in part of a batch, in a whole one and across two; nothing is written behind the results."""
    x = drawn(net)
    alone = np.concatenate([net.predict(x[i : i + 1]) for i in range(MOST)])
    for count in COUNTS:
        np.testing.assert_array_equal(net.predict(x[:count]), alone[:count])
        guarded = np.full((count + 64, *alone.shape[1:]), 7.5, np.float32)
        net.predict(x[MOST - count :], out=guarded[:count])
        np.testing.assert_array_equal(guarded[:count], alone[MOST - count :])
        assert (guarded[count:] == 7.5).all()


STEPS = {
    "convolution": gnc.Convolution2dLayer(3, 16, padding="same"),
    "pointwise": gnc.Convolution2dLayer(1, 40),
    "strided": gnc.Convolution2dLayer((5, 3), 16, stride=2, padding="same"),
    "channelwise": gnc.GroupedConvolution2dLayer(3, 1, "channel-wise", padding="same"),
    "transposed": gnc.TransposedConvolution2dLayer(2, 16, stride=2),
    "max": gnc.MaxPooling2dLayer(3, padding="same"),
    "mean": gnc.GlobalAveragePooling2dLayer(),
    "norm": gnc.GroupNormalizationLayer(4),
    "response": gnc.CrossChannelNormalizationLayer(3),
    "resize": gnc.Resize2dLayer(scale=2),
    "product": gnc.FullyConnectedLayer(24),
}


@pytest.mark.few
@pytest.mark.parametrize("layer", STEPS)
@pytest.mark.parametrize(("target", "count"), [("cpu", 13), pytest.param(EMULATED, 5, marks=WITH_CUDA)])
def test_fewer_sequences_of_images_have_the_same_bits(target, count, layer):
    """Each step is an image, so a batch has more of them than observations."""
    layers = [gnc.SequenceInputLayer((7, 3, 16), min_length=7), STEPS[layer]]
    emulated = target != "cpu"
    compiled = gnc.compile(layers, target, emulate=emulated, training=False, batch_size=count)
    x = np.random.default_rng(0).standard_normal((count, 7, 7, 3, 16)).astype(np.float32)
    y = compiled.predict(x)
    for fewer in range(1, count):
        np.testing.assert_array_equal(compiled.predict(x[:fewer]), y[:fewer])


def test_single_observations_have_the_bits_of_a_program_for_one(net):
    one = gnc.compile(CASES["images"], training=False, batch_size=1) if net.network.input.size.channels == 3 else None
    if one is not None:
        x = drawn(net, 3)
        np.testing.assert_array_equal(one.predict(x), net.predict(x))


def test_no_count_compiles_anything(net):
    x = drawn(net)
    net.predict(x[:5])
    before = net._functions.known
    for count in COUNTS:
        net.predict(x[:count])
    assert net._functions.known == before


def test_launches_do_fewer_tiles_for_fewer_observations(net):
    program = net.lowered("predict").program
    assert program.in_order

    def tiles(count):
        return sum(program.grid(call, count) for call in program.calls[program.hoisted :])

    assert tiles(64) == sum(call.grid for call in program.calls[program.hoisted :])
    assert tiles(1) < tiles(64) or len(program.calls) < 4
    assert all(tiles(count) <= tiles(count + 1) for count in range(1, 64))


def test_layers_inside_are_had_for_any_count():
    net = gnc.compile(IMAGES, training=False, batch_size=64)
    x = drawn(net)
    whole = net.activations(x, "relu_a")
    for count in (1, 7, 65):
        np.testing.assert_array_equal(net.activations(x[:count], "relu_a"), whole[:count])


TRAINED = [
    gnc.ImageInputLayer((9, 8, 3), normalization="zscore", mean=np.full(3, 0.1), standard_deviation=np.ones(3)),
    *normalized(8, "a"),
    gnc.MaxPooling2dLayer(2, stride=2, name="pool"),
    gnc.GroupedConvolution2dLayer(3, 1, "channel-wise", name="channelwise"),
    gnc.Convolution2dLayer(1, 24, name="pointwise"),
    gnc.BatchNormalizationLayer(name="bn"),
    gnc.EluLayer(name="elu"),
    *normalized(24, "b"),
    gnc.DropoutLayer(0.3, name="dropout"),
    gnc.FullyConnectedLayer(5, name="fc"),
    gnc.SoftmaxLayer(name="softmax"),
    gnc.ClassificationLayer(name="classes"),
]


def results(net, x, t):
    """What a network gives for some observations, and its parameters after two steps on them, as arrays."""
    found = {"loss": net.loss(x, t), **net.gradients(x, t)}
    if len(x) <= 64:  # more are evaluated in two parts
        found["evaluated"] = net.evaluate(x, t)[0]
    found |= {f"step {step}": net.train_step(x, t) for step in range(2)}
    return {name: np.array(value) for name, value in (found | dict(net.parameters)).items()}


def compiled_files(net):
    return {source.path.name for lowered in net._functions.known for source in lowered.sources.values()}


@pytest.mark.full(like="networks/test_batch_sizes.py::test_each_count_has_the_bits_of_single_observations")
@pytest.mark.parametrize("count", [n for n in COUNTS if n != 64])
@pytest.mark.parametrize("target", ["cpu", pytest.param(EMULATED, marks=WITH_CUDA)])
def test_training_has_the_bits_of_programs_for_each_count(target, count):
    """Kernels for 64 do any number."""
    settings = {"target": target, "emulate": target != "cpu"}
    net, alone = (gnc.compile(TRAINED, batch_size=n, **settings) for n in (64, count))
    x, t = drawn(net), np.arange(MOST) % 5
    for name in ("loss", "gradients", "train_step", "evaluate"):
        net.lowered(name, 64)
    before = compiled_files(net)
    given, expected = (results(each, x[:count], t[:count]) for each in (net, alone))
    for name, value in expected.items():
        np.testing.assert_array_equal(given[name], value, err_msg=name)
    made = compiled_files(net) - before
    assert not made
