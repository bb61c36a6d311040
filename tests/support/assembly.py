"""Assembly of CPU kernels, for this CPU or one that is not here: its innermost loops, their vectors and spills."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.errors import CompileError
from gncodegen.targets.cpu.processor import Processor

MULTIPLY_ADD = re.compile(r"^\t(?:vfn?m(?:add|sub)\w+p[sd]\t|fml[as]\tv\d).*", re.MULTILINE)
"""A multiply-add of vectors: x86, Arm."""

ARITHMETIC = re.compile(
    r"^\t(?:v(?:f?n?m(?:add|sub|ul)|add|sub|div|sqrt|max|min)\w*p[sd]|f(?:ml[as]|add|sub|mul|div|sqrt|maxnm|minnm|max|min))\t.*",
    re.MULTILINE,
)
"""A line of arithmetic of vectors; on Arm, of numbers, too."""

REGISTERS = {64: "%zmm", 32: "%ymm", 16: r"%xmm|\tv\d+\.(?:4s|2d)", 8: r"\tv\d+\.2s"}
"""How vectors of so many bytes are written."""

_START = """
import sys
sys.path[:0] = [sys.argv[1]]
from gncodegen.targets import workers
from gncodegen.targets.cpu import host, processor
there = processor.named(*sys.argv[2:])
host.processor = lambda: there
workers.serve("gncodegen.targets.cpu.compile")
"""


def assembly(path: Path, processor: Processor) -> str:
    """The assembly of the kernel whose compiled source is `path`, with LLVM's comments on loops and spills."""
    machine: Any = processor.target_machine()
    machine.set_asm_verbosity(True)
    return machine.emit_assembly(llvm.parse_assembly(path.with_suffix(".ll").read_text(encoding="utf-8")))


def innermost_loops(text: str) -> list[str]:
    """The bodies of the loops without loops in them."""
    bodies: dict[str, str] = {}
    for block in re.split(r"^(?=\.?LBB\w+:|(?:#|//) %bb)", text, flags=re.MULTILINE):
        label = block.partition(":")[0].removeprefix(".").removeprefix("L")
        inside = re.search(r"(?:#|//) +in Loop: Header=(\w+)", block)
        if "This Inner Loop Header" in block:
            bodies[label] = block
        elif inside and inside[1] in bodies:
            bodies[inside[1]] += block
    return list(bodies.values())


def multiply_adds(body: str) -> int:
    """How many multiply-adds of vectors there are."""
    return len(MULTIPLY_ADD.findall(body))


def widths(body: str) -> list[int]:
    """The bytes of the vectors of each multiply-add."""
    lines = MULTIPLY_ADD.findall(body)
    return [next(width for width, names in REGISTERS.items() if re.search(names, line)) for line in lines]


def widest(text: str) -> int:
    """The bytes of the widest vectors that are computed with; 0 where there are none."""
    lines = "\n".join(ARITHMETIC.findall(text))
    return max((width for width, names in REGISTERS.items() if re.search(names, lines)), default=0)


def stores(body: str) -> bool:
    """Whether a loop stores vectors otherwise than for want of registers."""
    return bool(re.search(r"\tvmov\w+\t%[xyz]mm\d+, [^%\n]*\((?!.*Spill)|\tst(?:r|p|ur)\tq(?!.*Spill)", body))


def spills(body: str) -> list[str]:
    """The lines that store a vector register to the stack, or load one from there, for want of registers."""
    return [line for line in body.splitlines() if re.search(r"(16|32|64)-byte (Folded )?(Spill|Reload)", line)]


@contextmanager
def cross_compiler(processor: Processor) -> Iterator[Callable[[Path], None]]:
    """A compile worker for a processor that need not be here: compiles a source to LLVM IR and an object file."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-P", "-c", _START, root, processor.name, processor.attributes, processor.triple]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline().strip() == "ready"
        question, answer = process.stdin, process.stdout

        def compile_source(path: Path) -> None:
            if path.with_suffix(".ll").exists():
                return
            print(json.dumps([str(path), ".o", True]), file=question, flush=True)
            word, text = json.loads(answer.readline())
            if word != "done":
                raise CompileError(text)

        yield compile_source
        question.close()
