"""Kernels that Triton compiled (triton/make.py), against NumPy; the PTX files lie beside their sources."""

import re
from pathlib import Path

import numpy as np
import pytest
from support.cuda_kernels import from_bfloat16, to_bfloat16

from gncodegen.emulator import DeviceMemory, EmulationFault, Executable, run

FOLDER = Path(__file__).parent / "triton"
RNG = np.random.default_rng(0)


def real(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def half(*shape):
    return real(*shape).astype(np.float16)


def brain(*shape):
    """Bits of bfloat16, and what they are."""
    bits = to_bfloat16(real(*shape))
    return bits, from_bfloat16(bits)


def products(a, b, kind):
    """A case of a product of 64 × 96 and 96 × 64."""
    (x, xs), (y, ys) = a, b
    arguments = [
        x,
        y,
        np.zeros((64, 64), np.uint16 if kind == "bf16" else np.float32),
        *(np.int32(n) for n in (64, 64, 96)),
    ]
    wanted = xs.astype(np.float64) @ ys.astype(np.float64)
    return (2, 2), arguments, {2: np.maximum(wanted, 0) if kind == "bf16" else wanted}, 2e-2 if kind != "fp16" else 1e-4


def scaled_sum():
    (x, xs), (y, ys) = brain(600), brain(600)
    return 3, [x, y, np.zeros(600, np.float32), np.float32(1.5), np.int32(600)], {2: 1.5 * xs + ys}, 1e-6


def softmax():
    x = real(3, 200)
    e = np.exp(x.astype(float) - x.max(1, keepdims=True))
    return 3, [x, np.zeros_like(x), np.int32(200)], {1: e / e.sum(1, keepdims=True)}, 1e-6


def layer_norm():
    x, scale, offset = real(3, 100), real(100), real(100)
    wanted = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * scale + offset
    return 3, [x, scale, offset, np.zeros_like(x), np.int32(100), np.float32(1e-5)], {3: wanted}, 1e-5


def scale_gradient():
    x, dy = real(10, 50), real(10, 50)
    return 3, [x, dy, np.zeros(50, np.float32), np.int32(10), np.int32(50)], {2: (x * dy).sum(0)}, 1e-5


def product_fp16():
    a, b = half(64, 96), half(96, 64)
    return products((a, a), (b, b), "fp16")


def product_bf16():
    return products(brain(64, 96), brain(96, 64), "bf16")


def product_tf32():
    a, b = real(64, 96), real(96, 64)
    return products((a, a), (b, b), "tf32")


def integer_product():
    a, b = (RNG.integers(-128, 128, (64, 96)).astype(np.int8) for _ in range(2))
    wanted = a.astype(np.int32) @ b.astype(np.int32).T
    return (2, 2), [a, b, np.zeros((64, 64), np.int32), np.int32(64), np.int32(96)], {2: wanted}, 0


def attention():
    q, k, v = half(64, 32), half(64, 32), half(64, 32)
    scores = np.where(np.tri(64, dtype=bool), q.astype(float) @ k.astype(float).T * 0.25, -np.inf)
    p = np.exp(scores - scores.max(1, keepdims=True))
    wanted = p / p.sum(1, keepdims=True) @ v.astype(float)
    return 2, [q, k, v, np.zeros((64, 32), np.float32), np.int32(64), np.float32(0.25)], {3: wanted}, 2e-3


def largest_place():
    x = real(5, 100)
    return 5, [x, np.zeros(5, np.int32), np.int32(100)], {1: x.argmax(1)}, 0


def histogram():
    x = RNG.integers(0, 32, 512).astype(np.int32)
    return 2, [x, np.zeros(32, np.int32), np.int32(512)], {1: np.bincount(x, minlength=32)}, 0


def running_sum():
    x = RNG.integers(-9, 9, (2, 200)).astype(np.int32)
    return 2, [x, np.zeros_like(x), np.int32(200)], {1: x.cumsum(1)}, 0


def transpose():
    x = real(40, 70)
    return (2, 3), [x, np.zeros((70, 40), np.float32), np.int32(40), np.int32(70)], {1: x.T}, 0


def philox(seed, counter):
    """Four-word Philox of ten rounds; its first word. Source: Salmon et al. 2011."""
    words = [np.asarray(counter, np.uint64), *(np.zeros(len(counter), np.uint64) for _ in range(3))]
    keys = [np.uint64(seed), np.uint64(0)]
    for _ in range(10):
        left, right = np.uint64(0xD2511F53) * words[0], np.uint64(0xCD9E8D57) * words[2]
        low = np.uint64(0xFFFFFFFF)
        words = [
            right >> np.uint64(32) ^ words[1] ^ keys[0],
            right & low,
            left >> np.uint64(32) ^ words[3] ^ keys[1],
            left & low,
        ]
        keys = [keys[0] + np.uint64(0x9E3779B9) & low, keys[1] + np.uint64(0xBB67AE85) & low]
    return words[0].astype(np.uint32).view(np.int32)


def dropout():
    x, drawn = real(400), philox(7, np.arange(400))
    kept = (
        np.where(drawn < 0, -drawn.astype(np.int64) - 1, drawn).astype(np.float32) * np.float32(4.6566127342e-10) > 0.3
    )
    arguments = [x, np.zeros_like(x), np.int32(400), np.float32(0.3), np.int32(7)]
    return 2, arguments, {1: np.where(kept, x / np.float32(0.7), 0)}, 1e-6


def sort():
    x = RNG.integers(-99, 99, (3, 64)).astype(np.int32)
    return 3, [x, np.zeros_like(x)], {1: np.sort(x, 1)}, 0


def embedding():
    table, places = half(9, 64), RNG.integers(0, 9, 5)
    return 5, [table, places, np.zeros((5, 64), np.float16)], {2: table[places]}, 0


def cross_entropy():
    (x, xs), classes = brain(4, 100), RNG.integers(0, 100, 4).astype(np.int32)
    xs = xs.astype(float)
    wanted = np.log(np.exp(xs).sum(1)) - xs[np.arange(4), classes]
    return 4, [x, classes, np.zeros(4, np.float32), np.int32(100)], {2: wanted}, 1e-5


def rows_times_vector():
    a, x = real(8, 128), real(128)
    return 2, [a, x, np.zeros(8, np.float32), np.int32(128)], {2: a @ x}, 1e-5


def last_one_adds():
    x = real(1000)
    arguments = [x, np.zeros(8, np.float32), np.zeros(1, np.int32), np.zeros(1, np.float32), np.int32(1000)]
    return 8, arguments, {3: x.sum(dtype=float)[None]}, 1e-4


def blur():
    x = real(5, 60)
    wide = np.pad(x, 1)
    wanted = sum(wide[i : i + 5, j : j + 60] for i in range(3) for j in range(3)) / 9
    return 5, [x, np.zeros_like(x), np.int32(5), np.int32(60)], {1: wanted}, 1e-6


def quantize():
    x = real(3, 100)
    scale = np.abs(x).max(1) / np.float32(127)
    level = x / scale[:, None]
    arguments = [x, np.zeros(x.shape, np.int8), np.zeros(3, np.float32), np.int32(100)]
    return 3, arguments, {1: np.trunc(level + np.where(level < 0, -0.5, 0.5)), 2: scale}, 1e-6


def moments():
    x = real(3, 100)
    return 3, [x, np.zeros((3, 2), np.float32), np.int32(100)], {1: np.stack([x.mean(1), x.var(1)], 1)}, 1e-5


def rotate():
    (x, xs), d = brain(4, 64), np.arange(32)
    angle = np.arange(4)[:, None] * np.exp(-6.0 * d / 32)
    a, b = xs[:, :32], xs[:, 32:]
    wanted = np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], 1)
    return 4, [x, np.zeros((4, 64), np.uint16)], {1: wanted}, 2e-2


