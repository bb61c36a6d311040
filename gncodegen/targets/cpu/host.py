"""What this CPU is: the Machine that schedules are chosen for, and the tag that its object files are kept under."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import llvmlite.binding as llvm

from gncodegen.environment import environment
from gncodegen.errors import TargetError
from gncodegen.kernels.schedule import Machine


@cache
def features() -> dict[str, bool]:
    """The CPU's features by LLVM's names."""
    return dict(llvm.get_host_cpu_features())


def _vector_registers() -> tuple[int, int]:
    """(bytes per vector register, how many)."""
    present = features()
    if present.get("avx512f"):
        return 64, 32
    if present.get("avx2") and present.get("fma"):
        return 32, 16
    return 16, 32 if present.get("neon") else 16


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


def cores() -> int:
    """Threads to use: GNCODEGEN_THREADS, else the cores this process may run on."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return environment().threads or available


@cache
def machine() -> Machine:
    """The host's Machine.

    Raises:
        TargetError: GNCODEGEN_VECTOR_BYTES is wider than the host's registers.
    """
    width, registers = _vector_registers()
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
    facts = [llvm.get_host_cpu_name(), *sorted(name for name, on in features().items() if on)]
    facts += [version("numba"), version("llvmlite"), f"{sys.version_info[:2]}", _intrinsics_digest()]
    return f"cpu-{llvm.get_host_cpu_name()}-{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:8]}"


def _intrinsics_digest() -> str:
    """A digest of the intrinsics' source, which every kernel inlines."""
    digest = hashlib.sha256()
    names = "vector elementary tile memory winograd intrinsics frontend compile"
    for name in names.split():
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()
