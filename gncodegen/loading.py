"""A network's state from disk: nothing that a file says is believed before it is checked, and nothing is executed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from gncodegen.cache import disk
from gncodegen.errors import GncodegenError, NetworkError
from gncodegen.kernels.loss_scale import LOSS_SCALE, STATE
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.archive import shaping_names
from gncodegen.layers.checks import required_path
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.runtime.state import Hyperparameters
from gncodegen.saving import ENTRIES, PARTS, RECORD, NetworkState, is_part

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]

MOST_RECORD_BYTES = 1 << 28
"""Of a JSON file."""

_DTYPES = ("F16", "F32", "F64")


class MalformedError(Exception):
    """What is wrong with a file."""


def read(directory: str | Path, changes: Mapping[str, Any]) -> NetworkState:
    """The state that `saving.write` wrote: complete, named, shaped, and with the bits of then.

    No more memory is asked for than the files are large.

    Args:
        directory: the folder.
        changes: options of the compilation that are to be others now.

    Raises:
        NetworkError: the folder holds none, or one of another version.
        LayerError: a layer's property is out of range.
        OptionsError: an option or a number is out of range.
    """
    folder = required_path(directory, "directory", 'write gnc.load("trained")')

    def state() -> NetworkState:
        record = json_of(folder / RECORD)
        while True:
            try:
                return _state(folder, record, changes)
            except FileNotFoundError:
                before, record = record["files"], json_of(folder / RECORD)
                if entry(record, "files", list) == before:
                    raise
                # Another process has saved a state meanwhile.

    return made_of(folder, "saved network", "a folder that save wrote; check the path, or save it again", state)


def made_of(path: Path, what: str, cure: str, make: Callable[[], T]) -> T:
    """What a function makes of foreign files; whatever they make of our constructors becomes one error.

    Args:
        path: of the files.
        what: they should hold.
        cure: the end of the message.
        make: reads them.

    Raises:
        NetworkError: instead of anything but an error of our own.
    """
    try:
        return make()
    except GncodegenError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            said = f"{error.filename or path}: {error.strerror}"
        else:
            said = str(error) if isinstance(error, (OSError, MalformedError)) else f"{type(error).__name__}: {error}"
        raise NetworkError([f"{path} holds no {what}: {said}; allowed: {cure}"]) from error


def json_of(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        OSError: there is no such file.
        MalformedError: it is too large, or holds something else.
        ValueError, RecursionError: it is not JSON.
    """
    with disk.opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_RECORD_BYTES:
            raise MalformedError(f"{path.name} has {size} bytes, more than {MOST_RECORD_BYTES}")
        found: object = json.loads(file.read())
    if not isinstance(found, dict):
        raise MalformedError(f"{path.name} holds no mapping")
    return {str(name): value for name, value in found.items()}  # pyright: ignore[reportUnknownVariableType]


def entry(record: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """An entry of a record, of a type."""
    value = record.get(name)
    if type(value) is not kind:
        raise MalformedError(f"{name} = {str(value)[:80]}, which is no {kind.__name__}")
    return value


def count(record: Mapping[str, Any], name: str) -> int:
    """An entry that counts something."""
    value = entry(record, name, int)
    if not 0 <= value < 1 << 53:
        raise MalformedError(f"{name} = {value}, which is out of range")
    return value


def _state(folder: Path, record: Mapping[str, Any], changes: Mapping[str, Any]) -> NetworkState:
    if odd := sorted(record.keys() - ENTRIES):
        raise MalformedError(f"{RECORD} has {', '.join(odd)[:80]}, which no save writes")
    options, steps = CompileOptions(**entry(record, "options", dict)), count(record, "steps")
    given: dict[str, Any] = entry(record, "hyperparameters", dict)
    numbers = Hyperparameters(options.solver, steps=steps, **given).values()
    if missing := sorted(numbers.keys() - given.keys()):
        raise MalformedError(f"hyperparameters lack {', '.join(missing)}")
    names = entry(record, "files", list)
    if len(names) != len(PARTS) or not all(map(is_part, names, PARTS)):
        raise MalformedError(f"files = {names}, which are not those of {' and '.join(PARTS)}")
    data: dict[str, Any] = entry(record, "network", dict)
    # Without other arrays at first: its shapes say how large they may be.
    outline = Network.from_json(data, _shaping_arrays(folder / names[0], data))
    parameters = outline.parameters
    shapes = {name: parameter.shape for name, parameter in parameters.items()}
    learned = [name for name, parameter in parameters.items() if parameter.learnable and options.training]
    kept = {f"{array}/{name}": shapes[name] for array in SOLVERS[options.solver].state for name in learned}
    if options.training and options.scales_loss:
        kept[f"{LOSS_SCALE}/{LOSS_SCALE}"] = STATE.shape
    arrays = arrays_of(folder / names[0], shapes, _properties(outline))
    solver = arrays_of(folder / names[1], kept)
    return NetworkState(
        Network.from_json(data, arrays), replace(options, **changes), numbers, steps,
        {name: arrays[name] for name in shapes}, solver, entry(record, "trained", bool),
    )  # fmt: skip


def _shaping_arrays(path: Path, data: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The arrays in a file that give layers their shapes, such as constants; they are not checked yet."""
    from safetensors import safe_open  # noqa: PLC0415  used here only

    names = set(shaping_names(data["layers"]))
    with disk.opened(path), safe_open(path, "numpy") as content:
        return {name: content.get_tensor(name) for name in content.keys() if name in names}  # noqa: SIM118


def _properties(network: Network) -> dict[str, int]:
    """The arrays that layers may have beside parameters, such as the means of inputs, and their most elements."""
    return {
        f"{node.name}.{each.name}": node.size.count
        for node in network.nodes
        for each in fields(node.layer)
        if f"{node.name}.{each.name}" not in network.parameters
    }


def arrays_of(path: Path, shapes: Shapes, others: Mapping[str, int] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays in a file: all that are expected, shaped so, and no others; what it holds is what was written.

    Args:
        path: the file; its name carries a digest.
        shapes: of what is expected.
        others: what there may be besides, with the most elements that it may have.

    Raises:
        OSError: there is no such file.
        MalformedError: it holds something else.
    """
    from safetensors import safe_open  # noqa: PLC0415  used here only

    with disk.opened(path) as file, safe_open(path, "numpy") as content:
        found = {name: content.get_slice(name) for name in content.keys()}  # noqa: SIM118  it is no mapping
        if missing := sorted(shapes.keys() - found.keys()):
            raise MalformedError(f"{path.name} lacks {', '.join(missing)}")
        for name, part in found.items():
            shape = tuple(part.get_shape())
            fits = shape == shapes[name] if name in shapes else prod(shape) <= (others or {}).get(name, -1)
            if not fits or part.get_dtype() not in _DTYPES:
                allowed = f"{shapes[name]} of {', '.join(_DTYPES)}" if name in shapes else "nothing of that name"
                raise MalformedError(f"{path.name} has {name} {shape} of {part.get_dtype()}, not {allowed}")
        if hashlib.file_digest(file, "sha256").hexdigest()[:32] != path.stem.rpartition("-")[2]:
            raise MalformedError(f"{path.name} was changed since it was written")
        return {name: content.get_tensor(name) for name in found}
