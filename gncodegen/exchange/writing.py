"""Files and folders that appear whole or not at all: written beside their place, then renamed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from gncodegen.cache.disk import UNFINISHED
from gncodegen.saving import writing


@contextmanager
def written_beside(path: Path) -> Generator[Path]:
    """A new folder beside `path`; what the block leaves there comes to lie beside `path`, that of its name last.

    Raises:
        SaveError: something cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED))
        try:
            yield draft
            for made in sorted(draft.iterdir(), key=lambda made: made.name == path.name):
                _put(made, path.parent / made.name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _put(made: Path, place: Path) -> None:
    """Renames a file or a folder; a folder that is there already makes room first."""
    if made.is_dir() and place.exists():
        place.rename(made.parent / f"{made.name}.old")
    made.replace(place)
