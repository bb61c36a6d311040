"""CUDA C++ kernels that compute with every kind of number: source, launch, and what NumPy makes of the same arrays."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from emulator.cuda_sources import RNG, Example
from scipy import special
from support.cuda_kernels import from_bfloat16, to_bfloat16


def _halves() -> Example:
    x, y = (RNG.uniform(0.5, 2, 64).astype(np.float16) for _ in range(2))
    source = """
    #include <cuda_fp16.h>
    __global__ void kernel(const __half2* x, const __half2* y, __half2* z, float* w) {
      int i = threadIdx.x;
      __half2 a = x[i], b = y[i];
      z[5 * i] = __hfma2(a, b, __hneg2(b));
      z[5 * i + 1] = __hmax2(__hsub2(a, b), __hmul2(a, b));
      z[5 * i + 2] = __hadd2(h2sqrt(a), h2exp(b));
      z[5 * i + 3] = __h2div(a, b);
      z[5 * i + 4] = __halves2half2(__hgt(__low2half(a), __low2half(b)) ? __low2half(a) : __high2half(b),
                                    __float2half_rn(__half2float(__high2half(a)) * 3.0f));
      w[i] = __half2float(hlog2(__low2half(a))) + (float)__half2int_rn(__high2half(b)) + __hisnan(__low2half(a));
    }"""
    a, b = x.astype(np.float64), y.astype(np.float64)
    low, high = np.where(a > b, a, np.roll(b, -1))[::2], a[1::2] * 3
    parts = (a * b - b, np.maximum(a - b, a * b), np.sqrt(a) + np.exp(b), a / b, np.stack([low, high], 1))
    z = np.stack([part.reshape(32, 2) for part in parts], 1)
    w = np.log2(a[::2]) + np.rint(b[1::2])
    arguments = (x, y, np.zeros((32, 5, 2), np.float16), np.zeros(32, np.float32))
    return Example(source, 1, 32, arguments, {2: z, 3: w}, 3e-3)


def _brain_floats() -> Example:
    x, y = (to_bfloat16(RNG.uniform(0.5, 2, 64).astype(np.float32)) for _ in range(2))
    source = """
    #include <cuda_bf16.h>
    __global__ void kernel(const __nv_bfloat162* x, const __nv_bfloat162* y, float2* z, __nv_bfloat162* sum) {
      int i = threadIdx.x;
      __nv_bfloat162 a = x[i], b = y[i];
      z[i] = __bfloat1622float2(__hfma2(a, b, __hmin2(a, b)));
      atomicAdd(sum, __floats2bfloat162_rn(1.0f, __bfloat162float(__low2bfloat16(a)) > 1.0f));
    }"""
    a, b = from_bfloat16(x).astype(float), from_bfloat16(y).astype(float)
    total = to_bfloat16(np.array([32, (a[::2] > 1).sum()], np.float32))
    arguments = (x, y, np.zeros(64, np.float32), np.zeros(2, np.uint16))
    # Before sm_90 the header adds in a loop that begins with a weak load, a race with others' stores.
    return Example(source, 1, 32, arguments, {2: a * b + np.minimum(a, b), 3: total}, 1e-2, least=90)


def _mathematics() -> Example:
    x = RNG.uniform(0.1, 30, 64).astype(np.float32)
    source = """
    __global__ void kernel(const float* x, float* y, double* z) {
      float v = x[threadIdx.x];
      double d = v;
      float* f = y + 20 * threadIdx.x;
      double* g = z + 12 * threadIdx.x;
      f[0] = sinf(v); f[1] = cosf(v * 1e5f); f[2] = tanf(v); f[3] = powf(v, 1.7f); f[4] = expm1f(-v);
      f[5] = log1pf(v); f[6] = erff(v / 20); f[7] = lgammaf(v); f[8] = fmodf(v, 0.7f); f[9] = cbrtf(v);
      f[10] = atan2f(v, 3.0f); f[11] = asinf(v / 31); f[12] = sinhf(v / 10); f[13] = floorf(v) + rintf(v) + truncf(-v);
      f[14] = rsqrtf(v); f[15] = hypotf(v, 2.0f); f[16] = copysignf(fdimf(v, 9.0f), -v); f[17] = exp2f(v / 7);
      f[18] = erfcinvf(v / 16); f[19] = ldexpf(v, 3) + ilogbf(v) + nextafterf(v, 99.0f) + remainderf(v, 0.7f);
      g[0] = sin(d); g[1] = cos(d * 1e9); g[2] = pow(d, -2.3); g[3] = exp(d); g[4] = log(d); g[5] = tanh(d / 9);
      g[6] = sqrt(d) + 1 / d; g[7] = erfc(d / 9); g[8] = tgamma(d / 3); g[9] = fmod(d, 0.3); g[10] = atan(d);
      g[11] = log2(d) + rint(d) + ceil(d) + fma(d, d, -d);
    }"""
    d = [float(v) for v in x]
    big = [float(np.float32(v) * np.float32(1e5)) for v in x]
    f = [[math.sin(v), math.cos(b), math.tan(v), v ** float(np.float32(1.7)), math.expm1(-v), math.log1p(v),
          math.erf(v / 20), math.lgamma(v), math.fmod(v, float(np.float32(0.7))), v ** (1 / 3),
          math.atan2(v, 3), math.asin(v / 31),
          math.sinh(v / 10), math.floor(v) + round(v) + math.trunc(-v), v**-0.5, math.hypot(v, 2), -max(v - 9, 0),
          2 ** (v / 7), special.erfcinv(v / 16),
          v * 8 + math.frexp(v)[1] - 1 + v + math.remainder(v, float(np.float32(0.7)))]
         for v, b in zip(d, big, strict=True)]  # fmt: skip
    g = [[math.sin(v), math.cos(v * 1e9), v**-2.3, math.exp(v), math.log(v), math.tanh(v / 9), v**0.5 + 1 / v,
          math.erfc(v / 9), math.gamma(v / 3), math.fmod(v, 0.3), math.atan(v),
          math.log2(v) + round(v) + math.ceil(v) + v * v - v] for v in d]  # fmt: skip
    arguments = (x, np.zeros((64, 20), np.float32), np.zeros((64, 12)))
    return Example(source, 1, 64, arguments, {1: np.array(f), 2: np.array(g)}, 1e-4)


def _integer_intrinsics() -> Example:
    x = RNG.integers(1, 1 << 32, 64, dtype=np.uint32)
    source = """
    __global__ void kernel(const unsigned* x, unsigned* y, long long* z) {
      unsigned v = x[threadIdx.x], w = v * 2654435761u;
      unsigned* u = y + 12 * threadIdx.x;
      u[0] = __clz(v); u[1] = __brev(v); u[2] = __popc(v); u[3] = __ffs(v); u[4] = __umulhi(v, w);
      u[5] = __byte_perm(v, w, 0x5140); u[6] = __funnelshift_l(v, w, 9); u[7] = __dp4a((int)v, (int)w, 5);
      u[8] = __usad(v, w, 3); u[9] = __mulhi((int)v, (int)w); u[10] = __vabsdiffu4(v, w); u[11] = __vadd2(v, w);
      z[threadIdx.x] = __mul64hi((long long)v << 20, (long long)w << 25) + __popcll((unsigned long long)v << 17 | w);
    }"""
    rows, wide = [], []
    for v in map(int, x):
        w = v * 2654435761 & 0xFFFFFFFF
        sv, sw = ((n ^ 1 << 31) - (1 << 31) for n in (v, w))
        b, c = v.to_bytes(4, "little"), w.to_bytes(4, "little")
        signed = lambda n: (n ^ 128) - 128  # noqa: E731
        rows.append([32 - v.bit_length(), int(f"{v:032b}"[::-1], 2), v.bit_count(), (v & -v).bit_length(), v * w >> 32,
                     int.from_bytes(bytes([b[0], c[0], b[1], c[1]]), "little"), (w << 32 | v) << 9 >> 32 & 0xFFFFFFFF,
                     5 + sum(signed(p) * signed(q) for p, q in zip(b, c, strict=True)), abs(v - w) + 3, sv * sw >> 32,
                     int.from_bytes(bytes(abs(p - q) for p, q in zip(b, c, strict=True)), "little"),
                     ((v & 0xFFFF) + (w & 0xFFFF) & 0xFFFF) | ((v >> 16) + (w >> 16) & 0xFFFF) << 16])  # fmt: skip
        wide.append(((v << 20) * (w << 25) >> 64) + (v << 17 | w).bit_count())
    y = (np.array(rows, object) & 0xFFFFFFFF).astype(np.uint32)
    return Example(source, 1, 64, (x, np.zeros((64, 12), np.uint32), np.zeros(64, np.int64)), {1: y, 2: np.array(wide)})


ARITHMETIC: dict[str, Callable[[], Example]] = {
    "halves": _halves, "brain floats": _brain_floats, "mathematics": _mathematics,
    "integer intrinsics": _integer_intrinsics,
}  # fmt: skip
"""By name."""
