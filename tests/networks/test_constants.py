"""Packed weights are kept from prediction to prediction, and made anew once a parameter changed."""

from __future__ import annotations

import numpy as np
import pytest

import gncodegen as gnc

LAYERS = [
    gnc.ImageInputLayer((8, 8, 8), normalization="none"), gnc.Convolution2dLayer(3, 8, padding="same"),
    gnc.GroupNormalizationLayer(4), gnc.ReluLayer(), gnc.Convolution2dLayer(1, 24, stride=2),
    gnc.FullyConnectedLayer(5), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
]  # fmt: skip
TARGETS = ["cpu", pytest.param("sm_90", id="emulated")]


def compiled(target: str, seed: int = 0) -> gnc.Compiled:
    if target != "cpu":
        pytest.importorskip("numba.cuda", reason="the CUDA side needs `pip install 'gncodegen[cuda]'`")
    return gnc.compile(LAYERS, batch_size=2, seed=seed, target=target, emulate=target != "cpu")


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2, 8, 8, 8)).astype(np.float32)


@pytest.mark.full(like="networks/test_constants.py::test_predictions_follow_training")
@pytest.mark.parametrize("target", TARGETS)
def test_predictions_follow_the_parameters(target: str, x: np.ndarray) -> None:
    network, other = compiled(target), compiled(target, seed=1)
    first = network.predict(x)
    for name, value in other.parameters.items():
        network.parameters[name] = value
    np.testing.assert_array_equal(network.predict(x), other.predict(x))
    assert not np.array_equal(first, other.predict(x))


@pytest.mark.full("cuda", like="targets/cuda/test_zoo.py::test_a_training_step")
@pytest.mark.parametrize("target", TARGETS)
def test_predictions_follow_training(target: str, x: np.ndarray) -> None:
    network, labels = compiled(target), np.array([0, 3])
    network.predict(x)
    for _ in range(2):
        network.train_step(x, labels)
        found = network.predict(x)
        fresh = compiled(target, seed=2)
        for name, value in network.parameters.items():
            fresh.parameters[name] = value
        np.testing.assert_array_equal(found, fresh.predict(x))
        np.testing.assert_array_equal(network.predict(x), found)


def test_weights_are_packed_once() -> None:
    program = compiled("cpu").lowered("predict").program
    assert program.hoisted == 2
    packed = {call.arguments[slot] for call in program.calls[: program.hoisted] for slot in call.writes}
    assert {program.buffers[index].kind for index in packed} == {"constant"}
    assert program.constant_bytes >= sum(program.buffers[index].bytes for index in packed)
    step = compiled("cpu").program
    assert (step.hoisted, step.constant_bytes) == (0, 0)
