"""Object files into this process: one llvmlite engine that links kernels and hands out their addresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.errors import CompileError
from gncodegen.targets.cpu.compile import symbol
from gncodegen.targets.cpu.host import target_machine

_linked: dict[Path, int] = {}


@cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())


def link(paths: list[Path]) -> list[int]:
    """The addresses of the kernels whose sources are `paths`; their object files must exist.

    Raises:
        CompileError: an object file is damaged; names the file to delete.
    """
    engine = _engine()
    fresh = [path for path in dict.fromkeys(paths) if path not in _linked]
    for path in fresh:
        try:
            engine.add_object_file(llvm.ObjectFileRef.from_path(str(path.with_suffix(".o"))))
        except Exception as error:
            raise CompileError(f"object file {path.with_suffix('.o')} cannot be linked: {error}; delete it") from error
    if fresh:
        engine.finalize_object()
    for path in fresh:
        _linked[path] = engine.get_function_address(symbol(path))
        if not _linked[path]:
            raise CompileError(f"object file {path.with_suffix('.o')} lacks {symbol(path)}; delete it")
    return [_linked[path] for path in paths]


def assembly(path: Path) -> str:
    """The assembly of the kernel whose source is `path`, from its kept LLVM IR."""
    module = llvm.parse_assembly(path.with_suffix(".ll").read_text(encoding="utf-8"))
    return target_machine().emit_assembly(module)
