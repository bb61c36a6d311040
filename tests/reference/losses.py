"""The losses of the two output layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Loss = tuple[float, Callable[[], Array]]


def one_hot(labels: ArrayLike, classes: int) -> Array:
    """Class indices (N,) as rows (N, classes) with a single 1."""
    return np.eye(classes)[np.asarray(labels)]


def cross_entropy(y: ArrayLike, t: ArrayLike, *, class_weights: ArrayLike | None = None) -> Loss:
    """−(1/N) Σ_n Σ_i w_i t_ni ln y_ni, and a call for its gradient; a term with t = 0 counts 0 even where y = 0."""
    y, t = np.asarray(y, np.float64), np.asarray(t, np.float64)
    weighted = t * (np.ones(y.shape[-1]) if class_weights is None else np.asarray(class_weights, np.float64))
    logarithms = np.log(np.where(weighted == 0, 1, y))
    loss = -float(np.sum(weighted * logarithms)) / len(y)
    return loss, lambda: -weighted / np.where(weighted == 0, 1, y) / len(y)


def half_squared_error(y: ArrayLike, t: ArrayLike) -> Loss:
    """½ Σ (y − t)² per observation, the mean over the N observations; not divided by the number of responses."""
    y, t = np.asarray(y, np.float64), np.asarray(t, np.float64)
    return 0.5 * float(np.sum((y - t) ** 2)) / len(y), lambda: (y - t) / len(y)
