"""Kernel source to assembly with lines, on all cores, for what shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gncodegen.cache import files
from gncodegen.targets import workers
from gncodegen.targets.cpu.compile import assembly_with_lines, prepare

__all__ = ["compile_missing", "compile_source", "prepare"]


def compile_source(path: Path) -> None:
    """Compiles one source file with lines; writes `.s` beside it."""
    files.write(path.with_suffix(".s"), assembly_with_lines(path).encode())


def compile_missing(paths: Iterable[Path]) -> None:
    """Compiles every source without such an assembly."""
    workers.compile_missing(paths, ".s", __name__)
