"""Ctrl-C and SIGTERM while a network trains: noticed at the end of the iteration."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interruption:
    """Whether somebody asked the training to end."""

    requested = False

    def request(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler; a second Ctrl-C interrupts at once."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True


_open: list[Interruption] = []  # of the main thread


@contextmanager
def interruptible() -> Generator[Interruption]:
    """Within it both signals only request the end; outside the main thread, which alone gets signals, they stay.

    One within another is the same.
    """
    interruption = Interruption()
    if _open and threading.current_thread() is threading.main_thread():
        yield _open[0]
        return
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, interruption.request)
        _open.append(interruption)
        yield interruption
    finally:
        _open.clear()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
