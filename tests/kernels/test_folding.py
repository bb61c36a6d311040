"""Parameters that take in what follows a product, channel by channel, on every target."""

import numpy as np
import pytest
import reference as ref


@pytest.mark.parametrize(
    ("shape", "axis", "dtype"),
    [((3, 2, 5, 70), 3, "float32"), ((2, 6, 3), 1, "float32"), ((7, 33), 0, "float64")],
    ids=["convolution", "transposed", "fully connected"],
)
def test_folded_parameters(execute, target, shape, axis, dtype):
    channels, draw = shape[axis], np.random.default_rng(0)
    weights = draw.normal(size=shape).astype(dtype)
    mean, scale, offset, summand = draw.normal(size=(4, channels)).astype(dtype)
    variance, divisor = draw.uniform(0.5, 2, (2, channels)).astype(dtype)
    one = np.array([0.7], dtype)
    operands = [one, mean, variance, scale, offset, summand, divisor[None], one]
    names = ("multiply", "normalize", "add", "divide", "subtract")
    given = {"steps": names, "epsilons": (0.0, 1e-3, 0.0, 0.0, 0.0), "axis": axis}
    folded, bias = execute("folded_parameters", [weights, *operands], [(shape, dtype), ((channels,), dtype)], given)

    def steps(y):
        y = ref.channel_normalize(y * one.astype(float), mean, variance, scale, offset, epsilon=1e-3)[0]
        return (y + summand) / divisor.astype(float) - one

    at = np.moveaxis(weights, axis, -1).reshape(-1, channels).astype(float)
    shift = steps(np.zeros((1, channels)))
    # The CPU rounds once; kernels of a GPU compute in the arrays' type.
    roundings = 1 if target == "cpu" and dtype == "float32" else 16
    tolerance = roundings * np.finfo(dtype).eps / 2
    np.testing.assert_allclose(bias, shift[0], rtol=tolerance, atol=tolerance)
    found = np.moveaxis(folded, axis, -1).reshape(-1, channels)
    np.testing.assert_allclose(found, steps(at) - shift, rtol=tolerance, atol=tolerance)
