"""Averages over ranks, made while the caller goes on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import TargetError
from gncodegen.parallel.collective import ALONE, Collective

BUCKETS = 8
LARGEST_BUCKET = 2**20


def bucket_size(gradients: int) -> int:
    """Bytes of a bucket where nobody chose: small against all, since nothing hides the last one.

    Args:
        gradients: bytes of all.
    """
    return max(1, min(gradients // BUCKETS, LARGEST_BUCKET))


class Averaging:
    """Σ share·buffer over all ranks, in the place of the buffer.

    Args:
        collective: the ranks.
    """

    target = ""
    """That this rank compiles for where each has one of its own."""

    def __init__(self, collective: Collective = ALONE) -> None:
        self.collective = collective
        self.share = 1.0
        """This rank's part of the observations that the buffers are means over; those of all ranks add up to 1."""
        self.spans: list[tuple[int, int]] | None = None
        """Where it is a list, it gets each average's begin and end, in nanoseconds of the monotonic clock."""
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: list[Future[None]] = []

    def connect(self, device: Any) -> None:
        """Gets ready for buffers in a device's memory.

        Raises:
            TargetError: these ranks average what lies on the host.
        """
        raise TargetError(
            "ranks under MPI average gradients in host memory, and these lie in a GPU's; allowed: NCCL for GPUs; write "
            'execution_environment="multi-gpu", or target="cpu"'
        )

    def begin(self, buffer: Any) -> None:
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

    def wait(self) -> None:
        """Waits until a device has done what `finish` asked it for; on the host that is done already."""

    def close(self) -> None:
        """Gives back what only the training needs."""

    def average(self, buffer: NDArray[Any]) -> None:
        """Both, on the calling thread."""
        if self.collective.ranks > 1:
            self._average(buffer)

    def _average(self, buffer: NDArray[Any]) -> None:
        began = monotonic_ns()
        with np.errstate(all="ignore"):  # as kernels multiply
            np.multiply(buffer, buffer.dtype.type(self.share), out=buffer)
        self.collective.allreduce(buffer)
        if self.spans is not None:
            self.spans.append((began, monotonic_ns()))
