"""Object files into this process: kernels linked by an engine of their own, released with the last that runs them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, finalize

import llvmlite.binding as llvm

from gncodegen.cache import files
from gncodegen.errors import CompileError
from gncodegen.kernels.store import Source
from gncodegen.process import forks
from gncodegen.process.signals import Uninterrupted
from gncodegen.targets.cpu.compile import compile_source, symbol
from gncodegen.targets.cpu.host import processor, target_machine

_lock = forks.lock(forks.Rank.LINK)  # LLVM links in one thread at a time


class _Engine:
    """One of LLVM's engines: the memory of kernels that were linked together."""

    def __init__(self) -> None:
        self.llvm: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(""), processor().target_machine())
        finalize(self, _close, self.llvm).atexit = False  # at the interpreter's end LLVM may be gone


def _close(engine: Any) -> None:
    with _lock:
        engine.close()


class LinkedKernel:
    """A kernel in this process's memory, for as long as somebody holds it.

    Args:
        address: of its function.
        engine: whose memory it lies in.
    """

    def __init__(self, address: int, engine: _Engine) -> None:
        self.address, self._engine = address, engine

    def __int__(self) -> int:
        return self.address


_linked: WeakValueDictionary[Path, LinkedKernel] = WeakValueDictionary()


def link(paths: Iterable[Path]) -> list[LinkedKernel]:
    """The kernels whose sources are `paths`, compiled before; an object file that is gone by now is made again.

    Raises:
        CompileError: an object file cannot be linked.
    """
    with _lock:
        wanted = list(paths)
        known = {path: _linked.get(path) for path in wanted}
        fresh = [path for path, kernel in known.items() if kernel is None]
        linked = dict(zip(fresh, _together(fresh), strict=True))
        _linked.update(linked)
        return [known[path] or linked[path] for path in wanted]


def _together(paths: list[Path]) -> list[LinkedKernel]:
    if not paths:
        return []
    engine = _Engine()
    for path in paths:
        try:
            engine.llvm.add_object_file(llvm.ObjectFileRef.from_data(_object(path)))
        except RuntimeError as error:
            raise CompileError(f"object file {path.with_suffix('.o')} cannot be linked: {error}; delete it") from error
    engine.llvm.finalize_object()
    return [LinkedKernel(engine.llvm.get_function_address(symbol(path)), engine) for path in paths]


def _object(path: Path) -> bytes:
    content = files.read(path.with_suffix(".o"))
    if content is None:
        with Uninterrupted():
            compile_source(path)
        content = Source(path).read(".o")
    return content


def assembly(source: Source) -> str:
    """The assembly of a kernel, from its kept LLVM IR."""
    with _lock:
        return target_machine().emit_assembly(llvm.parse_assembly(source.read(".ll").decode()))
