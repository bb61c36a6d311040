"""Products, functions of several inputs, and the parametric rectifier, in whole networks on the CPU."""

import math

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network, assert_same_results
from support.sets import diagonal, few

import gncodegen as gnc
from gncodegen.errors import CompileError, NetworkError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def of_three(layer):
    """A network in which `layer` takes the input's three images."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((5, 3, 7), normalization="none", name="start"),
        gnc.LeakyReluLayer(0.3, name="a"), layer, gnc.RegressionLayer(name="loss"),
    ])  # fmt: skip
    graph.add([gnc.LeakyReluLayer(0.6, name="b")]).connect("start", "b")
    return graph.connect("b", f"{layer.name}/in2").connect("start", f"{layer.name}/in3")


@pytest.mark.parametrize(
    ("dtype", "layer"),
    diagonal(
        ["float32", "float64"], [gnc.MultiplicationLayer(3, name="m"), gnc.ElementwiseLayer("minimum", 3, name="m")]
    ),
)
def test_three_inputs(layer, dtype):
    function = "multiply" if isinstance(layer, gnc.MultiplicationLayer) else layer.function
    nodes = [
        ref.Node("a", ref.activation, options={"function": "leaky-relu", "alpha": 0.3}),
        ref.Node("b", ref.activation, inputs=("input",), options={"function": "leaky-relu", "alpha": 0.6}),
        ref.Node("m", lambda *x: ref.elementwise(function, *x), inputs=("a", "b", "input")),
    ]
    # Equal values of a, b and x would have no slope that finite differences see: those above 0 are all equal.
    x = -np.abs(normal(2, 5, 3, 7)) if function == "minimum" else normal(2, 5, 3, 7)
    assert_same_network(of_three(layer), nodes, x, dtype=dtype)


@pytest.mark.parametrize("slopes", few(["channel-wise", "shared"], 1))
def test_prelu(slopes):
    count = 7 if slopes == "channel-wise" else 1
    layers = [
        gnc.ImageInputLayer((5, 3, 7), normalization="none"),
        gnc.PreluLayer(slopes=slopes, alpha=np.linspace(-0.5, 0.5, count), name="p"), gnc.RegressionLayer(),
    ]  # fmt: skip
    nodes = [ref.Node("p", lambda x, alpha: ref.elementwise("prelu", x, alpha), ("alpha",))]
    assert_same_network(layers, nodes, normal(2, 5, 3, 7), dtype="float64")


def test_prelu_learns_and_starts_where_it_says():
    layers = [gnc.FeatureInputLayer(4, normalization="none"), gnc.PreluLayer(0.2), gnc.RegressionLayer()]
    compiled = gnc.compile(layers, batch_size=8, options=gnc.training_options("sgdm", initial_learn_rate=0.1))
    np.testing.assert_allclose(compiled.parameters["prelu_1.alpha"], np.full(4, 0.2), rtol=1e-6)
    x = normal(8, 4).astype(np.float32)
    before = compiled.loss(x, np.where(x > 0, x, -0.7 * x))
    for _ in range(100):
        compiled.train_step(x, np.where(x > 0, x, -0.7 * x))
    assert compiled.loss(x, np.where(x > 0, x, -0.7 * x)) < 1e-3 * before
    np.testing.assert_allclose(compiled.parameters["prelu_1.alpha"], np.full(4, -0.7), atol=0.02)


def test_a_constant_stays():
    constant = np.array([[[1.0]], [[2.0]], [[3.0]]])
    layers = [
        gnc.ImageInputLayer((3, 2, 4), normalization="none"), gnc.ElementwiseLayer("power", 1, constant=constant),
        gnc.FullyConnectedLayer(1), gnc.RegressionLayer(),
    ]  # fmt: skip
    compiled = gnc.compile(layers, batch_size=2)
    x = np.abs(normal(2, 3, 2, 4)).astype(np.float32) + 0.5
    compiled.train_step(x, np.ones((2, 1), np.float32))
    np.testing.assert_array_equal(compiled.parameters["elementwise_1.constant"], constant)


def test_refusals():
    narrow = [gnc.ImageInputLayer((3, 2, 4), normalization="none"), gnc.ElementwiseLayer("add", 1, constant=np.ones(3))]
    with pytest.raises(NetworkError, match=r"constant \[3\]; allowed: one format, axes that are equal or 1"):
        gnc.compile(narrow)
    with pytest.raises(NetworkError, match=r"alpha has shape \(3,\); allowed: \(4,\)"):
        gnc.compile([gnc.FeatureInputLayer(4), gnc.PreluLayer(alpha=np.ones(3))])
    with pytest.raises(CompileError, match=r"layer 2 'elementwise_1'.*'bend'; allowed: 'add'"):
        gnc.compile([gnc.FeatureInputLayer(4), gnc.ElementwiseLayer("bend", 1)])
    layers = of_three(gnc.MultiplicationLayer(3, name="m"))
    with pytest.raises(NetworkError, match="allowed: inputs of one size"):
        gnc.compile(layers.replace("b", [gnc.Convolution2dLayer(3, 7, name="b")]))


@pytest.mark.parametrize("shape", [(3, 1), (2, 3, 2)])
def test_a_constant_of_a_network_compiled_for_one_observation(shape):
    constant = np.linspace(0.5, 1, math.prod(shape)).reshape(shape)
    layer = gnc.ElementwiseLayer("multiply", 1, constant=constant, constant_learn_rate_factor=1.0, name="e")
    layers = [gnc.TensorInputLayer((2, 3, 2)), layer, gnc.RegressionLayer()]
    x, t = np.random.default_rng(0).standard_normal((2, 3, 2, 3, 2))
    node = ref.Node("e", lambda x, c: ref.elementwise("multiply", x, c), ("constant",))
    for batch in (1, 3):
        compiled = gnc.compile(layers, batch_size=batch, dtype="float64")
        assert_same_results(compiled, [node], x, t, 1e-12)


GATES = {
    "of channels": [gnc.GlobalAveragePooling2dLayer(name="gate")],
    "of rows": [gnc.AveragePooling2dLayer((1, 3), stride=(1, 3), name="gate")],
    "of pixels": [gnc.Convolution2dLayer(1, 1, name="gate")],
    "of columns": [
        gnc.AveragePooling2dLayer((4, 1), stride=(4, 1), name="mean"),
        gnc.Convolution2dLayer(1, 1, name="gate"),
    ],
}


@pytest.mark.parametrize("kind", few(GATES, 2))
def test_gates_have_slopes_and_kernels_for_any_number(kind):
    """What repeats along axes of an observation is summed over them without meeting other observations."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((4, 3, 2), normalization="none", name="start"), *GATES[kind],
        gnc.ElementwiseLayer("multiply", 2, name="gated"), gnc.RegressionLayer(name="loss"),
    ]).connect("start", "gated/in2")  # fmt: skip
    net = gnc.compile(graph, batch_size=3, dtype="float64")
    x, y = normal(5, 4, 3, 2), normal(5, 4, 3, 2, seed=1)
    for count in (3, 2, 5):
        slopes = net.gradients(x[:count], y[:count])["input"]
        kernels = {source.path for each in net._functions.known for source in each.sources.values()}
        if count == 3:
            known = kernels
        assert kernels == known, count
        for place in ((0, 0, 0, 0), (count - 1, 3, 2, 1), (1, 2, 0, 1)):
            step = np.zeros_like(x[:count])
            step[place] = 1e-5
            found = net.loss(x[:count] + step, y[:count]) - net.loss(x[:count] - step, y[:count])
            np.testing.assert_allclose(slopes[place], found / 2e-5, 1e-6)
        known |= {source.path for each in net._functions.known for source in each.sources.values()}
