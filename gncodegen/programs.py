"""Programs on disk: a later process that compiles the same network takes the Program from there and needs no IR."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gncodegen.environment import environment
from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source, folder, write_atomically
from gncodegen.specification import Specification


def _path(key: str) -> Path:
    return environment().cache_dir / "programs" / f"{key}.json"


def load_program(specification: Specification, tag: str) -> tuple[Program, list[Source]] | None:
    """The Program kept for a specification, and its kernels' files under a target's tag in order; None if absent."""
    if specification.key is None or not _path(specification.key).exists():
        return None
    try:
        record = json.loads(_path(specification.key).read_text(encoding="utf-8"))
        sources = [Source(folder(tag) / name) for name in record["kernels"].get(tag, ())]
        program = Program.from_dict(record["program"])
    except (ValueError, KeyError, TypeError, OSError):
        return None  # a damaged record is made anew
    return (program, sources) if sources and all(source.path.exists() for source in sources) else None


def store_program(specification: Specification, tag: str, program: Program, sources: Sequence[Source]) -> None:
    """Keeps a Program with the file names of its kernels."""
    if specification.key is not None:
        record = {"program": program.to_dict(), "kernels": {tag: [source.path.name for source in sources]}}
        write_atomically(_path(specification.key), json.dumps(record).encode())
