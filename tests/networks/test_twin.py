"""Whole networks trained beside their NumPy twins: the losses stay together."""

import numpy as np
import pytest
import reference as ref

import gncodegen as gnc

L2_FACTORS = {f"{layer}.bias": 0.0 for layer in ("conv", "conv_a", "conv_b", "conv_c", "fc")}


def follow(layers, nodes, images, labels, *, batch, steps, bound, classes=10, loss_options=None, **options):
    """Trains both from the product's own starting weights and compares loss after loss, then every parameter."""
    chosen = gnc.training_options("sgdm", **options)
    compiled = gnc.compile(layers, target="cpu", batch_size=batch, training=True, options=chosen, seed=3)
    optimizer = ref.Sgdm(rate=options["initial_learn_rate"], l2_factors=L2_FACTORS)
    twin = ref.ReferenceNetwork(nodes, dict(compiled.parameters), optimizer=optimizer, loss_options=loss_options)
    order = np.random.default_rng(1)
    losses = []
    for step in range(steps):
        chosen_images = order.choice(len(images), batch, replace=False)
        x, t = images[chosen_images], labels[chosen_images]
        expected = twin.train_step(x, ref.one_hot(t, classes))
        loss = compiled.train_step(x, t)
        assert loss == pytest.approx(expected, rel=bound), f"step {step}"
        losses.append(loss)
    for name, value in compiled.parameters.items():
        error = np.abs(np.asarray(value, np.float64) - twin.parameters[name].reshape(np.shape(value))).max()
        assert error < 1e-3 * max(1e-1, np.abs(twin.parameters[name]).max()), name
    np.testing.assert_allclose(compiled.predict(x), twin.predict(x), atol=2e-4)
    return losses


def striped_images(count, height, width, channels):
    """Ten classes of noisy stripes, each with a direction and wavelength of its own."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, count)
    rows, columns = np.mgrid[:height, :width]
    waves = np.stack([np.sin((1 + k % 5) * (rows if k < 5 else columns) * 2 * np.pi / height) for k in range(10)])
    images = waves[labels][..., None] + random.standard_normal((count, height, width, channels)) * 0.5
    return images.astype(np.float32), labels


@pytest.mark.full(like="networks/test_training_step.py::test_every_factor_has_its_effect")
def test_the_28x28x3_network_for_fifty_steps():
    images, labels = striped_images(96, 28, 28, 3)
    layers = [
        gnc.ImageInputLayer((28, 28, 3), normalization="none"),
        gnc.Convolution2dLayer(5, 20, name="conv"),
        gnc.GroupNormalizationLayer(4, name="gn"),
        gnc.ReluLayer(name="relu"),
        gnc.MaxPooling2dLayer(2, stride=2, name="pool"),
        gnc.FullyConnectedLayer(10, name="fc"),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(),
    ]
    nodes = [
        ref.Node("conv", ref.convolution, ("weights", "bias")),
        ref.Node("gn", ref.group_norm, ("scale", "offset"), options={"groups": 4}),
        ref.Node("relu", ref.relu),
        ref.Node("pool", ref.max_pool, options={"window": (2, 2), "stride": 2}),
        ref.Node("fc", ref.fully_connected, ("weights", "bias")),
        ref.Node("softmax", ref.softmax),
    ]
    losses = follow(layers, nodes, images, labels, batch=16, steps=50, bound=1e-4, initial_learn_rate=0.001)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]


@pytest.mark.full(like="networks/test_training_step.py::test_every_factor_has_its_effect")
def test_a_residual_network():
    images, labels = striped_images(48, 9, 9, 3)
    layers = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((9, 9, 3), normalization="none", name="start"),
            gnc.Convolution2dLayer(3, 8, padding="same", name="conv_a"),
            gnc.GroupNormalizationLayer(4, name="gn_a"),
            gnc.ReluLayer(name="relu_a"),
            gnc.Convolution2dLayer(3, 8, padding="same", name="conv_b"),
            gnc.GroupNormalizationLayer("channel-wise", name="gn_b"),
            gnc.AdditionLayer(2, name="add"),
            gnc.ReluLayer(name="relu_b"),
            gnc.GlobalAveragePooling2dLayer(name="pool"),
            gnc.FullyConnectedLayer(10, name="fc"),
            gnc.SoftmaxLayer(name="softmax"),
            gnc.ClassificationLayer(name="loss"),
        ]
    )
    layers.connect("relu_a", "add/in2")
    same = {"padding": "same"}
    nodes = [
        ref.Node("conv_a", ref.convolution, ("weights", "bias"), options=same),
        ref.Node("gn_a", ref.group_norm, ("scale", "offset"), options={"groups": 4}),
        ref.Node("relu_a", ref.relu),
        ref.Node("conv_b", ref.convolution, ("weights", "bias"), options=same),
        ref.Node("gn_b", ref.instance_norm, ("scale", "offset")),
        ref.Node("add", ref.addition, inputs=("gn_b", "relu_a")),
        ref.Node("relu_b", ref.relu),
        ref.Node("pool", ref.global_average_pool),
        ref.Node("fc", ref.fully_connected, ("weights", "bias")),
        ref.Node("softmax", ref.softmax),
    ]
    losses = follow(layers, nodes, images, labels, batch=8, steps=25, bound=1e-4, initial_learn_rate=0.01)
    assert np.mean(losses[-5:]) < losses[0]


@pytest.mark.full(like="networks/test_training_step.py::test_every_factor_has_its_effect")
def test_a_concatenation_network_with_batch_norm_and_class_weights():
    images, labels = striped_images(48, 9, 9, 3)
    weights = np.linspace(0.5, 2, 10).tolist()
    layers = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((9, 9, 3), normalization="none", name="start"),
            gnc.Convolution2dLayer(3, 6, padding="same", name="conv_a"),
            gnc.BatchNormalizationLayer(name="bn"),
            gnc.ReluLayer(name="relu_a"),
            gnc.DepthConcatenationLayer(2, name="concat"),
            gnc.LayerNormalizationLayer(name="ln"),
            gnc.AveragePooling2dLayer(3, stride=2, name="pool"),
            gnc.FullyConnectedLayer(10, name="fc"),
            gnc.SoftmaxLayer(name="softmax"),
            gnc.ClassificationLayer(name="loss", class_weights=weights),
        ]
    )
    layers.add([gnc.Convolution2dLayer(1, 5, name="conv_b"), gnc.LeakyReluLayer(0.1, name="relu_b")])
    layers.connect("start", "conv_b")
    layers.connect("relu_b", "concat/in2")
    nodes = [
        ref.Node("conv_a", ref.convolution, ("weights", "bias"), options={"padding": "same"}),
        ref.Node("bn", ref.batch_norm, ("scale", "offset")),
        ref.Node("relu_a", ref.relu),
        ref.Node("conv_b", ref.convolution, ("weights", "bias"), inputs=("input",)),
        ref.Node("relu_b", ref.activation, options={"function": "leaky-relu", "alpha": 0.1}),
        ref.Node("concat", ref.depth_concatenation, inputs=("relu_a", "relu_b")),
        ref.Node("ln", ref.layer_norm, ("scale", "offset")),
        ref.Node("pool", ref.average_pool, options={"window": (3, 3), "stride": 2}),
        ref.Node("fc", ref.fully_connected, ("weights", "bias")),
        ref.Node("softmax", ref.softmax),
    ]
    options = {"initial_learn_rate": 0.01, "loss_options": {"class_weights": weights}}
    losses = follow(layers, nodes, images, labels, batch=8, steps=25, bound=1e-4, **options)
    assert np.mean(losses[-5:]) < losses[0]
