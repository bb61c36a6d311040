"""The streams that one GPU's work goes to, and the memory that is allocated and freed in their order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Lock, local
from typing import Any
from weakref import finalize

from gncodegen.targets.cuda.device import cuda_python as cuda


class Memory:
    """Keeps a buffer of device memory; when nobody holds this any more, it is freed after all work before."""


class Loan:
    """Keeps an array that another library reads."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner


class Streams:
    """Our own stream and, within `use`, a caller's, one for each thread.

    All work is in one order: work in another stream than the work before waits for it. Memory belongs to our own
    stream, which nobody destroys before.

    Args:
        device: cuda.core's.
    """

    def __init__(self, device: Any) -> None:
        self._device = device
        self._own = cuda.own_stream(device)
        self._last = self._own
        self._beside: Any = None
        self._chosen = local()
        self._lock = Lock()
        self._unused: deque[Any] = deque()
        self._process = os.getpid()
        self._lent = False

    @property
    def _current(self) -> Any:
        return getattr(self._chosen, "stream", self._own)

    def _follow(self, stream: Any) -> None:
        if stream is not self._last:
            with cuda.reported():
                stream.wait(self._last)
            self._last = stream

    @contextmanager
    def ordered(self) -> Generator[Any]:
        """The calling thread's stream; what is put in it meanwhile comes after all work before."""
        with self._lock:
            self._follow(self._current)
            yield self._current

    @contextmanager
    def use(self, stream: Any) -> Generator[None]:
        """Within it, the calling thread's work goes to this stream, which need not outlive it."""
        before = self._current
        with self._lock:
            self._follow(stream)
        self._chosen.stream = stream
        try:
            yield
        finally:
            self._chosen.stream = before
            with self._lock:
                if self._last is stream:
                    self._follow(self._own)

    def aside(self) -> Any:
        """A stream whose work comes after all work so far; nothing waits for it until `join`."""
        with self._lock:
            if self._beside is None:
                self._beside = cuda.stream_beside(self._device)
            with cuda.reported():
                self._beside.wait(self._last)
            return self._beside

    def join(self) -> Any:
        """Makes work from here on wait for what went aside; an event of its end."""
        with self.ordered() as stream, cuda.reported():
            event = (self._beside or stream).record()
            stream.wait(event)
        return event

    def synchronize(self) -> None:
        """Waits for all work."""
        with self.ordered() as stream:
            pass
        with cuda.reported():
            stream.sync()

    # ---- memory --------------------------------------------------------------------------------------------------

    def allocate(self, size: int) -> tuple[int, Memory]:
        """The address of fresh memory, and what keeps it.

        Raises:
            TargetError: there is not enough, even after what is free was given back.
        """
        with self._lock:
            self._free_unused()
            self._follow(self._own)
            buffer = cuda.allocate(self._device, size, self._own)
        memory = Memory()
        finalize(memory, self._release, buffer).atexit = False
        return int(buffer.handle), memory

    def lend(self, owner: Any) -> Any:
        """What keeps an array for another library, whose streams may still read it when that lets it go."""
        loan = Loan(owner)
        finalize(loan, self._returned).atexit = False
        return loan

    def _returned(self) -> None:
        self._lent = True

    def _release(self, buffer: Any) -> None:
        # The garbage collector calls this at any moment, also while this thread or another holds the lock.
        self._unused.append(buffer)
        if os.getpid() != self._process or not self._lock.acquire(blocking=False):
            return
        try:
            with suppress(Exception):  # what is wrong with the GPU is an error of the next call
                self._device.set_current()
                self._free_unused()
        finally:
            self._lock.release()

    def _free_unused(self) -> None:
        # Only these: what is let go of meanwhile may be of a loan that this does not wait for.
        count = len(self._unused)
        if not count:
            return
        lent, self._lent = self._lent, False
        if lent:
            cuda.call("cuCtxSynchronize")
        elif self._last is not self._own:
            with cuda.reported():
                self._own.wait(self._last)
        for _ in range(count):
            self._unused.popleft().close(self._own)
