"""The CUDA target as the runtime sees it: schedules in, kernels and what is known of them out."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from gncodegen.kernels.schedule import Machine, Schedule
from gncodegen.kernels.store import Source, write
from gncodegen.targets.cuda import architectures
from gncodegen.targets.cuda.compile import compile_missing, require_wheels


class CudaTarget:
    """One NVIDIA architecture.

    Args:
        architecture: for example "sm_90".
        processors: of the GPU that is here, 0 = the architecture's example.
        l2: bytes of L2 of the GPU that is here, 0 = the architecture's example.
        math: "float32", "tf32" or "bf16".

    Raises:
        TargetError: unknown architecture, or missing wheels.
    """

    def __init__(self, architecture: str, processors: int = 0, l2: int = 0, math: str = "float32") -> None:
        self.machine: Machine = architectures.machine(architecture, processors, l2, math)
        require_wheels()

    @property
    def tag(self) -> str:
        """Under what kernels are kept: architecture and versions."""
        return f"{self.machine.target}-{_versions()}"

    def write(self, schedules: Iterable[Schedule]) -> list[Source]:
        """Renders the kernels that are not on disk yet."""
        return [write(schedule, self.tag) for schedule in schedules]

    def compile(self, sources: Sequence[Source]) -> int:
        """Compiles what has no cubin yet; returns how many."""
        return compile_missing(source.path for source in sources)


@cache
def _versions() -> str:
    """A digest of the compiler's versions and of the intrinsics, which every kernel inlines."""
    facts = [version("numba-cuda"), version("cuda-core"), version("nvidia-nvjitlink"), f"{sys.version_info[:2]}"]
    digest = hashlib.sha256(" ".join(facts).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]
