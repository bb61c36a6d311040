"""`train_network` on small real networks: what it learns, returns, keeps and refuses."""

from __future__ import annotations

import numpy as np
import pytest

import gncodegen as gnc

RNG = np.random.default_rng(20)
X = RNG.normal(3.0, 2.0, size=(50, 4, 4, 2)).astype(np.float32)
Y = np.where(X.mean((1, 2))[:, 0] > X.mean((1, 2))[:, 1], "left", "right")


def classifier(*inner, normalization="zerocenter", **properties):
    return [
        gnc.ImageInputLayer((4, 4, 2), normalization=normalization, **properties),
        *inner,
        gnc.GroupNormalizationLayer("all-channels", name="gn"),
        gnc.FullyConnectedLayer(2, name="fc"),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def train(layers, x=X, y=Y, *, data_format="BSSC", **options):
    chosen = {"max_epochs": 3, "mini_batch_size": 16, "verbose": False, "seed": 3} | options
    return gnc.train_network(x, y, layers, gnc.training_options("sgdm", **chosen), data_format=data_format)


class TestLearning:
    def test_it_learns(self):
        net, info = train(classifier(), max_epochs=30, initial_learn_rate=0.05)
        labels, scores = net.classify(X)
        assert np.mean(labels == Y) > 0.95
        assert info.training_loss[-3:].mean() < 0.5 * info.training_loss[:3].mean()
        assert info.stop_reason == "max-epochs-completed"
        assert scores.shape == (50, 2)
        assert np.allclose(scores.sum(axis=1), 1, atol=1e-6)

    def test_regression(self):
        layers = [gnc.FeatureInputLayer(3), gnc.FullyConnectedLayer(1, name="fc"), gnc.RegressionLayer()]
        x = RNG.normal(size=(64, 3)).astype(np.float32)
        y = x @ np.array([1.0, -2.0, 0.5], np.float32) + 0.25
        net, info = train(layers, x, y, max_epochs=60, initial_learn_rate=0.05, l2_regularization=0)
        assert np.allclose(net.predict(x)[:, 0], y, atol=1e-2)
        assert np.allclose(info.training_rmse, np.sqrt(2 * info.training_loss))
        assert net.classes is None
        with pytest.raises(gnc.NetworkError, match=r"use net\.predict"):
            net.classify(x)

    def test_the_best_weights_are_those_of_the_least_validation_loss(self):
        net, info = train(
            classifier(),
            max_epochs=10,
            initial_learn_rate=1.0,
            validation_frequency=1,
            validation_data=(X, Y),
            output_network="best-validation-loss",
        )
        best = int(np.nanargmin(info.validation_loss))
        assert info.output_network_iteration == best + 1
        assert info.final_validation_loss == info.validation_loss[best]
        assert net.compiled.evaluate(X, (Y == "right").astype(int))[0] == info.final_validation_loss

    def test_scores_of_a_network_that_ends_in_pooling(self):
        layers = classifier()
        layers[2:3] = [gnc.GlobalAveragePooling2dLayer()]
        net, info = train(layers, max_epochs=30, initial_learn_rate=0.1)
        labels, scores = net.classify(X)
        assert labels.shape == (50,)
        assert scores.shape == (50, 2)
        assert info.training_accuracy.max() <= 100
        assert np.mean(labels == Y) > 0.9


class TestSeed:
    def test_one_seed_fixes_everything(self):
        layers = classifier(gnc.DropoutLayer(0.3))
        (a, first), (b, second) = (train(layers, shuffle="every-epoch") for _ in range(2))
        assert np.array_equal(first.training_loss, second.training_loss)
        assert all(
            np.array_equal(a.compiled.parameters[name], b.compiled.parameters[name]) for name in a.compiled.parameters
        )

    def test_another_seed_is_another_run(self):
        assert not np.array_equal(
            train(classifier(), seed=1)[1].training_loss, train(classifier(), seed=2)[1].training_loss
        )

    def test_no_seed_draws_one(self):
        runs = [train(classifier(), seed=None)[1].training_loss for _ in range(2)]
        assert not np.array_equal(*runs)


class TestLabels:
    def test_text_labels_come_back(self):
        net, _ = train(classifier())
        assert net.classes == ("left", "right")
        assert set(net.classify(X)[0]) <= {"left", "right"}

    def test_every_way_to_say_the_same(self):
        indices = (Y == "right").astype(int)
        losses = [train(classifier(), y=y)[1].training_loss for y in (Y, indices, np.eye(2)[indices], list(Y))]
        assert all(np.array_equal(losses[0], loss) for loss in losses)

    def test_given_classes_set_the_order(self):
        layers = classifier()
        layers[-1] = gnc.ClassificationLayer(classes=("right", "left"))
        net, _ = train(layers, max_epochs=30, initial_learn_rate=0.05)
        assert net.classes == ("right", "left")
        assert np.mean(net.classify(X)[0] == Y) > 0.9


class TestNetwork:
    def test_layers_hold_the_learned_values(self):
        net, _ = train(classifier())
        by_name = {layer.name: layer for layer in net.layers}
        assert np.array_equal(by_name["gn"].scale, net.compiled.parameters["gn.scale"])
        assert np.array_equal(by_name["fc"].weights, net.compiled.parameters["fc.weights"])
        assert net.graph.layers == net.layers
        assert net.graph.connections == net.network.connections
        assert not np.array_equal(by_name["gn"].scale, np.ones(2))
        assert by_name["classoutput"].classes == ("left", "right")

    def test_training_goes_on_from_the_learned_values(self):
        net, first = train(classifier(), max_epochs=10, initial_learn_rate=0.05)
        _, second = train(net.layers, max_epochs=1, initial_learn_rate=0.05)
        assert second.training_loss[0] < first.training_loss[0]

    def test_activations(self):
        net, _ = train(classifier())
        assert net.activations(X, "gn").shape == X.shape
        assert np.array_equal(net.activations(X, "softmax"), net.predict(X))
        with pytest.raises(gnc.NetworkError, match="no layer 'nothing'; write 'imageinput' or 'gn'"):
            net.activations(X, "nothing")

    def test_saved_and_loaded(self, tmp_path):
        net, _ = train(classifier())
        net.save(tmp_path / "net")
        twin = gnc.load(tmp_path / "net")
        assert isinstance(twin, gnc.TrainedNetwork)
        assert np.array_equal(twin.predict(X), net.predict(X))
        assert np.array_equal(twin.classify(X)[0], net.classify(X)[0])

    def test_a_saved_compilation_loads_as_one(self, tmp_path):
        compiled = gnc.compile(classifier(), batch_size=16)
        compiled.save(tmp_path / "net")
        twin = gnc.load(tmp_path / "net")
        assert isinstance(twin, gnc.Compiled)
        assert np.array_equal(twin.predict(X), compiled.predict(X))

    def test_a_layer_graph(self):
        graph = gnc.LayerGraph([
            gnc.ImageInputLayer((4, 4, 2)), gnc.ReluLayer(name="a"), gnc.GroupNormalizationLayer(1, name="b"),
            gnc.AdditionLayer(2, name="add"), gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
        ])  # fmt: skip
        graph.connect("a", "add/in2")
        net, info = train(graph, max_epochs=20)
        assert info.training_loss[-1] < info.training_loss[0]
        assert net.activations(X, "add").shape == X.shape


class TestStatistics:
    def test_input_statistics_come_from_the_training_data(self):
        net, _ = train(classifier(normalization="zscore"))
        layer = net.layers[0]
        assert np.allclose(layer.mean, X.mean((0, 1, 2)), rtol=1e-6)
        assert np.allclose(layer.standard_deviation, X.std((0, 1, 2)), rtol=1e-6)

    def test_given_statistics_stay_unless_reset(self):
        layers = classifier(mean=np.array([1.0, 2.0]))
        assert np.array_equal(train(layers, reset_input_normalization=False)[0].layers[0].mean, [1, 2])
        assert np.allclose(train(layers)[0].layers[0].mean, X.mean((0, 1, 2)), rtol=1e-6)

    def test_missing_statistics_are_computed_even_without_reset(self):
        net, _ = train(classifier(), reset_input_normalization=False)
        assert np.allclose(net.layers[0].mean, X.mean((0, 1, 2)), rtol=1e-6)

    @pytest.mark.full(like="train/test_train_network.py::test_moving_statistics_of_batch_normalization")
    def test_population_statistics_of_batch_normalization(self):
        layers = classifier(
            gnc.BatchNormalizationLayer(name="bn1"), gnc.ReluLayer(), gnc.BatchNormalizationLayer(name="bn2")
        )
        net, _ = train(layers)
        for name, before in (("bn1", "imageinput"), ("bn2", "relu_1")):
            seen = net.activations(X, before).astype(np.float64)
            assert np.allclose(net.compiled.parameters[f"{name}.trained_mean"], seen.mean((0, 1, 2)), atol=1e-6)
            assert np.allclose(net.compiled.parameters[f"{name}.trained_variance"], seen.var((0, 1, 2)), rtol=1e-5)

    def test_moving_statistics_of_batch_normalization(self):
        layers = classifier(gnc.BatchNormalizationLayer(name="bn"), normalization="none")
        net, _ = train(layers, batch_normalization_statistics="moving", shuffle="never", max_epochs=1)
        mean = gnc.compile(layers, batch_size=16).parameters["bn.trained_mean"].astype(np.float64)
        for start in (0, 16, 32):
            mean = 0.9 * mean + 0.1 * X[start : start + 16].mean((0, 1, 2))
        assert np.allclose(net.compiled.parameters["bn.trained_mean"], mean, rtol=1e-5)


class TestArrays:
    def test_channel_first_images(self):
        layers = classifier(gnc.GlobalAveragePooling2dLayer(), normalization="zscore")
        usual, _ = train(layers)
        net, _ = train(layers, x=X.transpose(0, 3, 1, 2), data_format="BCSS")
        assert np.array_equal(net.predict(X.transpose(0, 3, 1, 2)), usual.predict(X))
        assert np.array_equal(net.predict(X, data_format="BSSC"), usual.predict(X))
        assert np.array_equal(net.classify(X, "BSSC")[0], usual.classify(X)[0])
        assert np.array_equal(net.activations(X, "gapool_1", "BSSC"), usual.activations(X, "gapool_1"))
        assert np.array_equal(net.layers[0].mean, usual.layers[0].mean)

    @pytest.mark.parametrize(
        "change", [np.asfortranarray, lambda x: x.astype(">f4"), lambda x: np.flip(x)[::-1, ::-1, ::-1, ::-1]]
    )
    def test_other_layouts_and_types_train_the_same(self, change):
        assert np.array_equal(train(classifier(), x=change(X))[1].training_loss, train(classifier())[1].training_loss)

    def test_float64_inputs_are_normalized_as_such(self):
        """A constant that float32 cannot resolve makes no difference: arrays, streams, augmentations, validation."""
        far = X.astype(np.float64) + 1e8
        near, options = far - 1e8, {"max_epochs": 2, "validation_data": (far, Y)}
        _, info = train(classifier(), x=far, **options)
        _, wanted = train(classifier(), x=near, **options | {"validation_data": (near, Y)})
        assert info.training_loss == pytest.approx(wanted.training_loss, rel=1e-5)
        assert info.validation_loss[0] == pytest.approx(wanted.validation_loss[0], rel=1e-5)
        chosen = gnc.training_options("sgdm", max_epochs=1, mini_batch_size=16, verbose=False, seed=3, shuffle="never")
        given = gnc.train_network(far[:48], Y[:48], classifier(), chosen)[1].training_loss
        parts = [(far[i : i + 16], Y[i : i + 16]) for i in (0, 16, 32)]
        streamed = gnc.train_network(parts, None, classifier(), chosen)[1].training_loss
        augmented = gnc.train_network(far[:48], Y[:48], classifier(), chosen, augment=lambda x, y, generator: (x, y))
        assert streamed == pytest.approx(given, rel=1e-5)
        assert np.array_equal(augmented[1].training_loss, given)

    def test_integers_and_read_only_arrays(self):
        x = np.arange(50 * 32).reshape(50, 4, 4, 2) % 7
        x.flags.writeable = False
        train(classifier(), x=x.astype(np.uint8))
        net, _ = train(classifier(), x=x)
        assert np.isfinite(net.predict(x)).all()

    @pytest.mark.parametrize(
        ("x", "y", "words"),
        [
            (X[0], Y, "(4, 4, 2); allowed: (N, 4, 4, 2)"),
            (X.transpose(0, 3, 1, 2), Y, "(50, 2, 4, 4)"),
            (X[:0], Y[:0], "holds no observation"),
            (X.astype(str), Y, "real numbers"),
            (X + 0j, Y, "complex"),
            (X, Y[:49], "50 observations but 49 targets"),
            (X, np.arange(50), "50 distinct labels for 2 outputs"),
            (X, np.full((50, 2), 0.5), "not one-hot"),
            (X, Y[:, None, None].repeat(3, 1), "labels of shape (50, 3, 1)"),
            (np.float32(3), Y, "shape ()"),
        ],
    )
    def test_refused(self, x, y, words):
        with pytest.raises(gnc.ArrayError) as error:
            train(classifier(), x, y)
        assert words in str(error.value)
        assert "allowed: " in str(error.value)

    def test_refused_formats(self):
        with pytest.raises(gnc.ArrayError, match="data_format = 'BCS'"):
            train(classifier(), data_format="BCS")

    def test_refused_validation_data(self):
        with pytest.raises(gnc.ArrayError, match="label 'middle'"):
            train(classifier(), validation_data=(X[:1], ["middle"]))
        with pytest.raises(gnc.ArrayError, match="validation_data: 2 observations but 1 targets"):
            train(classifier(), validation_data=(X[:2], ["left"]))

    def test_refused_options_and_networks(self):
        with pytest.raises(gnc.OptionsError, match="training_options"):
            gnc.train_network(X, Y, classifier(), {"max_epochs": 3})  # pyright: ignore[reportArgumentType]
        with pytest.raises(gnc.NetworkError, match="output layer"):
            train(classifier()[:-1])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ma.masked_greater(X, 3), r"layer 1 'imageinput': x has masked elements; .* fill them, as with x.filled"),
        ([[1.0, 2.0], [3.0]], "layer 1 'imageinput': x is not an array"),
        (X.astype(complex), "elements of type complex128; .* give real and imaginary parts as channels"),
        (np.where(X > 3, None, X), "elements of type object; .* fill in what is missing"),
    ],
)
def test_every_call_refuses_what_is_no_array_of_numbers_alike(x, message):
    compiled = gnc.compile(classifier(), batch_size=16)
    indices = (Y == "right").astype(int)
    calls = (
        lambda: train(classifier(), x=x),
        lambda: train(classifier(), validation_data=(x, Y)),
        lambda: compiled.predict(x),
        lambda: compiled.loss(x, indices),
        lambda: compiled.gradients(x, indices),
        lambda: compiled.evaluate(x, indices),
        lambda: compiled.activations(x, "gn"),
        lambda: compiled.forward(x),
        lambda: compiled.train_step(x, indices),
    )
    for call in calls:
        with pytest.raises(gnc.ArrayError, match=message):
            call()


def test_responses_that_are_no_numbers_are_refused():
    layers = [gnc.FeatureInputLayer(3), gnc.FullyConnectedLayer(1), gnc.RegressionLayer()]
    for y in (np.ma.masked_equal([1.0, 2.0], 2.0), [[1.0], [2.0, 3.0]], np.array([1j, 2]), np.array([None, 1.0])):
        with pytest.raises(gnc.ArrayError, match=r"layer 3 'regressionoutput': y (has|is not)"):
            train(layers, x=np.zeros((2, 3)), y=y)
