"""The short way of a call whose arrays kernels read as they are, and whose result they write as it is returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.kernels.program import Program
from gncodegen.runtime.backend import Key, Runner

SMALL = 16 << 10
"""Bytes of a result up to which it is quicker to copy it than to tell kernels where else to write."""


@dataclass(frozen=True, slots=True)
class DirectCall:
    """What a call need not find out again, for one input and one result.

    Args:
        program: of the function.
        runner: of the program.
        lock: held during a run, and while its result is read.
        empty: as Backend.empty.
        x: the input's argument.
        y: the result's.
        observation: shape of one observation of x.
        dtype: of x.
        result: shape of one observation of y; None = y is one number.
        result_dtype: of y.
        kept: where the runner leaves a small result that no array is given for; None = it is large, or elsewhere.
    """

    program: Program
    runner: Runner
    lock: RLock
    empty: Callable[[tuple[int, ...], Any, Any], Any]
    x: Key
    y: Key
    observation: tuple[int, ...]
    dtype: np.dtype[Any]
    result: tuple[int, ...] | None
    result_dtype: np.dtype[Any]
    kept: NDArray[Any] | None

    def __call__(self, x: Any) -> Any:
        """The result, or None where the call has to go the long way."""
        fits = type(x) is np.ndarray and x.dtype == self.dtype and x.shape[1:] == self.observation
        if not fits or not x.flags.c_contiguous:
            return None
        count = x.shape[0]
        if not 0 < count <= self.program.batch_size or self.program.rows(count) != count:
            return None
        with self.lock:
            return self.run(x, {}, count)

    def run(self, x: Any, others: Mapping[Key, Any], count: int) -> Any:
        """The result for `count` observations of an x that fits, with other arguments that do.

        Whoever calls it holds `lock`, or another that keeps other runs of the network out.
        """
        arguments, result = {self.x: x, **others}, self.result
        if (kept := self.kept) is not None:
            self.runner.run(arguments, count)
            return kept.copy() if result is None or count == len(kept) else kept[:count].copy()
        y = self.empty(() if result is None else (count, *result), self.result_dtype, x)
        arguments[self.y] = y
        self.runner.run(arguments, count)
        return y
