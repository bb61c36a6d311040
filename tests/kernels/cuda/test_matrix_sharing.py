"""How blocks share a matrix product: every tile, long sums in parts, the same bits, the barrier of a stage."""

from __future__ import annotations

import numpy as np
import pytest
from support.convolutions import SAME, Convolution, error
from support.execution import problem_of
from support.sets import few
from support.targets import machine

from gncodegen.errors import EmulationFault
from gncodegen.kernels import catalog, render
from gncodegen.kernels.cuda import matrix_tile, matrix_tiling

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


SMALL = machine("sm_80", cores=2)
"""A GPU that is soon full, so that small shapes are not cut into many parts."""


def test_a_long_sum_has_the_same_bits_however_it_is_shared(execute):
    """One block adds the segments to memory, or several blocks do and a second launch; and so in any batch."""
    case = Convolution(2, (4, 4), 130, 9, (3, 3), padding=SAME)
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


def test_a_weight_gradient_has_the_same_bits_twice(execute):
    case = Convolution(2, (12, 12), 4, 8, (3, 3), padding=SAME)
    x, weights, bias = case.arrays()
    y, backward = case.oracle(x, weights, bias)
    dy, on = y.astype(np.float32), machine("sm_80", cores=64)
    results, attributes = [*shapes(weights), *shapes(bias)], {**case.attributes, "bias": True}
    first = execute("convolution_weight_gradient", [x, dy], results, attributes, on=on)
    again = execute("convolution_weight_gradient", [x, dy], results, attributes, on=on)
    for one, other, expected in zip(first, again, backward(dy)[1:], strict=True):
        np.testing.assert_array_equal(one, other)
        assert error(one, expected) <= TOLERANCE["float32"]


TILES = [tile for tile in matrix_tile.TILES if tile.thread != (4, 4)]


@pytest.mark.few
@pytest.mark.parametrize("tile", few([(tile,) for tile in TILES], 4), ids=lambda tile: f"{tile.rows}x{tile.columns}")
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

    whole = render.render

    def broken(schedule):
        before, _, after = whole(schedule).rpartition("            barrier()\n")
        return before + after

    monkeypatch.setattr(render, "render", broken)
    x, weights = np.ones((20, 40), np.float32), np.ones((24, 40), np.float32)
    with pytest.raises(EmulationFault, match="race"):
        execute("fully_connected", [x, weights], [((20, 24), "float32")], on=SMALL)
