"""Kernels in Triton, of the kinds people write: what make.py compiles to the PTX files beside this one."""

import triton
import triton.language as tl


@triton.jit
def scaled_sum(x, y, z, a, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    v = tl.load(x + at, mask=inside).to(tl.float32)
    tl.store(z + at, a * v + tl.load(y + at, mask=inside).to(tl.float32), mask=inside)


@triton.jit
def softmax(x, y, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=-float("inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row * n + c, e / tl.sum(e, 0), mask=c < n)


@triton.jit
def layer_norm(x, scale, offset, y, n, epsilon, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=0.0)
    mean = tl.sum(v, 0) / n
    d = tl.where(c < n, v - mean, 0.0)
    inverse = tl.rsqrt(tl.sum(d * d, 0) / n + epsilon)
    gain, shift = tl.load(scale + c, mask=c < n), tl.load(offset + c, mask=c < n)
    tl.store(y + row * n + c, d * inverse * gain + shift, mask=c < n)


@triton.jit
def scale_gradient(x, dy, total, rows, n, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    c = tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), tl.float32)
    for i in range(ROWS):
        row = tl.program_id(0) * ROWS + i
        inside = (c < n) & (row < rows)
        v, g = tl.load(x + row * n + c, mask=inside, other=0.0), tl.load(dy + row * n + c, mask=inside, other=0.0)
        sums += v * g
    tl.atomic_add(total + c, sums, mask=c < n)


@triton.jit
def product(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, RELU: tl.constexpr):
    i, j, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BK)
    sums = tl.zeros((BM, BN), tl.float32)
    for first in range(0, K, BK):
        left = tl.load(a + i[:, None] * K + first + k[None, :])
        right = tl.load(b + (first + k[:, None]) * N + j[None, :])
        sums = tl.dot(left, right, sums)
    if RELU:
        sums = tl.maximum(sums, 0.0)
    tl.store(c + i[:, None] * N + j[None, :], sums.to(c.dtype.element_ty))


@triton.jit
def integer_product(a, b, c, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    i, j, k = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BK)
    sums = tl.zeros((BM, BN), tl.int32)
    for first in range(0, K, BK):
        left = tl.load(a + i[:, None] * K + first + k[None, :])
        right = tl.load(b + j[None, :] * K + first + k[:, None])
        sums += tl.dot(left, right)
    tl.store(c + i[:, None] * N + j[None, :], sums)


@triton.jit
def attention(q, k, v, y, n, scale, BM: tl.constexpr, BN: tl.constexpr, D: tl.constexpr):
    i, d = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, D)
    queries = tl.load(q + i[:, None] * D + d[None, :])
    most, weight = tl.full((BM,), -float("inf"), tl.float32), tl.zeros((BM,), tl.float32)
    sums = tl.zeros((BM, D), tl.float32)
    for first in range(0, n, BN):
        j = first + tl.arange(0, BN)
        keys = tl.load(k + j[None, :] * D + d[:, None])
        scores = tl.dot(queries, keys) * scale
        scores = tl.where(i[:, None] >= j[None, :], scores, -float("inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        p = tl.exp(scores - higher[:, None])
        rescale = tl.exp(most - higher)
        weight = weight * rescale + tl.sum(p, 1)
        values = tl.load(v + j[:, None] * D + d[None, :])
        sums = tl.dot(p.to(tl.float16), values, sums * rescale[:, None])
        most = higher
    tl.store(y + i[:, None] * D + d[None, :], sums / weight[:, None])


@triton.jit
def largest_place(x, y, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=-float("inf"))
    tl.store(y + row, tl.argmax(v, 0))


@triton.jit
def histogram(x, counts, n, BLOCK: tl.constexpr, BINS: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at)
    tl.atomic_add(counts + tl.arange(0, BINS), tl.histogram(v, BINS))


@triton.jit
def _plus(a, b):
    return a + b


@triton.jit
def running_sum(x, y, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=0)
    tl.store(y + row * n + c, tl.associative_scan(v, 0, _plus), mask=c < n)


@triton.jit
def transpose(x, y, M, N, BM: tl.constexpr, BN: tl.constexpr):
    i, j = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    inside = (i[:, None] < M) & (j[None, :] < N)
    v = tl.load(x + i[:, None] * N + j[None, :], mask=inside)
    tl.store(y + j[:, None] * M + i[None, :], tl.trans(v), mask=tl.trans(inside))


@triton.jit
def dropout(x, y, n, p, seed, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    kept = tl.rand(seed, at) > p
    v = tl.load(x + at, mask=at < n)
    tl.store(y + at, tl.where(kept, v / (1 - p), 0.0), mask=at < n)


@triton.jit
def sort(x, y, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    tl.store(y + row * BLOCK + c, tl.sort(tl.load(x + row * BLOCK + c)))


@triton.jit
def embedding(table, places, y, D: tl.constexpr):
    d = tl.arange(0, D)
    place = tl.load(places + tl.program_id(0))
    tl.store(y + tl.program_id(0) * D + d, tl.load(table + place * D + d))


@triton.jit
def cross_entropy(x, classes, loss, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=-float("inf")).to(tl.float32)
    most = tl.max(v, 0)
    right = tl.load(x + row * n + tl.load(classes + row)).to(tl.float32)
    tl.store(loss + row, tl.log(tl.sum(tl.exp(v - most), 0)) + most - right)


@triton.jit
def rows_times_vector(a, x, y, n, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    sums = tl.zeros((ROWS, BLOCK), tl.float32)
    for first in range(0, n, BLOCK):
        k = first + tl.arange(0, BLOCK)
        sums += tl.load(a + i[:, None] * n + k[None, :]) * tl.load(x + k)[None, :]
    tl.store(y + i, tl.sum(sums, 1))


@triton.jit
def last_one_adds(x, parts, count, total, n, BLOCK: tl.constexpr, BLOCKS: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(parts + tl.program_id(0), tl.sum(tl.load(x + at, mask=at < n, other=0.0), 0))
    tl.debug_barrier()
    if tl.atomic_add(count, 1, sem="acq_rel") == BLOCKS - 1:
        tl.store(total, tl.sum(tl.load(parts + tl.arange(0, BLOCKS), volatile=True), 0))


@triton.jit
def blur(x, y, H, W, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    sums = tl.zeros((BLOCK,), tl.float32)
    for dy in tl.static_range(-1, 2):
        for dx in tl.static_range(-1, 2):
            inside = (row + dy >= 0) & (row + dy < H) & (c + dx >= 0) & (c + dx < W)
            sums += tl.load(x + (row + dy) * W + c + dx, mask=inside, other=0.0)
    tl.store(y + row * W + c, sums / 9, mask=c < W)


@triton.jit
def quantize(x, y, scales, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=0.0)
    scale = tl.max(tl.abs(v), 0) / 127
    level = v / scale
    level = tl.where(level < 0, level - 0.5, level + 0.5).to(tl.int32)
    tl.store(y + row * n + c, tl.minimum(tl.maximum(level, -127), 127).to(tl.int8), mask=c < n)
    tl.store(scales + row, scale)


@triton.jit
def _joined(mean_a, squares_a, count_a, mean_b, squares_b, count_b):
    d, count = mean_b - mean_a, count_a + count_b
    share = tl.where(count == 0.0, 0.0, count_b / count)
    return mean_a + d * share, squares_a + squares_b + d * d * count_a * share, count


@triton.jit
def moments(x, y, n, BLOCK: tl.constexpr):
    row, c = tl.program_id(0), tl.arange(0, BLOCK)
    v = tl.load(x + row * n + c, mask=c < n, other=0.0)
    ones = tl.where(c < n, 1.0, 0.0)
    mean, squares, count = tl.reduce((v, tl.zeros_like(v), ones), 0, _joined)
    tl.store(y + row * 2, mean)
    tl.store(y + row * 2 + 1, squares / count)


@triton.jit
def rotate(x, y, D: tl.constexpr):
    row, d = tl.program_id(0), tl.arange(0, D)
    angle = row.to(tl.float32) * tl.exp(-6.0 * d.to(tl.float32) / D)
    a, b = tl.load(x + row * 2 * D + d).to(tl.float32), tl.load(x + row * 2 * D + D + d).to(tl.float32)
    c, s = tl.cos(angle), tl.sin(angle)
    tl.store(y + row * 2 * D + d, (a * c - b * s).to(tl.bfloat16))
    tl.store(y + row * 2 * D + D + d, (a * s + b * c).to(tl.bfloat16))
