"""Input layers: statistics of training data and their parameters."""

import numpy as np
import pytest
import reference as ref

import gncodegen as gnc
from gncodegen.errors import ArrayError
from gncodegen.layers import statistics
from gncodegen.layers.base import Operation

METHODS = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}
REFERENCE = {"mean": np.mean, "standard_deviation": np.std, "min": np.min, "max": np.max}
DIMENSIONS = {"auto": (0, 1, 2), "channel": (0, 1, 2), "element": (0,), "all": (0, 1, 2, 3)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_statistics_agree_with_numpy(method, dimension, monkeypatch):
    monkeypatch.setattr(statistics, "_PIECE", 100)
    x = np.random.default_rng(0).normal(3, 2, (11, 4, 5, 3)).astype(np.float32)
    layer = gnc.ImageInputLayer((4, 5, 3), normalization=method, normalization_dimension=dimension)
    found = layer.statistics(x)
    assert tuple(found) == METHODS[method]
    for parameter in layer.parameters(()):
        value = found[parameter.name]
        assert value.shape == parameter.shape
        assert value.dtype == np.float64
        assert not parameter.learnable
        expected = REFERENCE[parameter.name](x.astype(np.float64), axis=DIMENSIONS[dimension])
        np.testing.assert_allclose(value, np.reshape(expected, parameter.shape), rtol=1e-12)


@pytest.mark.few
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("layer", "size", "dimension", "axes"),
    [
        (gnc.SequenceInputLayer, 3, "auto", (0, 1)),
        (gnc.SequenceInputLayer, 3, "channel", (0, 1)),
        (gnc.SequenceInputLayer, 3, "element", (0, 1)),
        (gnc.SequenceInputLayer, 3, "all", (0, 1, 2)),
        (gnc.SequenceInputLayer, (5, 4, 3), "auto", (0, 1, 2, 3)),
        (gnc.SequenceInputLayer, (5, 4, 3), "element", (0, 1)),
        (gnc.Image3dInputLayer, (5, 4, 2, 3), "auto", (0, 1, 2, 3)),
        (gnc.Image3dInputLayer, (5, 4, 2, 3), "element", (0,)),
        (gnc.Image3dInputLayer, (5, 4, 2, 3), "all", (0, 1, 2, 3, 4)),
    ],
    ids=str,
)
def test_sequences_and_volumes_are_normalized(layer, size, dimension, axes, method):
    """A statistic per element of a sequence is that of a step; the network subtracts it at every step."""
    steps = {"min_length": 6} if layer is gnc.SequenceInputLayer else {}
    entrance = layer(size, normalization=method, normalization_dimension=dimension, name="in", **steps)
    x = np.random.default_rng(0).normal(3, 2, (7, *entrance.output_size(()).shape)).astype(np.float32)
    found = entrance.statistics(x)
    for parameter in entrance.parameters(()):
        expected = REFERENCE[parameter.name](x.astype(np.float64), axis=axes)
        np.testing.assert_allclose(found[parameter.name], np.reshape(expected, parameter.shape), rtol=1e-12)
    wanted, _ = ref.input_normalization(x, method, **found)
    compiled = gnc.compile([entrance, gnc.LeakyReluLayer(1)], batch_size=7, training=False)
    for name, value in found.items():
        compiled.parameters[f"in.{name}"] = value
    np.testing.assert_allclose(compiled.predict(x), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("offset", "dtype"),
    [(0.1, "float32"), (1e6, "float32"), (-7, "float32"), (0.1, "float64"), (1e8 + 0.1, "float64"), (201, "uint8")],
)
def test_constant_channel_deviates_by_exactly_zero(offset, dtype, monkeypatch):
    monkeypatch.setattr(statistics, "_PIECE", 1000)
    x = np.full((50, 3, 3, 2), offset, dtype)
    x[..., 1] += np.arange(50, dtype=dtype)[:, None, None]
    for method in ("zerocenter", "zscore"):
        found = gnc.ImageInputLayer((3, 3, 2), normalization=method).statistics(x)
        assert found["mean"][0] == x[0, 0, 0, 0]
        np.testing.assert_allclose(found["mean"], x.mean((0, 1, 2), dtype=np.float64), rtol=1e-13)
    assert found["standard_deviation"][0] == 0


@pytest.mark.parametrize("values", [(254, 255), (0, 1), (0, 255), (7, 7)])
@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_statistics_of_bytes_are_exact(values, dtype):
    """One value of 1,800 is another: the variance is that of whole numbers, however large the mean."""
    x = np.full((300, 3, 2, 2), values[1], dtype)
    x[17, 1, 0, 1] = values[0]
    found = gnc.ImageInputLayer((3, 2, 2), normalization="zscore").statistics(x)
    for channel in range(2):
        whole = [int(value) for value in x[..., channel].ravel()]
        n, total, squares = len(whole), sum(whole), sum(value * value for value in whole)
        assert found["mean"].ravel()[channel] == total / n
        assert found["standard_deviation"].ravel()[channel] == ((n * squares - total**2) / n**2) ** 0.5


def test_integers_and_views():
    x = np.arange(24, dtype=np.uint8).reshape(4, 6)[:, ::2]
    found = gnc.FeatureInputLayer(3, normalization="zscore").statistics(x)
    np.testing.assert_allclose(found["mean"], x.mean(0))
    np.testing.assert_allclose(found["standard_deviation"], x.std(0))


def test_operations_and_neutral_starts():
    layer = gnc.ImageInputLayer((4, 4, 2), normalization="zscore")
    names = ("mean", "standard_deviation")
    assert layer.operations(()) == (Operation("input_normalization", names, {"method": "zscore"}),)
    assert [(p.name, p.initializer, p.shape) for p in layer.parameters(())] == [
        ("mean", "zeros", (2,)),
        ("standard_deviation", "ones", (2,)),
    ]


@pytest.mark.parametrize("normalization", ["none", np.sqrt])
def test_none_and_callables_are_no_operation(normalization):
    layer = gnc.ImageInputLayer((4, 4, 2), normalization=normalization)
    assert layer.operations(()) == ()
    assert layer.parameters(()) == ()
    assert layer.statistics(np.zeros((1, 4, 4, 2))) == {}


@pytest.mark.parametrize(("mean", "shape"), [(0.5, (1,)), ([1, 2], (2,)), (np.zeros((4, 4, 2)), (4, 4, 2))])
def test_given_statistics_settle_the_dimension(mean, shape):
    layer = gnc.ImageInputLayer((4, 4, 2), mean=mean)
    (parameter,) = layer.parameters(())
    assert parameter.shape == shape
    np.testing.assert_array_equal(parameter.value, np.reshape(mean, shape))
    assert layer.statistics(np.ones((3, 4, 4, 2)))["mean"].shape == shape


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 4, 4, 1), (0, 4, 4, 2)])
def test_wrong_training_data(shape):
    with pytest.raises(ArrayError, match=r"ImageInputLayer 'in': .*allowed: \(N, 4, 4, 2\)"):
        gnc.ImageInputLayer((4, 4, 2), name="in").statistics(np.zeros(shape))
