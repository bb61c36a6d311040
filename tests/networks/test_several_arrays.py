"""Networks of several inputs and outputs, and arrays in a network's own order of axes."""

from __future__ import annotations

import numpy as np
import pytest

import gncodegen as gnc

A, B = np.random.default_rng(0).normal(size=(2, 5, 2)).astype(np.float32)


def graph() -> gnc.LayerGraph:
    """u = tanh(a); sum = b + u."""
    graph = gnc.LayerGraph([gnc.FeatureInputLayer(2, name="a"), gnc.TanhLayer(name="u")])
    graph.add([gnc.FeatureInputLayer(2, name="b"), gnc.AdditionLayer(2, name="sum")])
    return graph.connect("u", "sum/in2")


def test_predict_takes_and_gives_several() -> None:
    compiled = gnc.compile(graph().returning("sum", "u"), training=False, batch_size=3)
    total, u = compiled.predict(A, B)
    np.testing.assert_allclose(u, np.tanh(A), rtol=1e-6)
    np.testing.assert_allclose(total, np.tanh(A) + B, rtol=1e-6, atol=1e-7)
    for again in (compiled.predict({"b": B, "a": A}), compiled.predict((A, B))):
        np.testing.assert_array_equal(again[0], total)


def test_gradients_of_several_inputs() -> None:
    compiled = gnc.compile(graph().append(gnc.RegressionLayer()), batch_size=5)
    t = np.zeros_like(A)
    gradients = compiled.gradients((A, B), t)
    y = (np.tanh(A.astype(float)) + B) / len(A)
    np.testing.assert_allclose(gradients["input/b"], y, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(gradients["input/a"], y * (1 - np.tanh(A.astype(float)) ** 2), rtol=1e-5, atol=1e-7)
    assert compiled.loss({"a": A, "b": B}, t) == pytest.approx((((np.tanh(A) + B) ** 2).sum() / 2) / len(A), rel=1e-5)
    assert compiled.evaluate((A, B), t)[0] == pytest.approx(compiled.train_step((A, B), t), rel=1e-5)


def test_an_input_may_be_called_like_a_parameter() -> None:
    image = gnc.ImageInputLayer((4, 3, 2), normalization="none", name="fc.weights")
    layers = gnc.LayerGraph([image, gnc.FullyConnectedLayer(2, name="fc"), gnc.AdditionLayer(2, name="sum")])
    layers.add([gnc.FeatureInputLayer(2, name="b")]).connect("b", "sum/in2").append(gnc.RegressionLayer())
    compiled = gnc.compile(layers, batch_size=5, data_format="BCSS")
    gradients = compiled.gradients((np.ones((5, 2, 4, 3), np.float32), A), B)
    assert gradients["fc.weights"].shape == (2, 24)
    assert gradients["input/fc.weights"].shape == (5, 2, 4, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((A,), "1 arrays for the inputs 'a', 'b'; allowed: one for each of 2"),
        ((A, B[:2]), "5 of 'a', 2 of 'b'; allowed: as many observations"),
        (({"a": A, "c": B},), "arrays for 'a', 'c'; allowed: one for each of 'a', 'b'"),
    ],
)
def test_wrong_arrays(given, message) -> None:
    compiled = gnc.compile(graph(), training=False, batch_size=3)
    with pytest.raises(gnc.ArrayError, match=message):
        compiled.predict(*given)


def test_arrays_keep_their_own_order() -> None:
    layers = [gnc.TensorInputLayer((3, 2)), gnc.PermuteLayer((1, 0)), gnc.ReshapeLayer((6,))]
    x = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    compiled = gnc.compile(layers, training=False, batch_size=2)
    np.testing.assert_array_equal(compiled.predict(x), x.transpose(0, 2, 1).reshape(4, 6))
    with pytest.raises(gnc.OptionsError, match="layer 1 'input': data_format = 'BCS'; allowed: None"):
        gnc.compile(layers, training=False, data_format="BCS")


def test_an_array_without_observations() -> None:
    layers = [gnc.TensorInputLayer((2, 3), batched=False), gnc.ReluLayer()]
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(gnc.compile(layers, training=False).predict(x), np.maximum(x, 0))
