"""Files of Linux's control groups, as a process sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write(root: Path, groups: str, files: Mapping[str, str]) -> Path:
    """Writes which groups hold the process, and files by their names below /sys/fs/cgroup; returns the root."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
