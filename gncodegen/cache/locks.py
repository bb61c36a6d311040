"""Locks between processes: who makes a file that others want too; the system gives them back when a process ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from gncodegen.cache.folder import is_private, root


@contextmanager
def held_folder(folder: Path) -> Generator[None]:
    """Holds the lock of a folder while something in it is replaced, where the system has one; leaves no file."""
    try:
        import fcntl  # noqa: PLC0415  POSIX only

        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def held(path: Path, wait: bool) -> Generator[bool]:
    """Holds the lock of a file while it is made; yields whether it is held.

    Where the system has no locks, or none in this folder, it yields True: work is then done twice at worst.

    Args:
        path: the file.
        wait: until another process gives it back.
    """
    try:
        import fcntl  # noqa: PLC0415  POSIX only
    except ImportError:
        yield True
        return
    if is_private(path):
        yield True
        return
    try:
        folder = root() / "locks"
        folder.mkdir(mode=0o700, exist_ok=True)
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:3]
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield True
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            free = True
        except BlockingIOError:
            free = False
        except OSError:
            free = True
        yield free
    finally:
        os.close(handle)
