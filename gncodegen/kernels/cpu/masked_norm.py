"""Plans of group norms of padded sequences: a tile is an observation."""

from __future__ import annotations

from gncodegen.kernels import masked_norm
from gncodegen.kernels.cpu.norm_tiling import CHUNK
from gncodegen.kernels.schedule import Constant, Problem


def _tiles(problem: Problem) -> dict[str, Constant]:
    return {"vector": problem.machine.lanes(problem.operands[0].dtype), "chunk": CHUNK}


PLANS = masked_norm.plans(_tiles, by_group=False)
