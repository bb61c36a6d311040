"""Partials that convolutions leave, and norms that take them, against the float64 oracle; bits of a batch slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import reference
from support.execution import Execute
from support.sets import diagonal, few

from gncodegen.kernels import catalog
from gncodegen.kernels.cpu import norm_tiling
from gncodegen.kernels.schedule import Machine, Problem, Tensor

ATTRIBUTES = {"stride": (1, 1), "dilation": (1, 1), "padding": (0, 0, 0, 0), "groups": 1}


def convolve(execute: Execute, x, w, bias, parts, **attributes):
    """y and, where there are parts, the partials."""
    attributes = ATTRIBUTES | attributes
    pads, strides = attributes["padding"], attributes["stride"]
    extents = [(n + pads[2 * i] + pads[2 * i + 1] - w.shape[i]) // strides[i] + 1 for i, n in enumerate(x.shape[1:-1])]
    out = [((len(x), *extents, w.shape[-1]), str(x.dtype))]
    if parts:
        out.append(((len(x), parts, 3, w.shape[-1]), "float64"))
        attributes["parts"] = parts
    return execute("convolution", [x, w, *([] if bias is None else [bias])], out, attributes)


def normalize(execute: Execute, x, scale, offset, partials, groups, **attributes):
    more = [attributes.pop("r")] if "r" in attributes else []
    attributes = {"groups": groups, "epsilon": 1e-5, "parts": partials.shape[1], **attributes}
    dtype = "float64" if x.dtype == np.float64 else "float32"
    results = [(x.shape, str(x.dtype)), ((len(x), groups, 3), dtype)]
    return execute("group_norm", [x, scale, offset, *more, partials], results, attributes)


def partials_of(y, parts):
    """Mean and sum of squared deviations from it, per part and channel, in float64."""
    rows = y.shape[1]
    cuts = [y[:, rows * i // parts : rows * (i + 1) // parts].astype(np.float64) for i in range(parts)]
    counts = np.array([cut.shape[1] * cut.shape[2] for cut in cuts])[:, None]
    means = np.stack([cut.mean((1, 2)) for cut in cuts], 1)
    return counts, means, np.stack([cut.var((1, 2)) for cut in cuts], 1) * counts


CASES = [
    # (x, window, filters, parts, attributes, dtype)
    ((2, 9, 13, 16), 1, 24, 3, {}, "float32"),
    ((2, 8, 33, 5), 1, 70, 8, {"activation": "relu"}, "float32"),
    ((1, 11, 10, 3), 5, 33, 4, {"stride": (2, 1), "padding": (2, 2, 2, 2)}, "float32"),
    ((2, 7, 9, 8), 3, 12, 2, {"groups": 2, "padding": (1, 1, 1, 1)}, "float64"),
    ((2, 7, 9, 12), 3, 12, 7, {"groups": 12, "padding": (1, 1, 1, 1)}, "float32"),
    ((2, 6, 17, 40), 1, 3, 2, {}, "float32"),
]


@pytest.mark.parametrize(
    ("shape", "window", "filters", "parts", "attributes", "dtype", "biased"), few(diagonal(CASES, [True, False]), 3)
)
def test_partials_are_those_of_y(execute: Execute, shape, window, filters, parts, attributes, dtype, biased):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((window, window, shape[-1] // attributes.get("groups", 1), filters)).astype(dtype)
    bias = (rng.standard_normal(filters) * 100).astype(dtype) if biased else None
    y, partials = convolve(execute, x, w, bias, parts, **attributes)
    np.testing.assert_array_equal(y, convolve(execute, x, w, bias, 0, **attributes)[0])
    counts, means, squares = partials_of(y, parts)
    sums, about, centre = np.moveaxis(partials, 2, 0)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(centre + sums / counts, means, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(about - sums**2 / counts, squares, rtol=tolerance, atol=tolerance * counts.max())


@pytest.mark.few
@pytest.mark.parametrize("shift", [0, 1e4, 1e6])
@pytest.mark.parametrize(("groups", "residual"), [(1, False), (4, True), (24, False)])
def test_a_norm_of_partials(execute: Execute, shift, groups, residual):
    """As accurate at any mean as with a pass of its own."""
    rng = np.random.default_rng(2)
    x, r = rng.standard_normal((2, 61, 53, 8)).astype(np.float32), rng.standard_normal((2, 61, 53, 24))
    w, bias = rng.standard_normal((1, 1, 8, 24)).astype(np.float32) / 3, np.full(24, shift, np.float32)
    scale, offset = rng.standard_normal((2, 24)).astype(np.float32)
    y, partials = convolve(execute, x, w, bias, 5)
    more = {"r": r.astype(np.float32), "residual": True, "activation": "relu"} if residual else {}
    found, statistics = normalize(execute, y, scale, offset, partials, groups, **more)
    expected, _ = reference.group_norm(y.astype(np.float64), scale, offset, groups=groups, epsilon=1e-5)
    expected = np.maximum(expected + r, 0) if residual else expected
    assert np.abs(found - expected).max() <= 2e-6
    blocks = y.astype(np.float64).reshape(2, -1, groups, 24 // groups)
    np.testing.assert_allclose(
        statistics.astype(np.float64)[..., :2].sum(-1), blocks.mean((1, 3)), rtol=1e-7, atol=1e-7
    )


def test_what_is_not_finite_stays_in_its_group_and_large_squares_are_summed_again(execute: Execute):
    rng = np.random.default_rng(3)
    y = rng.standard_normal((2, 9, 7, 8)).astype(np.float32)
    y[0, 3, 2, 1], y[1, 5, 5, 6], y[0, 0, 0, 6] = np.nan, np.inf, 1e20
    scale, offset = rng.standard_normal((2, 8)).astype(np.float32)
    thirds = y.astype(np.float64).reshape(2, 3, 21, 8)
    centre = thirds[:, :, 0]
    deviations = thirds - centre[:, :, None]
    partials = np.stack([deviations.sum(2), (deviations**2).sum(2), centre], 2)
    found, _ = normalize(execute, y, scale, offset, partials, 4)
    with np.errstate(invalid="ignore"):
        expected, _ = reference.group_norm(y.astype(np.float64), scale, offset, groups=4, epsilon=1e-5)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert np.isnan(found[0, ..., :2]).all()
    assert np.isfinite(found[0, ..., 2:]).all()


def test_a_batch_slice_has_the_same_bits(execute: Execute):
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((3, 40, 30, 8)).astype(np.float32), rng.standard_normal((1, 1, 8, 40)).astype(np.float32)
    one, zero = np.ones(40, np.float32), np.zeros(40, np.float32)
    y, partials = convolve(execute, x, w, None, 7)
    whole = normalize(execute, y, one, zero, partials, 8)
    part, slice_partials = convolve(execute, x[1:2], w, None, 7)
    np.testing.assert_array_equal(slice_partials, partials[1:2])
    for one_array, other in zip(normalize(execute, part, one, zero, slice_partials, 8), whole, strict=True):
        np.testing.assert_array_equal(one_array, other[1:2])


@pytest.mark.few
@pytest.mark.parametrize(("window", "groups"), [(1, 1), (5, 1), (3, 16)])
def test_every_candidate_leaves_the_same_bits(execute: Execute, monkeypatch, window, groups):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((2, 18, 21, 16)).astype(np.float32)
    w = rng.standard_normal((window, window, 16 // groups, 48 if groups == 1 else 16))
    found = []
    for number in range(catalog.MOST_CANDIDATES):
        monkeypatch.setattr(catalog, "plan", lambda problem, number=number: _candidate(problem, number))
        pads = (window // 2,) * 4
        found.append(convolve(execute, x, w.astype(np.float32), None, 6, groups=groups, padding=pads))
    for candidate in found[1:]:
        for one, other in zip(candidate, found[0], strict=True):
            np.testing.assert_array_equal(one, other)


def _candidate(problem, number):
    plans = catalog.candidates(problem)
    return plans[min(number, len(plans) - 1)]


def test_no_pass_over_x_is_left():
    """The norm reads x once; what is joined is small."""
    x, vector = Tensor((8, 56, 56, 256), "float32"), Tensor((256,), "float32")
    partials, statistics = Tensor((8, 16, 3, 256), "float64"), Tensor((8, 32, 3), "float32")
    attributes = {"groups": 32, "epsilon": 1e-5, "parts": 16}
    problem = Problem("group_norm", (x, vector, vector, partials), (x, statistics), attributes, Machine(cores=2))
    plan = catalog.plan(problem)
    assert [launch.schedule.template for launch in plan.launches] == ["group_norm_join", "group_norm_apply"]
    assert sum(launch.bytes for launch in plan.launches) == 2 * x.bytes
    assert not plan.workspaces
    assert norm_tiling.tiling_of(replace(problem, operands=problem.operands[:3]), 1).parts > 1
