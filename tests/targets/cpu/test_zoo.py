"""CPUs that need not be here: every kernel of the zoo is planned for them, compiled, and its assembly searched."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from support.assembly import assembly, cross_compiler, innermost_loops, multiply_adds, spills, stores, widest
from support.sets import dealt, few
from support.zoo import programs

from gncodegen.kernels import catalog, store
from gncodegen.kernels.schedule import Machine, Problem, Schedule, Tensor
from gncodegen.targets.cpu import processor
from gncodegen.targets.cpu.host import tag
from gncodegen.targets.cpu.processor import Processor

TEMPLATES = Path(__file__).parents[3] / "templates" / "cpu"


@dataclass(frozen=True)
class Cpu:
    """A CPU: its name to LLVM, and the facts that kernels are planned by."""

    name: str
    triple: str
    machine: Machine

    @property
    def processor(self) -> Processor:
        """As LLVM knows it."""
        return processor.named(self.name, triple=self.triple)


X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


def _machine(vector_bytes: int, vector_registers: int, *caches: int) -> Machine:
    l1, l2, l3 = caches
    return Machine(vector_bytes=vector_bytes, vector_registers=vector_registers, l1=l1, l2=l2, l3=l3, cores=2)


CPUS = [
    Cpu(
        "skylake-avx512",
        X86,
        Machine(vector_bytes=64, vector_registers=32, l1=32 << 10, l2=1 << 20, l3=24 << 20, cores=2),
    ),
    Cpu("znver3", X86, _machine(32, 16, 32 << 10, 512 << 10, 32 << 20)),
    Cpu("neoverse-n1", ARM, _machine(16, 32, 64 << 10, 1 << 20, 32 << 20)),
]

PADDED = {"padding": (1, 1, 1, 1)}
PROBLEMS = {
    "bias": ("bias", [(8, 7, 7, 16), (16,)], [(8, 7, 7, 16)], {}),
    "loss": ("cross_entropy", [(601, 9), (601, 9)], [()], {}),
    "loss-gradient": ("cross_entropy_gradient", [(601, 9), (601, 9)], [(601, 9)], {}),
    "statistics": ("group_statistics", [(4, 56, 56, 64)], [(4, 8, 3)], {"groups": 8, "epsilon": 1e-5}),
    "waves": (
        "group_norm", [(4, 128, 128, 64), (64,), (64,)], [(4, 128, 128, 64), (4, 8, 3)], {"groups": 8, "epsilon": 1e-5},
    ),
    "batch-statistics": (
        "statistics_gradient", [(4, 6, 6, 16), (4, 6, 6, 16), *[(16,)] * 5], [(4, 6, 6, 16)], {"epsilon": 1e-5},
    ),
    "steps-of-all-ranks": (
        "masked_channel_normalize", [(4, 6, 16), *[(16,)] * 4, (4, 1), (1,)], [(4, 6, 16)], {"epsilon": 1e-5},
    ),
    "copy": ("transpose", [(3, 4)], [(3, 4)], {"permutation": (0, 1)}),
    "rows": ("transpose", [(2, 5, 6, 8)], [(2, 6, 5, 8)], {"permutation": (0, 2, 1, 3)}),
    "channelwise": (
        "convolution", [(8, 28, 28, 64), (3, 3, 1, 64)], [(8, 28, 28, 64)], PADDED | {"groups": 64},
    ),
    "channelwise-weights": (
        "convolution_weight_gradient", [(8, 28, 28, 64), (8, 28, 28, 64)], [(3, 3, 1, 64)], PADDED | {"groups": 64},
    ),
    "winograd": ("convolution", [(8, 32, 32, 64), (3, 3, 64, 64)], [(8, 32, 32, 64)], PADDED),
    "winograd-heavy": ("convolution", [(8, 14, 14, 256), (3, 3, 256, 256)], [(8, 14, 14, 256)], PADDED),
    "winograd-weights": (
        "convolution_weight_gradient", [(8, 28, 28, 128), (8, 28, 28, 128)], [(3, 3, 128, 128)], PADDED,
    ),
    "strided": (
        "convolution", [(8, 56, 56, 64), (3, 3, 64, 64)], [(8, 28, 28, 64)], PADDED | {"stride": (2, 2)},
    ),
    "products": ("fully_connected_input_gradient", [(256, 1024), (1024, 1024)], [(256, 1024)], {}),
    "dot-products": ("fully_connected", [(256, 1024), (1024, 1024)], [(256, 1024)], {}),
}  # fmt: skip
"""What the networks of the zoo are too small for, or fuse."""

TILED = re.compile("convolution|matmul|winograd")
"""Templates of register tiles."""


@cache
def kernels(machine: Machine) -> tuple[Schedule, ...]:
    """Every kernel that the zoo needs on a machine."""
    found: dict[Schedule, None] = {}
    for program in programs(machine):
        found |= dict.fromkeys(program.kernels.values())
    for op, operands, results, attributes in PROBLEMS.values():
        tensors = [tuple(Tensor(shape, "float32") for shape in shapes) for shapes in (operands, results)]
        planned = catalog.plan(Problem(op, *tensors, attributes, machine))
        found |= dict.fromkeys(launch.schedule for launch in planned.launches)
    return tuple(found)


def compiled(cpu: Cpu, schedules: Iterable[Schedule]) -> Iterator[tuple[Schedule, Path, str]]:
    """Each kernel with its source's path and its assembly."""
    chosen = cpu.processor
    with cross_compiler(chosen) as compile_source:
        for schedule in schedules:
            path = store.write(schedule, f"{tag()}-for-{cpu.name}").path
            compile_source(path)
            yield schedule, path, assembly(path, chosen)


