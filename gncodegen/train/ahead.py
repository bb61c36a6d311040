"""Mini-batches made by a thread while a step runs."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import Empty, Queue
from threading import Event, Thread
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Made(NamedTuple, Generic[T]):
    """What the thread hands over: an item, or the error that ended it; neither at the end."""

    item: T | None = None
    error: BaseException | None = None


@contextmanager
def made_ahead(items: Iterator[T], ahead: int = 2) -> Generator[Iterator[T]]:
    """The same items in the same order, made by a thread before they are asked for.

    What goes wrong while one is made is raised where that one is asked for. At the end the thread is waited for, unless
    somebody interrupts a second time: what it waits for may never come.

    Args:
        items: an iterator, which only the thread uses.
        ahead: how many items may wait; the thread is at work on one more.
    """
    ready: Queue[Made[T]] = Queue(ahead)
    left = Event()

    def make() -> None:
        try:
            for item in items:
                ready.put(Made(item))
                if left.is_set():
                    break
            ready.put(Made())
        except BaseException as error:
            ready.put(Made(error=error))
        finally:
            getattr(items, "close", bool)()  # a generator of the caller's ends in the thread it ran in

    # NumPy's error handling and the like are those of the caller.
    thread = Thread(target=copy_context().run, args=(make,), name="gncodegen mini-batches", daemon=True)
    thread.start()
    try:
        yield _taken(ready)
    finally:
        left.set()
        if not isinstance(sys.exception(), KeyboardInterrupt):
            _drain(ready, thread)


def _taken(ready: Queue[Made[T]]) -> Iterator[T]:
    while True:
        made = ready.get()
        if made.error is not None:
            raise made.error
        if made.item is None:
            return
        yield made.item


def _drain(ready: Queue[Made[T]], thread: Thread) -> None:
    """Makes room until the thread has noticed that it is to end."""
    while thread.is_alive():
        try:
            ready.get(timeout=0.01)
        except Empty:
            thread.join(timeout=0.01)
