"""Group normalization on the CPU: accuracy at any mean, and the same bits by every walk through memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.normalization import Execute, oracle
from support.sets import diagonal, few

from gncodegen.kernels import catalog
from gncodegen.kernels.cpu import norm_tiling
from gncodegen.kernels.schedule import Machine, Problem, Tensor
from gncodegen.targets.cpu import host


@pytest.mark.few
@pytest.mark.parametrize("offset", [0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("shape", [(2, 56, 56, 64), (2, 31, 17, 20), (1, 160, 160, 3)])
def test_accuracy_at_any_mean(execute: Execute, offset, shape):
    x = (np.random.default_rng(1).standard_normal(shape) + offset).astype(np.float32)
    groups, c = (32 if shape[-1] == 64 else 1), shape[-1]
    one, zero = np.ones(c, np.float32), np.zeros(c, np.float32)
    attributes = {"groups": groups, "epsilon": 1e-5}
    y, _ = execute("group_norm", [x, one, zero], [(shape, "float32"), ((shape[0], groups, 3), "float32")], attributes)
    error = np.abs(y - oracle(x, groups, one, zero)[0]).max()
    assert error <= 1e-6


@pytest.mark.parametrize("rows", [1, 16, 20])
@pytest.mark.parametrize("height", [1e2, 1e4])
def test_accuracy_where_the_first_rows_are_far_from_the_others(execute: Execute, rows, height):
    """Columns are centred on the mean of a part's first rows; what that loses must stay below the data's own spread."""
    shape = (1, 6400, 32)
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    x[:, :rows] += height
    one, zero = np.ones(32, np.float32), np.zeros(32, np.float32)
    y, _ = execute(
        "group_norm", [x, one, zero], [(shape, "float32"), ((1, 4, 3), "float32")], {"groups": 4, "epsilon": 1e-5}
    )
    expected = oracle(x, 4, one, zero)[0]
    assert np.abs(y - expected).max() <= 5e-7 * np.abs(expected).max()


def _with_cache(l3: int) -> Machine:
    return replace(host.machine(), l3=l3)


@pytest.mark.parametrize("residual", few([True, False], 1))
def test_streamed_results_have_the_same_bits(execute: Execute, monkeypatch, residual):
    rng, shape = np.random.default_rng(3), (2, 45, 61, 32)
    x, dy, r = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    scale, offset = (rng.standard_normal(32).astype(np.float32) for _ in range(2))
    attributes = {"groups": 4, "epsilon": 1e-5, "activation": "relu", "residual": residual}
    extra, found = [r] if residual else [], []
    for streamed, machine in ((True, _with_cache(1 << 20)), (False, _with_cache(1 << 40))):
        monkeypatch.setattr(host, "machine", lambda machine=machine: machine)
        operands = [x, scale, offset, *extra], [x, dy, scale, offset, np.zeros((2, 4, 3), np.float32), *extra]
        for op, arrays in zip(("group_norm", "group_norm_gradient"), operands, strict=True):
            assert _streams(op, arrays, attributes, machine) == streamed
        y, statistics = execute(
            "group_norm", [x, scale, offset, *extra], [(shape, "float32"), ((2, 4, 3), "float32")], attributes
        )
        out = [(shape, "float32"), ((32,), "float32"), ((32,), "float32"), *[(shape, "float32")] * residual]
        found.append([y, *execute("group_norm_gradient", [x, dy, scale, offset, statistics, *extra], out, attributes)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def _streams(op: str, operands: list[np.ndarray], attributes: dict[str, Any], machine: Machine) -> bool:
    """Whether some kernel of the plan writes past the caches."""
    tensors = tuple(Tensor(array.shape, str(array.dtype)) for array in operands)
    plan = catalog.plan(Problem(op, tensors, (tensors[0],), attributes, machine))
    return any(launch.schedule.tiles.get("stream") for launch in plan.launches)


@pytest.mark.parametrize(("channels", "widest"), [(4, 16), (8, 32), (24, 32), (32, 64), (33, 0)])
def test_rows_that_are_no_whole_vectors_are_not_streamed(channels, widest):
    x, one = np.zeros((2, 45, 61, channels), np.float32), np.ones(channels, np.float32)
    for width in (16, 32, 64):
        machine = replace(_with_cache(1 << 10), vector_bytes=width)
        assert _streams("group_norm", [x, one, one], {"groups": 1, "epsilon": 1e-5}, machine) == (width <= widest)


@pytest.mark.parametrize(
    ("shape", "groups"),
    few([((2, 61, 53, 24), 4), ((1, 97, 101, 32), 4), ((1, 61, 53, 64), 1)], 1),
)
def test_whole_and_split_launches_give_the_same_bits(execute: Execute, shape, groups, monkeypatch):
    rng = np.random.default_rng(3)
    c = shape[-1]
    x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    scale, offset = (rng.standard_normal(c).astype(np.float32) for _ in range(2))
    attributes = {"groups": groups, "epsilon": 1e-5, "activation": "relu"}
    found = []
    for whole in (True, False):
        monkeypatch.setattr(norm_tiling, "_wave", lambda *_, whole=whole: 0 if whole else 1)
        out = [(shape, "float32"), ((shape[0], groups, 3), "float32")]
        y, statistics = execute("group_norm", [x, scale, offset], out, attributes)
        out = [(shape, "float32"), ((c,), "float32"), ((c,), "float32")]
        found.append([y, *execute("group_norm_gradient", [x, dy, scale, offset, statistics], out, attributes)])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.full(like="kernels/cpu/test_normalization.py::test_whole_and_split_launches_give_the_same_bits")
@pytest.mark.parametrize(
    ("shape", "residual"), few(diagonal([((2, 61, 53, 24),), ((1, 33, 9, 520),), ((3, 7, 5, 20),)], [True, False]), 2)
)
def test_rows_and_columns_give_the_same_bits(execute: Execute, monkeypatch, shape, residual):
    c, rng = shape[-1], np.random.default_rng(0)
    x, dy, r = (rng.standard_normal(shape).astype(np.float32) for _ in range(3))
    scale, offset = (rng.standard_normal(c).astype(np.float32) for _ in range(2))
    attributes = {"groups": 4, "epsilon": 1e-5, "activation": "relu", "residual": residual}
    more, (image, channel) = [r] if residual else [], ((shape, "float32"), ((c,), "float32"))
    found = []
    for far in (True, False):
        monkeypatch.setattr(norm_tiling, "_far", lambda *_, far=far: far)
        out = [image, ((shape[0], 4, 3), "float32")]
        y, statistics = execute("group_norm", [x, scale, offset, *more], out, attributes)
        out = [image, channel, channel, *([image] if residual else [])]
        operands = [x, dy, scale, offset, statistics, *more]
        found.append([y, statistics, *execute("group_norm_gradient", operands, out, attributes)])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.full(like="kernels/cpu/test_normalization.py::test_whole_and_split_launches_give_the_same_bits")
@pytest.mark.parametrize(("observations", "launches"), [(32, 1), (1, 3)])
def test_y_takes_the_place_of_x(execute: Execute, observations, launches):
    """Also where tiles are parts of an observation: they read no more of x than they write of y."""
    shape = (observations, 56, 56, 64)
    attributes = {"groups": 8, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
    x, vector = np.random.default_rng(0).standard_normal(shape).astype(np.float32), np.ones(64, np.float32)
    x[0, 3, 5, 16] = 1e20  # one group is summed once more in float64
    results = [(shape, "float32"), ((observations, 8, 3), "float32")]
    tensors = (Tensor(shape, "float32"), *[Tensor((64,), "float32")] * 2)
    problem = Problem(
        "group_norm", tensors, tuple(Tensor(*r) for r in results), attributes, Machine(cores=2, l3=64 << 20)
    )
    chosen = catalog.plan(problem)
    assert len(chosen.launches) == launches
    assert (0, 0) in chosen.in_place
    expected = execute("group_norm", [x, vector, vector], results, attributes)
    found = execute("group_norm", [x, vector, vector], results, attributes, in_place={0: 0})
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
