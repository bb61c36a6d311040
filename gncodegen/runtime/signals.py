"""Signals that arrive while a network's state changes are looked at afterwards: it changes whole or not at all."""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Those that programs have handlers for, which may raise."""


class Uninterrupted:
    """`with Uninterrupted(): …`: Python's handlers of signals, such as Ctrl-C's, run at its end.

    Only the main thread runs handlers; in others this does nothing.
    """

    def __init__(self) -> None:
        self._handlers: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}
        self._arrived: list[tuple[signal.Signals, FrameType | None]] = []
        self._waits = True

    def __enter__(self) -> None:
        if current_thread() is not main_thread():
            return
        try:
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._arrive)
        except BaseException:  # one that had its own handler still
            self._end()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handlers:
            self._end()

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        if self._waits:
            self._arrived.append((signal.Signals(number), frame))
        else:
            self._handlers[signal.Signals(number)](number, frame)

    def _end(self) -> None:
        self._waits = False
        try:
            for number, handler in self._handlers.items():
                if signal.getsignal(number) == self._arrive:
                    signal.signal(number, handler)
        finally:
            while self._arrived:
                number, frame = self._arrived.pop(0)
                self._handlers[number](number, frame)
