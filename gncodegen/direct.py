"""The short way of a prediction whose array kernels read as it is, and whose result they write as it is returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gncodegen.kernels.program import Program
from gncodegen.runtime.backend import Key, Runner


@dataclass(frozen=True, slots=True)
class DirectPrediction:
    """What a call need not find out again, for one input and one output.

    Args:
        program: of the prediction.
        runner: of the program.
        empty: as Backend.empty.
        x: the input's argument.
        y: the output's.
        observation: shape of one observation of x.
        dtype: of x and y.
        result: shape of one observation of y.
    """

    program: Program
    runner: Runner
    empty: Callable[[tuple[int, ...], Any, Any], Any]
    x: Key
    y: Key
    observation: tuple[int, ...]
    dtype: np.dtype[Any]
    result: tuple[int, ...]

    def __call__(self, x: Any) -> Any:
        """The result, or None where the call has to go the long way."""
        fits = type(x) is np.ndarray and x.dtype == self.dtype and x.shape[1:] == self.observation
        if not fits or not x.flags.c_contiguous:
            return None
        count = x.shape[0]
        if not 0 < count <= self.program.batch_size or self.program.rows(count) != count:
            return None
        y = self.empty((count, *self.result), self.dtype, x)
        self.runner.run({self.x: x, self.y: y}, count)
        return y
