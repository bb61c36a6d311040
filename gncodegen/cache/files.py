"""Files that carry a digest of their content: what does not match is as if it were not there, and made anew."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from gncodegen.cache import disk
from gncodegen.cache.folder import check, fault, instead_of, log
from gncodegen.errors import CacheError

DAY = 86_400
"""Seconds."""

MOST_BYTES = 1 << 28
"""Of a file; a larger one is not what was written."""

MARKS = {".ll": b";", ".ptx": b"//"}
"""How a comment starts in files of these suffixes; "#" in others."""


def read(path: Path) -> bytes | None:
    """What `write` wrote to a file; None where there is none, or where it is damaged.

    Raises:
        CacheError: somebody else could have written it.
    """
    for place in (path, instead_of(path)):
        if place is not None:
            found = _read(place)
            if found is not None:
                return found
    return None


def is_whole(path: Path) -> bool:
    """Whether a file is what `write` wrote."""
    return _read(path, quiet=True) is not None


def write(path: Path, content: bytes) -> Path:
    """Writes a file that other processes see whole or not at all; returns where it lies.

    Raises:
        CacheError: it cannot be written, nor in the folder for temporary files.
    """
    sealed = content + _seal(path.name, content)
    try:
        _write(path, sealed)
    except OSError as error:
        place = instead_of(path, error)
        assert place is not None
        try:
            _write(place, sealed)
        except OSError as again:
            raise CacheError(
                f"{path} cannot be written: {error.strerror}; nor can {place}: {again.strerror}; allowed: folders with "
                "room; free some, or set GNCODEGEN_CACHE_DIR"
            ) from again
        return place
    return path


def keep(path: Path, content: bytes) -> None:
    """Writes a file that only saves time later: where it cannot be written, nothing is lost."""
    with suppress(OSError):
        _write(path, content + _seal(path.name, content), flush=False)


def _seal(name: str, content: bytes) -> bytes:
    """The last lines of a file, by which its content, under its name, is known again."""
    mark = MARKS.get(Path(name).suffix, b"#")
    digest = hashlib.sha256(name.encode(errors="surrogateescape") + b"\0" + content).hexdigest()
    return b"\n" + mark + b" sha256 " + digest.encode() + b"\n"


def _read(path: Path, quiet: bool = False) -> bytes | None:
    try:
        with disk.opened(path, follow=False) as file:
            facts = os.fstat(file.fileno())
            sealed = b"" if facts.st_size > MOST_BYTES or fault(facts) else file.read()
    except OSError:  # also what the disk no longer gives
        return None
    check(path.parent)
    content = sealed[: -len(_seal(path.name, b""))]
    if sealed[len(content) :] == _seal(path.name, content):
        if time.time() - facts.st_mtime > DAY:
            with suppress(OSError):  # what is used stays longest; a cache that cannot be written is not cleaned
                os.utime(path)
        return content
    if not quiet:
        cure = "; to edit a kernel, run `gncodegen edit`" if path.suffix == ".py" else ""
        what = "is damaged, was not written by gncodegen, or others can write to it"
        log.warning("%s %s: it is not used, and made anew%s", path, what, cure)
    return None


def _write(path: Path, content: bytes, flush: bool = True) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    check(path.parent)
    # To flush takes milliseconds; a file that is lost shows by its digest.
    disk.replace(path, content, mode=0o600, flush=flush)
