"""The store of generated kernels: one file per distinct source, named by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Schedule
from gncodegen.process import trace
from gncodegen.process.trace import tell


@dataclass(frozen=True)
class Source:
    """A rendered kernel on disk; its compiled forms lie beside it with other suffixes."""

    path: Path

    @property
    def text(self) -> str:
        """The Python source.

        Raises:
            CompileError: the file is gone or damaged.
        """
        return self.read(".py").decode()

    def beside(self, suffix: str) -> Path:
        """The file of a compiled form, such as ".ll" or ".o"; `read` gives its content."""
        return self.path.with_suffix(suffix)

    def read(self, suffix: str) -> bytes:
        """The content of a compiled form.

        Raises:
            CompileError: the file is gone or damaged.
        """
        content = files.read(self.beside(suffix))
        if content is None:
            raise CompileError(
                f"{self.beside(suffix)} is gone or damaged; allowed: as it was written; compile the network again"
            )
        return content


def folder(tag: str) -> Path:
    """The folder of kernels for one machine and set of versions."""
    return root() / "kernels" / tag


def write(schedule: Schedule, tag: str) -> Source:
    """Renders `schedule` and keeps the source by content hash under the folder of `tag`."""
    # A process whose programs are all in the cache renders nothing.
    from gncodegen.kernels.render import render  # noqa: PLC0415

    return keep(render(schedule).encode(), schedule.template, tag)


def keep(content: bytes, name: str, tag: str) -> Source:
    """Keeps the text of a source file under its name and content, in the folder of `tag`."""
    path = folder(tag) / f"{name}_{hashlib.sha256(content).hexdigest()[:12]}.py"
    tell(trace.SOURCES, lambda: f"source {path}\n{content.decode()}")
    return Source(path if files.read(path) == content else files.write(path, content))


def execute(path: Path) -> ModuleType:
    """The module of a source file: what is executed is what was checked, and nothing that Python kept beside it.

    Raises:
        CompileError: the file is gone or damaged.
    """
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(Source(path).read(path.suffix), str(path), "exec"), module.__dict__)
    return module
