"""Partial statistics that a convolution leaves of each band it writes, so that the norm behind needs no own pass."""

from __future__ import annotations

from math import prod

from gncodegen.kernels.cpu.norm_tiling import CENTRE_STEPS, CHUNK
from gncodegen.kernels.cpu.register_tiles import LINE
from gncodegen.kernels.schedule import Constant, Problem

MIN_L2_MULTIPLE = 4
"""Sizes of L2 beyond which an observation of y is."""


def worthwhile(problem: Problem) -> bool:
    """Whether an observation of y is so far beyond L2 that a pass over it costs more than the sums of bands.

    On a Zen 3 with 512 KB, convolution and norm of 3 MB and more were 0.97 to 1.12 times as fast
    with partials, of 0.8 to 1.6 MB 0.89 to 1.00 times.
    """
    y = problem.results[0]
    return y.bytes > MIN_L2_MULTIPLE * problem.machine.l2 * y.shape[0]


def bands(problem: Problem, fewest: int) -> int:
    """At least `fewest`, and so many that what a band writes, a cache line per pixel, stays in L2 for its sums."""
    _, rows, *columns, _ = problem.results[0].shape
    highest = max(1, problem.machine.l2 // 8 // (LINE * prod(columns)))
    return min(max(fewest, -(-rows // highest)), rows)


def constants(problem: Problem) -> dict[str, Constant]:
    """What the template of a convolution names."""
    if not problem.integer("parts"):
        return {"partials": False}
    return {"partials": True, "chunk": CHUNK, "centre_steps": CENTRE_STEPS}
