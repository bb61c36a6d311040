"""What Linux's control groups, such as those of a container, let this process have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

ROOT = Path("/")
"""Where /proc and /sys lie."""


def settings(controller: str, files: Sequence[str], older: Sequence[str], root: Path = ROOT) -> Iterator[list[str]]:
    """The words in some files of every control group that holds this process, its own first.

    Args:
        controller: "cpu", "memory" …
        files: their names in version 2, which are read one after another.
        older: the same in version 1.
        root: where /proc and /sys lie.

    Source: Linux, admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1/.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0":
            mount, names = root / "sys/fs/cgroup", files
        elif controller in controllers.split(","):
            mount, names = root / "sys/fs/cgroup" / controller, older
        else:
            continue
        # A container sees its own group at the mount, whatever its path is outside.
        folder = mount / path.lstrip("/")
        for group in [folder, *folder.parents[: len(folder.parts) - len(mount.parts)]]:
            try:
                yield " ".join((group / name).read_text(encoding="utf-8") for name in names).split()
            except (OSError, ValueError):
                continue


@cache
def memory(root: Path = ROOT) -> int | None:
    """The bytes of memory that they let this process have; None = no limit.

    Args:
        root: where /proc and /sys lie.
    """
    found = settings("memory", ["memory.max"], ["memory.limit_in_bytes"], root)
    return min((int(words[0]) for words in found if words and words[0].isdecimal()), default=None)
