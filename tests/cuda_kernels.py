"""CUDA kernels under test: machines, problems, what must hold for every compiled kernel, and bfloat16 bits."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gncodegen.kernels import store
from gncodegen.kernels.schedule import ITEM_SIZE, Launch, Machine, Plan, Problem, Schedule, Tensor
from gncodegen.targets.cuda.disassemble import sass
from gncodegen.targets.cuda.emulator import Traffic

ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_120")
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


def machine(target: str = "sm_90", **changes: Any) -> Machine:
    """The Machine of an architecture; `changes` replace fields, so that small shapes reach every schedule."""
    from gncodegen.targets.cuda import architectures

    return replace(architectures.machine(target), **changes)


def problem_of(
    op: str,
    operands: Sequence[tuple[Sequence[int], str]],
    results: Sequence[tuple[Sequence[int], str]],
    attributes: dict[str, Any] | None = None,
    on: Machine | None = None,
) -> Problem:
    def tensors(given: Sequence[tuple[Sequence[int], str]]) -> tuple[Tensor, ...]:
        return tuple(Tensor(tuple(shape), dtype) for shape, dtype in given)

    return Problem(op, tensors(operands), tensors(results), attributes or {}, on or machine())


def compiled(schedules: Sequence[Schedule]) -> list[store.Source]:
    """The kernels of schedules, compiled and checked: no spills, no float64 where no buffer is float64."""
    from gncodegen.targets.cuda.target import CudaTarget

    target = CudaTarget(schedules[0].target)
    sources = target.write(schedules)
    target.compile(sources)
    return sources


def report(source: store.Source) -> dict[str, int]:
    """What the assembler said: registers, spills, stack, shared."""
    return json.loads(source.beside(".json").read_text())


def check_static(problem: Problem, plan: Plan) -> list[store.Source]:
    """Compiles a plan and asserts what holds for every kernel."""
    sources = compiled([launch.schedule for launch in plan.launches])
    for launch, source in zip(plan.launches, sources, strict=True):
        check_kernel(source, _touches_float64(problem, plan, launch))
    return sources


def check_kernel(source: store.Source, wide: bool) -> None:
    """Asserts that a compiled kernel spills nothing, and computes nothing in float64 unless a buffer is (`wide`)."""
    assert report(source)["spills"] == 0, f"{source.path}: {report(source)}"
    assert report(source)["stack"] == 0, f"{source.path}: {report(source)}"
    if not wide:
        ptx = source.beside(".ptx").read_text()
        doubles = [line for line in ptx.splitlines() if re.search(r"\.f64\b", line) and ".reg" not in line]
        assert not doubles, f"{source.path}: {doubles[:3]}"


SLABS = {
    "group_norm": ("operand0", "operand3", "result0"),
    "group_norm_gradient": ("operand0", "operand1", "operand5", "result0", "result3"),
}
"""The arguments of group normalization that are as large as x."""


def check_traffic(op: str, launch: Launch, source: store.Source, traffic: Traffic) -> None:
    """Asserts that a launch of group normalization moves the bytes it names, in PTX that runs and so in SASS."""
    if op not in SLABS or launch.schedule.template.removesuffix("_wide") != op:
        return
    lanes = int(launch.schedule.tiles["lanes"])
    access = lanes * ITEM_SIZE[launch.schedule.dtype]  # a narrower one reads a group's first element, its shift
    moved = sum(traffic.read[name, access] + traffic.written[name, access] for name in SLABS[op])
    assert moved == launch.bytes or lanes == 1, f"{launch.schedule.tiles}: {traffic.read}, {traffic.written}"
    if launch.schedule.template == op:  # the assembler unrolls the loops of wide groups
        check_accesses(source)


def check_accesses(source: store.Source) -> None:
    """Asserts that SASS has the 16-byte accesses of PTX: the assembler made none narrower, and none twice."""
    ptx = source.beside(".ptx").read_text()
    written = re.findall(r"\b(?:ld|st)\.global\.(?:nc\.)?(?:v4\.[bfu]32|v2\.[bfu]64)", ptx)
    assembled = re.findall(r"\b(?:LDG|STG)\.E\.128\b", sass(source.beside(".cubin")))
    assert len(assembled) == len(written), source.path


def _touches_float64(problem: Problem, plan: Plan, launch: Launch) -> bool:
    named = {f"operand{i}": t for i, t in enumerate(problem.operands)}
    named |= {f"result{i}": t for i, t in enumerate(problem.results)}
    named |= {f"workspace{i}": t for i, t in enumerate(plan.workspaces)}
    return any(named[a].dtype == "float64" for a in launch.arguments if a in named)
