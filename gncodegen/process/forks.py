"""Forks: a child has one thread of its parent's, and finds our locks free and whole what they guard.

A lock that another thread holds at a fork would stay locked in the child for ever. So a fork waits until all are free.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import IntEnum
from threading import Lock, RLock
from typing import Any, Generic, Self, TypeVar, overload
from weakref import WeakSet

T = TypeVar("T")


class Rank(IntEnum):
    """What a lock guards; a thread that holds one takes only those behind it, and never two of one rank."""

    CALL = 0
    LOWERING = 1
    RUN = 2
    LINK = 3
    THREADS = 4
    MEMORY = 5


_locks: dict[Rank, WeakSet[RLock]] = {rank: WeakSet() for rank in Rank}
_making, _forking = Lock(), Lock()
_taken: list[RLock] = []


def lock(rank: Rank) -> RLock:
    """A new lock, for which forks wait."""
    made = RLock()
    with _making:
        _locks[rank].add(made)
    return made


class kept(Generic[T]):  # noqa: N801  a decorator
    """A property that is computed once; functools.cached_property has a lock in Python 3.11, one for all objects.

    Args:
        function: computes it.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self._function, self.__doc__ = function, function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> T: ...

    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        return instance.__dict__.setdefault(self._function.__name__, self._function(instance))


def after_in_child(function: Callable[[], None]) -> None:
    """Has a function called in every child that is forked from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def _take_all() -> None:
    _forking.acquire()  # one fork at a time
    while True:
        for rank in Rank:
            with _making:
                found = list(_locks[rank])
            for each in found:
                each.acquire()
                _taken.append(each)
        _making.acquire()
        if all(map(_is_taken, [each for rank in Rank for each in _locks[rank]])):
            return
        _give_back()  # a network that was made meanwhile is half-way


def _is_taken(each: RLock) -> bool:
    """Whether a lock is held by this fork; one that was made meanwhile and is free is taken."""
    if any(each is other for other in _taken):
        return True
    if each.acquire(blocking=False):
        _taken.append(each)
        return True
    return False


def _give_back() -> None:
    _making.release()
    while _taken:
        _taken.pop().release()


def _give_all() -> None:
    _give_back()
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_take_all, after_in_parent=_give_all, after_in_child=_give_all)
