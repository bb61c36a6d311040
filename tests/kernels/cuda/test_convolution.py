"""CUDA convolution, forward and both gradients, in the emulator against the float64 oracle; bits; SASS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import reference
from support.cuda_kernels import machine, problem_of

from gncodegen.errors import CompileError, EmulationFault
from gncodegen.kernels import catalog, render, store
from gncodegen.kernels.cuda import matrix_tile, matrix_tiling

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


@dataclass(frozen=True)
class Case:
    """x is (batch, *extents, channels), weights (*window, channels / groups, filters)."""

    batch: int
    extents: tuple[int, ...]
    channels: int
    filters: int
    window: tuple[int, ...]
    stride: tuple[int, ...] = (1, 1)
    dilation: tuple[int, ...] = (1, 1)
    padding: tuple[int, ...] = (0, 0, 0, 0)
    groups: int = 1
    dtype: str = "float32"

    @property
    def attributes(self):
        return {"stride": self.stride, "dilation": self.dilation, "padding": self.padding, "groups": self.groups}

    def arrays(self):
        rng = np.random.default_rng(self.channels * 1000 + self.filters)
        x = rng.standard_normal((self.batch, *self.extents, self.channels)).astype(self.dtype)
        weights = rng.standard_normal((*self.window, self.channels // self.groups, self.filters)).astype(self.dtype)
        return x, weights, rng.standard_normal(self.filters).astype(self.dtype)

    def oracle(self, x, weights, bias):
        pairs = list(zip(self.padding[::2], self.padding[1::2], strict=True))
        facts = {"stride": self.stride, "dilation": self.dilation, "padding": pairs, "groups": self.groups}
        return reference.convolution(x, weights, bias, **facts)


SAME = (1, 1, 1, 1)
CASES = {
    "same": Case(2, (7, 7), 16, 32, (3, 3), padding=SAME),
    "one-channel": Case(2, (9, 8), 1, 8, (3, 3), padding=SAME),
    "odd": Case(2, (7, 9), 5, 7, (3, 3), padding=(0, 2, 1, 0)),
    "stride-2": Case(1, (14, 15), 3, 64, (7, 7), (2, 2), padding=(3, 3, 3, 3)),
    "stride-over-window": Case(2, (7, 8), 3, 1, (2, 1), (3, 2)),
    "stride-and-dilation": Case(1, (15, 11), 4, 9, (3, 3), (2, 2), (2, 3), padding=(2, 1, 0, 2)),
    "pointwise": Case(3, (5, 7), 20, 13, (1, 1)),
    "groups": Case(2, (6, 6), 8, 12, (3, 3), padding=SAME, groups=4),
    "channel-wise": Case(2, (8, 9), 6, 6, (3, 3), (2, 2), padding=SAME, groups=6),
    "channel-wise-wide": Case(2, (7, 6), 32, 32, (5, 3), (1, 3), (2, 1), (1, 2, 0, 2), groups=32),
    "one-axis": Case(2, (17,), 4, 9, (3,), (1,), (2,), (2, 1)),
    "float64": Case(2, (9, 10), 5, 11, (3, 3), (2, 1), padding=SAME, dtype="float64"),
}
SMALL = machine("sm_80", cores=2)
"""A GPU that is soon full, so that small shapes are not cut into many parts."""


def error(got, expected):
    return np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_against_oracle(execute, case):
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(case.dtype)
    dx, dweights, dbias = backward(dy)
    dtype, tolerance = case.dtype, TOLERANCE[case.dtype]

    (got,) = execute("convolution", [x, weights, bias], [(y.shape, dtype)], case.attributes, on=SMALL)
    assert error(got, y) <= tolerance
    attributes = {**case.attributes, "input_shape": x.shape}
    (got,) = execute("convolution_input_gradient", [dy, weights], [(x.shape, dtype)], attributes, on=SMALL)
    assert error(got, dx) <= tolerance
    results = [(weights.shape, dtype), (bias.shape, dtype)]
    got = execute("convolution_weight_gradient", [x, dy], results, {**case.attributes, "bias": True}, on=SMALL)
    assert error(got[0], dweights) <= tolerance
    assert error(got[1], dbias) <= tolerance


@pytest.mark.parametrize("activation", ["leaky-relu", "clipped-relu"])
def test_fused_activation(execute, activation):
    case = Case(2, (5, 6), 3, 11, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    x[0, 0, 0, 0], x[0, 4, 5, 1], bias[10] = np.nan, np.inf, -np.inf
    with np.errstate(invalid="ignore"):
        y, _ = case.oracle(x, weights, bias)
    alpha = {"leaky-relu": 0.25, "clipped-relu": 2.0}[activation]
    function = {
        "leaky-relu": lambda v: np.where(v < 0, alpha * v, v),
        "clipped-relu": lambda v: np.where(v > alpha, alpha, np.where(v < 0, 0, v)),
    }[activation]
    attributes = {**case.attributes, "activation": activation, "alpha": alpha}
    (got,) = execute("convolution", [x, weights, bias], [(y.shape, "float32")], attributes, on=SMALL)
    np.testing.assert_allclose(got, function(y), rtol=1e-5, atol=1e-5)


def test_a_long_sum_has_the_same_bits_however_it_is_shared(execute):
    """One block adds the segments to memory, or several blocks do and a second launch; and so in any batch."""
    case = Case(2, (4, 4), 130, 9, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    y, _ = case.oracle(x, weights, bias)
    result, attributes = [(y.shape, "float32")], {**case.attributes, "activation": "relu"}
    (alone,) = execute("convolution", [x, weights, bias], result, attributes, on=SMALL)
    large = machine("sm_80", cores=200)
    parts = catalog.plan(problem_of("convolution", shapes(x, weights, bias), result, attributes, large)).workspaces
    assert parts, "the segments are shared out"
    (shared,) = execute("convolution", [x, weights, bias], result, attributes, on=large)
    assert error(alone, np.maximum(y, 0)) <= TOLERANCE["float32"]
    np.testing.assert_array_equal(alone, shared)
    one = [((1, *y.shape[1:]), "float32")]
    (slice_,) = execute("convolution", [x[1:], weights, bias], one, attributes, on=large)
    np.testing.assert_array_equal(slice_[0], alone[1])


def shapes(*arrays):
    return [(array.shape, str(array.dtype)) for array in arrays]


def test_a_slice_of_the_batch_keeps_its_bits(execute):
    case = Case(5, (9, 9), 24, 40, (3, 3), (2, 2), padding=SAME)
    x, weights, bias = case.arrays()
    y, _ = case.oracle(x, weights, bias)
    dy = y.astype(np.float32)
    (whole,) = execute("convolution_input_gradient", [dy, weights], shapes(x), case.attributes, on=SMALL)
    one = shapes(x[1:2])
    (slice_,) = execute("convolution_input_gradient", [dy[1:2], weights], one, case.attributes, on=SMALL)
    np.testing.assert_array_equal(slice_[0], whole[1])


def test_a_weight_gradient_has_the_same_bits_twice(execute):
    case = Case(2, (12, 12), 4, 8, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy, on = y.astype(np.float32), machine("sm_80", cores=64)
    results, attributes = [*shapes(weights), *shapes(bias)], {**case.attributes, "bias": True}
    first = execute("convolution_weight_gradient", [x, dy], results, attributes, on=on)
    again = execute("convolution_weight_gradient", [x, dy], results, attributes, on=on)
    for one, other, expected in zip(first, again, backward(dy)[1:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert error(one, expected) <= TOLERANCE["float32"]


def test_an_empty_batch(execute):
    case = Case(0, (5, 5), 3, 8, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    (y,) = execute("convolution", [x, weights, bias], [((0, 5, 5, 8), "float32")], case.attributes, on=SMALL)
    results = [(weights.shape, "float32"), (bias.shape, "float32")]
    dweights, dbias = execute(
        "convolution_weight_gradient", [x, y], results, {**case.attributes, "bias": True}, on=SMALL
    )
    assert not dweights.any()
    assert not dbias.any()


TILES = [tile for tile in matrix_tile.TILES if tile.thread != (4, 4)]


@pytest.mark.parametrize("tile", TILES, ids=lambda tile: f"{tile.rows}x{tile.columns}")
def test_every_tile(execute, monkeypatch, tile):
    """Two blocks in each direction, the second with a few rows and columns; a depth that no step divides."""
    monkeypatch.setattr(matrix_tiling, "tiles", lambda dtype, math: (tile,))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((tile.rows + 3, 44)).astype(np.float32)
    weights = rng.standard_normal((tile.columns + 4, 44)).astype(np.float32)
    (y,) = execute("fully_connected", [x, weights], [((len(x), len(weights)), "float32")], on=SMALL)
    assert error(y, x.astype(np.float64) @ weights.T.astype(np.float64)) <= TOLERANCE["float32"]


def test_a_missing_barrier_is_found(execute, monkeypatch):
    """The barrier between storing a stage and reading it."""

    def broken(schedule):
        before, _, after = render.render(schedule).rpartition("            barrier()\n")
        return before + after

    monkeypatch.setattr(store, "render", broken)
    x, weights = np.ones((20, 40), np.float32), np.ones((24, 40), np.float32)
    with pytest.raises(EmulationFault, match="race"):
        execute("fully_connected", [x, weights], [((20, 24), "float32")], on=SMALL)


def test_refusals():
    operands = [((1, 4, 4, 4, 2), "float32"), ((3, 3, 3, 2, 2), "float32")]
    problem = problem_of("convolution", operands, [((1, 2, 2, 2, 2), "float32")], {}, SMALL)
    with pytest.raises(CompileError, match="3 spatial axes has no cuda kernel"):
        catalog.plan(problem)
