"""Files that others see whole or not at all, and files that are only read where they are files."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from gncodegen.process.signals import Uninterrupted

UNFINISHED = ".unfinished"
"""How the name of a file ends that is not written yet; a killed process leaves one at most."""


def replace(path: Path, content: bytes, *, mode: int = 0o666, flush: bool = True) -> None:
    """Writes a file beside its place and renames it, so that its place holds the old content or the new, whole.

    Args:
        path: its place, in a folder that is there.
        content: all of it.
        mode: permissions, of which the process's umask takes some away.
        flush: wait until the disk has it; without, a loss of power may leave a file that is cut.

    Raises:
        OSError: it cannot be written; what was in its place is there still, and nothing beside it.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}{UNFINISHED}")
    with Uninterrupted():
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if flush:
                    os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            with suppress(OSError):
                os.unlink(draft)  # noqa: PTH108  also when interpreter shuts down
            raise
    if flush:
        flush_names(path.parent)


def flush_names(folder: Path) -> None:
    """Has the disk take over the names in a folder, where the system can do that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def opened(path: Path, *, follow: bool = True) -> BufferedReader:
    """A file to read; never waits for somebody who writes, as a FIFO would.

    Args:
        path: the file.
        follow: whether it may be a symbolic link.

    Raises:
        OSError: there is none, or it is something else.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path.name} is no file")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
