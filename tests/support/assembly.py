"""Assembly of CPU kernels for this host or another x86 CPU: its innermost loops, and what they spill."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.errors import CompileError
from gncodegen.targets.workers import command


def assembly(path: Path, cpu: str = "") -> str:
    """The assembly of the kernel whose compiled source is `path`, with LLVM's comments on loops and spills."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = "" if cpu else llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    machine: Any = target.create_target_machine(cpu=cpu or llvm.get_host_cpu_name(), features=features, opt=3, jit=True)
    machine.set_asm_verbosity(True)
    return machine.emit_assembly(llvm.parse_assembly(path.with_suffix(".ll").read_text(encoding="utf-8")))


def innermost_loops(text: str, least: int) -> list[str]:
    """The bodies of the loops without loops in them that have at least so many vector multiply-adds."""
    bodies: dict[str, str] = {}
    for block in re.split(r"^(?=\.?LBB\w+:|# %bb)", text, flags=re.MULTILINE):
        label = block.partition(":")[0].removeprefix(".").removeprefix("L")
        inside = re.search(r"# +in Loop: Header=(\w+)", block)
        if "This Inner Loop Header" in block:
            bodies[label] = block
        elif inside and inside[1] in bodies:
            bodies[inside[1]] += block
    return [body for body in bodies.values() if len(re.findall(r"vfn?m(?:add|sub)\w+p[sd]", body)) >= least]


def stores(body: str) -> bool:
    """Whether a loop stores vectors otherwise than for want of registers."""
    return bool(re.search(r"\tvmov\w+\t%[xyz]mm\d+, [^%\n]*\((?!.*Spill)", body))


def spills(body: str) -> list[str]:
    """The lines that store a vector register to the stack, or load one from there, for want of registers."""
    return [line for line in body.splitlines() if re.search(r"(16|32|64)-byte (Folded )?(Spill|Reload)", line)]


@contextmanager
def cross_compiler(cpu: str) -> Iterator[Callable[[Path], None]]:
    """A compile worker for another x86 CPU: compiles a source, whose object file is of no use here, to LLVM IR."""
    environment = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command("gncodegen.targets.cpu.compile"), env=environment, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().strip() == "ready"
        question, answer = process.stdin, process.stdout

        def compile_source(path: Path) -> None:
            if path.with_suffix(".ll").exists():
                return
            print(path, file=question, flush=True)
            if (said := answer.readline().strip()) != "done":
                raise CompileError(said)

        yield compile_source
        question.close()
