"""Convolution on every target, forward and both gradients, against the float64 oracle; bits of a batch slice."""

from __future__ import annotations

import numpy as np
import pytest
from support.convolutions import SAME, Convolution, error
from support.execution import problem_of
from support.targets import machine

from gncodegen.errors import CompileError
from gncodegen.kernels import catalog

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
ONES, SAME_VOLUME, WIDE = (1, 1, 1), (1, 1, 1, 1, 1, 1), (1, 0, 0, 2, 0, 0)


CASES = {
    "same": Convolution(3, (7, 7), 16, 32, (3, 3), padding=SAME),
    "one-channel": Convolution(2, (28, 28), 1, 8, (3, 3), padding=SAME),
    "image": Convolution(2, (11, 9), 3, 20, (5, 5)),
    "odd": Convolution(2, (13, 11), 5, 7, (3, 3), padding=(0, 2, 1, 0)),
    "stride-2": Convolution(2, (14, 15), 3, 12, (7, 7), (2, 2), padding=(3, 3, 3, 3)),
    "stride-2-3": Convolution(2, (12, 13), 4, 9, (3, 3), (2, 3), padding=(0, 1, 2, 1)),
    "stride-over-window": Convolution(2, (7, 8), 3, 4, (2, 1), (3, 2)),
    "dilation": Convolution(2, (12, 11), 4, 9, (3, 3), dilation=(2, 2), padding=(2, 2, 2, 2)),
    "stride-and-dilation": Convolution(1, (15, 11), 4, 9, (3, 3), (2, 2), (2, 3), padding=(2, 1, 0, 2)),
    "wide-padding": Convolution(2, (6, 6), 3, 4, (2, 2), padding=(3, 2, 0, 4)),
    "pointwise": Convolution(3, (5, 7), 19, 13, (1, 1)),
    "pointwise-stride-2": Convolution(3, (6, 7), 9, 13, (1, 1), (2, 2)),
    "whole-image": Convolution(2, (5, 5), 3, 4, (5, 5)),
    "one-pixel": Convolution(2, (1, 1), 5, 3, (1, 1)),
    "few-filters": Convolution(2, (9, 10), 19, 3, (3, 3), (2, 1), (1, 2), padding=SAME),
    "few-filters-pointwise": Convolution(2, (6, 7), 16, 1, (1, 1)),
    "few-filters-float64": Convolution(2, (8, 8), 9, 2, (3, 3), padding=SAME, dtype="float64"),
    "few-filters-long-sums": Convolution(1, (4, 5), 600, 2, (3, 3), padding=SAME),
    "long-sums": Convolution(1, (6, 6), 130, 70, (3, 3), padding=SAME),
    "groups": Convolution(2, (8, 8), 8, 12, (3, 3), padding=SAME, groups=4),
    "groups-of-one-filter": Convolution(2, (6, 5), 16, 8, (1, 1), groups=8),  # as many as a vector's lanes
    "groups-of-one-filter-float64": Convolution(2, (6, 5), 8, 4, (2, 3), padding=SAME, dtype="float64", groups=4),
    "channel-wise": Convolution(2, (8, 9), 6, 6, (3, 3), (2, 2), padding=SAME, groups=6),
    "channel-wise-flat": Convolution(3, (9, 7), 13, 13, (3, 3), padding=SAME, groups=13),
    "channel-wise-wide": Convolution(2, (12, 11), 32, 32, (5, 3), (1, 3), (2, 1), (1, 2, 0, 2), groups=32),
    "one-axis": Convolution(2, (17,), 4, 9, (3,), (1,), (2,), (2, 1)),
    "float64": Convolution(2, (9, 10), 5, 11, (3, 3), (2, 1), padding=SAME, dtype="float64"),
    "float64-same": Convolution(2, (7, 7), 16, 8, (3, 3), padding=SAME, dtype="float64"),
    "one-channel-small": Convolution(2, (9, 8), 1, 8, (3, 3), padding=SAME),
    "odd-small": Convolution(2, (7, 9), 5, 7, (3, 3), padding=(0, 2, 1, 0)),
    "stride-2-small": Convolution(1, (14, 15), 3, 64, (7, 7), (2, 2), padding=(3, 3, 3, 3)),
    "stride-over-window-small": Convolution(2, (7, 8), 3, 1, (2, 1), (3, 2)),
    "groups-small": Convolution(2, (6, 6), 8, 12, (3, 3), padding=SAME, groups=4),
    "channel-wise-small": Convolution(2, (7, 6), 32, 32, (5, 3), (1, 3), (2, 1), (1, 2, 0, 2), groups=32),
    "volume": Convolution(2, (4, 5, 6), 8, 12, (3, 3, 3), ONES, ONES, SAME_VOLUME),
    "volume-inside": Convolution(2, (5, 6, 7), 3, 7, (2, 3, 3), ONES, ONES),
    "volume-stride-2": Convolution(2, (7, 6, 5), 5, 9, (3, 3, 3), (2, 2, 2), ONES, SAME_VOLUME),
    "volume-stride-3-2-1": Convolution(1, (7, 6, 4), 5, 9, (3, 2, 3), (3, 2, 1), ONES, (2, 0, 0, 1, 1, 1)),
    "volume-stride-over-window": Convolution(2, (7, 6, 8), 3, 4, (1, 2, 1), (3, 3, 2), ONES),
    "volume-stride-and-dilation": Convolution(1, (7, 8, 9), 4, 9, (3, 2, 3), (2, 1, 3), (2, 2, 2), (2, 1, 0, 2, 3, 3)),
    "volume-pointwise": Convolution(2, (3, 5, 4), 19, 13, ONES, ONES, ONES),
    "volume-pointwise-stride-2": Convolution(2, (3, 5, 4), 9, 13, ONES, (2, 2, 2), ONES),
    "volume-of-slices": Convolution(2, (3, 6, 7), 16, 16, (1, 3, 3), ONES, ONES, (0, 0, *SAME)),
    "volume-of-depth": Convolution(2, (6, 1, 1), 5, 6, (3, 1, 1), ONES, ONES, (1, 1, 0, 0, 0, 0)),
    "volume-of-one-slice": Convolution(2, (1, 6, 7), 5, 6, (3, 3, 3), ONES, ONES, SAME_VOLUME),
    "volume-groups": Convolution(2, (3, 4, 5), 8, 12, (3, 3, 3), ONES, ONES, SAME_VOLUME, groups=4),
    "volume-channel-wise": Convolution(2, (3, 4, 5), 6, 6, (3, 3, 3), (2, 1, 2), ONES, SAME_VOLUME, groups=6),
    "volume-channel-wise-wide": Convolution(1, (6, 5, 6), 32, 32, (2, 3, 1), (1, 2, 1), (2, 1, 1), WIDE, groups=32),
    "volume-few-filters": Convolution(2, (3, 4, 5), 19, 3, (3, 3, 3), (1, 2, 1), (1, 1, 2), SAME_VOLUME),
    "volume-long-sums": Convolution(1, (3, 4, 4), 130, 40, (3, 3, 3), ONES, ONES, SAME_VOLUME),
    "volume-float64": Convolution(2, (3, 4, 5), 5, 11, (3, 3, 3), (2, 1, 1), ONES, SAME_VOLUME, dtype="float64"),
    "one-axis-stride-2": Convolution(2, (17,), 4, 9, (3,), (2,), (2,), (2, 1)),
    "one-axis-channel-wise": Convolution(2, (18,), 9, 9, (3,), (2,), (1,), (1, 1), groups=9),
}


