"""Kernel source to LLVM IR and object files.

Each source file defines `kernel(tile, argv)`, that of the launch loop one of other integers. Numba compiles it to
optimised LLVM IR; its text and the object emitted from it lie beside the source, so a later process needs no compiler.
"""

from __future__ import annotations

import gc
import inspect
import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.cache import files
from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import STACK_BYTES
from gncodegen.kernels.store import execute
from gncodegen.targets import workers
from gncodegen.targets.cpu.host import target_machine
from gncodegen.targets.cpu.specialisation import lowered
from gncodegen.targets.refusals import refused

ENTRY = "kernel"
"""Name of the function in the source file, and the stem of the symbol in the object file."""


def symbol(path: Path) -> str:
    """The symbol of the compiled kernel: the file's stem is unique by content."""
    return f"{ENTRY}_{path.stem}"


LIBRARY_SYMBOLS = frozenset(
    ["memcpy", "memmove", "memset", "sched_yield", "SwitchToThread", "clock_gettime"]
    + [
        name + suffix
        for name in (
            "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor",
            "fmod", "log", "log1p", "pow", "rint", "sin", "sinh", "tan", "tanh",
        )
        for suffix in ("", "f")
    ]
)  # fmt: skip
"""What an object file may refer to: the C library and its mathematics, nothing of Python or Numba."""

_BYTES = {"float": 4, "i32": 4, "i8": 1}
"""Of LLVM's types; others take eight."""

_WRAPPER = """
declare i32 @"{kernel}"(ptr, ptr, {types})
define void @{symbol}({arguments}) {{
  %result = alloca ptr
  %exception = alloca ptr
  %status = call i32 @"{kernel}"(ptr %result, ptr %exception, {arguments})
  ret void
}}
"""


def compile_source(path: Path) -> None:
    """Compile one source file; writes `.ll` and `.o` beside it.

    Raises:
        CompileError: Numba refused the source, or the kernel would need Python at run time; names the file.
    """
    # Numba makes millions of small objects and no garbage to speak of: collecting takes an eighth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        text, kernel, parameters = lowered(path)
        module, machine = _optimised(llvm.parse_assembly(text), kernel, parameters, symbol(path))
    except Exception as error:
        raise refused(path, error) from error
    finally:
        if collecting:
            gc.enable()
    needed = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    if needed - LIBRARY_SYMBOLS:
        names = ", ".join(sorted(needed - LIBRARY_SYMBOLS))
        raise CompileError(
            f"generated file {path} needs {names} at run time; allowed: arithmetic and libm; "
            "remove what can raise or allocate, such as arrays, Python objects and checked functions"
        )
    text = str(module)
    stack = sum(int(count) * _BYTES.get(kind, 8) for count, kind in re.findall(r"= alloca \[(\d+) x (\w+)\]", text))
    if stack > STACK_BYTES:
        raise CompileError(
            f"kernel {path} keeps {stack:,} bytes at hand for one tile; allowed: up to {STACK_BYTES:,}; make the "
            "channels, classes or windows smaller"
        )
    files.write(path.with_suffix(".ll"), text.encode())
    files.write(path.with_suffix(".o"), machine.emit_object(module))


def assembly_with_lines(path: Path) -> str:
    """The assembly of a source file, in which `.loc` says the line of what follows.

    It is compiled for that alone: with lines, LLVM may order and choose some instructions otherwise.
    """
    module, machine = optimised(execute(path).kernel, symbol(path), debug=True)
    return machine.emit_assembly(module)


def optimised(function: Callable[..., Any], name: str, *, debug: bool = False) -> tuple[Any, Any]:
    """The optimised LLVM module of `function(tile, argv)`, whose only external symbol is `name`, and LLVM's machine."""
    # Numba is imported here, not above: a process whose kernels all have object files never needs its compiler.
    from gncodegen.targets.cpu.frontend import lower  # noqa: PLC0415

    module, kernel = lower(function, debug=debug)
    return _optimised(module, kernel, inspect.signature(function).parameters, name)


def _optimised(module: Any, kernel: str, parameters: Iterable[str], name: str) -> tuple[Any, Any]:
    """Optimises a module as lowered; its function called `kernel`, of integers, becomes `name`, all else private."""
    machine = target_machine()
    arguments = [f"i64 %{each}" for each in parameters]
    parts = {"types": ", ".join(["i64"] * len(arguments)), "arguments": ", ".join(arguments)}
    module.link_in(llvm.parse_assembly(_WRAPPER.format(symbol=name, kernel=kernel, **parts)))
    defined = [one for one in [*module.functions, *module.global_variables] if not one.is_declaration]
    private = [one.name for one in defined if one.name != name]
    for one in defined:
        # Not internal yet: LLVM inlines an internal function with one caller however long it is.
        one.linkage = "linkonce_odr" if one.name in private else "external"
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    # Not 250: loops of a transform stay functions. Inlined, what LLVM takes out of them fills the registers.
    options.inlining_threshold = 225
    builder = llvm.create_pass_builder(machine, options)
    # Functions first, each by itself: loops that are inlined later then keep the shape that their registers want.
    for one in module.functions:
        if not one.is_declaration:
            builder.getFunctionPassManager().run(one, builder)
    builder.getModulePassManager().run(module, builder)
    for one in [*module.functions, *module.global_variables]:
        if one.name in private:
            one.linkage = "internal"
    return module, machine


def prepare() -> None:
    """Imports what `compile_source` needs, so that the first kernel does not wait for it."""
    import_module("gncodegen.targets.cpu.intrinsics")


def compile_missing(paths: Iterable[Path]) -> int:
    """Compiles every source without an object file, on all cores; returns how many there were."""
    return workers.compile_missing(paths, ".o", __name__)
