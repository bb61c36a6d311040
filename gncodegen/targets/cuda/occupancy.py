"""How many blocks of a kernel one multiprocessor holds at once."""

from __future__ import annotations

from gncodegen.targets.cuda.architectures import REGISTERS, architecture

_BLOCKS = {(7, 5): 16, (8, 0): 32, (8, 6): 16, (8, 7): 16, (8, 9): 24, (12, 0): 24, (12, 1): 24}
"""Resident blocks of one multiprocessor by compute capability; 32 on all others."""

_REGISTER_UNIT, _WARP_UNIT, _SHARED_UNIT = 8, 4, 128
"""Registers of a thread, warps of a multiprocessor and shared bytes of a block are handed out in these units."""

_RESERVED = 1 << 10
"""Shared bytes that the system takes of every block, from sm_80 on."""


def resident_blocks(target: str, threads: int, registers: int, shared: int) -> int:
    """Blocks resident on one multiprocessor: the least of what its registers, shared memory and threads allow.

    Args:
        target: architecture, for example "sm_90".
        threads: of a block.
        registers: 32-bit registers of a thread.
        shared: bytes of shared memory of a block, static and dynamic.

    Source: NVIDIA CUDA Occupancy Calculator; CUDA C++ Programming Guide, "Compute Capabilities".
    """
    known = architecture(target)
    warps = -(-threads // 32)
    of_thread = -(-max(registers, 1) // _REGISTER_UNIT) * _REGISTER_UNIT
    by_registers = REGISTERS // (32 * of_thread) // _WARP_UNIT * _WARP_UNIT // warps
    reserved = _RESERVED if known.capability >= (8, 0) else 0
    of_block = -(-(shared + reserved) // _SHARED_UNIT) * _SHARED_UNIT
    by_shared = (known.shared + reserved) // of_block if of_block else by_registers
    return min(by_registers, by_shared, known.threads // (32 * warps), _BLOCKS.get(known.capability, 32))
