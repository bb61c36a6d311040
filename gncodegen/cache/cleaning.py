"""What the cache holds, how much of it is kept, and which of it goes first: what was not used for the longest time."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.environment import environment

DAY, HOUR = 86_400, 3_600
"""Seconds."""

FILL = 0.9
"""Share of the limit that is left after cleaning, so that it is not due again at once."""


@dataclass(frozen=True)
class Entry:
    """Files of one name with several suffixes: a kernel's source and compiled forms, a Program, a measurement.

    Args:
        folder: where they lie.
        names: of the files.
        bytes: of all of them.
        used: when one of them was last written or read, to a day; seconds since 1970.
    """

    folder: str
    names: tuple[str, ...]
    bytes: int
    used: float

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(Path(self.folder, name) for name in self.names)

    @property
    def kind(self) -> str:
        """The first folder that it lies in, such as "kernels/cpu-…"; "" in the cache's own."""
        return os.path.relpath(self.folder, root()).removeprefix(".")


def entries() -> list[Entry]:
    """All that the cache holds, the longest unused first."""
    made: list[Entry] = []
    for folder, found_there in _folders(str(root())):
        found: dict[str, list[tuple[str, os.stat_result]]] = {}
        for file in found_there:
            with suppress(OSError):  # gone meanwhile
                facts = file.stat()
                found.setdefault(os.path.splitext(file.name)[0], []).append((file.name, facts))  # noqa: PTH122  fast
        made += [
            Entry(folder, tuple(n for n, _ in each), sum(s.st_size for _, s in each), max(s.st_mtime for _, s in each))
            for each in found.values()
        ]
    return sorted(made, key=lambda entry: entry.used)


def _folders(folder: str) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """The cache's folders, each with its files; texts, since paths of tens of thousands of files take seconds."""
    try:
        with os.scandir(folder) as listed:
            found = list(listed)
    except OSError:  # gone meanwhile
        return
    yield folder, [entry for entry in found if not entry.is_dir()]
    for entry in found:
        if entry.is_dir(follow_symlinks=False) and entry.name != "locks":
            yield from _folders(entry.path)


def clean(limit: int | None = None) -> int:
    """Removes what was not used for the longest time, until the rest takes less than the limit.

    Args:
        limit: bytes; None = GNCODEGEN_CACHE_LIMIT.

    Returns:
        bytes that were removed.
    """
    limit = environment().cache_limit << 20 if limit is None else limit
    found = entries()
    total, removed = sum(entry.bytes for entry in found), 0
    if total <= limit:
        return 0
    for entry in found:
        if total - removed <= limit * FILL:
            break
        for path in entry.paths:
            with suppress(OSError):
                path.unlink()
        removed += entry.bytes
    return removed


def clean_sometimes() -> None:
    """Cleans, if no process has in the last hour."""
    stamp = root() / "cleaned"
    try:
        if time.time() - stamp.stat().st_mtime < HOUR:
            return
    except OSError:
        pass
    files.keep(stamp, b"")
    clean()


def damaged() -> list[Path]:
    """Files that are not what was written, and those that a killed process left unfinished."""
    paths = (Path(file.path) for _, found in _folders(str(root())) for file in found)
    return [path for path in paths if not files.is_whole(path)]


def clear() -> None:
    """Removes everything."""
    for path in root().iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
