"""Winograd kernels, forward and both gradients, against the float64 oracle; bits of a batch slice."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.convolutions import SAME, Convolution, error
from support.sets import diagonal, few, in_full

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.targets.cpu import host

BOUND = 4e-6
"""Error against max |y| that the specification allows."""

CASES = {
    "whole-patches": Convolution(2, (8, 12), 16, 16, (3, 3), padding=SAME),
    "odd-extents": Convolution(3, (7, 13), 24, 40, (3, 3), padding=SAME),
    "no-padding": Convolution(2, (9, 11), 16, 32, (3, 3)),
    "asymmetric-padding": Convolution(2, (9, 10), 17, 16, (3, 3), padding=(0, 2, 1, 0)),
    "wide-padding": Convolution(2, (6, 6), 16, 19, (3, 3), padding=(3, 2, 0, 4)),
    "beyond-the-image": Convolution(1, (5, 6), 16, 16, (3, 3), padding=(7, 1, 9, 2)),
    "tails": Convolution(2, (6, 9), 21, 37, (3, 3), padding=SAME),
    "small-image": Convolution(5, (2, 2), 32, 16, (3, 3), padding=SAME),
    "one-row": Convolution(3, (3, 17), 16, 16, (3, 3)),
    "one-patch": Convolution(1, (4, 4), 16, 16, (3, 3), padding=SAME),
    "heavy-filters": Convolution(3, (7, 9), 136, 260, (3, 3), padding=SAME),
    "long-sums": Convolution(1, (14, 14), 260, 32, (3, 3), padding=SAME),
}


FIRST = ["whole-patches", "asymmetric-padding", "tails", "one-row", "heavy-filters", "long-sums"]
OTHERS = [name for name in CASES if name not in FIRST]


def templates(op, operands, result, attributes):
    tensors = tuple(Tensor(array.shape, str(array.dtype)) for array in operands)
    problem = Problem(op, tensors, (Tensor(result, "float32"),), attributes, host.machine())
    return [launch.schedule.template for launch in catalog.plan(problem).launches]


@pytest.mark.few
@pytest.mark.parametrize(("name", "largest"), [*few(diagonal(FIRST, [2, 4]), 3), *in_full(diagonal(OTHERS, [2, 4]))])
def test_against_oracle(execute, name, largest):
    case, execute = CASES[name], partial(execute, on=replace(host.machine(), precise=largest == 2))
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    dx, dweights, dbias = backward(dy)
    bound = BOUND if largest == 4 else BOUND / 4
    assert all("winograd" in name for name in templates("convolution", [x, weights, bias], y.shape, case.attributes))
    (got,) = execute("convolution", [x, weights, bias], [(y.shape, "float32")], case.attributes)
    assert error(got, y) <= bound
    attributes = {**case.attributes, "input_shape": x.shape}
    (got,) = execute("convolution_input_gradient", [dy, weights], [(x.shape, "float32")], attributes)
    assert error(got, dx) <= bound
    results = [(weights.shape, "float32"), (bias.shape, "float32")]
    got = execute("convolution_weight_gradient", [x, dy], results, {**case.attributes, "bias": True})
    assert error(got[0], dweights) <= bound
    assert error(got[1], dbias) <= bound


@pytest.mark.parametrize("activation", ["clipped-relu", *in_full(["relu", "leaky-relu"])])
def test_fused_activation(execute, activation):
    case = Convolution(2, (6, 9), 16, 27, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    y, _ = case.oracle(x, weights, bias)
    alpha = {"relu": 0.0, "leaky-relu": 0.25, "clipped-relu": 2.0}[activation]
    expected = {
        "relu": np.maximum(y, 0),
        "leaky-relu": np.where(y < 0, alpha * y, y),
        "clipped-relu": np.clip(y, 0, alpha),
    }[activation]
    attributes = {**case.attributes, "activation": activation, "alpha": alpha}
    (got,) = execute("convolution", [x, weights, bias], [(y.shape, "float32")], attributes)
    assert np.abs(got - expected).max() <= BOUND * np.abs(y).max()


def test_a_nan_stays_within_the_patches_that_read_it(execute):
    case = Convolution(2, (12, 12), 16, 16, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    (clean,) = execute("convolution", [x, weights, bias], [((2, 12, 12, 16), "float32")], case.attributes)
    x[0, 1, 1, 3] = np.nan
    (got,) = execute("convolution", [x, weights, bias], [((2, 12, 12, 16), "float32")], case.attributes)
    assert np.isnan(got[0, :3, :3]).all()
    np.testing.assert_array_equal(got[0, 4:], clean[0, 4:])
    np.testing.assert_array_equal(got[0, :, 4:], clean[0, :, 4:])
    np.testing.assert_array_equal(got[1], clean[1])


@pytest.mark.full(like="kernels/cpu/test_winograd.py::test_against_oracle")
@pytest.mark.parametrize(
    "case",
    [
        Convolution(5, (7, 7), 32, 48, (3, 3), padding=SAME),
        *in_full(
            [
                Convolution(7, (10, 9), 144, 240, (3, 3), padding=SAME),
                Convolution(17, (13, 16), 16, 24, (3, 3), padding=SAME),
                Convolution(3, (14, 14), 160, 32, (3, 3), padding=SAME),
            ]
        ),
    ],
)
def test_a_slice_of_the_batch_keeps_its_bits(execute, case):
    x, weights, bias = case.arrays()
    y, _ = case.oracle(x, weights, bias)
    dy = y.astype(np.float32)
    for op, operands, result in (
        ("convolution", [x, weights, bias], y.shape),
        ("convolution_input_gradient", [dy, weights], x.shape),
    ):
        (whole,) = execute(op, operands, [(result, "float32")], case.attributes)
        for count in (1, 2):
            part = [operands[0][1 : 1 + count], *operands[1:]]
            (got,) = execute(op, part, [((count, *result[1:]), "float32")], case.attributes)
            np.testing.assert_array_equal(got, whole[1 : 1 + count])


def test_where_the_direct_algorithm_stays():
    for case in (
        Convolution(2, (8, 8), 3, 32, (3, 3), padding=SAME),
        Convolution(2, (8, 8), 32, 32, (5, 5), padding=(2, 2, 2, 2)),
        Convolution(2, (8, 8), 32, 32, (3, 3), (2, 2), padding=SAME),
        Convolution(2, (8, 8), 32, 32, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
        Convolution(2, (8, 8), 32, 32, (3, 3), padding=SAME, groups=2),
        Convolution(2, (8, 8), 32, 32, (3, 3), padding=SAME, dtype="float64"),
    ):
        x, weights, bias = case.arrays()
        y, _ = case.oracle(x, weights, bias)
        assert "winograd" not in templates("convolution", [x, weights, bias], y.shape, case.attributes)


@pytest.mark.parametrize("batch", [0, 1, 40])
def test_weight_gradient_of_few_and_many_patches(execute, batch):
    case = Convolution(batch, (13, 14), 72, 19, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    dy = np.random.default_rng(1).standard_normal((batch, 13, 14, 19)).astype(np.float32)
    expected = case.oracle(x, weights, bias)[1](dy)[1] if batch else np.zeros_like(weights)
    (got,) = execute("convolution_weight_gradient", [x, dy], [(weights.shape, "float32")], case.attributes)
    assert error(got, expected) <= BOUND


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_rounding_errors_of_a_typical_layer(execute, channels):
    rng = np.random.default_rng(channels)
    x = np.maximum(rng.standard_normal((2, 16, 16, channels)), 0).astype(np.float32)
    weights = (rng.standard_normal((3, 3, channels, 32)) * np.sqrt(2 / (9 * channels))).astype(np.float32)
    case = Convolution(2, (16, 16), channels, 32, (3, 3), padding=SAME)
    y, _ = case.oracle(x, weights, np.zeros(32))
    (got,) = execute("convolution", [x, weights], [(y.shape, "float32")], case.attributes)
    assert error(got, y) <= BOUND
