"""The state of one batch of blocks: register file, special registers, state spaces, who still runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.checks.intervals import Intervals
from gncodegen.emulator.checks.order import Order
from gncodegen.emulator.checks.traffic import Traffic
from gncodegen.emulator.isa.copies import Copies
from gncodegen.emulator.ptx.decode import Slot
from gncodegen.emulator.ptx.module import Module
from gncodegen.emulator.ptx.scalars import Array
from gncodegen.emulator.state.lanes import Active, Mask
from gncodegen.emulator.state.memory import Memory
from gncodegen.emulator.state.regions import (
    ConstantRegion,
    Flat,
    GlobalRegion,
    LocalRegion,
    Log,
    Region,
    SharedRegion,
    Watchers,
)
from gncodegen.errors import EmulationFault


@dataclass(frozen=True)
class Launch:
    """What a launch was asked for: grid and block sizes, cluster size, dynamic shared bytes, which checks."""

    module: Module
    memory: Memory
    arguments: Sequence[Any]
    grid: int
    block: int
    cluster: int
    cooperative: bool
    dynamic_shared: int
    checks: bool
    traffic: Traffic | None


class Machine:
    """Blocks [first, first + blocks) of a launch, all their threads in lock step.

    Lane ℓ is thread ℓ % block of block first + ℓ // block.
    """

    def __init__(self, launch: Launch, first: int, blocks: int, order: Order | None, touched: Intervals | None) -> None:
        self.launch, self.module, self.first, self.blocks = launch, launch.module, first, blocks
        self.threads = launch.block
        self.size = blocks * self.threads
        lanes = np.arange(self.size)
        self.block: npt.NDArray[np.int64] = lanes // self.threads
        self.thread: npt.NDArray[np.int64] = lanes % self.threads
        self.lane = (self.thread % 32).astype(np.uint32)
        per_block = -(-self.threads // 32)
        self.warp = self.block * per_block + self.thread // 32
        self.warps, self.full_warps = blocks * per_block, self.threads % 32 == 0
        self.alive = np.ones(self.size, np.bool_)
        self.live = self.size
        self.pc = 0
        self.time = 0
        self.progress = True  # since parked lanes last ran, memory changed, a barrier passed or a lane exited
        self.spins = launch.cooperative or launch.cluster > 1
        self.spun: Mask = np.zeros(self.size, np.bool_)  # a strong access since the last branch backwards
        self.copies = Copies(self.size)
        self.order = order
        self._running: npt.NDArray[np.uint32] | None = None
        self._spaces(touched)
        self.values = [self._value(slot) for slot in self._registers()]

    def _spaces(self, touched: Intervals | None) -> None:
        launch, module = self.launch, self.module
        shared = module.shared_bytes
        if launch.dynamic_shared:
            shared = module.dynamic_start + launch.dynamic_shared
        within = Intervals("shared", module.granule["shared"]) if launch.checks and shared else None
        self.intervals = [one for one in (touched, within) if one is not None]
        logs: list[Log] = [one for one in (self.order, touched, launch.traffic) if one is not None]
        regions: list[Region] = [
            GlobalRegion(launch.memory, Watchers(logs) if logs else None, launch.checks),
            SharedRegion(self.blocks, shared, launch.cluster, within, launch.checks),
            LocalRegion(self.size, module.local_bytes),
            ConstantRegion(module.constants),
        ]
        self.regions = {region.name: region for region in regions}
        if within is not None:
            within.attach(regions[1].data.size)

    def _registers(self) -> list[Slot]:
        self._file: dict[str, Array] = {}
        return self.module.slots

    def _value(self, slot: Slot) -> Any:
        if slot.kind == "constant":
            return slot.value
        if slot.kind == "special":
            return np.asarray(self.special(slot.name)).astype(slot.dtype)
        if slot.kind == "parameter":
            return self._argument(slot)
        stored = self.module.register_types[slot.name]
        if slot.name not in self._file:
            self._file[slot.name] = np.zeros(self.size, stored)
        array = self._file[slot.name]
        if stored.itemsize == slot.dtype.itemsize:
            return array.view(slot.dtype)
        return array.view(slot.dtype).reshape(self.size, -1)[:, 0]

    def _argument(self, slot: Slot) -> Any:
        names = [one.name for one in self.module.parameters]
        place = names.index(slot.name)
        kind, value = self.module.parameters[place], self.launch.arguments[place]
        data = argument_bytes(kind.kind, kind.nbytes, value)
        piece = data[slot.offset : slot.offset + slot.dtype.itemsize]
        if len(piece) < slot.dtype.itemsize:
            raise EmulationFault(
                f"parameter {slot.name} is read beyond its {len(data)} bytes", kernel=self.module.entry
            )
        return np.frombuffer(piece, slot.dtype)[0]

    def special(self, name: str) -> Any:
        """The value of a special register, one a lane or the same for all (PTX ISA 10)."""
        launch = self.launch
        base, _, axis = name.removeprefix("%").partition(".")
        block = self.block + self.first
        cluster = max(launch.cluster, 1)
        along: dict[str, Any] = {
            "tid": self.thread, "ntid": self.threads, "ctaid": block, "nctaid": launch.grid,
            "clusterid": block // cluster, "nclusterid": launch.grid // cluster, "cluster_ctaid": block % cluster,
            "cluster_nctaid": cluster,
        }  # fmt: skip
        if base in along:
            one = 1 if base.startswith(("n", "cluster_n")) else 0
            return along[base] if axis == "x" else np.uint32(one)
        bit = np.uint64(1) << self.lane.astype(np.uint64)
        plain: dict[str, Any] = {
            "laneid": self.lane, "warpid": self.thread // 32, "nwarpid": -(-self.threads // 32), "smid": block,
            "nsmid": launch.grid, "clock": self.time, "clock64": self.time, "globaltimer": self.time, "gridid": 0,
            "dynamic_smem_size": launch.dynamic_shared,
            "total_smem_size": self.module.shared_bytes + launch.dynamic_shared,
            "lanemask_eq": bit, "lanemask_lt": bit - np.uint64(1), "lanemask_le": 2 * bit - np.uint64(1),
            "lanemask_gt": ~(2 * bit - np.uint64(1)) & np.uint64(0xFFFF_FFFF),
            "lanemask_ge": ~(bit - np.uint64(1)) & np.uint64(0xFFFF_FFFF),
            "cluster_ctarank": block % cluster, "cluster_nctarank": cluster, "is_explicit_cluster": cluster > 1,
        }  # fmt: skip
        return np.asarray(plain[base])

    def fault(self, reason: str, active: Active | None = None, position: int = 0) -> NoReturn:
        """Raise the fault of the active lane at a position, at the current instruction.

        Raises:
            EmulationFault: always.
        """
        lane = int(active.index[position]) if active is not None and active.count else -1
        self.fault_at(reason, lane, self.pc)

    def fault_at(self, reason: str, lane: int, pc: int) -> NoReturn:
        """Raise the fault of one lane (-1: none) at an instruction.

        Raises:
            EmulationFault: always.
        """
        raise EmulationFault(
            reason,
            kernel=self.module.entry,
            source=self.module.source_file(pc),
            line=self.module.source_line(pc),
            block=self.first + int(self.block[lane]) if lane >= 0 else -1,
            thread=int(self.thread[lane]) if lane >= 0 else -1,
            instruction=self.module.steps[pc].instruction.text,
        )

    def running(self) -> npt.NDArray[np.uint32]:
        """For each warp, the bits of its lanes that have not exited."""
        if self._running is None:
            self._running = np.zeros(self.warps, np.uint32)
            np.bitwise_or.at(self._running, self.warp[self.alive], np.uint32(1) << self.lane[self.alive])
        return self._running

    def exit(self, active: Active) -> None:
        """The lanes end."""
        self.alive[active.index] = False
        self.live -= active.count
        self.progress = True
        self._running = None

    def converged(self, active: Active, what: str) -> None:
        """A fault unless the active lanes are whole warps of 32 (what `.aligned` asks for)."""
        self.synchronised(active)
        if active.all and self.full_warps:
            return
        counts = np.bincount(self.warp[active.index], minlength=self.warps)
        partial = (counts != 0) & (counts != 32)
        if partial.any():
            lane = int(np.flatnonzero(partial[self.warp[active.index]])[0])
            missing = 32 - int(counts[self.warp[active.index[lane]]])
            self.fault(f"divergent {what}: {missing} lanes of the warp do not execute it", active, lane)

    def synchronised(self, active: Active) -> None:
        """Note that the active lanes of each warp wait for each other here."""
        for one in self.intervals:
            one.synchronised(self, active)

    def close(self, passed: Mask | None) -> None:
        """A barrier interval ends for every block (None) or for those flagged.

        Raises:
            EmulationFault: two of its threads raced.
        """
        for one in self.intervals:
            one.close(self, passed)
        self.copies.touch(self)

    def observe(self, active: Active, address: Flat, acquires: bool) -> None:
        """Note a strong load: what its flag's releases published becomes known."""
        if self.spins:
            self.spun[active.index] = True
        if self.order is not None:
            self.order.observe(self, active, address, acquires)

    def publish(self, active: Active, address: Flat, releases: bool, *, joins: bool = False) -> None:
        """Note a strong store: what the lane's block did so far goes with the flag (`joins`: on top of what it has)."""
        if self.order is not None:
            self.order.publish(self, active, address, releases, joins=joins)


_KINDS = {"pred": "b1"}


def argument_bytes(kind: str, nbytes: int, value: Any) -> bytes:
    """A kernel argument as the bytes of its parameter.

    Raises:
        EmulationFault: the value does not fit the parameter.
    """
    from gncodegen.emulator.ptx.scalars import DTYPE  # noqa: PLC0415

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
