"""CUDA C++ kernels whose threads work together: source, launch, and what NumPy makes of the same arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from emulator.cuda_sources import RNG, Example


def _integer_atomics() -> Example:
    x = RNG.integers(0, 1 << 20, 96).astype(np.uint32)
    source = """
    __global__ void kernel(const unsigned* x, unsigned* u, int* s, unsigned long long* w) {
      __shared__ unsigned own[2];
      if (threadIdx.x < 2) own[threadIdx.x] = 0;
      __syncthreads();
      unsigned v = x[threadIdx.x];
      atomicAdd(&u[0], v); atomicSub(&u[1], v); atomicMin(&u[2], v); atomicMax(&u[3], v);
      atomicAnd(&u[4], v); atomicOr(&u[5], v); atomicXor(&u[6], v);
      atomicInc(&u[7], 40u); atomicDec(&u[8], 40u);
      atomicAdd(&s[0], (int)v); atomicMin(&s[1], 7 - (int)v); atomicMax(&s[2], 7 - (int)v);
      atomicAdd(&w[0], (unsigned long long)v << 24); atomicMax(&w[1], (unsigned long long)v << 24);
      atomicMin((long long*)&w[2], -((long long)v << 24)); atomicXor(&w[3], (unsigned long long)v << 24);
      atomicAdd_block(&own[0], v & 7); atomicMax_block(&own[1], v);
      __syncthreads();
      if (threadIdx.x == 0) { atomicExch(&u[9], own[0]); atomicExch_system(&u[10], own[1]); }
    }"""
    v = x.astype(np.int64)
    start = np.array([0, 0, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0, 0, 0, 0, 0, 0], np.uint32)
    u = [v.sum(), -v.sum(), v.min(), v.max(), np.bitwise_and.reduce(v), np.bitwise_or.reduce(v),
         np.bitwise_xor.reduce(v), 96 % 41, (41 * 3 - 96) % 41, (v & 7).sum(), v.max()]  # fmt: skip
    s = np.array([v.sum(), (7 - v).min(), max((7 - v).max(), 0)], np.int32)
    w = np.array([v.sum() << 24, v.max() << 24, (-(v << 24)).min(), np.bitwise_xor.reduce(v << 24)]).astype(np.uint64)
    arguments = (x, start, np.zeros(3, np.int32), np.zeros(4, np.uint64))
    return Example(source, 1, 96, arguments, {1: np.array(u).astype(np.uint32), 2: s, 3: w})


def _real_atomics() -> Example:
    x = RNG.integers(-99, 99, 128).astype(np.float32)
    source = """
    #include <cuda_fp16.h>
    __device__ float atomic_max(float* at, float v) {
      int old = __float_as_int(*(volatile float*)at), seen;
      do {
        seen = old;
        if (__int_as_float(seen) >= v) break;
        old = atomicCAS((int*)at, seen, __float_as_int(v));
      } while (old != seen);
      return __int_as_float(old);
    }
    __global__ void kernel(const float* x, float* f, double* d, __half2* h) {
      float v = x[blockIdx.x * blockDim.x + threadIdx.x];
      atomicAdd(&f[0], v); atomicAdd(d, (double)v);
      atomic_max(&f[1], v);
      atomicAdd(h, __floats2half2_rn(v > 0, v < 0));
      if (threadIdx.x == 0) atomicExch(&f[2 + blockIdx.x], v);
    }"""
    f = np.array([x.sum(), x.max(), x[0], x[64]], np.float32)
    h = np.array([(x > 0).sum(), (x < 0).sum()], np.float16)
    arguments = (x, np.array([0, -1e9, 0, 0], np.float32), np.zeros(1), np.zeros(2, np.float16))
    return Example(source, 2, 64, arguments, {1: f, 2: np.array([x.sum(dtype=float)]), 3: h})


def _shuffles() -> Example:
    x = RNG.standard_normal(64)
    source = """
    __global__ void kernel(const double* x, double* y, long long* z, unsigned* masks) {
      unsigned i = threadIdx.x, lane = i % 32;
      double v = x[i];
      y[i] = __shfl_sync(0xffffffff, v, (lane + 5) % 32) + __shfl_up_sync(0xffffffff, v, 3)
           + __shfl_down_sync(0xffffffff, v, 2, 8) + __shfl_xor_sync(0xffffffff, v, 7, 16);
      z[i] = __shfl_xor_sync(0xffffffff, 1LL << lane, 1);
      unsigned same = __match_any_sync(0xffffffff, lane / 5), all;
      int agreed;
      all = __match_all_sync(0xffffffff, 3, &agreed);
      masks[2 * i] = same + agreed + all;
      if (lane % 3 == 0) masks[2 * i + 1] = __ballot_sync(__activemask(), lane > 9);
      else masks[2 * i + 1] = __any_sync(__activemask(), lane == 31) + 2 * __all_sync(__activemask(), lane < 31);
      __syncwarp();
    }"""
    lane, v = np.arange(32), x.reshape(2, 32)
    up = np.where(lane >= 3, v[:, np.maximum(lane - 3, 0)], v)
    down = np.where(lane % 8 < 6, v[:, np.minimum(lane + 2, 31)], v)
    y = v[:, (lane + 5) % 32] + up + down + v[:, lane ^ 7]
    same = (lane[:, None] // 5 == lane // 5) @ (1 << lane)
    third = (1 << lane[(lane % 3 == 0) & (lane > 9)]).sum()
    masks = np.stack([same.astype(np.uint32) + np.uint32(0), np.where(lane % 3, 1, third)], 1).astype(np.uint32)
    arguments = (x, np.zeros(64), np.zeros(64, np.int64), np.zeros((2, 32, 2), np.uint32))
    return Example(
        source, 1, 64, arguments, {1: y.reshape(-1), 2: np.tile(1 << (lane ^ 1), 2), 3: np.stack([masks] * 2)}
    )


def _warp_reductions() -> Example:
    x = RNG.integers(-999, 999, 64).astype(np.int32)
    source = """
    __global__ void kernel(const int* x, int* y) {
      int v = x[threadIdx.x], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
      unsigned mask = lane < 20 ? 0xfffffu : 0xfff00000u;
      int sum, most, least, bits;
      if (lane < 20) { sum = __reduce_add_sync(mask, v); most = __reduce_max_sync(mask, v);
                       least = __reduce_min_sync(mask, v); bits = __reduce_xor_sync(mask, (unsigned)v); }
      else { sum = __reduce_add_sync(mask, v); most = __reduce_max_sync(mask, v);
             least = __reduce_min_sync(mask, v); bits = __reduce_xor_sync(mask, (unsigned)v); }
      if (lane == 0 || lane == 20) {
        int* at = y + 8 * warp + 4 * (lane == 20);
        at[0] = sum; at[1] = most; at[2] = least; at[3] = bits;
      }
    }"""
    parts = [part for warp in x.reshape(2, 32) for part in (warp[:20], warp[20:])]
    y = [[p.sum(), p.max(), p.min(), np.bitwise_xor.reduce(p)] for p in parts]
    return Example(source, 1, 64, (x, np.zeros((4, 4), np.int32)), {1: np.array(y)}, least=80)


def _cooperative_groups() -> Example:
    x = RNG.integers(-9, 9, 96).astype(np.int32)
    source = """
    #include <cooperative_groups.h>
    namespace cg = cooperative_groups;
    __global__ void kernel(const int* x, int* sums, int* odd, int* ranks) {
      cg::thread_block block = cg::this_thread_block();
      cg::thread_block_tile<8> tile = cg::tiled_partition<8>(block);
      int v = x[block.thread_rank()], sum = v;
      for (int d = tile.size() / 2; d; d /= 2) sum += tile.shfl_down(sum, d);
      if (tile.thread_rank() == 0) sums[tile.meta_group_rank()] = sum;
      __shared__ int count;
      if (block.thread_rank() == 0) count = 0;
      block.sync();
      if (v & 1) {
        cg::coalesced_group active = cg::coalesced_threads();
        int first;
        if (active.thread_rank() == 0) first = atomicAdd(&count, active.size());
        ranks[block.thread_rank()] = active.shfl(first, 0) >= 0 ? active.thread_rank() : -1;
      }
      block.sync();
      if (block.thread_rank() == 0) *odd = count;
    }"""
    odd = (x.reshape(3, 32) & 1) == 1
    ranks = np.where(odd, odd.cumsum(1) - 1, -7).reshape(-1)
    arguments = (x, np.zeros(12, np.int32), np.zeros(1, np.int32), np.full(96, -7, np.int32))
    return Example(source, 1, 96, arguments, {1: x.reshape(12, 8).sum(1), 2: np.array([odd.sum()]), 3: ranks})


def _grid_sync() -> Example:
    source = """
    #include <cooperative_groups.h>
    __global__ void kernel(int* a, int rows) {
      auto grid = cooperative_groups::this_grid();
      int columns = grid.size(), i = grid.thread_rank();
      for (int row = 1; row < rows; ++row) {
        a[row * columns + i] = a[(row - 1) * columns + columns - 1 - i] + 1;
        grid.sync();
      }
    }"""
    a = np.zeros((5, 128), np.int32)
    a[0] = RNG.integers(0, 9, 128)
    wanted = [a[0]]
    for _ in range(4):
        wanted.append(wanted[-1][::-1] + 1)
    return Example(source, 4, 32, (a, np.int32(5)), {0: np.stack(wanted)}, cooperative=True)


def _dynamic_shared() -> Example:
    x = RNG.standard_normal((3, 64)).astype(np.float32)
    source = """
    extern __shared__ char memory[];
    __global__ void kernel(const float* x, float* y, int n) {
      float* values = (float*)memory;
      int* places = (int*)(memory + n * sizeof(float));
      values[threadIdx.x] = x[blockIdx.x * n + threadIdx.x];
      places[threadIdx.x] = (threadIdx.x * 7) % n;
      __syncthreads();
      y[blockIdx.x * n + threadIdx.x] = values[places[threadIdx.x]];
    }"""
    return Example(source, 3, 64, (x, np.zeros_like(x), np.int32(64)), {1: x[:, np.arange(64) * 7 % 64]}, shared=512)


def _printed() -> Example:
    source = """
    __global__ void kernel(const float* x, int n) {
      int i = blockIdx.x * blockDim.x + threadIdx.x;
      const char* kind = i % 2 ? "odd" : "even";
      if (i < n) printf("%d: %5.2f%% %s|%-4u|%llx|%c\\n", i, x[i], kind, i + 1u, 1ull << (40 + i), 'a' + i);
    }"""
    x = np.array([1.5, -2.25, 100], np.float32)
    lines = [
        f"{i}: {v:5.2f}% {'odd' if i % 2 else 'even'}|{i + 1:<4}|{1 << 40 + i:x}|{chr(97 + i)}\n"
        for i, v in enumerate(x)
    ]
    return Example(source, 2, 2, (x, np.int32(3)), {}, printed="".join(lines))


def _lock() -> Example:
    source = """
    __device__ int taken = 0;
    __global__ void kernel(int* sum) {
      bool done = false;
      while (!done) {
        if (atomicCAS(&taken, 0, 1) == 0) {
          __threadfence();
          *(volatile int*)sum += threadIdx.x + 1;
          __threadfence();
          atomicExch(&taken, 0);
          done = true;
        }
      }
    }"""
    return Example(source, 2, 48, (np.zeros(1, np.int32),), {0: np.array([2 * 48 * 49 // 2])})


def _last_block() -> Example:
    x = RNG.integers(-9, 9, 256).astype(np.int32)
    source = """
    __device__ unsigned finished = 0;
    __global__ void kernel(const int* x, volatile int* parts, int* sum) {
      __shared__ bool last;
      int v = x[blockIdx.x * 32 + threadIdx.x];
      for (int d = 16; d; d /= 2) v += __shfl_xor_sync(0xffffffff, v, d);
      if (threadIdx.x == 0) {
        parts[blockIdx.x] = v;
        __threadfence();
        last = atomicInc(&finished, gridDim.x - 1) == gridDim.x - 1;
      }
      __syncthreads();
      if (last && threadIdx.x == 0) {
        __threadfence();
        int total = 0;
        for (int i = 0; i < gridDim.x; ++i) total += parts[i];
        *sum = total;
      }
    }"""
    return Example(source, 8, 32, (x, np.zeros(8, np.int32), np.zeros(1, np.int32)), {2: np.array([x.sum()])})


def _atomic_references() -> Example:
    x = RNG.integers(0, 99, 64).astype(np.int32)
    source = """
    #include <cuda/atomic>
    __global__ void kernel(const int* x, int* sums, float* most) {
      cuda::atomic_ref<int, cuda::thread_scope_device> sum(sums[0]);
      sum.fetch_add(x[threadIdx.x], cuda::memory_order_relaxed);
      cuda::atomic_ref<int, cuda::thread_scope_block> flags(sums[1]);
      flags.fetch_or(1 << (x[threadIdx.x] % 31), cuda::memory_order_acq_rel);
      cuda::atomic_ref<float, cuda::thread_scope_system> real(*most);
      real.fetch_max(x[threadIdx.x] * 0.5f, cuda::memory_order_relaxed);
    }"""
    flags = np.bitwise_or.reduce(1 << (x % 31))
    arguments = (x, np.zeros(2, np.int32), np.zeros(1, np.float32))
    return Example(source, 1, 64, arguments, {1: np.array([x.sum(), flags]), 2: np.array([x.max() * 0.5])})


def _asynchronous_copies() -> Example:
    x = RNG.standard_normal((4, 64, 4)).astype(np.float32)
    source = """
    #include <cuda_pipeline.h>
    __global__ void kernel(const float4* x, float4* y) {
      __shared__ float4 buffer[2][64];
      int i = threadIdx.x;
      float4 sum = make_float4(0, 0, 0, 0);
      __pipeline_memcpy_async(&buffer[0][i], &x[i], sizeof(float4));
      __pipeline_commit();
      for (int k = 0; k < 4; ++k) {
        if (k < 3) __pipeline_memcpy_async(&buffer[(k + 1) % 2][i], &x[(k + 1) * 64 + i], sizeof(float4));
        __pipeline_commit();
        __pipeline_wait_prior(1);
        __syncthreads();
        float4 v = buffer[k % 2][63 - i];
        sum.x += v.x; sum.y += v.y; sum.z += v.z; sum.w += v.w;
        __syncthreads();
      }
      y[i] = sum;
    }"""
    return Example(source, 1, 64, (x, np.zeros_like(x[0])), {1: x[:, ::-1].sum(0, dtype=float)}, 1e-5)


def _cluster() -> Example:
    x = RNG.integers(-9, 9, 256).astype(np.int32)
    source = """
    #include <cooperative_groups.h>
    namespace cg = cooperative_groups;
    __global__ void kernel(const int* x, int* y) {
      __shared__ int own[32];
      cg::cluster_group cluster = cg::this_cluster();
      own[threadIdx.x] = x[blockIdx.x * 32 + threadIdx.x];
      cluster.sync();
      int rank = cluster.block_rank(), blocks = cluster.num_blocks();
      int* next = cluster.map_shared_rank(own, (rank + 1) % blocks);
      y[blockIdx.x * 32 + threadIdx.x] = next[31 - threadIdx.x];
      cluster.sync();
    }"""
    wanted = np.roll(x.reshape(2, 4, 32), -1, axis=1)[:, :, ::-1].reshape(-1)
    return Example(source, 8, 32, (x, np.zeros_like(x)), {1: wanted}, least=90, cluster=4)


COOPERATION: dict[str, Callable[[], Example]] = {
    "integer atomics": _integer_atomics, "real atomics": _real_atomics, "shuffles": _shuffles,
    "warp reductions": _warp_reductions, "cooperative groups": _cooperative_groups, "grid sync": _grid_sync,
    "dynamic shared": _dynamic_shared, "printed": _printed, "lock": _lock, "last block": _last_block,
    "atomic references": _atomic_references, "asynchronous copies": _asynchronous_copies, "cluster": _cluster,
}  # fmt: skip
"""By name."""
