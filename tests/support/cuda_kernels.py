"""CUDA kernels under test: what must hold for every compiled kernel, and bfloat16 bits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from gncodegen.emulator import Traffic
from gncodegen.kernels import store
from gncodegen.kernels.schedule import ITEM_SIZE, Launch, Plan, Problem, Schedule
from gncodegen.targets.cuda.compile import assemble, entry
from gncodegen.targets.cuda.disassemble import sass

STORED_AS = {"bfloat16": np.dtype(np.uint16)}
"""NumPy has no bfloat16: its bits travel as uint16."""


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """The bits of x rounded to bfloat16, as uint16."""
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Float32 values of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def numpy_type(dtype: str) -> np.dtype:
    return STORED_AS.get(dtype) or np.dtype(dtype)


def compiled(schedules: Sequence[Schedule]) -> list[store.Source]:
    """The kernels of schedules, compiled and checked: no spills, no float64 where no buffer is float64."""
    from gncodegen.targets.cuda.target import CudaTarget

    target = CudaTarget(schedules[0].target)
    sources = target.write(schedules)
    target.compile(sources)
    return sources


def report(source: store.Source) -> dict[str, int]:
    """What the assembler said: registers, spills, stack, shared."""
    return json.loads(source.read(".json"))


def check_static(problem: Problem, plan: Plan) -> list[store.Source]:
    """Compiles a plan and asserts what holds for every kernel."""
    sources = compiled([launch.schedule for launch in plan.launches])
    for launch, source in zip(plan.launches, sources, strict=True):
        check_kernel(source, _touches_float64(problem, plan, launch))
    return sources


def check_kernel(source: store.Source, wide: bool) -> None:
    """Asserts that a compiled kernel spills nothing, and computes nothing in float64 unless a buffer is (`wide`)."""
    assert report(source)["spills"] == 0, f"{source.path}: {report(source)}"
    # A large angle is reduced by digits of 2/pi that lie in an array, and in the end in float64.
    angles = bool(re.search(r"\b(sin|cos|tan)\(", source.path.read_text(encoding="utf-8")))
    assert report(source)["stack"] <= 64 * angles, f"{source.path}: {report(source)}"
    if not wide and not angles:
        ptx = source.beside(".ptx").read_text()
        doubles = [line for line in ptx.splitlines() if re.search(r"\.f64\b", line) and ".reg" not in line]
        assert not doubles, f"{source.path}: {doubles[:3]}"


PANELS = {
    "group_norm": ("operand0", "operand3", "result0"),
    "group_norm_gradient": ("operand0", "operand1", "operand5", "result0", "result3"),
}
"""The arguments of group normalization that are as large as x."""


def check_traffic(op: str, launch: Launch, source: store.Source, traffic: Traffic) -> None:
    """Asserts that a launch of group normalization moves the bytes it names, in PTX that runs and so in SASS."""
    if op not in PANELS or launch.schedule.template.removesuffix("_wide") != op:
        return
    lanes = int(launch.schedule.tiles["lanes"])
    access = lanes * ITEM_SIZE[launch.schedule.dtype]  # a narrower one reads a group's first element, its shift
    read, written = (sum(bytes_[name, access] for name in PANELS[op]) for bytes_ in (traffic.read, traffic.written))
    panels = launch.grid * int(launch.schedule.tiles.get("members", 1))
    if launch.schedule.numbers == ("panels",):  # a last block with fewer panels reads one of them again
        read = read * launch.numbers[0] // panels
    assert read + written == launch.bytes or lanes == 1, f"{launch.schedule.tiles}: {traffic.read}, {traffic.written}"
    check_accesses(source, access)


def check_accesses(source: store.Source, access: int) -> None:
    """Asserts that SASS has the global accesses of PTX, width by width: the assembler split, repeated and dropped none.

    Args:
        source: of the kernel.
        access: bytes of one access to the tensors that are as large as x.
    """
    code = _rolled_sass(source)
    written, assembled = _accesses_of_ptx(source.beside(".ptx").read_text()), _accesses_of_sass(code)
    if "BRA.DIV" in code:  # a warp that has diverged runs a copy of what lies around its shuffles: sums, no panels
        assert all(assembled[key] >= count for key, count in written.items()), f"{source.path}: SASS {assembled}"
        assembled = {key: count for key, count in assembled.items() if key[1] == access}
        written = {key: count for key, count in written.items() if key[1] == access}
    assert assembled == written, f"{source.path}: PTX {written}, SASS {assembled}"


@cache
def _rolled_sass(source: store.Source) -> str:
    """The SASS of a kernel whose loops are not unrolled; the disassembler takes a third of a second."""
    ptx = source.beside(".ptx").read_text()
    rolled = _with_rolled_loops(ptx)
    if rolled == ptx:
        return sass(source.beside(".cubin"))
    target = re.findall(r"^\.target (sm_\w+)", ptx, re.MULTILINE)[0]
    with TemporaryDirectory() as folder:
        cubin = Path(folder, "rolled.cubin")
        cubin.write_bytes(assemble(rolled, target, entry(source.path))[0])
        return sass(cubin)


def _with_rolled_loops(ptx: str) -> str:
    """PTX whose loops the assembler must not unroll, so that its accesses can be counted."""
    begins = {found[1]: found.start() for found in re.finditer(r"^(\$L\w+):", ptx, re.MULTILINE)}
    jumps = re.finditer(r"\bbra(?:\.uni)?\s+(\$L\w+)", ptx)
    for label in {jump[1] for jump in jumps if begins[jump[1]] < jump.start()}:
        ptx = ptx.replace(f"\n{label}:", f'\n{label}:\n.pragma "nounroll";')
    return ptx


def _accesses_of_ptx(ptx: str) -> Counter[tuple[str, int]]:
    """How many global loads and stores of how many bytes."""
    found = re.findall(r"\b(ld|st)(?:\.\w+)*\.global(?:\.[a-z]\w*)*?(?:\.v(\d))?\.[bfsu](\d+)\s", ptx)
    return Counter((kind, int(bits) // 8 * int(count or 1)) for kind, count, bits in found)


def _accesses_of_sass(code: str) -> Counter[tuple[str, int]]:
    """The same of machine code."""
    found = re.findall(r"\b(LD|ST)G\.E(?:\.(?:[US]?(8|16|64|128)\b|\w+))*", code)
    return Counter((kind.lower(), int(bits or 32) // 8) for kind, bits in found)


def _touches_float64(problem: Problem, plan: Plan, launch: Launch) -> bool:
    named = {f"operand{i}": t for i, t in enumerate(problem.operands)}
    named |= {f"result{i}": t for i, t in enumerate(problem.results)}
    named |= {f"workspace{i}": t for i, t in enumerate(plan.workspaces)}
    return any(named[a].dtype == "float64" for a in launch.arguments if a in named)
