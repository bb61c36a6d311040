"""Programs on disk: a later process that compiles the same network takes the Program from there and needs no IR."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source, folder
from gncodegen.specification import Specification


def _path(key: str) -> Path:
    return root() / "programs" / f"{key}.json"


def load_program(specification: Specification, tag: str) -> tuple[Program, list[Source]] | None:
    """The Program kept for a specification, and the files of `schedules` under a target's tag; None if absent."""
    content = None if specification.key is None else files.read(_path(specification.key))
    if content is None:
        return None
    try:
        record = json.loads(content)
        sources = [Source(folder(tag) / name) for name in record["kernels"].get(tag, ())]
        program = Program.from_dict(record["program"])
    except (ValueError, KeyError, TypeError):
        return None  # of another version
    return (program, sources) if len(sources) == len(program.schedules) else None


def store_program(specification: Specification, tag: str, program: Program, sources: Sequence[Source]) -> None:
    """Keeps a Program with the names of the files of `schedules`."""
    if specification.key is not None:
        record = {"program": program.to_dict(), "kernels": {tag: [source.path.name for source in sources]}}
        files.keep(_path(specification.key), json.dumps(record).encode())
