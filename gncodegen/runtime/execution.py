"""What all executors share: one run at a time, and calls that depend on parameters alone run again when one changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from threading import RLock
from typing import Any

from gncodegen.kernels.program import Program
from gncodegen.runtime.state import Values

Key = tuple[str, str]
"""(kind, name) of a program's argument."""


class Execution(ABC):
    """One program, bound to its memory, ready to run.

    Args:
        program: what to run.
        lock: held during a run.
        values: the parameters that it reads; None where nobody changes them.
    """

    def __init__(self, program: Program, lock: RLock, values: Values | None) -> None:
        self.program = program
        self._lock, self._values = lock, values
        self._hoisted_for = -1  # the version of the values that the constants were computed from

    def run(self, arguments: Mapping[Key, Any], count: int = 0) -> None:
        """One run.

        Args:
            arguments: an array of the planned shape and dtype, C-contiguous, for every free argument that is read;
                results that are not given are kept for `result` until the next run.
            count: the first so many observations count; arrays hold `Program.rows` rows. 0 = all.
        """
        with self._lock:
            version = 0 if self._values is None else self._values.version
            try:
                self._execute(arguments, version != self._hoisted_for, count or self.program.batch_size)
                self._hoisted_for = version
            finally:  # what failed half-way may have changed some
                if self._values is not None and self.program.changes_parameters:
                    self._values.version += 1

    @abstractmethod
    def _execute(self, arguments: Mapping[Key, Any], hoisted: bool, count: int) -> None:
        """Does the program's calls for `count` observations, the hoisted ones only if they are asked for."""
