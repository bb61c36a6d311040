"""Sums and products rounded once, in the direction asked for (PTX ISA 9.7.3).

float32: exact. A product of two float32 is exact in float64, a sum there has an error that TwoSum gives exactly, and
rounding to odd removes the double rounding (but not among float32's subnormals). float64 fma: the product's and the
sum's errors are kept (Dekker, TwoSum), so that the result is within 1 ulp and nearly always exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gncodegen.emulator.ptx.scalars import Array

_TIE = -(2**63)  # the bits of a float64 that a float32 drops, moved to the top, where they are a tie
_SPLITTER = 134217729.0  # 2**27 + 1


def two_sum(a: Array, b: Array, total: Array) -> Array:
    """The exact a + b − total, for total = a + b rounded (Knuth)."""
    back = total - a
    return (a - (total - back)) + (b - back)


def _odd(total: Array, error: Array) -> Array:
    """`total` moved to its neighbour on the error's side where it is inexact and even."""
    bits = total.view(np.uint64)
    inexact = (error != 0) & ((bits & np.uint64(1)) == 0) & np.isfinite(total)
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where(inexact, np.nextafter(total, toward), total)


def fused32(a: Array, b: Array, c: Array) -> Array:
    """a·b + c as a float64 that rounds to the float32 which a·b + c, rounded once to nearest even, gives.

    Only where the result is below 2**-126 may it be off, by 2**-149.
    """
    total = np.multiply(a, b, dtype=np.float64)
    total = np.add(total, c, out=total) if total.ndim and total.ndim >= np.ndim(c) else np.atleast_1d(total + c)
    if np.minimum.reduce(np.left_shift(total.view(np.int64), 35), axis=None) == _TIE:
        risky = np.left_shift(total.view(np.int64), 35) == _TIE
        product = np.broadcast_to(np.multiply(a, b, dtype=np.float64), total.shape)[risky]
        wide = np.broadcast_to(np.asarray(c, np.float64), total.shape)[risky]
        total[risky] = _odd(total[risky], two_sum(product, wide, total[risky]))
    return total


def fused64(a: Array, b: Array, c: Array) -> Array:
    """a·b + c in float64 with product and sum errors kept; within 1 ulp of the once-rounded result."""
    product = np.multiply(a, b)
    high_a, low_a = _halves(a)
    high_b, low_b = _halves(b)
    lost = ((high_a * high_b - product) + high_a * low_b + low_a * high_b) + low_a * low_b
    total = product + c
    error = two_sum(product, c, total) + lost
    return np.where(np.isfinite(error), total + error, total)


def _halves(value: Array) -> tuple[Array, Array]:
    shifted = np.multiply(value, _SPLITTER)
    high = shifted - (shifted - value)
    return high, value - high


def directed(total: Array, error: Array, mode: str, dtype: Any) -> Array:
    """The exact total + error (|error| below half an ulp of total) as `dtype`, rounded rz, rm or rp."""
    result = np.atleast_1d(total).astype(dtype)
    back = result.astype(total.dtype)
    above = (back > total) | ((back == total) & (error < 0))
    below = (back < total) | ((back == total) & (error > 0))
    down = (mode == "rm") | ((mode == "rz") & (total > 0))
    finite = np.isfinite(total) & ~np.isnan(result)
    lower = np.nextafter(result, np.array(-np.inf, dtype), dtype=dtype)
    upper = np.nextafter(result, np.array(np.inf, dtype), dtype=dtype)
    return np.where(finite & above & down, lower, np.where(finite & below & ~np.asarray(down), upper, result))


def sum32(a: Array, b: Array, mode: str) -> Array:
    """A + b in float32 rounded rz, rm or rp."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    total = np.atleast_1d(x + y)
    return directed(total, two_sum(x, y, total), mode, np.float32)


def product32(a: Array, b: Array, mode: str) -> Array:
    """A · b in float32 rounded rz, rm or rp."""
    total = np.atleast_1d(np.multiply(a, b, dtype=np.float64))
    return directed(total, np.zeros_like(total), mode, np.float32)


def fused32_directed(a: Array, b: Array, c: Array, mode: str) -> Array:
    """a·b + c in float32 rounded rz, rm or rp."""
    product, wide = np.multiply(a, b, dtype=np.float64), np.asarray(c, np.float64)
    total = np.atleast_1d(product + wide)
    return directed(total, two_sum(product, wide, total), mode, np.float32)


def to_bfloat16(value: Array) -> Array:
    """float32 to the bits of bfloat16, to nearest even; every NaN becomes 0x7FFF."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(value), np.uint32(0x7FFF), rounded).astype(np.uint16)


def from_bfloat16(bits: Array) -> Array:
    """The bits of bfloat16 as float32."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_tfloat32(value: Array) -> Array:
    """float32 to the bits of tf32, to nearest with ties away from zero (cvt.rna)."""
    bits = np.asarray(value, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFF_E000)
    return np.where(np.isnan(value), bits, rounded)
