"""`NetworkClassifier` and `NetworkRegressor`: networks that scikit-learn fits, clones, searches and pickles."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError, OptionsError
from gncodegen.exchange.sklearn.architecture import architecture, classification_ends, regression_ends
from gncodegen.exchange.sklearn.framework import BaseEstimator, ClassifierMixin, RegressorMixin
from gncodegen.layers.base import Layer
from gncodegen.layers.checks import shown
from gncodegen.layers.network import Network
from gncodegen.train.batches import Samples
from gncodegen.train.history import TrainingInfo
from gncodegen.train.inputs import with_classes
from gncodegen.train.network import prepare_training, train_network
from gncodegen.train.options import TrainingOptions, training_options
from gncodegen.train.pairs import checked
from gncodegen.train.trained import TrainedNetwork


class NetworkEstimator(BaseEstimator):
    """What both estimators share.

    Args:
        layers: None = two blocks of a fully connected layer of 64, a group norm and a relu. An array of layers: where
            it lacks them, an input layer that fits X (normalization "zscore") and, for y, a FullyConnectedLayer, a
            SoftmaxLayer for classes and an output layer are added. A `LayerGraph` is taken as it is. A callable gets
            the size of an observation and the number of outputs, and returns one of these.
        solver: "adam", "sgdm" or "rmsprop".
        initial_learn_rate: > 0.
        max_epochs: passes over X.
        mini_batch_size: observations of a step.
        early_stopping: whether to keep a part of X and y out, validate on it after every epoch, stop when
            `n_iter_no_change` validations in a row were no better, and return the network of the best one.
        validation_fraction: the part, between 0 and 1; classes are drawn by their shares.
        n_iter_no_change: patience, in epochs.
        warm_start: whether `fit` goes on from the network that is there.
        random_state: fixes initial values, shuffles, dropout and the part kept out: None, an int, or a RandomState.
        verbose: print the table of the training.
        options: other options of `training_options`, by name: {"l2_regularization": 0}.
        compile_options: options of compilation, by name: {"dtype": "float64"}.

    Attributes:
        net_: the `TrainedNetwork`.
        info_: its `TrainingInfo`; None after `partial_fit`.
        n_iter_: epochs done.
        n_features_in_, feature_names_in_: of X, as scikit-learn has them.
    """

    net_: TrainedNetwork
    info_: TrainingInfo | None
    n_iter_: int
    _targets: ClassVar[dict[str, bool]] = {}
    """What scikit-learn is to check of y."""

    def __init__(
        self,
        layers: Any = None,
        *,
        solver: str = "adam",
        initial_learn_rate: float = 0.01,
        max_epochs: int = 50,
        mini_batch_size: int = 32,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool = False,
        options: Mapping[str, Any] | None = None,
        compile_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.layers = layers
        self.solver = solver
        self.initial_learn_rate = initial_learn_rate
        self.max_epochs = max_epochs
        self.mini_batch_size = mini_batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose
        self.options = options
        self.compile_options = compile_options

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  scikit-learn's name
        """Trains on observations X (N, features), or (N, …, channels) for layers that take them, and targets y.

        Raises:
            ValueError: X or y do not fit, in the words of scikit-learn or of gncodegen's errors; the estimator is as it
                was, also where Ctrl-C or an error ends the training.
        """
        with self._whole():
            return self._fit(X, y)

    @contextmanager
    def _whole(self) -> Generator[None]:
        """What is noted inside of data and network is all taken back where something ends it."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        goes_on = self.warm_start and hasattr(self, "net_")
        x, y = self._checked(X, y, reset=True)
        self._note(y, goes_on)
        network = self.net_.network if goes_on else self._begun(x, y)
        seed, kept_out = self._seed(), dict[str, Any]()
        options = self._options(seed, reset_input_normalization=not goes_on)
        if self.early_stopping:
            x, held_x, y, held_y = self._parted(x, y, seed)
            kept_out = {
                "validation_data": (held_x, held_y),
                "validation_frequency": max(1, len(x) // options.mini_batch_size),
                "validation_patience": self.n_iter_no_change,
                "output_network": "best-validation-loss",
            }
            options = self._options(seed, reset_input_normalization=not goes_on, **kept_out)
        self.net_, self.info_ = train_network(x, y, network, options, **(self.compile_options or {}))
        steps = len(x) // min(options.mini_batch_size, len(x))
        self.n_iter_ = -(-len(self.info_.training_loss) // steps)
        return self

    def _partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:  # noqa: N803
        """One pass over X and y in their order, from where the network and its solver are."""
        with self._whole():
            return self._pass(X, y, classes)

    def _pass(self, X: Any, y: Any, classes: Any) -> Self:  # noqa: N803
        goes_on = hasattr(self, "net_")
        x, y = self._checked(X, y, reset=not goes_on)
        self._note(y, goes_on, classes)
        options = self._options(self._seed())
        if not goes_on:
            self.net_, _ = prepare_training(x, y, self._begun(x, y), options, **(self.compile_options or {}))
            self.info_, self.n_iter_ = None, 0
        compiled, size = self.net_.compiled, options.mini_batch_size
        samples = Samples(*checked(x, y, compiled.network, "", "X and y:"))
        for start in range(0, len(x), size):
            indices = np.arange(start, min(start + size, len(x)))
            compiled.train_step(*samples.gather(indices, compiled.options.array_dtype))
        self.n_iter_ += 1
        return self

    def _predicted(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The network's outputs (N, outputs)."""
        from sklearn.utils.validation import check_is_fitted, validate_data  # noqa: PLC0415

        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype="numeric", allow_nd=True)
        return np.asarray(self.net_.predict(x), np.float64)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[NDArray[Any], NDArray[Any]]:  # noqa: N803
        """X and y as arrays that scikit-learn accepts."""
        from sklearn.utils.validation import validate_data  # noqa: PLC0415

        arrays: Any = validate_data(self, X, y, reset=reset, dtype="numeric", allow_nd=True, **self._targets)
        return arrays

    def _note(self, y: NDArray[Any], goes_on: bool, classes: Any = None) -> None:
        """Notes what follows from the targets; where the training goes on, they must be like those of before."""
        raise NotImplementedError

    def _ends(self, y: NDArray[Any]) -> list[Layer]:
        """As `architecture` takes them."""
        raise NotImplementedError

    def _begun(self, x: NDArray[Any], y: NDArray[Any]) -> Network:
        """The network that a training starts from."""
        ends = self._ends(y)
        network, wanted = architecture(self.layers, x.shape[1:], ends), type(ends[-1])
        if not isinstance(network.output_layer, wanted):
            found = type(network.output_layer).__name__
            raise OptionsError(
                f"{type(self).__name__}: layers end in a {found}; allowed: {wanted.__name__}; end them in that, or "
                "leave the output layer out"
            )
        return network

    def _parted(self, x: NDArray[Any], y: NDArray[Any], seed: int) -> list[NDArray[Any]]:
        """What is trained on and what is kept out: x, x, y, y."""
        from sklearn.model_selection import train_test_split  # noqa: PLC0415

        classes = y if isinstance(self, ClassifierMixin) else None
        parts: Any = train_test_split(x, y, test_size=self.validation_fraction, random_state=seed, stratify=classes)
        return parts

    def _seed(self) -> int:
        from sklearn.utils import check_random_state  # noqa: PLC0415

        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _options(self, seed: int, **more: Any) -> TrainingOptions:
        for name in ("options", "compile_options"):
            given = getattr(self, name)
            if given is not None and not isinstance(given, Mapping):
                raise OptionsError(f"{name} = {shown(given)}; allowed: None or a mapping of names; write {name}={{}}")
        own = {
            "initial_learn_rate": self.initial_learn_rate, "max_epochs": self.max_epochs, "seed": seed,
            "mini_batch_size": self.mini_batch_size, "verbose": self.verbose, "shuffle": "every-epoch",
        }  # fmt: skip
        return training_options(self.solver, **(own | more | dict(self.options or {})))


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """A network that classifies, as a scikit-learn estimator; labels are of any kind that scikit-learn takes.

    Parameters and attributes are those of `NetworkEstimator`, and `classes_`, the labels in the order of the scores.
    """

    classes_: NDArray[Any]

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The label (N,) of the highest score of each observation."""
        highest = np.argmax(self._predicted(X), axis=1)
        return self.classes_[highest]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Scores (N, classes); each row's sum is 1."""
        scores = self._predicted(X)
        return scores / scores.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The logarithms of `predict_proba`."""
        return np.log(self.predict_proba(X))

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:  # noqa: N803
        """One pass over X and y in their order, from where the network and its solver are.

        Args:
            X: as for `fit`.
            y: likewise; labels of some of the classes.
            classes: all labels, which the first call needs.
        """
        if classes is None and not hasattr(self, "net_"):
            raise ArrayError(
                "partial_fit: classes = None in the first call; allowed: all labels there are; write classes=[…]"
            )
        return self._partial_fit(X, y, classes)

    def _note(self, y: NDArray[Any], goes_on: bool, classes: Any = None) -> None:
        from sklearn.utils.multiclass import check_classification_targets  # noqa: PLC0415

        check_classification_targets(y)
        if not goes_on:
            self.classes_ = np.unique(y if classes is None else classes)
        if len(self.classes_) < 2:
            raise ArrayError(
                f"{type(self).__name__}: y has one class, {self._labels[0]!r}; allowed: two classes or more; give data "
                "of more"
            )
        if others := np.setdiff1d(y, self.classes_).tolist():
            raise ArrayError(
                f"{type(self).__name__}: y has the label {others[0]!r}; allowed: the classes of the network that is "
                f"trained further, {', '.join(map(repr, self._labels[:20]))}; fit a new one for others"
            )

    @property
    def _labels(self) -> tuple[Any, ...]:
        dates = self.classes_.dtype.kind == "M"  # whose Python form depends on the unit
        return tuple(self.classes_ if dates else self.classes_.tolist())

    def _ends(self, y: NDArray[Any]) -> list[Layer]:
        return classification_ends(self._labels)

    def _begun(self, x: NDArray[Any], y: NDArray[Any]) -> Network:
        network = super()._begun(x, y)
        outputs, labels = network.output.size.shape, self._labels
        if outputs[-1:] != (len(labels),) or network.output.size.count != len(labels):
            raise ArrayError(
                f"{network.output.label}: an output of {'×'.join(map(str, outputs))} for {len(labels)} classes of y; "
                f"allowed: {len(labels)} scores; give the last FullyConnectedLayer {len(labels)} outputs, or leave it "
                "and what follows out"
            )
        return with_classes(network, labels)


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A network that predicts numbers, as a scikit-learn estimator; y is (N,) or (N, outputs).

    The FullyConnectedLayer that is added for y starts at its mean, with learn rate factors of its standard deviation:
    responses need not be scaled. Parameters and attributes are those of `NetworkEstimator`.
    """

    _targets: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}

    def predict(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The responses, shaped like those that were learned: (N,) or (N, outputs)."""
        y = self._predicted(X)
        return y[:, 0] if self._flat else y

    def partial_fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """One pass over X and y in their order, from where the network and its solver are."""
        return self._partial_fit(X, y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _note(self, y: NDArray[Any], goes_on: bool, classes: Any = None) -> None:
        self._flat = y.ndim == 1

    def _ends(self, y: NDArray[Any]) -> list[Layer]:
        return regression_ends(y.reshape(len(y), -1).astype(np.float64))
