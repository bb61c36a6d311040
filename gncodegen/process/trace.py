"""GNCODEGEN_DEBUG: what the compiler does, told on stderr.

1: what is compiled and what comes from the cache. 2: also passes, with their times. 3: also the plans that were
considered for each op, with predicted bytes and operations. 4: also the sources of kernels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from gncodegen.environment import environment

CACHE, PASSES, PLANS, SOURCES = 1, 2, 3, 4
"""Levels; each tells what those before it tell."""


def tell(level: int, text: Callable[[], str]) -> None:
    """Writes a text where the level is asked for; it is made only then."""
    if environment().debug >= level:
        print(f"gncodegen: {text()}", file=sys.stderr, flush=True)