ON_GPU = [
    "same",
    "stride-and-dilation",
    "pointwise",
    "channel-wise-small",
    "one-axis",
    "float64",
    "volume-groups",
]
ON_CPU = [
    *ON_GPU, "stride-2", "groups-of-one-filter", "channel-wise-wide", "volume-stride-3-2-1",
]  # fmt: skip
"""What the default run has."""


def _param(name):
    marks = [] if name in ON_GPU else [pytest.mark.full("cuda") if name in ON_CPU else pytest.mark.full]
    return pytest.param(CASES[name], id=name, marks=marks)


@pytest.mark.few
@pytest.mark.parametrize("case", [_param(name) for name in CASES])
def test_against_oracle(execute, case):
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(case.dtype)
    dx, dweights, dbias = backward(dy)
    dtype, tolerance = case.dtype, TOLERANCE[case.dtype]

    (got,) = execute("convolution", [x, weights, bias], [(y.shape, dtype)], case.attributes)
    assert error(got, y) <= tolerance
    attributes = {**case.attributes, "input_shape": x.shape}
    (got,) = execute("convolution_input_gradient", [dy, weights], [(x.shape, dtype)], attributes)
    assert error(got, dx) <= tolerance
    results = [(weights.shape, dtype), (bias.shape, dtype)]
    got = execute("convolution_weight_gradient", [x, dy], results, {**case.attributes, "bias": True})
    assert error(got[0], dweights) <= tolerance
    assert error(got[1], dbias) <= tolerance


