"""Data sets that come with the package; see ATTRIBUTION.md beside this file."""

from __future__ import annotations

from importlib.resources import files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """A data set in two parts.

    Args:
        x_train, x_test: float32 (N, 8, 8, 1), values 0 … 16.
        y_train, y_test: int64 (N,), 0 … 9.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    def first(self, count: int) -> Split:
        """The first `count` images of both parts."""
        return Split(self.x_train[:count], self.y_train[:count], self.x_test[:count], self.y_test[:count])


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The UCI 8×8 handwritten digits.

    Returns:
        Images, float32 (1797, 8, 8, 1), values 0 … 16; labels, int64 (1797,), 0 … 9.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, doi 10.24432/C50P49, CC BY 4.0.
    """
    with (files(__name__) / "digits.npz").open("rb") as file, np.load(file) as archive:
        return archive["images"].astype(np.float32)[..., None], archive["labels"].astype(np.int64)


def digits_split() -> Split:
    """The digits with a stratified fifth held out: of each class every fifth image, starting with the third.

    The file lists its images writer by writer, so both parts hold every writer.
    """
    x, labels = digits()
    held_out = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        held_out[np.flatnonzero(labels == label)[2::5]] = True
    return Split(x[~held_out], labels[~held_out], x[held_out], labels[held_out])
