"""LLVM IR of kernels as lowered, shared by those whose code differs only in the integers that it is specialised for.

Numba's front end takes most of the time of a compilation. What it makes is kept with names in place of the integers
that are operands only; another kernel of the same code puts its own there, and gets what Numba would have made.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import zlib
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from gncodegen.cache import files
from gncodegen.kernels.store import execute
from gncodegen.targets.cpu import placeholders

_PLACEHOLDER = re.compile(r"\b46116860184\d{8}\b")
"""In the text of the IR: FIRST and what counts up from it."""

_NAMED = re.compile(r"`(\w+)`")
"""A constant in kept IR: no text of LLVM has this quote."""

_GENERATED = re.compile(r"(\w+)_[0-9a-f]{12}")
"""Names of generated files: as long as others of their template."""

_STEM = "stem"
"""Named so: the name of the source file, which private symbols have in them. Constants are in capitals."""


def lowered(path: Path) -> tuple[str, str, list[str]]:
    """The LLVM IR of a source file as lowered, its kernel's name in it, and the names of its parameters.

    Raises:
        numba.core.errors.NumbaError: the source cannot be typed or lowered.
    """
    module = execute(path)
    functions, constants = _parts(module)
    integers = {name: each for name, each in constants.items() if type(each) is int and abs(each) < placeholders.FIRST}
    others = {name: each for name, each in constants.items() if name not in integers}
    names = path.with_name(f"{_template(path)}_{_digest([_code(functions, others) or path.stem])}.constants")
    fixed = files.read(names)
    kept = None if fixed is None else files.read(_place(names, integers, json.loads(fixed)))
    if kept is None:
        generic, depends = _lower(path, module, integers)
        files.keep(names, json.dumps(depends).encode())
        files.keep(_place(names, integers, depends), zlib.compress(generic.encode(), 1))
    else:
        generic = zlib.decompress(kept).decode()
    values = {name: str(value) for name, value in integers.items()} | {_STEM: path.stem}
    kernel, _, text = _NAMED.sub(lambda found: values[found[1]], generic).partition("\n")
    return text, kernel, list(inspect.signature(module.kernel).parameters)


def _lower(path: Path, module: ModuleType, integers: dict[str, int]) -> tuple[str, list[str]]:
    """The kernel's name and, behind it, its IR with names of constants; the constants whose values it depends on."""
    # Imported here, not above: a process whose kernels are all in the cache never needs Numba.
    from gncodegen.targets.cpu.frontend import lower  # noqa: PLC0415

    standing = {name: placeholders.placeholder(_template(path), name, value) for name, value in integers.items()}
    vars(module).update(standing)
    try:
        lowered, kernel = lower(module.kernel)
    except Exception:
        lower(execute(path).kernel)  # says what is wrong with the constants' own values
        raise
    depends = sorted(name for name, integer in standing.items() if placeholders.is_fixed(integer))
    texts = {str(integer): f"`{name}`" for name, integer in standing.items()}
    text = _PLACEHOLDER.sub(lambda found: texts[found[0]], f"{kernel}\n{lowered}")
    return text.replace(path.stem, f"`{_STEM}`"), depends


def _template(path: Path) -> str:
    """The template of a generated file; a file by hand is its own."""
    found = _GENERATED.fullmatch(path.stem)
    return found[1] if found else path.stem


def _place(names: Path, integers: dict[str, int], fixed: list[str]) -> Path:
    """Where the IR of one code is kept for these values of the constants that it depends on."""
    return names.with_name(f"{names.stem}_{_digest([(name, integers[name]) for name in fixed])}.generic")


def _parts(module: ModuleType) -> tuple[dict[str, FunctionType], dict[str, Any]]:
    """The functions of a source file, and what else of the file they read."""
    known = {name: getattr(value, "py_func", value) for name, value in vars(module).items()}
    functions = {
        name: each
        for name, each in known.items()
        if isinstance(each, FunctionType) and each.__globals__ is vars(module)
    }
    read = {name for function in functions.values() for name in function.__code__.co_names}
    return functions, {name: known[name] for name in sorted(read & known.keys() - functions.keys())}


def _code(functions: dict[str, FunctionType], constants: dict[str, Any]) -> str:
    """All that decides the IR but the integers, as a text; "" where it cannot be told."""
    found: list[Any] = [(name, _instructions(each.__code__), each.__defaults__) for name, each in functions.items()]
    for name, value in constants.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if all(isinstance(each, (bool, int, float, str)) for each in numbers):
            found.append((name, value))
        elif type(value).__module__.startswith("numba.core.types"):
            found.append((name, str(value)))
        elif getattr(value, "__module__", "").partition(".")[0] in ("gncodegen", "math"):
            found.append((name, value.__module__, getattr(value, "__name__", str(value))))
        else:
            return ""  # a table, or a function of somebody else
    return repr(found)


def _instructions(code: CodeType) -> tuple[Any, ...]:
    constants = [_instructions(each) if isinstance(each, CodeType) else each for each in code.co_consts]
    return code.co_code.hex(), constants, code.co_names, code.co_varnames, code.co_freevars


def _digest(facts: list[Any]) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
