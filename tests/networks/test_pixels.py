"""Classification of every pixel: loss, gradient, training, labels; class weights and an ignored label."""

import numpy as np
import pytest
import reference as ref
from support.targets import TARGETS

import gncodegen as gnc

RNG = np.random.default_rng(3)
X = RNG.normal(size=(12, 8, 8, 1)).astype(np.float32)
WALL, ROAD, UNKNOWN = b"wall", b"road", b"?"
Y = np.where(X[..., 0] > 0.3, WALL, ROAD)
Y[:, :2] = UNKNOWN


def unet(weights=None, ignored=None):
    """A convolution, a level below, and back, joined with what was there before."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer((8, 8, 1), normalization="none"), gnc.Convolution2dLayer(3, 4, padding="same", name="top"),
        gnc.GroupNormalizationLayer(2), gnc.ReluLayer(name="down"), gnc.MaxPooling2dLayer(2, stride=2),
        gnc.TransposedConvolution2dLayer(2, 4, stride=2), gnc.DepthConcatenationLayer(2, name="join"),
        gnc.Convolution2dLayer(1, 2, name="head"), gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(class_weights=weights, ignore_label=ignored),
    ])  # fmt: skip
    return graph.connect("down", "join/in2")


def rows_of(indices, classes=2):
    """One-hot rows, zeros where the index is -1."""
    return np.where(indices[..., None] >= 0, ref.one_hot(np.maximum(indices, 0), classes), 0)


@pytest.mark.parametrize("target", TARGETS)
def test_loss_and_gradient(target):
    weights = (1.0, 3.0)
    options = {} if target == "cpu" else {"target": target, "emulate": True}
    layers = [
        gnc.ImageInputLayer((3, 5, 2), normalization="none"), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(class_weights=weights, ignore_label=255),
    ]  # fmt: skip
    compiled = gnc.compile(layers, batch_size=2, **options)
    z = RNG.normal(size=(2, 3, 5, 2)).astype(np.float32)
    given = RNG.integers(2, size=(2, 3, 5))
    given[0, 1] = given[1, 0, 0] = 255
    t = rows_of(np.where(given == 255, -1, given))
    y = np.exp(z.astype(np.float64))
    y /= y.sum(-1, keepdims=True)
    loss, _ = ref.cross_entropy(y, t, class_weights=weights)
    weighted = t * weights
    dz = (y * weighted.sum(-1, keepdims=True) - weighted) / 2
    for form in (given, np.where(given == 255, -1, given), t):
        assert np.isclose(compiled.loss(z, form), loss, rtol=1e-6)
    np.testing.assert_allclose(compiled.gradients(z, given)["input"], dz, atol=1e-6)
    assert (compiled.gradients(z, given)["input"][0, 1] == 0).all()
    np.testing.assert_allclose(compiled.predict(z), y, atol=1e-6)


@pytest.mark.full(like="networks/test_pixels.py::test_loss_and_gradient")
def test_a_unet_learns_its_pixels(tmp_path):
    options = gnc.training_options(
        "sgdm", max_epochs=40, mini_batch_size=6, initial_learn_rate=0.02, verbose=False, seed=1, validation_data=(X, Y)
    )
    net, info = gnc.train_network(X, Y, unet((1.0, 2.0), UNKNOWN), options)
    assert net.classes == (ROAD, WALL)
    labels, scores = net.classify(X)
    assert labels.shape == (12, 8, 8)
    assert scores.shape == (12, 8, 8, 2)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-6)
    seen = Y != UNKNOWN
    assert np.mean(labels[seen] == Y[seen]) > 0.95
    assert np.isclose(info.final_validation_accuracy, 100 * np.mean(labels[seen] == Y[seen]))
    net.save(tmp_path)
    twin = gnc.load(tmp_path)
    assert twin.classes == net.classes
    assert np.array_equal(twin.classify(X)[0], labels)
    first = X.transpose(0, 3, 1, 2)
    other, rows = net.classify(first, "BCSS")
    assert np.array_equal(other, labels)
    assert np.array_equal(rows.transpose(0, 2, 3, 1), scores)


@pytest.mark.full(like="networks/test_pixels.py::test_loss_and_gradient")
def test_what_is_ignored_does_not_teach():
    options = gnc.training_options("sgdm", max_epochs=2, mini_batch_size=6, verbose=False, seed=1)
    indices = np.where(Y == WALL, 1, 0)
    rows = rows_of(np.where(Y == UNKNOWN, -1, indices))
    first, second = (gnc.train_network(X, y, unet(None, UNKNOWN), options)[1].training_loss for y in (Y, rows))
    assert np.array_equal(first, second)
    with pytest.raises(gnc.ArrayError, match=r"3 distinct labels for 2 outputs"):
        gnc.train_network(X, Y, unet(), options)


@pytest.mark.parametrize(
    ("t", "message"),
    [(np.zeros((2, 3), int), r"allowed: N×8×8 class indices or N×8×8×2 one-hot rows"), (np.full((2, 8, 8), -1), "-1")],
)
def test_refused(t, message):
    compiled = gnc.compile(unet(), batch_size=6)
    with pytest.raises(gnc.ArrayError, match=message):
        compiled.loss(X[:2], t)
