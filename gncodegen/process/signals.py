"""Signals that arrive while a network's state changes are looked at afterwards: it changes whole or not at all."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import cache
from importlib import import_module
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = tuple(
    int(getattr(signal, name))
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)
"""Those that programs have handlers for, which may raise."""


# The functions that those of `signal` wrap take a tenth of their time, which goes to look up enumerations' members.
_below: Any = import_module("_signal")
_handler_of: Callable[[int], Any] = _below.getsignal
_handle: Callable[[int, Any], Any] = _below.signal


class Uninterrupted:
    """`with Uninterrupted(): …`: Python's handlers of signals, such as Ctrl-C's, run at its end.

    Only the main thread runs handlers; in others this does nothing.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._arrived: list[tuple[int, FrameType | None]] = []
        self._waits = True

    def __enter__(self) -> None:
        if current_thread() is not main_thread():
            return
        try:
            for number in _SIGNALS:
                handler = _handler_of(number)
                if callable(handler):
                    self._handlers[number] = handler
                    _handle(number, self._arrive)
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
            self._arrived.append((number, frame))
        else:
            self._handlers[number](number, frame)

    def _end(self) -> None:
        self._waits = False
        try:
            for number, handler in self._handlers.items():
                if _handler_of(number) == self._arrive:
                    _handle(number, handler)
        finally:
            while self._arrived:
                number, frame = self._arrived.pop(0)
                self._handlers[number](number, frame)


@cache
def imported(name: str) -> Any:
    """A module, imported whole or not at all: a library that is cut off half-way may not come a second time."""
    with Uninterrupted():
        return import_module(name)
