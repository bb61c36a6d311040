"""`compiled.export("net.o")` and `"net.so"`: kernels, what runs them and weights as one object, with a header."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import CompileError, NetworkError, TargetError
from gncodegen.exchange.standalone.driver import LAUNCH, Layout, driver
from gncodegen.exchange.standalone.program import Port, Standalone, standalone
from gncodegen.kernels.program import Call
from gncodegen.runtime.executor import Executor, argument_table, cost
from gncodegen.saving import written_beside
from gncodegen.targets.cpu.compile import LIBRARY_SYMBOLS, optimised, symbol
from gncodegen.targets.cpu.host import processor
from gncodegen.targets.cpu.processor import named

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

ALIGNMENT = 64
"""Bytes, of every buffer; the workspace has as many more, so that it may begin anywhere."""

LARGEST = 2**31 - 2**24
"""Bytes of weights that code of x86 reaches."""

COMPILERS = ("cc", "gcc", "clang")

ELSEWHERE = """
import sys
root, network, path = sys.argv[1:]
sys.path[:0] = [] if root in sys.path else [root]
import gncodegen
try:
    gncodegen.load(network).export(path)
except gncodegen.GncodegenError as error:
    sys.exit(str(error))
"""

HEADER = """/* A network, ahead of time, for {cpu}. Made by gncodegen {version}.

{arrays}
   Any number of threads may call these functions at once, each with a workspace of its own. */

#ifndef {upper}_H
#define {upper}_H

#define {upper}_BATCH {batch} /* observations that it is tuned for; more are done run by run */
{sizes}
#define {upper}_WORKSPACE_SIZE {workspace} /* bytes, at any address */

