"""Inputs of a type that the network's cannot hold: normalized in float64 in every call, on the host, part by part."""

import tracemalloc

import numpy as np
import pytest
import reference as ref
from support.targets import EMULATED, WITH_CUDA

import gncodegen as gnc
from gncodegen.layers.statistics import moments

METHODS = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}
CONSTANT = 2
"""A channel without spread, which is only shifted."""


def inputs(kind, shape):
    """(x, statistics by name): values around 1e8 whose differences float32 does not see, or integers around 2⁴⁰."""
    x = np.random.default_rng(0).uniform(-1, 1, shape)
    x = 1e8 + x if kind == "float64" else 2**40 + (100 * x).astype(np.int64)
    x[..., CONSTANT] = x.flat[0]
    axes = tuple(range(x.ndim - 1))
    spread = x.std(axes) * (np.arange(shape[-1]) != CONSTANT)
    low, high = x.min(axes).astype(np.float64), x.max(axes).astype(np.float64)
    return x, {"mean": x.mean(axes), "standard_deviation": spread, "min": low, "max": high}


def dense(method, statistics, target="cpu"):
    layers = [
        gnc.FeatureInputLayer(5, normalization=method, **{name: statistics[name] for name in METHODS[method]}),
        gnc.FullyConnectedLayer(2, name="fc"),
        gnc.RegressionLayer(),
    ]
    return gnc.compile(layers, target=target, emulate=target != "cpu", batch_size=6, seed=1)


def check(method, kind, target):
    (x, statistics), t = inputs(kind, (10, 5)), np.random.default_rng(1).standard_normal((10, 2))
    compiled = dense(method, statistics, target)
    own = {name: statistics[name] for name in METHODS[method]}
    s, backward = ref.input_normalization(x, method, **own)
    weights, bias = (np.asarray(compiled.parameters[f"fc.{name}"], np.float64) for name in ("weights", "bias"))
    y = s @ weights.T + bias
    loss = 0.5 * np.sum((y - t) ** 2) / len(x)
    near = {"rtol": 1e-6, "atol": 1e-6}
    np.testing.assert_allclose(compiled.predict(x), y, **near)
    np.testing.assert_allclose(compiled.activations(x, "featureinput"), s, **near)
    np.testing.assert_allclose(compiled.evaluate(x, t)[0], loss, **near)
    gradients = compiled.gradients(x, t)
    (dx,) = backward((y - t) @ weights / len(x))
    np.testing.assert_allclose(gradients["input"], dx, rtol=1e-5, atol=1e-6 * np.abs(dx).max())
    np.testing.assert_allclose(gradients["fc.weights"], (y - t).T @ s / len(x), **near)
    np.testing.assert_allclose(compiled.vjp(x, (y - t) / len(x))[1]["input"], gradients["input"], rtol=1e-5, atol=1e-7)
    assert compiled.train_step(x, t) == pytest.approx(loss, rel=1e-6)


@pytest.mark.few
@pytest.mark.parametrize(("method", "kind"), [*((method, "float64") for method in METHODS), ("zscore", "int64")])
def test_every_call_normalizes_in_float64(method, kind):
    check(method, kind, "cpu")


@WITH_CUDA
@pytest.mark.full(like="runtime/test_input_normalization.py::test_every_call_normalizes_in_float64")
def test_in_the_emulator_too():
    check("rescale-symmetric", "float64", EMULATED)


def test_float32_inputs_are_normalized_by_the_kernels():
    x, statistics = inputs("float64", (6, 5))
    compiled, single = dense("zscore", statistics), x.astype(np.float32)
    mean, spread = (np.float32(statistics[name]) for name in METHODS["zscore"])
    factor = np.where(spread == 0, np.float32(1), np.float32(1) / np.where(spread == 0, np.float32(1), spread))
    np.testing.assert_array_equal(compiled.activations(single, "featureinput"), (single - mean) * factor)


def test_statistics_stay_as_given_when_saved_and_are_those_assigned_last(tmp_path):
    x, statistics = inputs("float64", (6, 5))
    compiled = dense("zerocenter", statistics)
    compiled.save(tmp_path / "net")
    np.testing.assert_array_equal(gnc.load(tmp_path / "net").predict(x), compiled.predict(x))
    np.testing.assert_array_equal(compiled.graph.layers[0].mean, statistics["mean"])
    compiled.parameters["featureinput.mean"] = statistics["mean"] + 0.25
    np.testing.assert_allclose(compiled.activations(x, "featureinput"), x - statistics["mean"] - 0.25, atol=1e-6)


@pytest.mark.parametrize("method", ["zscore", "rescale-symmetric"])
def test_other_orders_of_axes_and_statistics_per_element(method):
    x, _ = inputs("float64", (3, 4, 2, 3))
    statistics = {"mean": x.mean(0), "standard_deviation": x.std(0), "min": x.min(0), "max": x.max(0)}
    own = {name: statistics[name] for name in METHODS[method]}
    layers = [gnc.ImageInputLayer((4, 2, 3), normalization=method, **own), gnc.ReluLayer(name="relu")]
    compiled = gnc.compile(layers, training=False, batch_size=3, data_format="BCSS")
    wanted = np.maximum(ref.input_normalization(x, method, **own)[0], 0)
    for order, axes in {"BCSS": (0, 3, 1, 2), "CSSB": (3, 1, 2, 0)}.items():
        got = compiled.predict(x.transpose(axes), data_format=order)
        np.testing.assert_allclose(got, wanted.transpose(axes), rtol=1e-6, atol=1e-6)


def test_a_memory_map_is_normalized_part_by_part(tmp_path):
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (4000, 500))
    x[...] = 1e8 + np.random.default_rng(0).uniform(-1, 1, x.shape)
    layers = [gnc.FeatureInputLayer(500, normalization="zerocenter", mean=1e8), gnc.FullyConnectedLayer(1)]
    compiled = gnc.compile(layers, training=False, batch_size=100)
    y = compiled.predict(x[:100])
    tracemalloc.start()
    again = compiled.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(again[:100], y)
    assert peak < x.nbytes / 8


@pytest.mark.filterwarnings("error")
def test_infinities_give_statistics_without_a_warning_of_numpy():
    x = np.array([[1.0, np.inf], [2.0, 3.0]])
    mean, deviation = moments(x, (0,))
    assert (mean[0], deviation[0]) == (1.5, 0.5)
    assert not np.isfinite([mean[1], deviation[1]]).any()
