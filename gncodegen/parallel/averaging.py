"""Averages over ranks, made while the caller goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.parallel.collective import ALONE, Collective


class Averaging:
    """Σ share·buffer over all ranks, in the place of the buffer.

    Args:
        collective: the ranks.
    """

    def __init__(self, collective: Collective = ALONE) -> None:
        self.collective = collective
        self.share = 1.0
        """This rank's part of the observations that the buffers are means over; those of all ranks add up to 1."""
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: list[Future[None]] = []

    def begin(self, buffer: NDArray[Any]) -> None:
        """Hands a buffer to a thread; nobody touches it until `finish`."""
        if self.collective.ranks > 1:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="gncodegen ranks")
            self._under_way.append(self._thread.submit(self._average, buffer))

    def finish(self) -> None:
        """Waits until all buffers hold their averages.

        Raises:
            RankError: a rank did not come.
        """
        while self._under_way:
            self._under_way.pop(0).result()

    def average(self, buffer: NDArray[Any]) -> None:
        """Both, on the calling thread."""
        if self.collective.ranks > 1:
            self._average(buffer)

    def _average(self, buffer: NDArray[Any]) -> None:
        with np.errstate(all="ignore"):  # as kernels multiply
            np.multiply(buffer, buffer.dtype.type(self.share), out=buffer)
        self.collective.allreduce(buffer)
