"""Arrays stored in 16 bits: computed in float32 and rounded once."""

import numpy as np
import pytest
import reference
from support.cuda_kernels import from_bfloat16, to_bfloat16


def drawn(shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 3).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_elementwise(execute, dtype):
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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_bias(execute, dtype):
    inward, outward = (
        (to_bfloat16, from_bfloat16) if dtype == "bfloat16" else (np.float16, lambda bits: bits.astype(np.float32))
    )
    x, bias = inward(drawn((40, 3, 24))), inward(drawn((24,), seed=1))
    step = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    (y,) = execute("bias", [x, bias], [(x.shape, dtype)], dtypes=[dtype] * 2)
    np.testing.assert_allclose(outward(y), outward(x) + outward(bias), rtol=1.01 * step, atol=1e-7)
    (db,) = execute("bias_gradient", [x], [((24,), "float32")], dtypes=[dtype])
    np.testing.assert_allclose(db, outward(x).astype(np.float64).sum((0, 1)), rtol=1e-6, atol=1e-4)


def test_movement(execute):
    xs = [drawn((401, width), width).astype(np.float16) for width in (2, 6)]
    expected = np.concatenate(xs, axis=-1)
    (y,) = execute("concatenate", xs, [(expected.shape, "float16")], cores=1)
    np.testing.assert_array_equal(y, expected)
    for start, x in zip((0, 2), xs, strict=True):
        attributes = {"start": start, "length": x.shape[-1]}
        (part,) = execute("slice", [y], [(x.shape, "float16")], attributes, cores=1)
        np.testing.assert_array_equal(part, x)
    x = drawn((72, 136)).astype(np.float16)
    (y,) = execute("transpose", [x], [((136, 72), "float16")], {"permutation": (1, 0)})
    np.testing.assert_array_equal(y, x.T)
