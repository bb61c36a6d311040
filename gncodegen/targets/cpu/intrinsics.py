"""The vocabulary of generated CPU kernels: everything a rendered file imports from gncodegen.

A kernel is `kernel(tile, argv)`: it does tile number `tile` of the grid and finds its buffers' addresses in `argv`.
"""

from __future__ import annotations

from math import erf as scalar_erf
from math import exp as scalar_exp
from math import log as scalar_log
from math import tanh as scalar_tanh

from numba.core.types import float32, float64, int32, int64, uint8, uint64

from gncodegen.targets.cpu.elementary import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    cos,
    cosh,
    erf,
    exp,
    expm1,
    log,
    log1p,
    log_of_more,
    power,
    remainder,
    sigmoid,
    sigmoid_slope,
    sin,
    sinh,
    tan,
    tanh,
)
from gncodegen.targets.cpu.frontend import device
from gncodegen.targets.cpu.half import StorageName
from gncodegen.targets.cpu.memory import clear, copy, drain, opaque, prefetch, rolled, stream, transpose_block
from gncodegen.targets.cpu.tile import (
    tile_add,
    tile_add_row,
    tile_add_rows,
    tile_ceiling,
    tile_dot,
    tile_fma,
    tile_fma_rows,
    tile_leaky_relu,
    tile_load,
    tile_relu,
    tile_store,
    tile_sum_lanes,
    tile_sum_rows,
    tile_zero,
)
from gncodegen.targets.cpu.vector import (
    absolute,
    ceil,
    convert,
    floor,
    fma,
    lane,
    load,
    local,
    maximum,
    minimum,
    number,
    offset,
    pointer,
    reduce_add,
    reduce_any,
    reduce_max,
    rint,
    select,
    splat,
    sqrt,
    store,
)

float16, bfloat16 = StorageName("float16"), StorageName("bfloat16")
"""Storage types: values compute as float32."""

__all__ = [
    "absolute", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bfloat16", "ceil", "clear", "convert", "copy",
    "cos", "cosh", "device", "drain", "erf", "exp", "expm1", "float16", "float32", "float64", "floor", "fma", "int32",
    "int64", "lane", "load", "local", "log", "log1p", "log_of_more", "maximum", "minimum", "number", "offset",
    "opaque", "pointer", "power", "prefetch", "reduce_add", "reduce_any", "reduce_max", "remainder", "rint", "rolled",
    "scalar_erf", "scalar_exp", "scalar_log", "scalar_tanh", "select", "sigmoid", "sigmoid_slope", "sin", "sinh",
    "splat", "sqrt", "store", "stream", "tan", "tanh", "tile_add", "tile_add_row", "tile_add_rows", "tile_ceiling",
    "tile_dot", "tile_fma", "tile_fma_rows", "tile_leaky_relu", "tile_load", "tile_relu", "tile_store",
    "tile_sum_lanes", "tile_sum_rows", "tile_zero", "transpose_block", "uint8", "uint64",
]  # fmt: skip
