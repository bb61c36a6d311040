"""A network's state to disk: the network and its numbers as JSON, the arrays as safetensors.

A folder holds `network.json` and the two files of arrays that it names, whose names carry a digest of their content.
`network.json` is replaced last, so that the folder holds the old state or the new, whole, at any moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.cache import disk, locks
from gncodegen.errors import GncodegenError, SaveError
from gncodegen.layers.checks import required_path
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions

RECORD = "network.json"
ENTRIES = frozenset({"network", "options", "hyperparameters", "steps", "trained", "files"})
"""Of the record."""
PARTS = ("arrays", "solver")
"""The files of arrays. The solver's are in one of their own, so that no layer's name can stand for one of them."""


@dataclass(frozen=True)
class NetworkState:
    """Everything that a compiled network is made from, and has learned.

    Args:
        network: checked and connected.
        options: of the compilation.
        hyperparameters: the numbers a step reads, by name.
        steps: that the solver has done.
        values: of parameters and state, by name.
        solver: the solver's arrays, by array and parameter: "velocity/conv_1.weights".
        trained: whether it is of a `TrainedNetwork`.
    """

    network: Network
    options: CompileOptions
    hyperparameters: Mapping[str, float]
    steps: int
    values: Mapping[str, NDArray[Any]]
    solver: Mapping[str, NDArray[Any]]
    trained: bool = False


def write(state: NetworkState, directory: str | Path) -> None:
    """Writes the state to a folder; a state that is there stays until this one is there whole.

    Raises:
        NetworkError: a layer cannot be written.
        OptionsError: directory is no path.
        SaveError: the folder cannot be written to; what was in it is as it was.
    """
    folder = required_path(directory, "save: directory", 'write save("trained")')
    data, arrays = state.network.to_json(dict(state.values))
    contents = {
        part_name(part, content): content
        for part, content in zip(PARTS, map(array_bytes, (arrays, state.solver)), strict=True)
    }
    record = {
        "network": data, "options": asdict(state.options), "hyperparameters": dict(state.hyperparameters),
        "steps": state.steps, "trained": state.trained, "files": list(contents),
    }  # fmt: skip
    with writing(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with locks.held_folder(folder):
            try:
                for name, content in contents.items():
                    disk.replace(folder / name, content)
                disk.replace(folder / RECORD, json.dumps(record, indent=1).encode())
            except BaseException:
                _remove(folder, contents.keys() - _files(folder))
                if made:
                    with suppress(OSError):
                        folder.rmdir()
                raise
            names = {path.name for path in folder.iterdir()} - contents.keys()
            _remove(folder, (name for name in names if is_part(name) or name.endswith(disk.UNFINISHED)))


def require_writable(directory: str | Path) -> None:
    """Refuses a folder that could not be written to, before the work that is to be saved there.

    Raises:
        SaveError: it is a file, or it or the folder that it would be made in cannot be written to.
    """
    folder = required_path(directory, "directory", 'write "trained"').absolute()
    with writing(folder):
        place = next(each for each in (folder, *folder.parents) if each.exists())
        if not place.is_dir():
            raise NotADirectoryError(f"{str(place)!r} is a file")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"{str(place)!r} is read-only")


def array_bytes(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays in the format safetensors."""
    from safetensors.numpy import save  # noqa: PLC0415  used here only

    return save({name: np.ascontiguousarray(value) for name, value in arrays.items()})


def part_name(part: str, content: bytes) -> str:
    """The name of a file of arrays: another content has another."""
    return f"{part}-{hashlib.sha256(content).hexdigest()[:32]}.safetensors"


def is_part(name: object, part: str = f"({'|'.join(PARTS)})") -> bool:
    """Whether something is the name of a file of arrays, of a part."""
    return isinstance(name, str) and re.fullmatch(rf"{part}-[0-9a-f]{{32}}\.safetensors", name) is not None


@contextmanager
def writing(path: Path) -> Generator[None]:
    """While what a user named is written: what the system refuses becomes an error that says so.

    Raises:
        SaveError: instead of an OSError.
    """
    try:
        yield
    except GncodegenError:
        raise
    except OSError as error:
        raise SaveError(
            f"{str(path)!r} cannot be written: {error.strerror or error}; allowed: a place with room, in a folder that "
            "is there and that you may write to; free some, make the folder, or name another; what was there before is "
            "as it was"
        ) from error


def write_file(path: str | Path, content: bytes) -> None:
    """Writes a file that a user named: it holds the old content or the new, whole; a pipe or a device gets the new.

    Raises:
        SaveError: it cannot be written.
    """
    place = required_path(path, "path", 'write "report.html"')
    with writing(place):
        if place.exists() and not place.is_file():
            place.write_bytes(content)
        else:
            disk.replace(place, content)


@contextmanager
def written_beside(path: Path) -> Generator[Path]:
    """A new folder beside `path`; what the block leaves there comes to lie beside `path`, that of its name last.

    Raises:
        SaveError: something cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=disk.UNFINISHED))
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


def _files(folder: Path) -> set[str]:
    """The files of arrays that the state in a folder is of."""
    try:
        return set(json.loads((folder / RECORD).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        with suppress(OSError):
            (folder / name).unlink()
