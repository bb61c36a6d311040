"""CUDA kernels that only move elements, against NumPy and the float64 oracle."""

import numpy as np
import pytest
import reference
from support.cuda_kernels import ARCHITECTURES, check_static, machine, problem_of

from gncodegen.kernels import catalog
from gncodegen.targets.cuda.disassemble import sass

MODES = ["constant", "symmetric-include-edge", "symmetric-exclude-edge", "replicate"]
FEW = machine("sm_80", cores=1)
"""One multiprocessor: small arrays already get several vectors per thread."""


def drawn(shape, dtype="float32", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "widths", "dtype"),
    [
        ((3, 5, 7), (8, 3, 1), "float32"),
        ((3, 5, 7), (8, 4, 12), "float32"),
        ((401,), (2, 37), "float64"),
        ((401,), (2, 6), "float16"),
    ],
)
def test_concatenate_and_slice(execute, shape, widths, dtype):
    xs = [drawn((*shape, width), dtype, width) for width in widths]
    expected = np.concatenate(xs, axis=-1)
    (y,) = execute("concatenate", xs, [(expected.shape, dtype)], on=FEW)
    np.testing.assert_array_equal(y, expected)
    start = 0
    for x in xs:
        length = x.shape[-1]
        (part,) = execute("slice", [y], [(x.shape, dtype)], {"start": start, "length": length}, on=FEW)
        np.testing.assert_array_equal(part, x)
        start += length


@pytest.mark.parametrize(
    ("shape", "permutation", "dtype"),
    [
        ((3, 13, 11, 20), (0, 3, 1, 2), "float32"),
        ((3, 20, 13, 11), (0, 2, 3, 1), "float32"),
        ((2, 67, 91, 3), (0, 3, 1, 2), "float32"),
        ((2, 3, 67, 91), (0, 2, 3, 1), "float64"),
        ((5, 7, 9, 1), (0, 3, 1, 2), "float32"),
        ((33, 65), (1, 0), "float32"),
        ((136, 72), (1, 0), "float32"),
        ((72, 136), (1, 0), "float16"),
        ((4, 3, 5, 7), (1, 0, 2, 3), "float32"),
        ((4, 3, 5, 8), (1, 0, 2, 3), "float32"),
        ((4, 3, 5, 7), (3, 1, 0, 2), "float32"),
        ((2, 3, 4, 5, 6), (0, 4, 1, 2, 3), "float32"),
        ((1, 1), (0, 1), "float64"),
        ((1, 17), (0, 1), "float32"),
        ((0, 4, 4, 3), (0, 3, 1, 2), "float32"),
        ((8, 8, 16), (1, 2, 0), "float64"),
    ],
)
def test_transpose(execute, shape, permutation, dtype):
    x = drawn(shape, dtype)
    expected = x.transpose(permutation)
    (y,) = execute("transpose", [x], [(expected.shape, dtype)], {"permutation": permutation})
    np.testing.assert_array_equal(y, expected)


def test_copy_in_place(execute):
    x = drawn((3, 4))
    (y,) = execute("transpose", [x], [(x.shape, "float32")], {"permutation": (0, 1)}, in_place={0: 0})
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("shape", "padding", "dtype", "mode"),
    [
        *(((3, 7, 5, 4), (1, 2, 0, 3), "float32", mode) for mode in MODES),
        ((2, 4, 1), (3, 1), "float64", "symmetric-exclude-edge"),
        ((2, 3, 3), (5, 4), "float64", "symmetric-include-edge"),
        ((2, 3, 4, 5, 2), (1, 0, 2, 1, 0, 4), "float32", "constant"),
        ((2, 3, 4, 5, 2), (1, 0, 2, 1, 0, 4), "float32", "replicate"),
    ],
)
def test_pad(execute, mode, shape, padding, dtype):
    x, value = drawn(shape, dtype), 1.5
    pairs = list(zip(padding[::2], padding[1::2], strict=True))
    expected, backward = reference.pad(x, pairs, mode=mode, value=value)
    attributes = {"padding": padding, "mode": mode, "value": value}
    (y,) = execute("pad", [x], [(expected.shape, dtype)], attributes)
    np.testing.assert_array_equal(y, expected)
    dy = drawn(expected.shape, dtype, 1)
    (dx,) = execute("pad_gradient", [dy], [(shape, dtype)], {"padding": padding, "mode": mode}, on=FEW)
    np.testing.assert_allclose(dx, backward(dy)[0], rtol=1e-6, atol=1e-6)


LARGE = (16, 56, 56, 64)
STATIC = [
    ("transpose", [LARGE], (16, 64, 56, 56), {"permutation": (0, 3, 1, 2)}),
    ("transpose", [LARGE], (56, 16, 56, 64), {"permutation": (1, 0, 2, 3)}),
    ("transpose", [LARGE], LARGE, {"permutation": (0, 1, 2, 3)}),
    ("concatenate", [LARGE] * 2, (16, 56, 56, 128), {}),
    ("slice", [LARGE], (16, 56, 56, 32), {"start": 32, "length": 32}),
    ("pad", [LARGE], (16, 58, 58, 64), {"padding": (1, 1, 1, 1), "mode": "replicate"}),
    ("pad_gradient", [(16, 58, 58, 64)], LARGE, {"padding": (1, 1, 1, 1), "mode": "replicate"}),
]


@pytest.mark.parametrize("target", ARCHITECTURES)
@pytest.mark.parametrize(("op", "operands", "result", "attributes"), STATIC)
def test_kernels_assemble_with_wide_accesses(op, operands, result, attributes, target):
    given, results = [(shape, "float32") for shape in operands], [(result, "float32")]
    problem = problem_of(op, given, results, attributes, machine(target))
    (source,) = check_static(problem, catalog.plan(problem))
    text = sass(source.beside(".cubin"))
    assert "LDG.E.128" in text
    assert "STG.E.128" in text
