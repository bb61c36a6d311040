"""Asynchronous copies to shared memory and matrix loads from it (PTX ISA 9.7.9.25, 9.7.14.5).

A cp.async reads global memory when issued; when its bytes reach shared memory, `state.copies` says.
"""

from __future__ import annotations

import numpy as np

from gncodegen.emulator.isa.access import addresses, read_bytes
from gncodegen.emulator.isa.effects import Effect, fetch, put
from gncodegen.emulator.ptx.operands import Decoder, unsupported, vector
from gncodegen.emulator.ptx.scalars import DTYPE, Array, element
from gncodegen.emulator.ptx.text import Instruction
from gncodegen.emulator.state.lanes import ActiveLanes
from gncodegen.emulator.state.observer import Offsets
from gncodegen.emulator.state.wave import Wave


def copy_async(decoder: Decoder, instruction: Instruction) -> Effect:
    """cp.async.ca/.cg.shared.global of 4, 8 or 16 bytes with zero fill, and its commit and waits."""
    parts, operands = instruction.opcode, instruction.operands
    if "bulk" in parts or "mbarrier" in parts or parts[1] != "async":
        raise unsupported(instruction)
    if parts[2] == "commit_group":
        return lambda wave, active: wave.copies.commit(active)
    if parts[2] == "wait_all":
        return lambda wave, active: wave.copies.wait(wave, active, 0, loose=True)
    if parts[2] == "wait_group":
        most = int(operands[0], 0)
        return lambda wave, active: wave.copies.wait(wave, active, most)
    (target, at), (source, start) = decoder.address(operands[0]), decoder.address(operands[1])
    nbytes = int(operands[2], 0)
    size = decoder.source(operands[3], DTYPE["u32"]) if len(operands) > 3 else None
    if nbytes not in {4, 8, 16}:
        raise unsupported(instruction)

    def execute(wave: Wave, active: ActiveLanes) -> None:
        to = addresses(wave.values, target, at, active)
        origin = addresses(wave.values, source, start, active)
        count = None if size is None else fetch(wave.values, size, active)
        if count is None or (count == nbytes).all():
            data = read_bytes(wave, "global", origin, active, nbytes)
        else:
            data = _filled(wave, active, origin, nbytes, count)
        wave.copies.issue(wave, wave.spaces, active, to, nbytes, data)

    return execute


def _filled(wave: Wave, active: ActiveLanes, origin: Offsets, nbytes: int, count: Array) -> Array:
    """Each lane's first `count` bytes from global memory, zeros behind them."""
    if int(count.max()) > nbytes:
        wave.fault("cp.async names more source bytes than it copies", active, int(count.argmax()))
    result = np.zeros((active.count, nbytes), np.uint8)
    for size in np.unique(count[count > 0]):
        chosen = np.flatnonzero(count == size)
        lanes = ActiveLanes(active.size, index=active.index[chosen])
        piece = int(size) & -int(size)
        for byte in range(0, int(size), piece):
            data = read_bytes(wave, "global", origin[chosen] + byte, lanes, piece)
            result[chosen, byte : byte + piece] = data.view(np.uint8).reshape(-1, piece)
    return result.reshape(-1).view(element(nbytes))


def load_matrix(decoder: Decoder, instruction: Instruction) -> Effect:
    """ldmatrix.sync.aligned.m8n8.x1/.x2/.x4(.trans).shared.b16: lanes 8i to 8i + 7 name the rows of matrix i."""
    parts = instruction.opcode
    if "m8n8" not in parts or parts[-1] != "b16":
        raise unsupported(instruction)
    count = next(int(part[1:]) for part in parts if part in {"x1", "x2", "x4"})
    transposed = "trans" in parts
    targets = [decoder.destination(text, DTYPE["u32"]) for text in vector(instruction.operands[0])]
    base, offset = decoder.address(instruction.operands[1])

    def execute(wave: Wave, active: ActiveLanes) -> None:
        wave.aligned(active, "ldmatrix")
        address = addresses(wave.values, base, offset, active).reshape(-1, 32)
        lanes = active.index.reshape(-1, 32)
        naming = ActiveLanes(active.size, index=lanes[:, : 8 * count].reshape(-1))
        named = np.ascontiguousarray(address[:, : 8 * count]).reshape(-1)
        rows = read_bytes(wave, "shared", named, naming, 16)
        # Every lane of the warp receives parts of the rows: a neighbour is noted as a reader too.
        others = ActiveLanes(active.size, index=np.roll(lanes, 1, axis=1)[:, : 8 * count].reshape(-1))
        region, offsets, _, _ = wave.spaces.resolve(wave, "shared", named, naming, 16)[0]
        region.note(wave, offsets, 16, others, write=False)
        matrices = rows.view(np.uint16).reshape(-1, count, 8, 8)
        matrices = matrices.swapaxes(2, 3) if transposed else matrices
        words = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, count, 32)
        for i, target in enumerate(targets):
            put(wave.values, target, active, words[:, i].reshape(-1))

    return execute
