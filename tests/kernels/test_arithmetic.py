"""Elementwise functions of several operands on every target against the float64 oracle."""

import numpy as np
import pytest
import reference
from support.sets import diagonal, few

from gncodegen.errors import CompileError
from gncodegen.kernels import arithmetic
from gncodegen.kernels.arithmetic import ARITHMETIC

TOLERANCE = {"float32": 2e-6, "float64": 4e-15}
SHAPES = [
    ((2, 5, 3), (2, 5, 3)),
    ((2, 5, 3), (3,)),
    ((2, 4, 5, 8), (2, 1, 1, 8)),
    ((2, 1, 5, 1), (3, 1, 4)),
    ((7, 16), (7, 1)),
    ((2, 3), (1,)),
    ((1, 1), (1,)),
]
"""Equal, per channel, per channel of an observation, both repeat, per row, one for all, one of one."""


SMOOTH = [name for name, row in ARITHMETIC.items() if not name.startswith("mask") and not any(map(row.flat, range(2)))]
"""Functions that tell NaN from numbers."""


def drawn(function, shape, dtype, seed):
    array = np.random.default_rng(seed).standard_normal(shape)
    positive = function == "power" or (function in ("divide", "remainder") and seed)
    if "equal" in function:  # so that some are
        array = np.rint(2 * array)
    return (np.abs(array) + 0.5 if positive else array).astype(dtype)


def cases():
    """Every function with equal shapes and per channel; every pair of shapes with one function."""
    few = [(function, shapes) for function in ARITHMETIC if function != "select" for shapes in SHAPES[:2]]
    return few + [("subtract", shapes) for shapes in SHAPES[2:]]


