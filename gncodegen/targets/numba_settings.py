"""Settings of Numba that no kernel would compile or run with, found before Numba is imported."""

from __future__ import annotations

import os
from collections.abc import Callable

from gncodegen.errors import TargetError

LAYERS = ("default", "safe", "threadsafe", "forksafe", "omp", "tbb", "workqueue")
"""Numba's threading layers, and its names for a choice of them."""


def _is_positive(text: str) -> bool:
    # What is no number Numba leaves aside, with a warning.
    return not text.strip().lstrip("-").isdecimal() or int(text) > 0


_SETTINGS: dict[str, tuple[Callable[[str], bool], str]] = {
    "NUMBA_NUM_THREADS": (_is_positive, "a positive int; unset it, or set GNCODEGEN_THREADS instead"),
    "NUMBA_THREADING_LAYER": (lambda text: text in LAYERS, f"{', '.join(LAYERS)}; unset it"),
    "NUMBA_DISABLE_JIT": (lambda text: text.strip() == "0", "0: kernels are machine code or nothing; unset it"),
}
"""Variable → whether a value may be, and what may be instead with the cure."""


def check() -> None:
    """Looks at Numba's environment variables.

    Raises:
        TargetError: one of them keeps kernels from being compiled or run; names the cure.
    """
    for name, (holds, allowed) in _SETTINGS.items():
        if (value := os.environ.get(name, "")) and not holds(value):
            raise TargetError(f"{name}={value}; allowed: {allowed}")