def test_axes_before_the_windows_are_more_observations(execute):
    case = Convolution(6, (5, 4), 3, 8, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype("float32")
    dx, dweights, _ = backward(dy)

    def several(array):
        return array.reshape(2, 3, *array.shape[1:])

    (got,) = execute("convolution", [several(x), weights, bias], [(several(y).shape, "float32")], case.attributes)
    assert error(got, several(y)) <= TOLERANCE["float32"]
    attributes = {**case.attributes, "input_shape": several(x).shape}
    shape = (several(x).shape, "float32")
    (got,) = execute("convolution_input_gradient", [several(dy), weights], [shape], attributes)
    assert error(got, several(dx)) <= TOLERANCE["float32"]
    shape = (weights.shape, "float32")
    (got,) = execute("convolution_weight_gradient", [several(x), several(dy)], [shape], case.attributes)
    assert error(got, dweights) <= TOLERANCE["float32"]


@pytest.mark.parametrize(
    "activation",
    [pytest.param("relu", marks=pytest.mark.full), pytest.param("leaky-relu", marks=pytest.mark.full), "clipped-relu"],
)
def test_fused_activation(execute, activation):
    case = Convolution(2, (5, 6), 3, 11, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    x[0, 0, 0, 0], x[0, 4, 5, 1], bias[10] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        y, _ = case.oracle(x, weights, bias)
    alpha = {"relu": 0.0, "leaky-relu": 0.25, "clipped-relu": 2.0}[activation]
    function = {
        "relu": lambda v: np.where(v < 0, 0, v),
        "leaky-relu": lambda v: np.where(v < 0, alpha * v, v),
        "clipped-relu": lambda v: np.where(v > alpha, alpha, np.where(v < 0, 0, v)),
    }[activation]
    attributes = {**case.attributes, "activation": activation, "alpha": alpha}
    (got,) = execute("convolution", [x, weights, bias], [(y.shape, "float32")], attributes)
    np.testing.assert_allclose(got, function(y), rtol=1e-5, atol=1e-5)


@pytest.mark.few
@pytest.mark.parametrize(
    ("case", "bias", "moves"),
    [
        (Convolution(1, (37, 1), 9, 13, (1, 1)), True, True),
        (Convolution(2, (6, 5), 8, 12, (3, 3), padding=SAME), False, False),
        (CASES["channel-wise-small"], True, False),
        pytest.param(Convolution(1, (6, 6), 192, 176, (3, 3), padding=SAME), True, False, marks=pytest.mark.full),
        pytest.param(CASES["few-filters"], False, False, marks=pytest.mark.full),
        pytest.param(CASES["long-sums"], True, False, marks=pytest.mark.full("cpu")),
    ],
    ids=["pointwise", "winograd", "channel-wise", "heavy", "few-filters", "shared-depth"],
)
def test_residual_and_activation(execute, target, case, bias, moves):
    x, weights, given = case.arrays()
    y, _ = case.oracle(x, weights, given if bias else np.zeros_like(given))
    r = np.random.default_rng(2).standard_normal(y.shape).astype(case.dtype)
    attributes = {**case.attributes, "residual": True, "activation": "clipped-relu", "alpha": 2.0}
    operands, expected = [x, weights, *([given] if bias else []), r], np.clip(y + r, 0, 2)
    (got,) = execute("convolution", operands, [(y.shape, case.dtype)], attributes)
    assert np.abs(got - expected).max() <= TOLERANCE[case.dtype] * np.abs(y).max()
    asked = problem_of(
        "convolution", [(a.shape, case.dtype) for a in operands], [(y.shape, case.dtype)], attributes, machine(target)
    )
    # On the CPU register tiles that move back would add the residual twice.
    assert catalog.plan(asked).in_place == (() if target == "cpu" and moves else ((0, len(operands) - 1),))
    if catalog.plan(asked).in_place:
        (again,) = execute(
            "convolution", operands, [(y.shape, case.dtype)], attributes, in_place={0: len(operands) - 1}
        )
        np.testing.assert_array_equal(again, got)


def test_without_bias_and_without_attributes(execute):
    case = Convolution(2, (5, 6), 3, 8, (3, 3))
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, np.zeros_like(bias))
    (got,) = execute("convolution", [x, weights], [(y.shape, "float32")])
    assert error(got, y) <= TOLERANCE["float32"]
    dy = y.astype(np.float32)
    (got,) = execute("convolution_weight_gradient", [x, dy], [(weights.shape, "float32")])
    assert error(got, backward(dy)[1]) <= TOLERANCE["float32"]


@pytest.mark.parametrize(
    "case",
    [
        CASES["same"],
        pytest.param(CASES["pointwise"], marks=pytest.mark.full),
        pytest.param(Convolution(5, (9, 9), 24, 40, (3, 3), (2, 2), padding=SAME), marks=pytest.mark.full("cuda")),
        pytest.param(Convolution(17, (16, 16), 3, 24, (3, 3), padding=SAME), marks=pytest.mark.full),
        pytest.param(CASES["volume-groups"], marks=pytest.mark.full),
    ],
)
def test_a_slice_of_the_batch_keeps_its_bits(execute, case):
    x, weights, bias = case.arrays()
    y, _ = case.oracle(x, weights, bias)
    (whole,) = execute("convolution", [x, weights, bias], [(y.shape, "float32")], case.attributes)
    (slice_,) = execute("convolution", [x[1:2], weights, bias], [((1, *y.shape[1:]), "float32")], case.attributes)
    np.testing.assert_array_equal(slice_[0], whole[1])
    dy = y.astype(np.float32)
    (whole,) = execute("convolution_input_gradient", [dy, weights], [(x.shape, "float32")], case.attributes)
    shape = ((1, *x.shape[1:]), "float32")
    (slice_,) = execute("convolution_input_gradient", [dy[1:2], weights], [shape], case.attributes)
    np.testing.assert_array_equal(slice_[0], whole[1])


def test_an_empty_batch(execute):
    case = Convolution(0, (5, 5), 3, 8, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    (y,) = execute("convolution", [x, weights, bias], [((0, 5, 5, 8), "float32")], case.attributes)
    results = [(weights.shape, "float32"), (bias.shape, "float32")]
    dweights, dbias = execute("convolution_weight_gradient", [x, y], results, {**case.attributes, "bias": True})
    assert not dweights.any()
    assert not dbias.any()


def problem(op, shapes, result, target, attributes=None):
    return problem_of(op, [(shape, "float32") for shape in shapes], [(result, "float32")], attributes, machine(target))


def test_flops_are_those_of_the_formula(target):
    asked = problem("convolution", [(8, 32, 32, 64), (3, 3, 64, 64)], (8, 32, 32, 64), target, {"padding": SAME})
    plan = catalog.plan(asked)
    assert sum(launch.flops for launch in plan.launches) == 2 * 8 * 32 * 32 * 64 * 64 * 9
    if target == "cpu":
        assert plan.launches[-1].bytes == 4 * (2 * 8 * 32 * 32 * 64 + 9 * 64 * 64)


def test_refusals(target):
    with pytest.raises(CompileError, match="4 spatial axes"):
        catalog.plan(problem("convolution", [(1, 4, 4, 4, 4, 2), (3, 3, 3, 3, 2, 2)], (1, 2, 2, 2, 2, 2), target))
    if target == "cpu":
        with pytest.raises(CompileError, match="cannot fuse 'gelu'"):
            catalog.plan(
                problem("convolution", [(1, 4, 4, 2), (3, 3, 2, 2)], (1, 2, 2, 2), target, {"activation": "gelu"})
            )
