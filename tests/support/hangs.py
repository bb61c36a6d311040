"""Tells a process that hangs from one that other programs leave no time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

TICKS = os.sysconf("SC_CLK_TCK")
WAITING = "SIZ"
"""States of /proc in which a process wants no CPU: it sleeps, idles or has ended. Stopped ones (T) are held up."""


@dataclass(frozen=True)
class Seen:
    """A process at a moment.

    Args:
        parent: its process number.
        waits: whether all its threads wait.
        seconds: of CPU that it and its children that have ended took.
    """

    parent: int
    waits: bool
    seconds: float


def processes() -> dict[int, Seen]:
    """All there are."""
    found: dict[int, Seen] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                own = _fields(folder / "stat")
                threads = [_fields(each / "stat")[0] for each in (folder / "task").iterdir()]
            except (OSError, IndexError):
                continue  # it has ended
            seconds = sum(map(int, own[11:15])) / TICKS
            found[int(folder.name)] = Seen(int(own[1]), all(state in WAITING for state in threads), seconds)
    return found


def _fields(path: Path) -> list[str]:
    return path.read_text(encoding="latin-1").rpartition(")")[2].split()


@dataclass
class Watch:
    """Watches a process: it hangs where it took too much CPU, or where nothing that it may wait for wants any.

    Args:
        pid: of the process.
        family: of the process whose descendants it may wait for; 0 = its own descendants alone.
        most: seconds of CPU, of the process and its descendants.
        patience: seconds in which it and its whole family wait.
    """

    pid: int
    family: int = 0
    most: float = 120
    patience: float = 60
    idle: float = 0.0
    looked: float = field(default_factory=monotonic)

    def hangs(self) -> bool:
        """Looks once; to be asked every second or more often."""
        now, seen = monotonic(), processes()
        own = [self.pid, *_below(self.pid, seen)]
        near = {*own, *(_below(self.family, seen) if self.family else ())}
        # Longer gaps are those of this process itself, which was held up, too.
        passed, self.looked = min(now - self.looked, 2.0), now
        waits = all(seen[each].waits for each in near if each in seen)
        self.idle = self.idle + passed if waits else 0.0
        return self.idle > self.patience or sum(seen[each].seconds for each in own if each in seen) > self.most


def _below(pid: int, seen: dict[int, Seen]) -> Iterator[int]:
    """All descendants."""
    for child, each in seen.items():
        if each.parent == pid:
            yield child
            yield from _below(child, seen)
