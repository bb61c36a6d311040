"""The block of run-time numbers that an op or a program reads, by name."""

from __future__ import annotations

import numpy as np

from gncodegen.runtime.state import Hyperparameters


def numbers(solver: str = "sgdm", **values: float) -> np.ndarray:
    """The block of a solver, with its defaults where no value is given; `steps` is how many were done."""
    return Hyperparameters(solver, **values).array.copy()
