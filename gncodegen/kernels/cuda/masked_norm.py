"""Plans of norms of padded sequences: a block is a group of an observation, of a batch norm a channel."""

from __future__ import annotations

from gncodegen.kernels import masked_norm
from gncodegen.kernels.cuda.normalization import channel_normalize
from gncodegen.kernels.schedule import Constant, Problem

THREADS = 128


def _tiles(problem: Problem) -> dict[str, Constant]:
    return {"threads": THREADS}


PLANS = masked_norm.plans(_tiles, by_group=True, block=lambda _: 1, channel_normalize=channel_normalize)
