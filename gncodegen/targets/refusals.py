"""What a compiler says of a source file that it refuses, with the line that it means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb
from types import FrameType

from gncodegen.errors import CompileError

_STAGE = re.compile(r"^(Failed in .* mode pipeline \(step: .*\)|During: .*)\n?", re.MULTILINE)
"""Which stage of Numba's stopped: nothing that the source can cure."""


def refused(path: Path, error: BaseException) -> CompileError:
    """The error of a generated file that does not compile, raised while `error` is handled."""
    line = _line(path, error)
    text = _STAGE.sub("", str(error)).strip()
    return CompileError(f"generated file {path}{f':{line}' if line else ''} does not compile: {text}")


def _line(path: Path, error: BaseException) -> int:
    """The line of the file that an error is about; 0 where nothing says it."""
    while True:
        if isinstance(error, SyntaxError):
            return error.lineno or 0
        if said := [*_places(path, error)]:
            return said[0]
        lines = [line for frame, number in walk_tb(error.__traceback__) for line in _lines(path, frame, number)]
        if lines:
            return lines[-1]
        if (cause := error.__cause__ or error.__context__) is None:
            return 0
        error = cause


def _lines(path: Path, frame: FrameType, number: int) -> Iterator[int]:
    """Lines of the file in a frame: its own, or that of the instruction a compiler's function has at hand."""
    if frame.f_code.co_filename == str(path):
        yield number
    for value in frame.f_locals.values():
        yield from _places(path, value)


def _places(path: Path, value: object) -> Iterator[int]:
    """The line of the file that an error or instruction of Numba knows it is at."""
    place = getattr(value, "loc", None)
    if getattr(place, "filename", None) == str(path) and isinstance(line := getattr(place, "line", None), int):
        yield line
