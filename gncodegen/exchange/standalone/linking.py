"""Kernels and the launch loop into this process's memory, for a file that stands alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import llvmlite.binding as llvm

from gncodegen.exchange.standalone.host import processor
from gncodegen.targets.cpu.compile import optimised
from gncodegen.targets.cpu.launch_loop import kernel


class Linked(NamedTuple):
    """A function in memory: LLVM's engine, which keeps its machine code, and its address."""

    engine: Any
    address: int


def linked(functions: Iterable[tuple[str, Callable[..., Any]]]) -> list[Linked]:
    """Functions with their names, compiled for this processor."""
    engine: Any = llvm.create_mcjit_compiler(llvm.parse_assembly(""), processor().target_machine())
    names: list[str] = []
    for name, function in functions:
        module, machine = optimised(function, name)
        engine.add_object_file(llvm.ObjectFileRef.from_data(machine.emit_object(module)))
        names.append(name)
    engine.finalize_object()
    return [Linked(engine, engine.get_function_address(name)) for name in names]


def linked_loop() -> Linked:
    """The launch loop."""
    return linked([("launch_loop", kernel)])[0]
