"""The store of generated kernels: one file per distinct source, named by its content."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gncodegen.environment import environment
from gncodegen.kernels.render import render
from gncodegen.kernels.schedule import Schedule


@dataclass(frozen=True)
class Source:
    """A rendered kernel on disk; its compiled forms lie beside it with other suffixes."""

    path: Path

    @property
    def text(self) -> str:
        """The Python source."""
        return self.path.read_text(encoding="utf-8")

    def beside(self, suffix: str) -> Path:
        """The file of a compiled form, such as ".ll" or ".o"."""
        return self.path.with_suffix(suffix)


def folder(tag: str) -> Path:
    """The folder of kernels for one machine and set of versions."""
    return environment().cache_dir / "kernels" / tag


def write(schedule: Schedule, tag: str) -> Source:
    """Render `schedule` and keep the source by content hash under the folder of `tag`."""
    text = render(schedule)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    path = folder(tag) / f"{schedule.template}_{digest}.py"
    if not path.exists():
        write_atomically(path, text.encode())
    return Source(path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that other processes see whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