def asked_for(path: Path) -> int:
    """The bytes of the widest vectors of numbers that the optimised LLVM IR computes with; one lane is none."""
    lines = re.findall(r"= (?:f(?:add|sub|mul|div)|.*@llvm\.(?:fma|sqrt)\.v).*", path.with_suffix(".ll").read_text())
    types = re.findall(r"<(?!1 )(\d+) x (float|double)>", "\n".join(lines))
    return max((1 << (int(count) * (4 if kind == "float" else 8) - 1).bit_length() for count, kind in types), default=0)


def faults(cpu: Cpu, schedule: Schedule, path: Path, text: str) -> list[str]:
    """Vectors narrower than they were asked for, or registers that do not hold what loops work on.

    A loop of one step of a register tile spills nothing. Where LLVM unrolled a short one, or other loops hold a row of
    constants too many for 16 registers, some few are spilled; a fifth of the instructions is a fault.
    """
    width, registers = cpu.machine.vector_bytes, cpu.machine.vector_registers
    found = []
    if not min(width, asked_for(path)) <= widest(text) <= width:
        found.append(f"{path}: vectors of {widest(text)} bytes, asked for {asked_for(path)}")
    for body in innermost_loops(text):
        instructions = len(re.findall(r"^\t[a-z]", body, re.MULTILINE))
        spilled = [line for line in spills(body) if "Spill" in line]
        step = 8 <= multiply_adds(body) <= registers and not stores(body)
        if 5 * len(spilled) > instructions or (TILED.match(schedule.template) and step and spills(body)):
            found.append(f"{path}: {len(spilled)} of {instructions} instructions are spills\n{body}")
    return found


def test_facts_are_those_of_the_processor():
    for cpu in CPUS:
        assert cpu.processor.vector_registers == (cpu.machine.vector_bytes, cpu.machine.vector_registers)


@pytest.mark.parametrize("cpu", few(CPUS, 1), ids=[cpu.name for cpu in CPUS])
def test_the_zoo_reaches_every_template_and_op(cpu):
    found = kernels(cpu.machine)
    templates = {path.name.partition(".")[0] for path in TEMPLATES.glob("*.jinja")}
    assert {schedule.template for schedule in found} == templates - {"peak"}, "which measures the machine"
    assert {schedule.op for schedule in found} == set(catalog.family("cpu").PLANS)


@pytest.mark.parametrize("number", few(range(len(CPUS)), 1), ids=[cpu.name for cpu in CPUS])
def test_a_kernel_of_each_template_compiles_as_planned(number):
    """The templates are dealt to the CPUs."""
    cpu = CPUS[number]
    found: list[str] = []
    first = {schedule.template: schedule for schedule in reversed(kernels(cpu.machine))}
    for schedule, path, text in compiled(cpu, [first[name] for name in sorted(first)[number :: len(CPUS)]]):
        found += faults(cpu, schedule, path, text)
    assert not found, "\n".join(found)


@pytest.mark.full(like="targets/cpu/test_zoo.py::test_a_kernel_of_each_template_compiles_as_planned")
@pytest.mark.parametrize("number", range(len(CPUS)), ids=[cpu.name for cpu in CPUS])
def test_every_kernel_compiles_as_planned(number, seed):
    """The kernels are dealt to the CPUs: each meets all of them in a few runs."""
    cpu = CPUS[number]
    found: list[str] = []
    for schedule, path, text in compiled(cpu, dealt(kernels(cpu.machine), number, len(CPUS), seed)):
        found += faults(cpu, schedule, path, text)
    assert not found, "\n".join(found)
