"""Asynchronous copies to shared memory and matrix loads from it (PTX ISA 9.7.9.25, 9.7.14.5).

A cp.async reads global memory when issued; its bytes reach shared memory only at the wait that covers it, and are
uninitialised until then, so that a missing wait is a fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gncodegen.emulator.isa.transfers import addresses, read_bytes
from gncodegen.emulator.ptx.decode import Decoder, Execute, fetch, put, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, Array
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import Active
from gncodegen.emulator.state.memory import kinds
from gncodegen.emulator.state.regions import Flat, Region, resolve

if TYPE_CHECKING:
    from gncodegen.emulator.state.machine import Machine


@dataclass
class Pending:
    """One issued copy of `nbytes` a lane; `group` is -1 until committed."""

    active: Active
    region: Region
    flat: Flat
    nbytes: int
    data: Array
    group: Array  # a lane's commit group, -1: not committed, -2: arrived


class Copies:
    """The copies in flight of a batch, and every lane's count of committed groups."""

    def __init__(self, lanes: int) -> None:
        self.pending: list[Pending] = []
        self._groups = np.zeros(lanes, np.int64)

    def issue(self, machine: Machine, active: Active, address: Flat, nbytes: int, data: Array) -> None:
        """Start a copy; its target counts as uninitialised until it arrives."""
        for region, flat, lanes, chosen in resolve(machine, "shared", address, active, nbytes):
            if region.ready is not None:
                region.ready.view(kinds(nbytes))[flat // nbytes] = 0
            if region.log is not None:
                region.log.touch(machine, flat, nbytes, lanes, write=True, strong=False)
            group = np.full(lanes.count, -1, np.int64)
            self.pending.append(Pending(lanes, region, flat, nbytes, data[chosen], group))

    def commit(self, active: Active) -> None:
        """Close each lane's current group."""
        members = active.mask
        for copy in self.pending:
            mine = members[copy.active.index] & (copy.group == -1)
            copy.group[mine] = self._groups[copy.active.index[mine]]
        self._groups[active.index] += 1

    def wait(self, machine: Machine, active: Active, most: int, *, loose: bool = False) -> None:
        """Let all but the `most` latest groups of each lane arrive; `loose`: uncommitted copies too."""
        members = active.mask
        for copy in self.pending:
            lanes = copy.active.index
            due = members[lanes] & (copy.group < self._groups[lanes] - most) & (copy.group != -2)
            due &= (copy.group >= 0) | loose
            if due.any():
                self._arrive(machine, copy, due)
        self.pending = [copy for copy in self.pending if (copy.group != -2).any()]

    def touch(self, machine: Machine) -> None:
        """Note every copy in flight as a write of the interval that begins: it may land at any time."""
        for copy in self.pending:
            if copy.region.log is not None:
                flying = copy.group != -2
                lanes = Active(copy.active.size, index=copy.active.index[flying])
                copy.region.log.touch(machine, copy.flat[flying], copy.nbytes, lanes, write=True, strong=False)

    def _arrive(self, machine: Machine, copy: Pending, due: Array) -> None:
        kind = kinds(copy.nbytes)
        place = copy.flat[due] // copy.nbytes
        copy.region.data.view(kind)[place] = copy.data[due]
        if copy.region.ready is not None:
            copy.region.ready.view(kind)[place] = np.full(copy.nbytes, 0xFF, np.uint8).view(kind)[0]
        if copy.region.log is not None:
            lanes = Active(copy.active.size, index=copy.active.index[due])
            copy.region.log.touch(machine, copy.flat[due], copy.nbytes, lanes, write=True, strong=False)
        copy.group[due] = -2


def copy_async(decoder: Decoder, instruction: Instruction) -> Execute:
    """cp.async.ca/.cg.shared.global of 4, 8 or 16 bytes with zero fill, and its commit and waits."""
    parts, operands = instruction.opcode, instruction.operands
    if "bulk" in parts or "mbarrier" in parts or parts[1] != "async":
        raise unsupported(instruction)
    if parts[2] == "commit_group":
        return lambda machine, active: machine.copies.commit(active)
    if parts[2] == "wait_all":
        return lambda machine, active: machine.copies.wait(machine, active, 0, loose=True)
    if parts[2] == "wait_group":
        most = int(operands[0], 0)
        return lambda machine, active: machine.copies.wait(machine, active, most)
    (target, at), (source, start) = decoder.address(operands[0]), decoder.address(operands[1])
    nbytes = int(operands[2], 0)
    size = decoder.source(operands[3], DTYPE["u32"]) if len(operands) > 3 else None
    if nbytes not in {4, 8, 16}:
        raise unsupported(instruction)

    def execute(machine: Machine, active: Active) -> None:
        to = addresses(machine.values, target, at, active)
        origin = addresses(machine.values, source, start, active)
        count = None if size is None else fetch(machine.values, size, active)
        if count is None or (count == nbytes).all():
            data = read_bytes(machine, "global", origin, active, nbytes)
        else:
            data = _filled(machine, active, origin, nbytes, count)
        machine.copies.issue(machine, active, to, nbytes, data)

    return execute


def _filled(machine: Machine, active: Active, origin: Flat, nbytes: int, count: Array) -> Array:
    """Each lane's first `count` bytes from global memory, zeros behind them."""
    if int(count.max()) > nbytes:
        machine.fault("cp.async names more source bytes than it copies", active, int(count.argmax()))
    result = np.zeros((active.count, nbytes), np.uint8)
    for size in np.unique(count[count > 0]):
        chosen = np.flatnonzero(count == size)
        lanes = Active(active.size, index=active.index[chosen])
        piece = int(size) & -int(size)
        for byte in range(0, int(size), piece):
            data = read_bytes(machine, "global", origin[chosen] + byte, lanes, piece)
            result[chosen, byte : byte + piece] = data.view(np.uint8).reshape(-1, piece)
    return result.reshape(-1).view(kinds(nbytes))


def load_matrix(decoder: Decoder, instruction: Instruction) -> Execute:
    """ldmatrix.sync.aligned.m8n8.x1/.x2/.x4(.trans).shared.b16: lanes 8i to 8i + 7 name the rows of matrix i."""
    parts = instruction.opcode
    if "m8n8" not in parts or parts[-1] != "b16":
        raise unsupported(instruction)
    count = next(int(part[1:]) for part in parts if part in {"x1", "x2", "x4"})
    transposed = "trans" in parts
    targets = [decoder.destination(text, DTYPE["u32"]) for text in vector(instruction.operands[0])]
    slot, offset = decoder.address(instruction.operands[1])

    def execute(machine: Machine, active: Active) -> None:
        machine.converged(active, "ldmatrix")
        address = addresses(machine.values, slot, offset, active).reshape(-1, 32)
        lanes = active.index.reshape(-1, 32)
        naming = Active(active.size, index=lanes[:, : 8 * count].reshape(-1))
        rows = read_bytes(machine, "shared", np.ascontiguousarray(address[:, : 8 * count]).reshape(-1), naming, 16)
        # Every lane of the warp receives parts of the rows: a neighbour is noted as a reader too.
        others = Active(active.size, index=np.roll(lanes, 1, axis=1)[:, : 8 * count].reshape(-1))
        region, flat, _, _ = resolve(machine, "shared", naming_addresses(address, count), naming, 16)[0]
        if region.log is not None:
            region.log.touch(machine, flat, 16, others, write=False, strong=False)
        matrices = rows.view(np.uint16).reshape(-1, count, 8, 8)
        matrices = matrices.swapaxes(2, 3) if transposed else matrices
        words = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, count, 32)
        for i, target in enumerate(targets):
            put(machine.values, target, active, words[:, i].reshape(-1))

    return execute


def naming_addresses(address: Flat, count: int) -> Flat:
    """The row addresses that an ldmatrix of `count` matrices uses, warp after warp."""
    return np.ascontiguousarray(address[:, : 8 * count]).reshape(-1)
