"""Starting values."""

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import LayerError
from gncodegen.layers.base import Parameter, Size
from gncodegen.layers.initializers import initialize

SHAPE, FANS = (3, 3, 20, 40), (180, 360)


def draw(initializer, shape=SHAPE, fans=FANS, dtype=np.float64, seed=0):
    return initialize(Parameter("weights", shape, initializer, fans=fans), np.random.default_rng(seed), dtype)


def test_glorot_is_uniform_within_its_bound():
    value, bound = draw("glorot"), np.sqrt(6 / 540)
    assert np.abs(value).max() <= bound
    assert value.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_he_and_narrow_normal():
    assert draw("he").std() == pytest.approx(np.sqrt(2 / 180), rel=0.05)
    assert draw("narrow-normal").std() == pytest.approx(0.01, rel=0.05)


def test_zeros_and_ones():
    assert not draw("zeros").any()
    assert (draw("ones") == 1).all()


@pytest.mark.parametrize(("size", "outputs"), [((4, 4, 2), 5), ((1, 1, 3), 7)])
def test_orthogonal(size, outputs):
    image = Size("SSC", size)
    fully_connected = gnc.FullyConnectedLayer(outputs, weights_initializer="orthogonal").parameters((image,))[0]
    convolution = gnc.Convolution2dLayer(1, outputs, weights_initializer="orthogonal").parameters((image,))[0]
    for parameter in (fully_connected, convolution):
        value = initialize(parameter, np.random.default_rng(1), np.float64)
        assert value.shape == parameter.shape
        matrix = value if value.ndim == 2 else value.reshape(-1, outputs)
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize(("channels", "filters"), [(3, 5), (40, 2)])
def test_orthogonal_transposed_convolution(channels, filters):
    """What the input channels paint is orthonormal, as far as their number permits."""
    layer = gnc.TransposedConvolution2dLayer(2, filters, stride=2, weights_initializer="orthogonal")
    parameter = layer.parameters((Size("SSC", (4, 4, channels)),))[0]
    matrix = initialize(parameter, np.random.default_rng(1), np.float64).reshape(-1, channels)
    gram = matrix.T @ matrix if channels <= len(matrix) else matrix @ matrix.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_callable_gets_the_shape():
    np.testing.assert_array_equal(draw(lambda shape: np.full(shape, 3)), np.full(SHAPE, 3.0))


@pytest.mark.parametrize("wrong", [lambda shape: np.zeros(shape[1:]), lambda _: "text", lambda _: None])
def test_callable_with_a_wrong_result(wrong):
    with pytest.raises(LayerError, match=r"weights: its initializer returned .*allowed: real numbers of shape"):
        draw(wrong)


def test_value_wins_and_is_copied():
    value = np.arange(3.0)
    result = initialize(Parameter("bias", (3,), "ones", value), np.random.default_rng(0), np.float32)
    result[0] = 9
    assert result.dtype == np.float32
    assert value[0] == 0


@pytest.mark.parametrize("value", [np.array([1.0, -1e300]), None])
def test_values_beyond_the_type_are_refused(value):
    given = Parameter("bias", (2,), lambda shape: np.full(shape, -1e300), value)
    with pytest.raises(LayerError, match=r"bias has values up to 1e\+300; allowed: up to 3.4e\+38 in float32; scale"):
        initialize(given, np.random.default_rng(0), np.float32)
    assert initialize(given, np.random.default_rng(0), np.float64)[1] == -1e300
    infinite = initialize(Parameter("bias", (2,), "ones", np.array([np.inf, 1])), np.random.default_rng(0), np.float32)
    np.testing.assert_array_equal(infinite, [np.inf, 1])


@pytest.mark.parametrize("name", ["glorot", "he", "orthogonal", "narrow-normal"])
def test_same_draw_for_every_dtype(name):
    np.testing.assert_array_equal(draw(name, dtype=np.float32), draw(name).astype(np.float32))
    assert (draw(name, seed=1) != draw(name)).any()


def test_unknown_name():
    with pytest.raises(LayerError, match=r"'xavier'; allowed: glorot"):
        draw("xavier")
