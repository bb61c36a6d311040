"""CUDA C++ kernels as people write them: source, how they are launched, and what NumPy makes of the same arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Example:
    """One kernel.

    Args:
        source: CUDA C++ that defines `kernel`.
        grid, block: of the launch.
        arguments: arrays and numbers; an array of None's place in `expected` is only read.
        expected: by position of the argument what is in it afterwards.
        tolerance: absolute and relative; 0 = the same bits.
        least: the first compute capability that has it, ten times.
        cluster: blocks of a cluster.
        cooperative: whether all blocks are resident at once.
        shared: bytes of dynamic shared memory.
        printed: what the kernel prints.
    """

    source: str
    grid: Any
    block: Any
    arguments: tuple[Any, ...]
    expected: dict[int, np.ndarray]
    tolerance: float = 0.0
    least: int = 75
    cluster: int = 1
    cooperative: bool = False
    shared: int = 0
    printed: str = ""


def _real(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def _saxpy() -> Example:
    x, y, a = _real(1000), _real(1000), np.float32(2.5)
    source = """
    __global__ void kernel(int n, float a, const float* x, float* y) {
      for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        y[i] = fmaf(a, x[i], y[i]);
    }"""
    return Example(source, 3, 128, (np.int32(1000), a, x, y), {3: a * x + y}, 1e-6)


def _vectors() -> Example:
    x = _real(256, 4)
    source = """
    __global__ void kernel(const float4* x, float4* y) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      float4 v = x[i];
      y[i] = make_float4(v.w, v.z, v.y, v.x);
    }"""
    return Example(source, 4, 64, (x, np.zeros_like(x)), {1: x[:, ::-1]})


def _transpose() -> Example:
    x = _real(48, 80)
    source = """
    __global__ void kernel(const float* x, float* y, int rows, int columns) {
      __shared__ float tile[16][17];
      int i = blockIdx.y * 16 + threadIdx.y, j = blockIdx.x * 16 + threadIdx.x;
      tile[threadIdx.y][threadIdx.x] = x[i * columns + j];
      __syncthreads();
      y[(blockIdx.x * 16 + threadIdx.y) * rows + blockIdx.y * 16 + threadIdx.x] = tile[threadIdx.x][threadIdx.y];
    }"""
    arguments = (x, np.zeros((80, 48), np.float32), np.int32(48), np.int32(80))
    return Example(source, (5, 3), (16, 16), arguments, {1: x.T})


def _sum_of_blocks() -> Example:
    x = RNG.integers(-9, 9, 1024).astype(np.int32)
    source = """
    __global__ void kernel(const int* x, int* sums) {
      __shared__ int parts[8];
      int v = x[blockIdx.x * blockDim.x + threadIdx.x];
      for (int d = 16; d; d /= 2) v += __shfl_down_sync(0xffffffff, v, d);
      if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
      __syncthreads();
      if (threadIdx.x < 8) {
        v = parts[threadIdx.x];
        for (int d = 4; d; d /= 2) v += __shfl_down_sync(0xff, v, d, 8);
        if (threadIdx.x == 0) sums[blockIdx.x] = v;
      }
    }"""
    return Example(source, 4, 256, (x, np.zeros(4, np.int32)), {1: x.reshape(4, 256).sum(1, dtype=np.int32)})


def _histogram() -> Example:
    x = RNG.integers(0, 64, 2048).astype(np.uint8)
    source = """
    __global__ void kernel(const unsigned char* x, int n, unsigned* counts) {
      __shared__ unsigned own[64];
      if (threadIdx.x < 64) own[threadIdx.x] = 0;
      __syncthreads();
      for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        atomicAdd(&own[x[i]], 1u);
      __syncthreads();
      if (threadIdx.x < 64) atomicAdd(&counts[threadIdx.x], own[threadIdx.x]);
    }"""
    counts = np.bincount(x, minlength=64).astype(np.uint32)
    return Example(source, 3, 128, (x, np.int32(2048), np.zeros(64, np.uint32)), {2: counts})


def _scan() -> Example:
    x = RNG.integers(-9, 9, (3, 128)).astype(np.int32)
    source = """
    __global__ void kernel(const int* x, int* y) {
      __shared__ int values[2][128];
      int i = threadIdx.x, at = 0, begin = blockIdx.x * 128;
      values[0][i] = x[begin + i];
      __syncthreads();
      for (int d = 1; d < 128; d *= 2, at ^= 1) {
        values[at ^ 1][i] = values[at][i] + (i >= d ? values[at][i - d] : 0);
        __syncthreads();
      }
      y[begin + i] = values[at][i];
    }"""
    return Example(source, 3, 128, (x, np.zeros_like(x)), {1: x.cumsum(1, dtype=np.int32)})


def _product() -> Example:
    a, b = _real(32, 48), _real(48, 64)
    source = """
    __global__ void kernel(const float* a, const float* b, float* c, int n, int depth) {
      __shared__ float as[16][16], bs[16][16];
      int i = blockIdx.y * 16 + threadIdx.y, j = blockIdx.x * 16 + threadIdx.x;
      float sum = 0;
      for (int k = 0; k < depth; k += 16) {
        as[threadIdx.y][threadIdx.x] = a[i * depth + k + threadIdx.x];
        bs[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + j];
        __syncthreads();
        for (int l = 0; l < 16; ++l) sum += as[threadIdx.y][l] * bs[l][threadIdx.x];
        __syncthreads();
      }
      c[i * n + j] = sum;
    }"""
    arguments = (a, b, np.zeros((32, 64), np.float32), np.int32(64), np.int32(48))
    return Example(source, (4, 2), (16, 16), arguments, {2: a.astype(np.float64) @ b}, 1e-5)


def _softmax() -> Example:
    x = _real(8, 96)
    source = """
    __global__ void kernel(const float* x, float* y) {
      const float* row = x + blockIdx.x * 96;
      float v[3], most = -1e30f, sum = 0;
      for (int k = 0; k < 3; ++k) most = fmaxf(most, v[k] = row[threadIdx.x + 32 * k]);
      for (int d = 16; d; d /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, d));
      for (int k = 0; k < 3; ++k) sum += v[k] = expf(v[k] - most);
      for (int d = 16; d; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
      for (int k = 0; k < 3; ++k) y[blockIdx.x * 96 + threadIdx.x + 32 * k] = v[k] / sum;
    }"""
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    return Example(source, 8, 32, (x, np.zeros_like(x)), {1: e / e.sum(1, keepdims=True)}, 1e-6)


def _bitonic_sort() -> Example:
    x = RNG.permutation(256).astype(np.int32)
    source = """
    __global__ void kernel(int* x) {
      __shared__ int s[256];
      int i = threadIdx.x;
      s[i] = x[i];
      __syncthreads();
      for (int k = 2; k <= 256; k *= 2)
        for (int j = k / 2; j; j /= 2) {
          int other = i ^ j;
          if (other > i && (s[i] > s[other]) == ((i & k) == 0)) { int t = s[i]; s[i] = s[other]; s[other] = t; }
          __syncthreads();
        }
      x[i] = s[i];
    }"""
    return Example(source, 1, 256, (x,), {0: np.sort(x)})


def _mandelbrot() -> Example:
    source = """
    __global__ void kernel(int* steps) {
      int i = blockIdx.y * blockDim.y + threadIdx.y, j = blockIdx.x * blockDim.x + threadIdx.x;
      double a = -2 + j * 0.125, b = -1 + i * 0.125, x = 0, y = 0;
      int n = 0;
      for (; n < 40 && __dadd_rn(__dmul_rn(x, x), __dmul_rn(y, y)) <= 4; ++n) {
        double t = __dadd_rn(__dsub_rn(__dmul_rn(x, x), __dmul_rn(y, y)), a);
        y = __dadd_rn(__dmul_rn(2 * x, y), b);
        x = t;
      }
      steps[i * 24 + j] = n;
    }"""
    a, b = np.meshgrid(-2 + np.arange(24) * 0.125, -1 + np.arange(16) * 0.125)
    x, y, steps = np.zeros_like(a), np.zeros_like(a), np.zeros(a.shape, np.int32)
    for _ in range(40):
        inside = x * x + y * y <= 4
        steps += inside
        x, y = np.where(inside, x * x - y * y + a, x), np.where(inside, 2 * x * y + b, y)
    return Example(source, (3, 4), (8, 4), (np.zeros((16, 24), np.int32),), {0: steps})


def _volume() -> Example:
    x = _real(4, 6, 8)
    source = """
    __global__ void kernel(const float* x, float* y) {
      int i = blockIdx.z * blockDim.z + threadIdx.z, j = blockIdx.y * blockDim.y + threadIdx.y;
      int k = blockIdx.x * blockDim.x + threadIdx.x;
      y[(i * 6 + j) * 8 + k] = x[((3 - i) * 6 + 5 - j) * 8 + 7 - k];
    }"""
    return Example(source, (2, 3, 2), (4, 2, 2), (x, np.zeros_like(x)), {1: x[::-1, ::-1, ::-1]})


def _votes() -> Example:
    x = RNG.integers(0, 99, 64).astype(np.int32)
    source = """
    __global__ void kernel(const int* x, int* kept, int* count) {
      int v = x[threadIdx.x];
      unsigned odd = __ballot_sync(0xffffffff, v & 1), before = odd & ((1u << (threadIdx.x % 32)) - 1);
      __shared__ int begin[2];
      if (threadIdx.x % 32 == 0) begin[threadIdx.x / 32] = __popc(odd);
      __syncthreads();
      int place = __popc(before) + (threadIdx.x >= 32 ? begin[0] : 0);
      if (v & 1) kept[place] = v;
      if (threadIdx.x == 0) *count = begin[0] + begin[1];
    }"""
    odd = x[x % 2 == 1]
    kept = np.zeros(64, np.int32)
    kept[: len(odd)] = odd
    arguments = (x, np.zeros(64, np.int32), np.zeros(1, np.int32))
    return Example(source, 1, 64, arguments, {1: kept, 2: np.array([len(odd)])})


def _tables_and_branches() -> Example:
    x = RNG.integers(0, 1 << 16, 96).astype(np.int32)
    source = """
    __constant__ int primes[8] = {2, 3, 5, 7, 11, 13, 17, 19};
    __device__ int calls;
    __device__ __noinline__ int power(int base, int exponent) {
      int result = 1;
      for (; exponent; exponent >>= 1, base *= base) if (exponent & 1) result *= base;
      return result;
    }
    __global__ void kernel(const int* x, int* y, int* called) {
      int v = x[blockIdx.x * blockDim.x + threadIdx.x], digits[8], n = 0;
      for (int rest = v; rest; rest /= 10) digits[n++] = rest % 10;
      int result = 0;
      switch (v % 9) {
        case 0: result = v / 3; break;
        case 1: result = -v; break;
        case 2: result = n ? digits[n / 2] : -1;
        case 3: result += 100; break;
        case 4: result = power(v % 10, v % 5); atomicAdd(&calls, 1); break;
        case 5: result = v << 2; break;
        case 6: result = primes[v % 8]; break;
        case 7: result = v ^ 255; break;
        default: result = n;
      }
      y[blockIdx.x * blockDim.x + threadIdx.x] = result;
      __syncthreads();
      if (threadIdx.x == 0) called[blockIdx.x] = *(volatile int*)&calls >= 0;
    }"""
    y = []
    for v in map(int, x):
        digits = str(v)[::-1] if v else ""
        n = len(digits)
        middle = int(digits[n // 2]) if n else -1
        prime = (2, 3, 5, 7, 11, 13, 17, 19)[v % 8]
        y.append([v // 3, -v, middle + 100, 100, (v % 10) ** (v % 5), v << 2, prime, v ^ 255, n][v % 9])
    arguments = (x, np.zeros(96, np.int32), np.zeros(3, np.int32))
    return Example(source, 3, 32, arguments, {1: np.array(y), 2: np.ones(3)})


EXAMPLES: dict[str, Callable[[], Example]] = {
    "saxpy": _saxpy, "vectors": _vectors, "transpose": _transpose, "sum of blocks": _sum_of_blocks,
    "histogram": _histogram, "scan": _scan, "product": _product, "softmax": _softmax, "bitonic sort": _bitonic_sort,
    "mandelbrot": _mandelbrot, "volume": _volume, "votes": _votes,
    "tables and branches": _tables_and_branches,
}  # fmt: skip
"""By name."""
