"""Parameters that are read where the layers have them, and copied when they are to change."""

import dataclasses

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.allocation import MAPPED_FROM, is_unchanging

WEIGHTS = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)


def layers(training=False):
    return [
        gnc.FeatureInputLayer(512, normalization="none"),
        gnc.FullyConnectedLayer(64, weights=WEIGHTS, bias=np.zeros(64, np.float32), name="fc"),
        *([gnc.RegressionLayer(name="loss")] if training else []),
    ]


X = np.random.default_rng(1).standard_normal((4, 512)).astype(np.float32)


def expected(weights):
    return X.astype(np.float64) @ weights.T


def test_a_layer_keeps_its_own_copy_once():
    given = WEIGHTS.copy()
    layer = gnc.FullyConnectedLayer(64, weights=given)
    given[:] = 0
    assert WEIGHTS.nbytes >= MAPPED_FROM
    assert is_unchanging(layer.weights)
    assert np.array_equal(layer.weights, WEIGHTS)
    assert dataclasses.replace(layer, name="other").weights is layer.weights
    with pytest.raises(ValueError, match="read-only"):
        layer.weights[0] = 1


def test_a_prediction_reads_the_layers_own_array_until_one_is_assigned():
    chain = layers()
    first, second = (gnc.compile(chain, training=False, batch_size=4) for _ in range(2))
    assert first.parameters.stored.arrays["fc.weights"] is chain[1].weights
    np.testing.assert_allclose(first.predict(X), expected(WEIGHTS), rtol=1e-4, atol=1e-4)
    first.parameters["fc.weights"] = 2 * WEIGHTS
    np.testing.assert_allclose(first.predict(X), expected(2 * WEIGHTS), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(second.predict(X), expected(WEIGHTS), rtol=1e-4, atol=1e-4)
    assert np.array_equal(chain[1].weights, WEIGHTS)
    assert np.array_equal(first.parameters["fc.weights"], 2 * WEIGHTS)


def test_a_step_changes_no_layer_and_predictions_follow_it():
    chain = layers(training=True)
    compiled = gnc.compile(chain, training=True, batch_size=4, seed=0)
    before = compiled.predict(X)
    compiled.train_step(X, np.zeros((4, 64), np.float32))
    learned = compiled.parameters["fc.weights"]
    assert not np.array_equal(learned, WEIGHTS)
    assert np.array_equal(chain[1].weights, WEIGHTS)
    after = compiled.predict(X)
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(
        after, expected(learned.astype(np.float64)) + compiled.parameters["fc.bias"], rtol=1e-4, atol=1e-4
    )


def test_what_may_write_an_array_gets_one_of_its_own():
    chain = layers()
    compiled = gnc.compile(chain, training=False, batch_size=4)
    compiled.predict(X)
    place = compiled.parameters.stored.place("fc.weights")
    place[:] = 0
    compiled.parameters.stored.version += 1
    assert np.array_equal(compiled.predict(X), np.zeros((4, 64), np.float32))
    assert np.array_equal(chain[1].weights, WEIGHTS)
