"""What this CPU is: the Machine that schedules are chosen for, and the tag that its object files are kept under."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gncodegen.environment import environment
from gncodegen.errors import TargetError
from gncodegen.kernels.schedule import Machine
from gncodegen.targets.cpu import processor as processors
from gncodegen.targets.cpu.processor import ARITHMETIC, Processor
from gncodegen.targets.cpu.threads import cores


@cache
def processor() -> Processor:
    """The processor that kernels are compiled for: GNCODEGEN_CPU's, else the one that Numba is told, else this one.

    Raises:
        OptionsError: LLVM does not know the name.
        TargetError: it computes with instructions that this CPU lacks.
    """
    here = processors.host()
    if environment().cpu:
        source, name, attributes = "GNCODEGEN_CPU", environment().cpu, ""
    elif given := sorted(os.environ.keys() & {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"}, reverse=True):
        source, name = given[0], os.environ.get("NUMBA_CPU_NAME") or here.name
        attributes = os.environ.get("NUMBA_CPU_FEATURES", "")
    else:
        return here
    wanted = processors.named(name, attributes, source=source)
    missing = wanted.features - here.features
    if needed := sorted(filter(ARITHMETIC.match, missing)):
        raise TargetError(
            f"{source}={name!r} computes with {', '.join(needed)}, which this CPU ({here.name}) lacks; "
            f"allowed: less capable CPUs; name one, or unset {source} for this CPU"
        )
    # What is left belongs to a system or to one maker, as SSE4A to AMD: without it, the rest is still that CPU's.
    return processors.without(wanted, missing)


@cache
def target_machine() -> Any:
    """LLVM's machine for the processor."""
    return processor().target_machine()


def _cache_size(level: int, fallback: int) -> int:
    """The size in bytes of the data cache of one level, as Linux reports it."""
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if int((index / "level").read_text()) == level and "Instruction" not in (index / "type").read_text():
                text = (index / "size").read_text().strip()
                return int(text[:-1]) << {"K": 10, "M": 20}[text[-1]]
        except (OSError, ValueError, KeyError):
            continue
    return fallback


@cache
def machine() -> Machine:
    """The Machine: registers of the processor that kernels are compiled for, caches and cores of this one.

    Raises:
        TargetError: GNCODEGEN_VECTOR_BYTES is wider than the registers.
    """
    width, registers = processor().vector_registers
    wanted = environment().vector_bytes
    if wanted not in (0, 16, 32, 64) or wanted > width:
        raise TargetError(
            f"GNCODEGEN_VECTOR_BYTES={wanted}; allowed: 16, 32, 64, at most this CPU's {width}; unset it for {width}"
        )
    return Machine(
        target="cpu",
        vector_bytes=wanted or width,
        vector_registers=registers,
        l1=_cache_size(1, 32 << 10),
        l2=_cache_size(2, 1 << 20),
        l3=_cache_size(3, 16 << 20),
        cores=cores(),
    )


@cache
def tag() -> str:
    """A name for (CPU, versions): object files are valid only under the same tag."""
    cpu = processor()
    facts = [cpu.name, cpu.triple, cpu.attributes, *sorted(cpu.features)]
    facts += [version("numba"), version("llvmlite"), f"{sys.version_info[:2]}", _intrinsics_digest()]
    facts += ["checked"] if environment().check else []
    return f"cpu-{cpu.name}-{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:8]}"


def _intrinsics_digest() -> str:
    """A digest of the intrinsics' source, which every kernel inlines."""
    digest = hashlib.sha256()
    vocabulary = "../half half atomics vector elementary tile memory winograd intrinsics"
    compiler = "frontend placeholders specialisation compile processor"
    for name in f"{vocabulary} {compiler}".split():
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()
