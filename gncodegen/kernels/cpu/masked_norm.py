"""Plans of norms of padded sequences: a tile is an observation, of a batch norm a vector of channels."""

from __future__ import annotations

from gncodegen.kernels import masked_norm
from gncodegen.kernels.cpu.elementwise import channel_normalize
from gncodegen.kernels.cpu.norm_tiling import CHUNK
from gncodegen.kernels.schedule import Constant, Problem


def _tiles(problem: Problem) -> dict[str, Constant]:
    return {"vector": _vector(problem), "chunk": CHUNK}


def _vector(problem: Problem) -> int:
    return problem.machine.lanes(problem.operands[0].dtype)


PLANS = masked_norm.plans(_tiles, by_group=False, block=_vector, channel_normalize=channel_normalize)
