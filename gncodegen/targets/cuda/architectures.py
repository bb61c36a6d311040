"""The GPU architectures that kernels are compiled for, and what schedules assume of a GPU that is not here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gncodegen.errors import TargetError
from gncodegen.kernels.schedule import Machine


@dataclass(frozen=True)
class Architecture:
    """One architecture, with the figures of its most common data-centre or desktop GPU.

    Args:
        name: as compilers write it, for example "sm_90".
        example: the GPU the figures are of.
        processors: streaming multiprocessors.
        l2: bytes of L2 cache.
        shared: bytes of shared memory that one block may use.
        threads: resident threads of one multiprocessor.

    Source: NVIDIA CUDA C++ Programming Guide, "Compute Capabilities".
    """

    name: str
    example: str
    processors: int
    l2: int
    shared: int
    threads: int

    @property
    def capability(self) -> tuple[int, int]:
        """(major, minor)."""
        digits = self.name.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("sm_75", "T4", 40, 4 << 20, 64 << 10, 1024),
        Architecture("sm_80", "A100", 108, 40 << 20, 163 << 10, 2048),
        Architecture("sm_86", "A10", 72, 6 << 20, 99 << 10, 1536),
        Architecture("sm_89", "L40S", 142, 96 << 20, 99 << 10, 1536),
        Architecture("sm_90", "H100 SXM", 132, 50 << 20, 227 << 10, 2048),
        Architecture("sm_100", "B200", 148, 126 << 20, 227 << 10, 2048),
        Architecture("sm_120", "RTX 5090", 170, 96 << 20, 99 << 10, 1536),
    )
}
"""By name."""

RELATIVES = ("sm_87", "sm_88", "sm_103", "sm_121")
"""Others that the assembler knows."""

REGISTERS = 64 << 10
"""32-bit registers of one multiprocessor, on all of them."""


def architecture(name: str) -> Architecture:
    """The architecture of that name; a relative stands on the figures of its family's last.

    Raises:
        TargetError: it is not one that kernels are compiled for; lists those.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if name not in RELATIVES:
        known = ", ".join(sorted((*ARCHITECTURES, *RELATIVES), key=lambda each: int(each[3:])))
        raise TargetError(
            f"target = {name!r} is no architecture; allowed: {known}; write the one of your GPU, or 'cuda'"
        )
    relative = replace(ARCHITECTURES["sm_90"], name=name)
    family = [known for known in ARCHITECTURES.values() if known.capability[0] == relative.capability[0]]
    return replace(family[-1], name=name)


def of_gpu(capability: tuple[int, int]) -> Architecture:
    """The architecture whose cubins run on a GPU: its own, or the last before it in its family.

    Raises:
        TargetError: there is none.

    Source: NVIDIA CUDA C++ Programming Guide, "Binary Compatibility".
    """
    major, minor = capability
    for each in range(minor, -1, -1):
        name = f"sm_{major}{each}"
        if name in ARCHITECTURES or name in RELATIVES:
            return architecture(name)
    return architecture(f"sm_{major}{minor}")


def machine(name: str, processors: int = 0, l2: int = 0, math: str = "float32") -> Machine:
    """What schedules are chosen for.

    Args:
        name: of the architecture.
        processors: of the GPU that is here, 0 = the architecture's example.
        l2: bytes of L2 cache of the GPU that is here, 0 = the architecture's example.
        math: "float32", or "tf32" or "bf16" for tensor cores.
    """
    known = architecture(name)
    return Machine(
        target=name,
        family="cuda",
        vector_bytes=16,
        vector_registers=255,
        l1=known.shared,
        l2=l2 or known.l2,
        l3=0,
        cores=processors or known.processors,
        threads=known.threads,
        math=math,
    )