def both_types():
    """Every case in both types; by default the type changes from case to case, against the order of the shapes."""
    found = []
    for i, (function, shapes) in enumerate(cases()):
        for j, dtype in enumerate(("float32", "float64")):
            kept = (i // 2 + i + j) % 2 == 0
            found.append(pytest.param(function, shapes, dtype, marks=[] if kept else [pytest.mark.full]))
    return found


@pytest.mark.few
@pytest.mark.parametrize(("function", "shapes", "dtype"), few(both_types(), 10), ids=str)
def test_two_operands(execute, function, shapes, dtype):
    x = [drawn(function, shape, dtype, seed) for seed, shape in enumerate(shapes)]
    y, _ = reference.elementwise(function, *x)
    dy = drawn("", y.shape, dtype, 9)
    (got,) = execute("elementwise", x, [(y.shape, dtype)], {"function": function})
    np.testing.assert_allclose(got, y, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    wide = [np.broadcast_to(a, y.shape).astype(np.float64) for a in x]
    expected = reference.elementwise(function, *wide)[1](dy)
    for place in range(2):
        if ARITHMETIC[function].flat(place):
            assert not expected[place].any()
            continue
        attributes = {"function": function, "operand": place}
        (found,) = execute("elementwise_gradient", [*x, dy], [(y.shape, dtype)], attributes)
        np.testing.assert_allclose(found, expected[place], rtol=8 * TOLERANCE[dtype], atol=8 * TOLERANCE[dtype])


@pytest.mark.few
@pytest.mark.parametrize(
    ("count", "function"), diagonal([1, 4], [row.name for row in ARITHMETIC.values() if row.folds])
)
def test_many_operands(execute, function, count):
    x = [drawn(function, (3, 40), "float32", seed) for seed in range(count)]
    y, backward = reference.elementwise(function, *x)
    dy = drawn("", y.shape, "float32", 9)
    (got,) = execute("elementwise", x, [(y.shape, "float32")], {"function": function}, in_place={0: 0})
    np.testing.assert_allclose(got, y, rtol=2e-6, atol=2e-6)
    for place, expected in enumerate(backward(dy)):
        attributes = {"function": function, "operand": place}
        (found,) = execute("elementwise_gradient", [*x, dy], [(y.shape, "float32")], attributes)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("function", few(SMOOTH, 4))
def test_nan_passes(execute, function):
    x, nan = np.array([1, 2, 0.5, 3], np.float32), np.array([np.nan, 1, np.nan, 2], np.float32)
    for operands in ((nan, x), (x, nan)):
        if function == "prelu" and operands[0] is x:
            continue  # a slope of NaN does not reach what is above 0
        (y,) = execute("elementwise", operands, [((4,), "float32")], {"function": function})
        assert np.isnan(y).tolist() == [True, False, True, False] or (function, operands[1] is nan) == ("power", True)


def test_nothing_passes_a_mask_of_zero(execute):
    x, mask = np.array([np.nan, np.inf, 3, 2], np.float32), np.array([0, 0, 0, 1.5], np.float32)
    for function, there, through in (("mask", 0, 3), ("mask-lowest", -np.inf, 2)):
        (y,) = execute("elementwise", [x, mask], [((4,), "float32")], {"function": function})
        assert y.tolist() == [there] * 3 + [through]
        given = {"function": function, "operand": 0}
        (dx,) = execute("elementwise_gradient", [x, mask, x], [((4,), "float32")], given)
        assert dx.tolist() == [0, 0, 0, through]


def test_comparisons_with_nan_do_not_hold(execute):
    x, nan = np.array([1, 2, 3], np.float32), np.array([np.nan, 2, 1], np.float32)
    for function, expected in (("less", [0, 0, 0]), ("greater-or-equal", [0, 1, 1]), ("not-equal", [1, 0, 1])):
        (y,) = execute("elementwise", [x, nan], [((3,), "float32")], {"function": function})
        assert y.tolist() == expected


@pytest.mark.few
@pytest.mark.parametrize(
    "shapes", [((2, 5, 3),) * 3, ((5, 3), (2, 1, 3), (1,)), ((2, 1, 1), (2, 5, 3), (5, 3))], ids=str
)
def test_select(execute, shapes):
    condition, *x = [drawn("", shape, "float32", seed) for seed, shape in enumerate(shapes)]
    x = [condition > 0, *x]
    x[0] = x[0].astype(np.float32)
    x[1].flat[0] = np.nan
    y, _ = reference.elementwise("select", *x)
    (got,) = execute("elementwise", x, [(y.shape, "float32")], {"function": "select"})
    np.testing.assert_array_equal(got, y.astype(np.float32))
    dy = drawn("", y.shape, "float32", 9)
    for place, kept in ((1, x[0] != 0), (2, x[0] == 0)):
        attributes = {"function": "select", "operand": place}
        (found,) = execute("elementwise_gradient", [*x, dy], [(y.shape, "float32")], attributes)
        np.testing.assert_array_equal(found, np.where(kept, dy, 0))


@pytest.mark.parametrize("shape", [(3, 16384 + 77), (300, 257)])
def test_many_tiles(execute, shape):
    x, row = drawn("", shape, "float32", 0), drawn("", shape[-1:], "float32", 1)
    for b in (x, row):
        (y,) = execute("elementwise", [x, b], [(shape, "float32")], {"function": "multiply"}, cores=1)
        np.testing.assert_array_equal(y, x * b)


def test_gradients_of_equal_extremes_are_halves(execute):
    x = np.ones((2, 4), np.float32)
    attributes = {"function": "maximum", "operand": 1}
    (found,) = execute("elementwise_gradient", [x, x, x], [((2, 4), "float32")], attributes)
    np.testing.assert_array_equal(found, np.full((2, 4), 0.5))


def test_refusals():
    with pytest.raises(CompileError, match="'bend' is unknown; allowed: add, multiply"):
        arithmetic.arithmetic("bend", 2)
    with pytest.raises(CompileError, match="'divide' of 3 operands; allowed: 2"):
        arithmetic.arithmetic("divide", 3)
    with pytest.raises(CompileError, match="'less' has no gradient for operand 1"):
        arithmetic.cotangent("less", ("a", "b"), 1, "dy")
