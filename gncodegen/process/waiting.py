"""A line on stderr while something takes longer than a second; on a terminal only."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Self

PATIENCE = 1.0
"""Seconds without a line."""


class Waiting:
    """Within it, a line says what is waited for: `compiling kernels: 12 of 40`; nothing of it is left at the end.

    Args:
        what: is done.
        total: how many steps there are; 0 = nobody knows.
    """

    def __init__(self, what: str, total: int = 0) -> None:
        self._what, self._total = what, total
        self._done, self._shown = 0, False
        self._lock = threading.Lock()
        self._timer = threading.Timer(PATIENCE, self._begin)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if sys.stderr is not None and sys.stderr.isatty():  # pyright: ignore[reportUnnecessaryComparison]
            self._timer.start()
        return self

    def advance(self) -> None:
        """One more step is done; threads may call it."""
        with self._lock:
            self._done += 1
            if self._shown:
                self._show()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            if self._shown:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False

    def _begin(self) -> None:
        with self._lock:
            if not self._timer.finished.is_set():
                self._shown = True
                self._show()

    def _show(self) -> None:
        count = f": {self._done}" + (f" of {self._total}" if self._total else "") if self._done or self._total else ""
        print(f"\r\x1b[K{self._what}{count} …", end="", file=sys.stderr, flush=True)
