"""A folder in the cache that another library reads and writes: checked as a whole before the library sees it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from gncodegen.cache import files, locks
from gncodegen.cache.folder import check, log, private, root
from gncodegen.errors import CacheError


@contextmanager
def checked(name: str) -> Generator[Path | None]:
    """A folder whose content is what was there after the last use; else it is empty, and made anew.

    None where none can be written.

    Args:
        name: of the folder in the cache.
    """
    folder = root() / name
    seal = folder.with_suffix(".seal")
    with locks.held(seal, wait=True):
        before = _digest(folder)
        if folder.exists():
            check(folder)
        believed = bool(before) and files.read(seal) == before
        if before and not believed:
            log.warning("%s was changed since it was written: it is made anew", folder)
            shutil.rmtree(folder, ignore_errors=True)
        if not _writable(folder):
            copy = None
            with suppress(CacheError, OSError):
                copy = private() / name
                if believed:
                    shutil.copytree(folder, copy, dirs_exist_ok=True)
            yield copy
            return
        yield folder
        after = _digest(folder)
        if after != before or not believed:
            files.keep(seal, after)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _digest(folder: Path) -> bytes:
    """Of the names and contents of all files; empty where there is none."""
    digest, found = hashlib.sha256(), False
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found = True
            digest.update(str(path.relative_to(folder)).encode(errors="surrogateescape") + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest().encode() if found else b""
