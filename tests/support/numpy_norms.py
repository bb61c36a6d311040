"""Statistics and norms of sequences as ops of the gn dialect, in float64 NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import reference as ref

Array = Any


def group_statistics(x: Array, a: Mapping[str, Any]) -> Array:
    """Mean, nothing, and 1 / deviation of each group."""
    reduced, groups = a.get("reduced", "spatial-channel"), a["groups"]
    groups = {"all-channels": 1, "channel-wise": x.shape[-1]}.get(groups, groups)
    axes = {"batch-spatial": (), "channel": x.shape[:-1], "spatial-channel": x.shape[:1], "step": x.shape[:2]}
    rows = int(np.prod(axes[reduced], dtype=np.int64))
    blocks = x.reshape(rows, -1, groups, x.shape[-1] // groups).transpose(0, 2, 1, 3).reshape(rows, groups, -1)
    mean, variance = blocks.mean(-1), blocks.var(-1)
    return np.stack([mean, np.zeros_like(mean), 1 / np.sqrt(variance + a["epsilon"])], -1)


def masked_norm(op: str, o: Sequence[Array], a: Mapping[str, Any]) -> Sequence[Array]:
    """The results of a norm of sequences; gradients are those of networks that leave epsilon at its default."""
    match op:
        case "masked_group_norm":
            groups = {"all-channels": 1, "channel-wise": o[0].shape[-1]}.get(a["groups"], a["groups"])
            alone = [group_statistics(x[None, : int(n)], a) for x, n in zip(o[0], o[3].ravel(), strict=True)]
            return [ref.masked_group_norm(*o, groups=groups, epsilon=a["epsilon"])[0], np.concatenate(alone)]
        case "masked_group_norm_gradient":
            x, dy, scale, steps, _ = o
            return ref.masked_group_norm(x, scale, scale, steps, groups=a["groups"])[1](dy)
        case "masked_batch_norm":
            own = o[0][np.arange(o[0].shape[1]) < o[3]]
            of_batch = {**a, "groups": "channel-wise", "reduced": "batch-spatial"}
            return [ref.masked_batch_norm(*o, epsilon=a["epsilon"])[0], group_statistics(own, of_batch)]
        case _:
            x, dy, scale, steps, _ = o
            return ref.masked_batch_norm(x, scale, scale, steps)[1](dy)
