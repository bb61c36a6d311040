"""The register tile's size: rows × vectors accumulators, from what a core can multiply, load and hold."""

from __future__ import annotations

from collections.abc import Iterator

from gncodegen.kernels.schedule import Machine

MULTIPLIERS = 2
"""Vector multiply-adds a core starts per cycle."""

LOADS = 1.8
"""Vector loads and broadcasts a core starts per cycle."""

LATENCY = 4.5
"""Cycles until a multiply-add's result can be added to again: 4, and what a late load adds now and then."""


def fits(rows: int, vectors: int, machine: Machine) -> bool:
    """Whether the accumulators, one row of the right operand and one broadcast fit the registers."""
    return rows * vectors + vectors + 1 <= machine.vector_registers


def step_cycles(rows: int, vectors: int) -> float:
    """Cycles of one outer-product update: the slowest of multiplying, loading and waiting for the previous update."""
    return max(rows * vectors / MULTIPLIERS, (rows + vectors) / LOADS, LATENCY)


def vector_counts(width: int, machine: Machine, dtype: str, limit: int = 4) -> Iterator[int]:
    """The numbers of vectors worth trying for rows of `width` values."""
    return iter(range(1, min(limit, -(-width // machine.lanes(dtype))) + 1))


def even_parts(extent: int, parts: int) -> tuple[int, ...]:
    """The sizes of `parts` even parts of `extent`: part i starts at extent·i // parts."""
    return tuple(extent * (i + 1) // parts - extent * i // parts for i in range(parts))
