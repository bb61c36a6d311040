"""Ranks under MPI, through mpi4py."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from faulthandler import cancel_dump_traceback_later, dump_traceback_later
from functools import cache
from importlib import import_module
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import RankError, TargetError
from gncodegen.parallel.collective import TIMEOUT

WHOLE_BELOW = 8192
"""Bytes of a buffer that each rank sends whole: one round of messages instead of two."""

_SPIN = 100e-6
"""Seconds of asking without a pause; then the core, on which kernels run meanwhile, is given back now and again."""

_PAUSE = 1 / 8
"""Of the time waited so far, till it is asked again: so much later a message is seen at most."""

_LONGEST = 1e-3
_GRACE = 1.0
"""Seconds that a rank which heard of another's fault leaves that one to tell it."""


class MpiCollective:
    """The ranks of an MPI communicator.

    The sum of a buffer is made in two rounds: each rank gets its part from all others, adds it up in the order of
    ranks, and sends the sum to all. A rank sends 2·(ranks − 1)/ranks of the buffer, the least there is.

    Source: P. Patarasuk, X. Yuan, Bandwidth Optimal All-reduce Algorithms for Clusters of Workstations, 2009.

    Args:
        communicator: of mpi4py; nobody else uses it.
        timeout: seconds that a rank is waited for.
    """

    def __init__(self, communicator: Any, timeout: float = TIMEOUT) -> None:
        self._communicator, self.timeout = communicator, timeout
        self.rank: int = communicator.Get_rank()
        self.ranks: int = communicator.Get_size()
        self._received = np.empty(0, np.uint8)

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Puts the sum over all ranks in the buffer's place, in the order of ranks."""
        flat = buffer.reshape(-1)
        if not np.may_share_memory(flat, buffer) and buffer.size:
            raise ValueError("a buffer to be summed must be C-contiguous")
        if buffer.nbytes < WHOLE_BELOW:
            self._exchange([flat] * self.ranks, flat)
            return
        edges = [len(flat) * rank // self.ranks for rank in range(self.ranks + 1)]
        parts = [flat[begin:end] for begin, end in pairwise(edges)]
        self._exchange(parts, parts[self.rank])
        self._wait(
            {
                other: (
                    self._communicator.Irecv(parts[other], other),
                    self._communicator.Isend(parts[self.rank], other),
                )
                for other in self._others
            }
        )

    @property
    def _others(self) -> Sequence[int]:
        """All other ranks, the next one first, so that not all begin with the same."""
        return [(self.rank + step) % self.ranks for step in range(1, self.ranks)]

    def _exchange(self, parts: Sequence[NDArray[Any]], own: NDArray[Any]) -> None:
        """Sends each rank its part, and puts the sum of what all have of the own one in its place."""
        size = own.nbytes
        if self._received.nbytes < size * self.ranks:
            self._received = np.empty(size * self.ranks, np.uint8)
        rows = self._received[: size * self.ranks].view(own.dtype).reshape(self.ranks, -1)
        self._wait(
            {
                other: (self._communicator.Irecv(rows[other], other), self._communicator.Isend(parts[other], other))
                for other in self._others
            }
        )
        rows[self.rank] = own
        with np.errstate(all="ignore"):  # as kernels add
            np.copyto(own, rows[0])
            for row in rows[1:]:
                np.add(own, row, out=own)

    def _wait(self, requests: dict[int, tuple[Any, Any]]) -> None:
        """Until the messages from and to each rank have passed."""
        begin = time.monotonic()
        while True:
            requests = {rank: pair for rank, pair in requests.items() if not all(each.Test() for each in pair)}
            if not requests:
                return
            waited = time.monotonic() - begin
            if waited > self.timeout:
                names = ", ".join(map(str, sorted(requests)))
                raise RankError(
                    f"rank {self.rank} waited {self.timeout:g} s for rank {names}; allowed: ranks that do the same "
                    "iterations; look at what that rank does, or write rank_timeout=… for more seconds"
                )
            if waited > _SPIN:
                time.sleep(min(_PAUSE * waited, _LONGEST))

    def end(self, error: BaseException) -> None:
        """Ends all ranks; those that only heard of the fault let the one that has it speak first."""
        if self.ranks == 1:
            return
        if isinstance(error, RankError):
            time.sleep(_GRACE)
        print(f"rank {self.rank} of {self.ranks} ends the job:", file=sys.stderr)
        traceback.print_exception(error)
        _flush()
        self._communicator.Abort(1)


def communicator(timeout: float = TIMEOUT) -> Any:
    """All processes that mpiexec started, on a communicator of gncodegen's own; from here on an error ends them all.

    Args:
        timeout: seconds after which a process that waits for others to begin shows where it does, and ends.

    Raises:
        TargetError: mpi4py or an MPI library is not installed.
    """
    # MPI waits for ranks that never come without a limit, and holds the interpreter's lock while it does.
    dump_traceback_later(timeout, exit=True)
    try:
        return _waits_for_all_ranks_to_begin()
    finally:
        cancel_dump_traceback_later()


@cache
def _waits_for_all_ranks_to_begin() -> Any:
    try:
        mpi = import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:
        raise TargetError(
            f"MPI is not here: {error}; allowed: mpi4py 4.1 or later with an MPI library; pip install 'gncodegen[mpi]'"
        ) from error
    own, before = mpi.COMM_WORLD.Dup(), sys.excepthook

    def end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # Of a script's own: without this, MPI waits at the end of the process for ranks that wait for it.
        before(kind, error, trace)
        print(f"rank {own.Get_rank()} of {own.Get_size()} ended with this error and ends the job", file=sys.stderr)
        _flush()
        own.Abort(1)

    if own.Get_size() > 1:
        sys.excepthook = end_all
    return own


def _flush() -> None:
    """What was printed comes out before the process is ended."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