#ifdef __cplusplus
extern "C" {{
#endif

/* The outputs of n observations. */
void {name}_predict({parameters}, long n, void *workspace);

/* Calls tile(i, arguments) for first <= i < last, in any order and on any threads, and returns when all are done. */
typedef void (*{name}_for)(void *context, void (*tile)(long i, void *arguments), long first, long last,
                           void *arguments);

/* The same on the caller's threads. */
void {name}_predict_on({parameters}, long n, void *workspace, {name}_for loop, void *context);

#ifdef __cplusplus
}}
#endif
#endif
"""


def write(compiled: Compiled, path: Path, *, cpu: str = "") -> None:
    """Writes an object or a shared library, by the path's ending, and a header beside it.

    Args:
        compiled: the network, with its values of now.
        path: of the file; its stem is what the functions are called after.
        cpu: LLVM's name of the CPU that it is for, such as "x86-64-v3"; "" = that which the network was compiled for.

    Raises:
        OptionsError: the network was compiled for another target, or LLVM does not know the CPU.
        NetworkError: some layers cannot be in such a file; `issues` names every one.
        TargetError: there is no compiler to link a library, or this computer is no such CPU.
        SaveError: a file cannot be written.
    """
    alone = standalone(compiled, "an object file")
    if cpu and cpu != processor().name:
        named(cpu, source="cpu")
        _write_elsewhere(compiled, path, cpu)
        return
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if path.suffix == ".so" and compiler is None:
        raise TargetError(
            f"export: a shared library is linked by the system's compiler, and there is no {', '.join(COMPILERS)} "
            'here; allowed: "net.o", which needs none; install one, or link the object where there is one'
        )
    native = _Native(alone, re.sub(r"\W", "_", path.stem, flags=re.ASCII))
    with written_beside(path) as draft, TemporaryDirectory() as folder:
        scratch = Path(folder) / "network.o"
        scratch.write_bytes(native.object(Path(folder) / "weights"))
        if path.suffix == ".so":
            _link(compiler or "", scratch, draft / path.name)
        else:
            shutil.copyfile(scratch, draft / path.name)
        (draft / path.with_suffix(".h").name).write_text(native.header(), encoding="utf-8")


def _link(compiler: str, given: Path, made: Path) -> None:
    command = [compiler, "-shared", "-o", str(made), str(given), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().partition("\n")[0]
        raise TargetError(f"export: {compiler} cannot link a library: {said}; allowed: one that can; export an object")


def _write_elsewhere(compiled: Compiled, path: Path, cpu: str) -> None:
    """The same in a process whose kernels are for another CPU."""
    root = str(Path(__file__).parents[3])
    with TemporaryDirectory() as folder:
        compiled.save(Path(folder) / "network")
        command = [sys.executable, "-P", "-c", ELSEWHERE, root, str(Path(folder) / "network"), str(path.absolute())]
        environment = {**os.environ, "GNCODEGEN_CPU": cpu}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise TargetError(f"export: cpu={cpu!r}: {done.stderr.strip()}")


def _ceiling(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Native:
    """One network as an LLVM module.

    Args:
        alone: the function.
        name: what its symbols begin with.
    """

    def __init__(self, alone: Standalone, name: str) -> None:
        program = alone.program
        self._alone, self._name = alone, name if name[:1].isalpha() else f"net_{name}"
        self._ports: tuple[Port, ...] = (*alone.inputs, *alone.outputs)
        self._layout = Layout(len(alone.inputs), len(self._ports))
        self._calls: tuple[Call, ...] = program.calls[program.hoisted :]
        self._data: list[NDArray[Any]] = []
        buffers = [alone.buffer(port) for port in self._ports]
        self._sizes = [each.bytes // program.batch_size for each in buffers]
        places = list(accumulate(map(_ceiling, (program.arena_bytes, *(each.bytes for each in buffers))), initial=0))
        self._stages, self._arguments = places[1:-1], places[-1]
        self._starts, _, self._slots = argument_table(self._calls)
        self._workspace = self._arguments + _ceiling(8 * self._slots) + ALIGNMENT

    # ---- weights and tables --------------------------------------------------------------------------------------

    def _weights(self) -> tuple[bytes, dict[int, int]]:
        """What never changes: parameters and what follows from them; and where each buffer of it lies."""
        program, runner = self._alone.program, self._alone.lowered.runner
        assert isinstance(runner, Executor)
        zeros = {port.key: self._alone.buffer(port) for port in self._alone.inputs}
        runner.run({key: np.zeros(each.shape, each.dtype) for key, each in zeros.items()})
        used = {program.root(index) for call in self._calls for index in call.arguments}
        parts, places = [runner.constants.tobytes()], dict[int, int]()
        begin = _ceiling(len(parts[0]))
        for index in sorted(used):
            buffer = program.buffers[index]
            if buffer.kind == "constant":
                places[index] = buffer.offset
            elif buffer.kind in ("parameter", "state"):
                parts += [bytes(begin - sum(map(len, parts))), self._alone.parameter(buffer).tobytes()]
                places[index], begin = begin, _ceiling(begin + len(parts[-1]))
        content = b"".join(parts)
        if len(content) > LARGEST:
            raise NetworkError(
                [f"{len(content):,} bytes of weights; allowed: {LARGEST:,} in an object; export a folder"]
            )
        return content, places

    def _table(self, places: dict[int, int]) -> list[int]:
        """For each argument of each launch what its address counts from, and how far."""
        program, words = self._alone.program, list[int]()
        ports = {program.arguments[port.key]: 2 + place for place, port in enumerate(self._ports)}
        for call in self._calls:
            for number in reversed(call.numbers):
                words += [self._layout.number, number]
            for index in map(program.root, call.arguments):
                if index in ports:
                    words += [ports[index], 0]
                elif index in places:
                    words += [1, places[index]]
                else:
                    words += [0, program.buffers[index].offset]
        return words

    # ---- the object ----------------------------------------------------------------------------------------------

    def object(self, weights: Path) -> bytes:
        """The object file; its weights are written to `weights` for as long as that takes."""
        content, places = self._weights()
        weights.write_bytes(content)
        program, layout = self._alone.program, self._layout
        function = driver(
            layout,
            program.batch_size,
            tuple(self._sizes),
            tuple(self._stages),
            self._slots,
            len(self._calls),
            program.in_order,
        )
        module, _ = optimised(function, "driver")
        kernels = {name: symbol(source.path) for name, source in self._alone.sources.items()}
        for source in {kernels[call.kernel]: self._alone.sources[call.kernel] for call in self._calls}.values():
            module.link_in(llvm.parse_assembly(source.read(".ll").decode()))
        entry = self._entry(self._table(places), [kernels[call.kernel] for call in self._calls], weights, len(content))
        module.link_in(llvm.parse_assembly(entry))
        exported = {f"{self._name}_predict", f"{self._name}_predict_on"}
        for one in [*module.functions, *module.global_variables]:
            if not one.is_declaration and one.name not in exported:
                one.linkage = "internal"
        needed = {each.name for each in module.functions if each.is_declaration and not each.name.startswith("llvm.")}
        if lacking := sorted(needed - LIBRARY_SYMBOLS):
            raise CompileError(f"export: the kernels need {', '.join(lacking)}; allowed: the C library; report it")
        cpu = processor()
        machine = llvm.Target.from_triple(cpu.triple).create_target_machine(
            cpu=cpu.name, features=cpu.attributes, opt=3, reloc="pic", codemodel="small"
        )
        llvm.initialize_native_asmparser()
        return machine.emit_object(module)

    def _entry(self, slots: list[int], kernels: list[str], weights: Path, size: int) -> str:
        """LLVM IR of the exported functions, the tables, and the weights."""
        layout, calls, name = self._layout, self._calls, self._name
        rows = [
            f"i64 ptrtoint (ptr @{kernel} to i64), i64 {call.first}, i64 {call.grid}, i64 {start}, "
            f"i64 {cost(self._alone.program, call)}, "
            + ", ".join(f"i64 {word}" for word in call.order or (1, 0, 0, 0, 0))
            for kernel, call, start in zip(kernels, calls, self._starts, strict=True)
        ]
        ports = ", ".join(f"i64 %p{place}" for place in range(layout.ports))
        words = {place: f"%p{place}" for place in range(layout.ports)}
        words |= {layout.bases: "%begin", layout.bases + 1: "ptrtoint (ptr @weights to i64)"}
        words[layout.bases + layout.number] = "0"
        fixed = (
            "ptrtoint (ptr @slots to i64)",
            "ptrtoint (ptr @launches to i64)",
            "%own",
            "%arguments",
            "%loop",
            "%context",
        )
        words |= {layout.fixed + place: word for place, word in enumerate(fixed)}
        stores = [
            f"  %w{place} = getelementptr i64, ptr %table, i64 {place}\n  store i64 {word}, ptr %w{place}"
            for place, word in words.items()
        ]
        path = str(weights).replace("\\", "\\5C").replace('"', "\\22")
        return "\n".join([
            'module asm ".section .rodata"', f'module asm ".balign {ALIGNMENT}"',
            'module asm "weights:"', f'module asm ".incbin \\22{path}\\22"', 'module asm ".text"',
            f"@weights = external hidden constant [{size} x i8]",
            f"@slots = internal constant [{len(slots)} x i64] [{', '.join(f'i64 {word}' for word in slots)}]",
            f"@launches = internal constant [{LAUNCH * len(rows)} x i64] [{', '.join(rows)}]",
            *(f"declare void @{kernel}(i64, i64)" for kernel in dict.fromkeys(kernels)),
            "declare void @driver(i64, i64)",
            f"define void @{name}_predict_on({ports}, i64 %n, i64 %workspace, i64 %loop, i64 %context) {{",
            f"  %table = alloca [{layout.size} x i64]",
            "  %own = ptrtoint ptr %table to i64",
            f"  %up = add i64 %workspace, {ALIGNMENT - 1}",
            f"  %begin = and i64 %up, -{ALIGNMENT}",
            f"  %arguments = add i64 %begin, {self._arguments}",
            *stores,
            "  call void @driver(i64 %n, i64 %own)",
            "  ret void",
            "}",
            f"define void @{name}_predict({ports}, i64 %n, i64 %workspace) {{",
            f"  call void @{name}_predict_on({ports}, i64 %n, i64 %workspace, i64 0, i64 0)",
            "  ret void",
            "}",
        ])  # fmt: skip

    def header(self) -> str:
        """The text of the header."""
        from gncodegen import __version__  # noqa: PLC0415  lies above

        layout, alone, upper = self._layout, self._alone, self._name.upper()
        kinds = {"float32": "float", "float64": "double"}
        names = [*_numbered("x", layout.inputs), *_numbered("y", layout.ports - layout.inputs)]
        parameters: list[str] = []
        arrays: list[str] = []
        sizes: list[str] = []
        for place, (name, port) in enumerate(zip(names, self._ports, strict=True)):
            kind, shape = kinds[alone.buffer(port).dtype], " x ".join(map(str, port.shape)) or "1"
            parameters.append(f"{'const ' if place < layout.inputs else ''}{kind} *{name}")
            arrays.append(f"   {name}: n x {shape}, {kind}, row by row")
            sizes.append(f"#define {upper}_{name.upper()}_SIZE {int(np.prod(port.shape))} /* of one observation */")
        return HEADER.format(
            cpu=processor().name, version=__version__, arrays="\n".join(arrays), upper=upper, name=self._name,
            batch=alone.program.batch_size, sizes="\n".join(sizes), workspace=self._workspace,
            parameters=", ".join(parameters),
        )  # fmt: skip


def _numbered(letter: str, count: int) -> list[str]:
    return [letter] if count == 1 else [f"{letter}{number}" for number in range(1, count + 1)]
