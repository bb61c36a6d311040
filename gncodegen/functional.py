"""Function forms of layers: one op on arrays, no network."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.single import program
from gncodegen.layers.base import Size
from gncodegen.layers.formats import permutation
from gncodegen.layers.normalization import GroupNormalizationLayer
from gncodegen.runtime.arrays import aligned, as_array
from gncodegen.runtime.executor import Arena, Executor
from gncodegen.targets.cpu.target import CpuTarget

_FORMATS = {2: "BC", 3: "BTC", 4: "BSSC", 5: "BSSSC"}
"""Axis order assumed for an array of that many axes."""


def groupnorm(
    x: Any,
    num_groups: int | str,
    offset: Any,
    scale: Any,
    *,
    data_format: str | None = None,
    epsilon: float = 1e-5,
) -> NDArray[Any]:
    """Group normalization of an array: y = scale·(x − mean)/sqrt(variance + epsilon) + offset.

    Mean and population variance are taken per observation over a group's channels and all space and time positions.

    Args:
        x: array with a C axis; float64 is computed in float64, everything else in float32.
        num_groups: divides C, or "all-channels", or "channel-wise".
        offset: (C,).
        scale: (C,).
        data_format: one letter per axis of x, in any order: S space, C channel, B batch, T time;
            None = "BC", "BTC", "BSSC" or "BSSSC" by the number of axes.
        epsilon: > 0.

    Returns:
        array shaped like x.

    Raises:
        ArrayError: x, offset, scale or data_format do not fit.
        LayerError: num_groups or epsilon is out of range.

    Source: Y. Wu, K. He, Group Normalization, 2018.
    """
    layer = GroupNormalizationLayer(num_groups, epsilon=epsilon)
    array = as_array(x, "x")
    axes = _FORMATS.get(array.ndim, "") if data_format is None else data_format
    _check(axes, array)
    inner = "".join(sorted(axes, key="BSTC".index))
    moved = array.transpose(permutation(axes, inner))
    batched = moved if "B" in axes else moved[None]
    dtype = "float64" if array.dtype == np.float64 else "float32"
    size = Size(inner.replace("B", ""), batched.shape[1:])
    faults = [*layer.shape_errors((size,))]
    if faults:
        raise ArrayError(f"groupnorm: {faults[0]}")
    vectors = [_vector(value, name, size.channels, dtype) for name, value in (("scale", scale), ("offset", offset))]
    groups = {"all-channels": 1, "channel-wise": size.channels}.get(str(num_groups)) or int(num_groups)
    shape = (batched.shape[0], int(np.prod(batched.shape[1:-1], dtype=np.int64)), size.channels)
    y = aligned(shape, dtype)  # large results are written past the caches, in whole vectors
    if y.size:
        values = np.ascontiguousarray(batched, dtype)
        executor = _executor(shape, groups, float(epsilon), dtype)
        arrays = [values, *vectors, y, np.empty((shape[0], groups, 3), dtype)]
        executor.run(dict(zip(executor.free, arrays, strict=True)))
    result = y.reshape(moved.shape).transpose(permutation(inner, axes))
    return np.ascontiguousarray(result)


def _check(axes: str, array: NDArray[Any]) -> None:
    valid = set(axes) <= set("SCBT") and axes.count("C") == 1 and axes.count("B") <= 1 and axes.count("T") <= 1
    if not valid or len(axes) != array.ndim:
        raise ArrayError(
            f"groupnorm: data_format = {axes!r} for an array of {array.ndim} axes; allowed: one letter per axis, C "
            "once, B and T at most once, S up to three times, in any order; write data_format='BSSC' for images"
        )


def _vector(value: Any, name: str, channels: int, dtype: str) -> NDArray[Any]:
    vector = as_array(value, name)
    if vector.size != channels:
        raise ArrayError(
            f"groupnorm: {name} has {vector.size} values; allowed: {channels}, one per channel; give that many"
        )
    return np.ascontiguousarray(vector.reshape(channels), dtype)


@lru_cache(maxsize=256)
def _executor(shape: tuple[int, int, int], groups: int, epsilon: float, dtype: str) -> Executor:
    """The kernels of one shape, ready to run; the free arguments are x, scale, offset, y and statistics in order."""
    target = CpuTarget()
    x, vector = Tensor(shape, dtype), Tensor((shape[2],), dtype)
    results = (x, Tensor((shape[0], groups, 3), dtype))
    attributes = {"groups": groups, "epsilon": epsilon}
    problem = Problem("group_norm", (x, vector, vector), results, attributes, target.machine)
    single = program(problem)
    sources = target.write(single.kernels.values())
    target.compile(sources)
    return Executor(single, dict(zip(single.kernels, target.link(sources), strict=True)), Arena(), {})
