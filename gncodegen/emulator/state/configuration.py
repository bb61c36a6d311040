"""What a launch asks for, and the special registers and parameters that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.ptx.operands import Operand
from gncodegen.emulator.ptx.scalars import DTYPE
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.emulator.state.threads import Threads
from gncodegen.errors import EmulationFault

Extents = tuple[int, int, int]
"""Along x, y and z; numbers run along x first."""


@dataclass(frozen=True)
class LaunchConfiguration:
    """A kernel, its arguments and the sizes of its grid.

    Attributes: `grid` blocks of `block` threads in clusters of `cluster` blocks, `dynamic_shared` bytes a block;
    `cooperative`: all blocks are resident at once; `checks`: uninitialised reads and races are looked for; `extents`,
    of the grid and of a block along x, y and z; `agreeing`: threads may store the same value to one place by one
    instruction; `leaving`: they may end before a barrier that others reach; `workspace`: the address of what the
    barrier of all blocks needs, 0 for none.
    """

    module: Module
    memory: DeviceMemory
    arguments: Sequence[Any]
    grid: int
    block: int
    cluster: int
    cooperative: bool
    dynamic_shared: int
    checks: bool
    extents: tuple[Extents, Extents]
    agreeing: bool = False
    leaving: bool = False
    workspace: int = 0

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block, static and dynamic."""
        layout = self.module.layout
        return layout.dynamic_start + self.dynamic_shared if self.dynamic_shared else layout.shared_bytes

    def special(self, name: str, threads: Threads) -> Any:
        """The value of a special register, one a lane or the same for all (PTX ISA 10)."""
        base, _, axis = name.removeprefix("%").partition(".")
        block = threads.block + threads.first
        cluster = max(self.cluster, 1)
        (columns, rows, planes), of_block = self.extents
        along: dict[str, tuple[Any, Extents]] = {  # what is counted, and its extents
            "tid": (threads.thread, of_block), "ctaid": (block, self.extents[0]),
            "clusterid": (block // cluster, (columns // cluster, rows, planes)),
            "cluster_ctaid": (block % cluster, (cluster, 1, 1)),
        }  # fmt: skip
        counts = {"ntid": "tid", "nctaid": "ctaid", "nclusterid": "clusterid", "cluster_nctaid": "cluster_ctaid"}
        if axis:
            place = "xyz".index(axis)
            number, extents = along[counts.get(base, base)]
            return extents[place] if base in counts else number // prod(extents[:place]) % extents[place]
        bit = np.uint64(1) << threads.lane.astype(np.uint64)
        time = threads.time
        plain: dict[str, Any] = {
            "laneid": threads.lane, "warpid": threads.thread // 32, "nwarpid": -(-self.block // 32), "smid": block,
            "nsmid": self.grid, "clock": time, "clock64": time, "globaltimer": time, "gridid": 0,
            "dynamic_smem_size": self.dynamic_shared,
            "total_smem_size": self.module.layout.shared_bytes + self.dynamic_shared,
            "lanemask_eq": bit, "lanemask_lt": bit - np.uint64(1), "lanemask_le": 2 * bit - np.uint64(1),
            "lanemask_gt": ~(2 * bit - np.uint64(1)) & np.uint64(0xFFFF_FFFF),
            "lanemask_ge": ~(bit - np.uint64(1)) & np.uint64(0xFFFF_FFFF),
            "envreg1": self.workspace >> 32, "envreg2": self.workspace & 0xFFFF_FFFF,
            "cluster_ctarank": block % cluster, "cluster_nctarank": cluster, "is_explicit_cluster": cluster > 1,
        }  # fmt: skip
        return np.asarray(plain[base])

    def argument(self, operand: Operand) -> Any:
        """The value of (a part of) a kernel parameter.

        Raises:
            EmulationFault: the argument does not fit, or the part lies beyond it.
        """
        place = [one.name for one in self.module.parameters].index(operand.name)
        formal = self.module.parameters[place]
        data = _argument_bytes(formal.kind, formal.nbytes, self.arguments[place])
        piece = data[operand.offset : operand.offset + operand.dtype.itemsize]
        if len(piece) < operand.dtype.itemsize:
            raise EmulationFault(
                f"parameter {operand.name} is read beyond its {len(data)} bytes", kernel=self.module.entry
            )
        return np.frombuffer(piece, operand.dtype)[0]


def _argument_bytes(kind: str, nbytes: int, value: Any) -> bytes:
    """A kernel argument as the bytes of its parameter."""
    if nbytes:
        data = value if isinstance(value, bytes) else np.asarray(value).tobytes()
    elif kind in {"f16", "bf16"}:
        data = np.asarray(value, np.float16).tobytes()
    else:
        dtype = DTYPE[kind]
        plain = int(value) & ((1 << 8 * dtype.itemsize) - 1) if dtype.kind in "ui" and isinstance(value, int) else value
        data = np.asarray(plain, f"u{dtype.itemsize}" if isinstance(plain, int) else None).astype(
            f"u{dtype.itemsize}" if isinstance(plain, int) else dtype
        ).tobytes()  # fmt: skip
    if len(data) != (nbytes or DTYPE[kind].itemsize):
        raise EmulationFault(f"an argument of {len(data)} bytes is given for a parameter of {nbytes or kind}")
    return data
