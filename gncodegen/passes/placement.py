"""Greedy best-fit placement of buffers in one arena, from their lifetimes alone; knows no IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

ALIGNMENT = 64
"""Bytes; a cache line and the widest vector."""


@dataclass(frozen=True)
class Lifetime:
    """One buffer over the launches of a program.

    Args:
        bytes: its size.
        first: index of the launch that first writes it.
        last: index of the last launch that uses it.
        takes_over: indices of buffers whose memory it may go on using, although the step that writes it reads them.
        until: last launch of the step that writes it: a buffer it takes over must not be used after that.
    """

    bytes: int
    first: int
    last: int
    takes_over: tuple[int, ...] = ()
    until: int = -1


@dataclass(frozen=True)
class Placement:
    """Where each buffer lies.

    Args:
        offsets: bytes from the start of the arena, one per Lifetime, multiples of ALIGNMENT.
        peak: bytes the arena needs.
        in_place: for each buffer the buffer it took over, or None.
    """

    offsets: tuple[int, ...]
    peak: int
    in_place: tuple[int | None, ...]


@dataclass
class _Chain:
    """Buffers that follow one another in the same memory."""

    bytes: int
    first: int
    last: int
    members: list[int] = field(default_factory=list[int])
    offset: int = 0


def place(lifetimes: Sequence[Lifetime], region: Sequence[int] = ()) -> Placement:
    """Places buffers so that no two that live at once overlap, except where one takes another over.

    Chains of buffers that take over one another are placed as one block; the largest first, each into the smallest gap
    that holds it.

    Args:
        lifetimes: of the buffers.
        region: indices of those that are to lie side by side, in this order, to the end; they take over nothing.
    """
    chains, in_place = _chained(lifetimes, region)
    sizes = [aligned_size(lifetimes[index].bytes) for index in region]
    within = dict(zip(region, accumulate(sizes, initial=0), strict=False))
    if region:
        first, last = min(lifetimes[i].first for i in region), max(life.last for life in lifetimes)
        chains.append(_Chain(sum(sizes), first, last, list(region)))
    placed: list[_Chain] = []
    for chain in sorted(chains, key=lambda chain: (-chain.bytes, chain.first, chain.members[0])):
        chain.offset = _best_fit(chain, placed)
        placed.append(chain)
    offsets = [0] * len(lifetimes)
    for chain in placed:
        for member in chain.members:
            offsets[member] = chain.offset + within.get(member, 0)
    peak = max((chain.offset + aligned_size(chain.bytes) for chain in placed), default=0)
    return Placement(tuple(offsets), peak, tuple(in_place))


def _chained(lifetimes: Sequence[Lifetime], region: Sequence[int]) -> tuple[list[_Chain], list[int | None]]:
    """Joins each buffer outside the region to one it may take over that ends its chain, dies in time and is large."""
    chain_of: dict[int, _Chain] = {}
    chains: list[_Chain] = []
    in_place: list[int | None] = [None] * len(lifetimes)
    for index in sorted(set(range(len(lifetimes))) - set(region), key=lambda index: lifetimes[index].first):
        life = lifetimes[index]
        for candidate in life.takes_over:
            chain, old = chain_of.get(candidate), lifetimes[candidate]
            if chain is None or chain.members[-1] != candidate:
                continue
            if (
                old.first < life.first
                and old.last <= life.until
                and all(lifetimes[member].last < life.first for member in chain.members[:-1])
                and life.bytes <= chain.bytes
            ):
                chain.members.append(index)
                chain.last = max(chain.last, life.last)
                chain_of[index] = chain
                in_place[index] = candidate
                break
        else:
            chain_of[index] = _Chain(life.bytes, life.first, life.last, [index])
            chains.append(chain_of[index])
    return chains, in_place


def _best_fit(chain: _Chain, placed: Sequence[_Chain]) -> int:
    """The offset of the smallest gap among the chains alive with `chain` that holds it, else behind them all."""
    size = aligned_size(chain.bytes)
    alive = [other for other in placed if other.first <= chain.last and chain.first <= other.last]
    end, best, best_gap = 0, -1, 0
    for other in sorted(alive, key=lambda other: other.offset):
        gap = other.offset - end
        if gap >= size and (best < 0 or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, other.offset + aligned_size(other.bytes))
    return best if best >= 0 else end


def aligned_size(size: int) -> int:
    """Bytes that a buffer takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT
