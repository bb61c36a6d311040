"""Forks: a child has one thread of its parent's, and finds our locks free and whole what they guard.

A lock that another thread holds at a fork would stay locked in the child for ever. So a fork waits until all are free.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from threading import Lock, RLock
from weakref import WeakSet


class Rank(IntEnum):
    """What a lock guards; a thread that holds one takes only those behind it, and never two of one rank."""

    CALL = 0
    LOWERING = 1
    RUN = 2
    LINK = 3
    THREADS = 4
    MEMORY = 5


_locks: dict[Rank, WeakSet[RLock]] = {rank: WeakSet() for rank in Rank}
_making = Lock()
_taken: list[RLock] = []


def lock(rank: Rank) -> RLock:
    """A new lock, for which forks wait."""
    made = RLock()
    with _making:
        _locks[rank].add(made)
    return made


def after_in_child(function: Callable[[], None]) -> None:
    """Has a function called in every child that is forked from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _take_all() -> None:
    for rank in Rank:
        with _making:
            found = list(_locks[rank])
        for each in found:
            each.acquire()
            _taken.append(each)
    _making.acquire()


def _give_all() -> None:
    _making.release()
    while _taken:
        _taken.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_give_all, after_in_child=_give_all)