CASES = {path.stem: globals().get(path.stem, product_fp16) for path in sorted(FOLDER.glob("*.ptx"))}
FAULTY = ("moments",)


@pytest.mark.parametrize("name", [name for name in CASES if name not in FAULTY])
def test_what_numpy_says(name):
    grid, given, expected, tolerance = CASES[name]()
    for i, found in results(name, grid, given).items():
        if i in expected:
            np.testing.assert_allclose(found, expected[i], rtol=tolerance, atol=tolerance)


def test_lanes_that_end_with_other_last_bits_and_store_to_one_place():
    grid, given, expected, tolerance = moments()
    with pytest.raises(EmulationFault, match="race: shared byte 0 is written by this thread and written by thread 0"):
        results("moments", grid, given)
    np.testing.assert_allclose(results("moments", grid, given, checks=False)[1], expected[1], atol=tolerance)


def results(name, grid, given, **settings):
    """The arrays of a launch afterwards, by place among the arguments."""
    text = (FOLDER / f"{name}.ptx").read_text(encoding="utf-8")
    threads, shared = map(int, re.findall(r"(?:threads|shared) (\d+)", text.partition("\n")[0]))
    memory, arguments = DeviceMemory(), list(given)
    for i, one in enumerate(given):
        if one.ndim:
            arguments[i] = memory.allocate(one.nbytes, f"argument {i}")
            memory.write(arguments[i], one)
    # Triton hands down two more addresses, of memory that these kernels do not use.
    run(
        Executable(text), grid=grid, block=threads, arguments=[*arguments, 0, 0], memory=memory, dynamic_shared=shared,
        agreeing=True, **settings,
    )  # fmt: skip
    found = {i: memory.read(arguments[i], one.shape, one.dtype) for i, one in enumerate(given) if one.ndim}
    return {i: from_bfloat16(one) if one.dtype == np.uint16 else one for i, one in found.items()}
