"""A processor that kernels are compiled for, by LLVM's name: what it can do, and LLVM's machine for it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm

from gncodegen.errors import OptionsError, TargetError

ARITHMETIC = re.compile(
    "s?sse(?!4a)|avx|fma(?!4)|f16c|bmi|lzcnt|popcnt|movbe|egpr|neon|sve|fullfp16|dotprod|bf16|i8mm|lse"
)
"""LLVM's features that kernels are made of. They can do without the others, which are a system's or one maker's."""

ARM = ("neon", "sve", "sve2", "fullfp16", "dotprod", "bf16", "i8mm", "lse")
"""Features of Arm CPUs that matter here; Linux lists the present ones only."""

_START = """
import sys
root, *question = sys.argv[1:]
sys.path[:0] = [] if root in sys.path else [root]
from gncodegen.targets.cpu.processor import inline
print(*inline(*question))
"""


@dataclass(frozen=True)
class Processor:
    """A CPU as LLVM knows it.

    Args:
        name: LLVM's name, such as "x86-64-v3".
        features: the instruction sets that code may use, by LLVM's names.
        attributes: what is switched on and off beside what the name says, as LLVM writes it: "+avx2,-sse4a".
        triple: LLVM's target triple, such as "x86_64-unknown-linux-gnu".
    """

    name: str
    features: frozenset[str]
    attributes: str
    triple: str

    @property
    def vector_registers(self) -> tuple[int, int]:
        """(bytes per vector register, how many)."""
        if "avx512f" in self.features:
            return 64, 32
        if {"avx2", "fma"} <= self.features:
            return 32, 16
        return 16, 32 if "neon" in self.features else 16

    def require_storage(self, dtype: str) -> None:
        """Checks that it converts elements of a storage type.

        Raises:
            TargetError: LLVM would call a library for each.
        """
        if dtype == "float16" and self.triple.startswith("x86") and "f16c" not in self.features:
            raise TargetError(
                f"dtype = 'float16' on {self.name}, which lacks F16C; allowed: CPUs that convert float16, such as "
                "x86-64-v3; write dtype='bfloat16'"
            )

    def target_machine(self) -> Any:
        """LLVM's machine, with the code model of Numba's own."""
        # Relative relocations of x86 reach 2 GB, and memory of object files may lie further from a library's.
        relocation = "static" if self.triple.startswith("x86") else "default"
        return _target(self.triple).create_target_machine(
            cpu=self.name, features=self.attributes, opt=3, reloc=relocation, codemodel="jitdefault", jit=True
        )


def host() -> Processor:
    """This machine's."""
    present = llvm.get_host_cpu_features()
    features = frozenset(name for name, on in present.items() if on)
    return Processor(llvm.get_host_cpu_name(), features, present.flatten(), llvm.get_process_triple())


def named(name: str, attributes: str = "", triple: str = "", source: str = "CPU") -> Processor:
    """The processor of a name, with the features that LLVM gives it.

    Args:
        name: LLVM's name of a CPU.
        attributes: as Processor.attributes.
        triple: as Processor.triple; "" = this machine's.
        source: what gave the name, for the error.

    Raises:
        OptionsError: LLVM does not know the name or an attribute.
    """
    triple = triple or llvm.get_process_triple()
    asked = sorted(llvm.get_host_cpu_features()) if triple == llvm.get_process_triple() else []
    if triple.startswith("aarch64"):
        asked = sorted({*asked, *ARM})
    elif not asked:
        asked = ["avx2", "avx512f", "fma"]
    said = "not a name"
    if re.fullmatch(r"[\w.-]+", name) and re.fullmatch(r"[\w.,+-]*", attributes):
        # Another process: LLVM prints what it does not know, and ends the process where it is no CPU of 64 bits.
        root, question = str(Path(__file__).parents[3]), [triple, name, attributes, *asked]
        command = [sys.executable, "-P", "-c", _START, root, *question]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if not answer.returncode and "not a recognized" not in answer.stderr:
            return Processor(name, frozenset(answer.stdout.split()), attributes, triple)
        said = answer.stderr.strip().partition("\n")[0]
    architecture, given = triple.partition("-")[0], f"{name} {attributes}".strip()
    examples = "x86-64-v3, znver3 or skylake-avx512" if architecture == "x86_64" else "generic, neoverse-n1 or apple-m1"
    raise OptionsError(
        f"{source}: {given!r} is no CPU of {architecture} ({said}); allowed: LLVM's names, such as {examples}; "
        f"correct it, or unset {source} for this CPU, {llvm.get_host_cpu_name()}"
    )


def without(processor: Processor, features: Iterable[str]) -> Processor:
    """The processor with features switched off."""
    off = sorted(set(features) & processor.features)
    attributes = ",".join(filter(None, [processor.attributes, *(f"-{name}" for name in off)]))
    return Processor(processor.name, processor.features - set(off), attributes, processor.triple)


def inline(triple: str, name: str, attributes: str, *features: str) -> list[str]:
    """Those of the features that a CPU has.

    LLVM has no list to read. It inlines a function into another only where the caller has all features of the callee:
    here, of a callee for the same CPU with one feature more.
    """
    caller = f'"target-cpu"="{name}" "target-features"="{attributes}"'
    lines = [f'target triple = "{triple}"', f"attributes #{len(features)} = {{ {caller} }}"]
    for number, feature in enumerate(features):
        more = ",".join(filter(None, [attributes, f"+{feature}"]))
        lines += [
            f'attributes #{number} = {{ "target-cpu"="{name}" "target-features"="{more}" }}',
            f"define internal void @callee{number}(ptr %p) #{number} {{ store volatile i32 1, ptr %p ret void }}",
            f"define void @caller{number}(ptr %p) #{len(features)} {{ call void @callee{number}(ptr %p) ret void }}",
        ]
    machine = _target(triple).create_target_machine(cpu=name, features=attributes)
    module = llvm.parse_assembly("\n".join(lines))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    callers = [str(module.get_function(f"caller{number}")) for number in range(len(features))]
    return [feature for feature, text in zip(features, callers, strict=True) if "call" not in text.partition("{")[2]]


def _target(triple: str) -> Any:
    if triple == llvm.get_process_triple():
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple(triple)
