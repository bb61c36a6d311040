"""CUDA element-by-element kernels against the float64 oracle."""

import numpy as np
import pytest
import reference
from support.cuda_kernels import ARCHITECTURES, check_static, from_bfloat16, machine, problem_of, to_bfloat16

from gncodegen.kernels import catalog
from gncodegen.kernels.activations import GRADIENT_FROM, gradient_from
from gncodegen.targets.cuda.disassemble import sass

ALPHA = {"leaky-relu": 0.01, "clipped-relu": 1.5, "elu": 0.7}
TOLERANCE = {"float32": 4e-7, "float64": 4e-16}
FEW = machine("sm_80", cores=1)
"""One multiprocessor: small arrays already get several vectors per thread."""


def drawn(shape, dtype="float32", seed=0, spread=3.0):
    return (np.random.default_rng(seed).standard_normal(shape) * spread).astype(dtype)


def close(got, expected, dtype, slack=1.0):
    tolerance = TOLERANCE[dtype] * slack
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation(execute, function, dtype):
    alpha = ALPHA.get(function, 0.0)
    x, dy = drawn((1, 43, 3), dtype), drawn((1, 43, 3), dtype, 1)
    y, backward = reference.activation(x, function, alpha=alpha)
    attributes = {"function": function, "alpha": alpha}
    (got,) = execute("activation", [x], [(x.shape, dtype)], attributes)
    close(got, y, dtype, 4)
    source = gradient_from(function, alpha)
    values = x if source == "input" else got
    (dx,) = execute(
        "activation_gradient", [values, dy], [(x.shape, dtype)], {**attributes, "from": source}, in_place={0: 1}
    )
    close(dx, backward(dy)[0], dtype, 64)  # the oracle's 1 + tanh cancels


@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation_from_input(execute, function):
    alpha = ALPHA.get(function, 0.0)
    x, dy = drawn((132,)), drawn((132,), seed=1)
    _, backward = reference.activation(x, function, alpha=alpha)
    (dx,) = execute(
        "activation_gradient", [x, dy], [(x.shape, "float32")], {"function": function, "alpha": alpha, "from": "input"}
    )
    close(dx, backward(dy)[0], "float32", 16)


@pytest.mark.parametrize("function", GRADIENT_FROM)
def test_activation_of_special_values(execute, function):
    alpha = ALPHA.get(function, 0.0)
    finite = np.array([0.0, -0.0, 1e-30, -1e-30, 5e-4, -5e-4, 20, -20, 80, -80, 200, -200, 1e30, -1e30])
    x = np.array([np.nan, np.inf, *finite, *[np.nan] * 112], "float32")
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": function, "alpha": alpha})
    assert np.isnan(y[[0, *range(16, 128)]]).all()
    limit = {"clipped-relu": alpha, "tanh": 1.0, "sigmoid": 1.0}.get(function, np.inf)
    np.testing.assert_allclose(y[1], limit, rtol=1e-7)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference.activation(x[2:16], function, alpha=alpha)[0]
    absolute = 1e-30 if "gelu" not in function else 3e-6
    np.testing.assert_allclose(y[2:16], expected, rtol=16 * TOLERANCE["float32"], atol=absolute)
    if function == "relu":
        dy = np.full_like(x, np.nan)
        (dx,) = execute(
            "activation_gradient", [y, dy], [(x.shape, "float32")], {"function": function, "from": "output"}
        )
        assert np.isnan(dx[0])
        assert dx[3] == 0, "a zero slope is zero whatever comes in"


@pytest.mark.parametrize(
    ("inputs", "activation", "dtype"),
    [(2, "", "float64"), (2, "relu", "float32"), (3, "leaky-relu", "float32"), (11, "tanh", "float32")],
)
def test_add(execute, inputs, activation, dtype):
    xs = [drawn((3, 7, 5, 12), dtype, seed) for seed in range(inputs)]
    expected, _ = reference.addition(*xs)
    expected = reference.activation(expected, activation, alpha=0.01)[0] if activation else expected
    attributes = {"activation": activation, "alpha": 0.01}
    for place in (None, {0: 0}, {0: 1}):
        (y,) = execute("add", xs, [(xs[0].shape, dtype)], attributes, in_place=place)
        close(y, expected, dtype, 16)


