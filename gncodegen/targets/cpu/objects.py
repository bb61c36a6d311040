"""Object files into this process: one llvmlite engine that links kernels and hands out their addresses."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.errors import CompileError
from gncodegen.targets.cpu.compile import symbol

_linked: dict[Path, int] = {}


@cache
def _target_machine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, jit=True
    )


@cache
def _engine() -> Any:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine())


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
    """The host's assembly of the kernel whose source is `path`, from its kept LLVM IR."""
    module = llvm.parse_assembly(path.with_suffix(".ll").read_text(encoding="utf-8"))
    return _target_machine().emit_assembly(module)
