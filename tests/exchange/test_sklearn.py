"""`NetworkClassifier` and `NetworkRegressor` in the hands of scikit-learn."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

import gncodegen as gnc

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RNG = np.random.default_rng(16)
X = RNG.normal(5.0, 3.0, size=(64, 3))
Y = np.where(X[:, 0] > X[:, 1], "left", "right")
RESPONSES = 1000 + 50 * (X[:, 0] - X[:, 2])
HIDDEN = (gnc.FullyConnectedLayer(8), gnc.ReluLayer())


def classifier(layers=HIDDEN, **parameters):
    return gnc.NetworkClassifier(layers, **{"random_state": 0, "max_epochs": 30, "mini_batch_size": 16} | parameters)


def regressor(layers=HIDDEN, **parameters):
    return gnc.NetworkRegressor(layers, **{"random_state": 0, "max_epochs": 60, "mini_batch_size": 16} | parameters)


class TestFit:
    def test_labels_and_scores(self):
        fitted = classifier().fit(X, Y)
        assert fitted.score(X, Y) > 0.95
        scores = fitted.predict_proba(X)
        assert np.array_equal(fitted.predict(X), np.array(["left", "right"])[scores.argmax(axis=1)])
        assert np.allclose(np.exp(fitted.predict_log_proba(X)), scores)
        assert fitted.net_.classes == ("left", "right")
        assert fitted.n_iter_ == 30
        assert len(fitted.info_.training_loss) == 30 * 4

    def test_responses_far_from_zero_need_no_scaling(self):
        assert regressor().fit(X, RESPONSES).score(X, RESPONSES) > 0.95

    def test_responses_keep_their_shape(self):
        assert regressor(max_epochs=1).fit(X, RESPONSES).predict(X).shape == (64,)
        assert regressor(max_epochs=1).fit(X, RESPONSES[:, None]).predict(X).shape == (64, 1)

    @pytest.mark.full(like="exchange/test_sklearn_checks.py::test_check")
    def test_the_default_network(self):
        fitted = gnc.NetworkClassifier(random_state=0).fit(X, Y)
        kinds = [type(layer).__name__ for layer in fitted.net_.layers]
        assert kinds[1:4] * 2 == kinds[1:7] == ["FullyConnectedLayer", "GroupNormalizationLayer", "ReluLayer"] * 2
        assert fitted.score(X, Y) > 0.95

    def test_options_reach_training_and_compilation(self):
        fitted = classifier(
            solver="sgdm",
            max_epochs=1,
            options={"momentum": 0.5, "detect_anomaly": True},
            compile_options={"precise": True},
        ).fit(X, Y)
        assert fitted.net_.compiled.hyperparameters["momentum"] == 0.5
        assert fitted.net_.compiled.options.precise


class TestLayers:
    def test_a_callable_is_given_sizes(self):
        def layers(size, outputs):
            assert (size, outputs) == ((3,), 2)
            return list(HIDDEN)

        assert np.array_equal(classifier(layers).fit(X, Y).predict(X), classifier().fit(X, Y).predict(X))

    def test_a_whole_network_is_taken_as_it_is(self):
        ends = [gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer(), gnc.ClassificationLayer(classes=("right", "left"))]
        layers = [gnc.FeatureInputLayer(3, normalization="zscore"), *HIDDEN, *ends]
        fitted = classifier(gnc.LayerGraph(layers)).fit(X, Y)
        assert np.array_equal(fitted.predict_proba(X), classifier().fit(X, Y).predict_proba(X))

    def test_an_array_may_end_in_softmax(self):
        layers = [*HIDDEN, gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer()]
        assert len(classifier(layers, max_epochs=1).fit(X, Y).net_.layers) == 6

    def test_images(self):
        x = RNG.normal(size=(32, 4, 4, 1)).astype(np.float32)
        y = x.mean((1, 2, 3)) > 0
        fitted = classifier().fit(x, y)
        assert isinstance(fitted.net_.layers[0], gnc.ImageInputLayer)
        assert fitted.score(x, y) > 0.9

    @pytest.mark.parametrize(
        ("estimator", "message"),
        [
            (classifier(3), "layers = 3; allowed: None, an array of layers, a LayerGraph, or f"),
            (classifier([*HIDDEN, gnc.RegressionLayer()]), "end in a RegressionLayer; allowed: ClassificationLayer"),
            (classifier([*HIDDEN, gnc.SoftmaxLayer()]), "8 classes, but|an output of 8 for 2 classes|2 classes, but"),
            (regressor([*HIDDEN, gnc.SoftmaxLayer(), gnc.ClassificationLayer()]), "allowed: RegressionLayer"),
        ],
    )
    def test_refusals(self, estimator, message):
        with pytest.raises(gnc.GncodegenError, match=message):
            estimator.fit(X, Y if isinstance(estimator, gnc.NetworkClassifier) else RESPONSES)

    @pytest.mark.parametrize("named", ["options", "compile_options"])
    def test_options_are_mappings(self, named):
        with pytest.raises(gnc.OptionsError, match=f"{named} = 5; allowed: None or a mapping"):
            classifier(**{named: 5}).fit(X, Y)

    def test_labels_may_be_dates(self):
        days = np.where(Y == "left", np.datetime64("2020-01-01"), np.datetime64("2021-01-01"))
        fitted = classifier(max_epochs=1).fit(X, days)
        assert fitted.predict(X).dtype == days.dtype
        left = classifier(max_epochs=1).fit(X, Y).predict(X) == "left"
        assert np.array_equal(fitted.predict(X) == np.datetime64("2020-01-01"), left)

    @pytest.mark.parametrize("size", [0, "x"])
    def test_a_mini_batch_size_is_refused_before_data_are_parted(self, size):
        with pytest.raises(gnc.OptionsError, match=f"mini_batch_size = {size!r}; allowed"):
            classifier(mini_batch_size=size, early_stopping=True).fit(X, Y)

    def test_a_training_that_is_cut_off_leaves_the_estimator_as_it_was(self):
        def interrupted(state):
            if state.state == "iteration":
                raise KeyboardInterrupt

        fitted = classifier(max_epochs=1).fit(X, Y)
        before = fitted.predict_proba(X)
        fitted.set_params(options={"output_fcn": interrupted})
        for x, y in ((X, np.where(X[:, 0] > 0, "up", "down")), (X[:, [0, 0, 1]], Y)):
            with pytest.raises(KeyboardInterrupt):
                fitted.fit(x, y)
            assert np.array_equal(fitted.predict_proba(X), before)
            assert fitted.predict(X[:1]) in ("left", "right")
        with pytest.raises(ValueError, match="up"):
            fitted.partial_fit(X, np.where(X[:, 0] > 0, "up", "left"))
        assert np.array_equal(fitted.predict_proba(X), before)

    def test_observations_without_an_input_layer(self):
        with pytest.raises(gnc.OptionsError, match=r"observations of size .* and layers without an input layer"):
            classifier().fit(np.zeros((4, 1, 1, 1, 1, 1)), Y[:4])


class TestGoingOn:
    def test_warm_start(self):
        cold = classifier(max_epochs=5).fit(X, Y)
        warm = clone(cold).set_params(warm_start=True).fit(X, Y)
        assert np.array_equal(warm.info_.training_loss, cold.info_.training_loss)
        statistics = warm.net_.layers[0].mean
        warm.fit(X[:48], Y[:48])
        assert warm.info_.training_loss[0] < 0.7 * cold.info_.training_loss[0]
        assert np.array_equal(warm.net_.layers[0].mean, statistics)
        with pytest.raises(ValueError, match="'up'; allowed: the classes of the network that is trained further"):
            warm.fit(X, np.where(X[:, 0] > 0, "up", "left"))

    def test_partial_fit_takes_steps_where_the_solver_is(self):
        whole = classifier(max_epochs=1, options={"shuffle": "never"}).fit(X, Y)
        parts = classifier().partial_fit(X, Y, classes=["right", "left"])
        assert np.array_equal(parts.predict_proba(X), whole.predict_proba(X))
        for _ in range(40):
            parts = pickle.loads(pickle.dumps(parts)).partial_fit(X[:32], Y[:32]).partial_fit(X[32:], Y[32:])
        assert parts.n_iter_ == 81
        assert parts.net_.compiled.hyperparameters.steps == 41 * 4
        assert parts.score(X, Y) > 0.95

    def test_partial_fit_of_responses(self):
        fitted = regressor()
        for _ in range(60):
            fitted.partial_fit(X, RESPONSES)
        assert fitted.score(X, RESPONSES) > 0.95

    def test_partial_fit_asks_for_the_classes(self):
        with pytest.raises(ValueError, match="classes = None in the first call"):
            classifier().partial_fit(X, Y)
        fitted = classifier().partial_fit(X, Y, classes=["left", "right"])
        with pytest.raises(ValueError, match="y has the label 'up'"):
            fitted.partial_fit(X, np.where(X[:, 0] > 0, "up", "left"))

    def test_early_stopping_returns_the_best(self):
        fitted = classifier(
            early_stopping=True, validation_fraction=0.25, n_iter_no_change=3, max_epochs=500, initial_learn_rate=0.1
        ).fit(X, Y)
        losses = fitted.info_.validation_loss
        best = int(np.nanargmin(losses)) + 1
        assert fitted.info_.stop_reason == "validation-patience"
        assert fitted.info_.output_network_iteration == best
        assert np.count_nonzero(~np.isnan(losses[best:])) == 3
        assert fitted.n_iter_ == len(losses) // 3 < 500  # 48 of 64 observations in mini-batches of 16


class TestTools:
    def test_pickle_and_clone(self):
        fitted = classifier(max_epochs=3).fit(X, Y)
        again = pickle.loads(pickle.dumps(fitted))
        assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
        copy = clone(fitted)
        assert copy.get_params() == fitted.get_params()
        with pytest.raises(NotFittedError):
            copy.predict(X)

    def test_data_frames(self):
        pd = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pd.DataFrame(X, columns=["a", "b", "c"])
        fitted = classifier(max_epochs=3).fit(frame, pd.Series(Y))
        assert list(fitted.feature_names_in_) == ["a", "b", "c"]
        assert np.array_equal(fitted.predict_proba(frame), classifier(max_epochs=3).fit(X, Y).predict_proba(X))
        with pytest.raises(ValueError, match="feature names"):
            fitted.predict(frame[["b", "a", "c"]])

    @pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.full)])
    def test_grid_search_of_a_pipeline(self, jobs):
        pipeline = make_pipeline(StandardScaler(), classifier(max_epochs=5))
        grid = {"networkclassifier__initial_learn_rate": [1e-6, 0.05]}
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=jobs).fit(X, Y)
        assert search.best_params_ == {"networkclassifier__initial_learn_rate": 0.05}
        assert search.score(X, Y) > 0.9

    def test_without_scikit_learn_estimators_can_be_named(self):
        code = (
            "import sys; sys.modules['sklearn'] = None; sys.modules['sklearn.base'] = None; import gncodegen as gnc\n"
            "kind = gnc.NetworkClassifier\ntry: kind()\nexcept gnc.NetworkError as error: print(error)"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.startswith("NetworkClassifier needs the package scikit-learn; allowed: scikit-learn 1.6 or newer;")