@pytest.mark.parametrize("count", [256 * 16 * 2 + 4, 256 * 16 * 3, 8191])
def test_several_vectors_of_a_thread(execute, count):
    x = drawn((count,))
    (y,) = execute(
        "activation", [x], [(x.shape, "float32")], {"function": "relu", "alpha": 0.0}, in_place={0: 0}, on=FEW
    )
    np.testing.assert_array_equal(y, np.maximum(x, 0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_storage(execute, dtype):
    """Computed in float32 and rounded once."""
    inward, outward = (
        (to_bfloat16, from_bfloat16) if dtype == "bfloat16" else (np.float16, lambda bits: bits.astype(np.float32))
    )
    stored = [inward(drawn((5, 3, 24), seed=seed)) for seed in range(3)]
    a, b, c = (outward(s).astype(np.float64) for s in stored)
    results, dtypes = [(a.shape, dtype)], [dtype] * 3
    step = 2.0**-8 if dtype == "bfloat16" else 2.0**-11

    def near(bits, expected):
        np.testing.assert_allclose(outward(bits), expected, rtol=1.01 * step, atol=1e-7)

    (y,) = execute("activation", stored[:1], results, {"function": "gelu", "alpha": 0.0}, dtypes=dtypes[:1])
    near(y, reference.activation(a, "gelu")[0])
    attributes = {"function": "swish", "alpha": 0.0, "from": "input"}
    (dx,) = execute("activation_gradient", stored[:2], results, attributes, dtypes=dtypes[:2], in_place={0: 1})
    near(dx, reference.activation(a, "swish")[1](b)[0])
    (y,) = execute("add", stored, results, {"activation": "relu", "alpha": 0.0}, dtypes=dtypes)
    near(y, np.maximum(a + b + c, 0))


def test_empty(execute):
    x = np.zeros((0, 4, 4, 3), np.float32)
    (y,) = execute("activation", [x], [(x.shape, "float32")], {"function": "relu", "alpha": 0.0})
    assert y.shape == x.shape


# ---- dropout -------------------------------------------------------------------------------------------------------

ALL = (1 << 64) - 1


def mixed(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & ALL
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & ALL
    return z ^ (z >> 31)


def kept(count, probability, index, iteration, seed):
    """The mask of the CPU's dropout kernel, in Python integers."""
    step = 0x9E3779B97F4A7C15
    key = mixed((mixed((mixed((seed + step) & ALL) + iteration) & ALL) + index) & ALL)
    words = [mixed((key + (i // 2 + 1) * step) & ALL) for i in range(count)]
    threshold = round(probability * 2**32)
    return np.array([(words[i] >> (32 * (i % 2)) & 0xFFFFFFFF) >= threshold for i in range(count)])


@pytest.mark.parametrize(
    ("count", "probability", "dtype"),
    [(4 * 256 * 2 + 20, 0.5, "float32"), (333, 0.1, "float32"), (250, 0.9, "float64"), (67, 0.3, "float64")],
)
def test_dropout_has_the_bits_of_the_cpu(execute, count, probability, dtype):
    x = drawn((count,), dtype)
    iteration, seed = 3, (7 << 32) + 123456789
    scalars = [0, 0, 0, 0, iteration, seed, 0, 0]
    attributes = {"probability": probability, "index": 2}
    mask = kept(count, probability, 2, iteration, seed)
    for place in (None, {0: 0}):
        (y,) = execute("dropout", [x], [((count,), dtype)], attributes, scalars, in_place=place)
        expected = x * np.where(mask, np.array(1 / (1 - probability), dtype), np.array(0, dtype))
        np.testing.assert_array_equal(y, expected)


def test_dropout_ends(execute):
    x = np.full(33, np.nan)
    scalars = [0, 0, 0, 0, 1, 1, 0, 0]
    (y,) = execute("dropout", [x], [(x.shape, "float64")], {"probability": 0.5, "index": 0}, scalars)
    assert np.isnan(y).all()
    x = np.ones(32, np.float32)
    for probability in (0.0, 1.0):
        (y,) = execute("dropout", [x], [(x.shape, "float32")], {"probability": probability, "index": 0}, scalars)
        assert (y == 1 - probability).all()


# ---- affine maps of columns ------------------------------------------------------------------------------------------

METHODS = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}


@pytest.mark.parametrize(
    ("method", "shape", "statistic", "dtype"),
    [
        ("zerocenter", (3, 7, 5, 3), (3,), "float32"),
        ("zscore", (5, 8, 9, 3), (3,), "float32"),
        ("zscore", (5, 11, 7, 1), (1,), "float64"),
        ("rescale-symmetric", (4, 5, 5, 3), (5, 5, 3), "float32"),
        ("rescale-zero-one", (2, 31, 29, 5), (31, 29, 5), "float32"),
        ("zscore", (80, 23), (23,), "float32"),
        ("zerocenter", (3, 1028), (1028,), "float32"),
    ],
)
def test_input_normalization(execute, method, shape, statistic, dtype):
    x, dy = drawn(shape, dtype), drawn(shape, dtype, 1)
    low, high = drawn(statistic, dtype, 2), np.abs(drawn(statistic, dtype, 3)) + 0.5
    first, second = (low, low + high) if method.startswith("rescale") else (low, high)
    if second.size > 1:
        second.flat[0] = first.flat[0] if method.startswith("rescale") else 0
    statistics = [first, second][: len(METHODS[method])]
    y, backward = reference.input_normalization(x, method, **dict(zip(METHODS[method], statistics, strict=True)))
    (got,) = execute("input_normalization", [x, *statistics], [(shape, dtype)], {"method": method}, on=FEW)
    close(got, y, dtype, 30)
    (dx,) = execute(
        "input_normalization_gradient", [dy, *statistics], [(shape, dtype)], {"method": method}, in_place={0: 0}
    )
    close(dx, backward(dy)[0], dtype, 4)


def sums(execute, shape, dtype, cores):
    dy = drawn(shape, dtype)
    (got,) = execute("bias_gradient", [dy], [(shape[-1:], dtype)], on=machine("sm_80", cores=cores))
    expected = dy.astype(np.float64).sum(axis=tuple(range(len(shape) - 1)))
    scale = np.abs(dy.astype(np.float64)).sum(axis=tuple(range(len(shape) - 1)))
    assert (np.abs(got - expected) <= TOLERANCE[dtype] * scale + 1e-300).all()


@pytest.mark.parametrize(
    ("shape", "dtype", "cores"),
    [
        ((3, 7, 5, 3), "float32", 4),
        ((2, 16, 16, 3), "float32", 4),
        ((1, 7), "float32", 4),
        ((4, 40, 40, 8), "float32", 1),
        ((4, 40, 40, 8), "float32", 3),
        ((33, 1028), "float32", 2),
        ((33, 1027), "float32", 2),
        ((5000, 1), "float32", 3),
        ((5000, 1), "float64", 3),
        ((300, 10), "float64", 4),
        ((0, 4), "float32", 4),
    ],
)
def test_bias_and_its_gradient(execute, shape, dtype, cores):
    x, bias = drawn(shape, dtype), drawn(shape[-1:], dtype, 1)
    for place in (None, {0: 0}):
        (y,) = execute("bias", [x, bias], [(shape, dtype)], in_place=place, on=machine("sm_80", cores=cores))
        np.testing.assert_array_equal(y, x + bias)
    sums(execute, shape, dtype, cores)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_bias_of_half_storage(execute, dtype):
    inward, outward = (
        (to_bfloat16, from_bfloat16) if dtype == "bfloat16" else (np.float16, lambda bits: bits.astype(np.float32))
    )
    x, bias = inward(drawn((40, 3, 24))), inward(drawn((24,), seed=1))
    step = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    (y,) = execute("bias", [x, bias], [(x.shape, dtype)], dtypes=[dtype] * 2)
    np.testing.assert_allclose(outward(y), outward(x) + outward(bias), rtol=1.01 * step, atol=1e-7)
    (db,) = execute("bias_gradient", [x], [((24,), "float32")], dtypes=[dtype])
    np.testing.assert_allclose(db, outward(x).astype(np.float64).sum((0, 1)), rtol=1e-6, atol=1e-4)


# ---- what the assembler says -----------------------------------------------------------------------------------------

LARGE = (64, 56, 56, 64)
STATIC = [
    ("activation", [LARGE], LARGE, {"function": "relu", "alpha": 0.0}, "float32"),
    ("activation", [LARGE], LARGE, {"function": "gelu", "alpha": 0.0}, "bfloat16"),
    ("activation_gradient", [LARGE] * 2, LARGE, {"function": "relu", "alpha": 0.0, "from": "output"}, "float32"),
    ("add", [LARGE] * 3, LARGE, {"activation": "relu", "alpha": 0.0}, "float32"),
    ("dropout", [LARGE], LARGE, {"probability": 0.5, "index": 0}, "float32"),
    ("bias", [LARGE, (64,)], LARGE, {}, "float32"),
    ("bias", [(64, 20, 20, 3), (3,)], (64, 20, 20, 3), {}, "float32"),
    ("bias_gradient", [LARGE], (64,), {}, "float32"),
    ("input_normalization", [LARGE, (64,), (64,)], LARGE, {"method": "zscore"}, "float32"),
]


@pytest.mark.parametrize("target", ARCHITECTURES)
@pytest.mark.parametrize(("op", "operands", "result", "attributes", "dtype"), STATIC)
def test_kernels_assemble_with_wide_accesses(op, operands, result, attributes, dtype, target):
    problem = problem_of(op, [(s, dtype) for s in operands], [(result, dtype)], attributes, machine(target))
    source = check_static(problem, catalog.plan(problem))[0]
    text = sass(source.beside(".cubin"))
    assert "LDG.E.128" in text
    assert "STG.E.128" in text or op == "bias_gradient"
