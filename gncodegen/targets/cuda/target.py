"""The CUDA target as the runtime sees it: schedules in, kernels and what is known of them out."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import NamedTemporaryFile

from gncodegen.cache import files
from gncodegen.kernels.schedule import Machine, Schedule
from gncodegen.kernels.store import Source, write
from gncodegen.targets.cuda import architectures, disassemble
from gncodegen.targets.cuda.compile import compile_missing, require_wheels
from gncodegen.targets.cuda.occupancy import resident_blocks
from gncodegen.targets.target import KernelReport


class CudaTarget:
    """One NVIDIA architecture.

    Args:
        architecture: for example "sm_90".
        processors: of the GPU that is here, 0 = the architecture's example.
        l2: bytes of L2 of the GPU that is here, 0 = the architecture's example.
        math: "float32", "tf32" or "bf16".

    Raises:
        TargetError: unknown architecture.
    """

    def __init__(self, architecture: str, processors: int = 0, l2: int = 0, math: str = "float32") -> None:
        self._machine = architectures.machine(architecture, processors, l2, math)

    @property
    def machine(self) -> Machine:
        """What schedules are chosen for."""
        return self._machine

    @property
    def tag(self) -> str:
        """Under what kernels are kept: architecture and versions."""
        return f"{self.machine.target}-{_versions()}"

    def write(self, schedules: Iterable[Schedule]) -> list[Source]:
        """Renders the kernels that are not on disk yet."""
        return [write(schedule, self.tag) for schedule in schedules]

    def ready(self, sources: Sequence[Source]) -> bool:
        """Whether all sources and cubins are there, as they were written."""
        # A source that is not is no more what runs, and is written anew, which says so.
        whole = all(files.is_whole(source.path) for source in sources)
        return whole and all(files.read(source.beside(".cubin")) is not None for source in sources)

    def compile(self, sources: Sequence[Source]) -> int:
        """Compiles what has no cubin yet; returns how many.

        Raises:
            CompileError: a kernel does not compile.
            TargetError: there is something to compile, and the compiler's wheels are missing.
        """
        missing = [source.path for source in sources if files.read(source.beside(".cubin")) is None]
        if missing:
            require_wheels()
        return compile_missing(missing)

    def show(self, source: Source, level: str) -> str:
        """A compiled kernel as "llvm", "ptx", "sass" or "asm", which is SASS too.

        Raises:
            TargetError: the disassembler is missing.
        """
        if level in ("asm", "sass"):
            known = files.read(source.beside(".sass"))
            if known is None:
                with NamedTemporaryFile(suffix=".cubin") as file:
                    file.write(source.read(".cubin"))
                    file.flush()
                    known = disassemble.sass(Path(file.name)).encode()
                files.keep(source.beside(".sass"), known)
            return known.decode()
        return source.read({"llvm": ".ll", "ptx": ".ptx"}[level]).decode()

    def lines(self, sources: Sequence[Source]) -> list[str]:
        """The PTX, whose `.loc` directives say the line of the source."""
        return [self.show(source, "ptx") for source in sources]

    def report(self, source: Source, schedule: Schedule) -> KernelReport:
        """What the assembler says of a compiled kernel, and its occupancy."""
        said: dict[str, int] = json.loads(source.read(".json"))
        threads, dynamic = (int(schedule.tiles.get(name, 0)) for name in ("threads", "dynamic_shared"))  # pyright: ignore[reportArgumentType]
        shared = said["shared"] + dynamic
        blocks = resident_blocks(self._machine.target, threads, said["registers"], shared)
        return KernelReport(said["registers"], said["spills"], said["stack"], shared, threads, blocks)


_BESIDE = ("disassemble", "emulated", "hyperparameters", "occupancy", "target")
"""Modules that no kernel's code depends on."""


def _version(package: str) -> str:
    """Its version; kernels that were compiled elsewhere run without the compiler's packages."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


@cache
def _versions() -> str:
    """A digest of the compiler's versions and of the intrinsics."""
    facts = [*map(_version, ("numba-cuda", "cuda-core", "nvidia-nvjitlink")), f"{sys.version_info[:2]}"]
    return intrinsics_digest(" ".join(facts))[:8]


def intrinsics_digest(start: str = "") -> str:
    """A digest of the intrinsics, which every kernel inlines, and of a text before them."""
    digest = hashlib.sha256(start.encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem not in _BESIDE:
            digest.update(path.read_bytes())
    return digest.hexdigest()
