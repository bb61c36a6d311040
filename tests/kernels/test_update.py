"""Update kernels on every target against the float64 oracle."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from support.hyperparameters import numbers
from support.sets import diagonal

from gncodegen.kernels import solvers
from gncodegen.kernels.cpu.update import CHUNK
from gncodegen.kernels.hyperparameters import PARTS

SHAPES = [(3, 3, 2, 5), (5,), (CHUNK + 37,), (1,), (10, 33), (64,)]
NAMES = [f"p{i}" for i in range(len(SHAPES))]
RATE_FACTORS, L2_FACTORS = (1.0, 2.0, 1.0, 0.5, 0.0, 1.0), (1.0, 0.0, 1.0, 2.0, 1.0, 1.0)
SOLVERS = {
    "sgdm": {"momentum": 0.8},
    "adam": {"gradient_decay_factor": 0.7, "squared_gradient_decay_factor": 0.99, "epsilon": 1e-3},
    "rmsprop": {"squared_gradient_decay_factor": 0.8, "epsilon": 1e-3},
}
"""Their hyperparameters here; not the defaults."""

CLIPS = ["none", "absolute-value", "l2norm", "global-l2norm"]


def test_every_solver_has_an_oracle_and_is_tested():
    assert solvers.SOLVERS.keys() == SOLVERS.keys() == ref.SOLVERS.keys()


def step(execute, optimizer, p, g, state, clip, factors=(RATE_FACTORS, L2_FACTORS), in_place=True):
    """One update as the step does it: norms first if the clip needs them; `state` is a list per array."""
    dtype, count, arrays = str(p[0].dtype), len(p), len(state)
    solver = next(name for name, kind in ref.SOLVERS.items() if type(optimizer) is kind)
    own = {name: getattr(optimizer, name) for name in SOLVERS[solver]}
    block = numbers(
        solver, learn_rate=optimizer.rate, l2_regularization=optimizer.l2, gradient_threshold=optimizer.threshold,
        steps=max(optimizer.steps - 1, 0), **own,
    )  # fmt: skip
    extra = []
    if clip in ("l2norm", "global-l2norm"):
        extra = execute("gradient_norms", [*p, *g], [((count,), "float64")], {"l2_factors": factors[1]}, block)
    attributes = {"learn_rate_factors": factors[0], "l2_factors": factors[1], "clip": clip, "solver": solver}
    places = {i: i if i < count else count + i for i in range((1 + arrays) * count)}
    flat = [array for of_parameters in state for array in of_parameters]
    results = [(a.shape, dtype) for a in (*p, *flat)]
    new = execute("update", [*p, *g, *flat, *extra], results, attributes, block, places if in_place else None)
    return new[:count], [new[(1 + k) * count : (2 + k) * count] for k in range(arrays)]


@pytest.mark.parametrize(("dtype", "summed"), diagonal(["float32", "float64"], [0.0, 0.25]))
def test_gradients_of_parts_are_added_up(execute, dtype, summed):
    """The first part begins the sum, whatever is in there."""
    sums, gradients = arrays(dtype, 0), arrays(dtype, 1)
    if not summed:
        sums = [np.full_like(each, np.nan) for each in sums]
    block = numbers()
    block[PARTS["share"]], block[PARTS["summed"]] = 0.375, summed
    places = {i: i for i in range(len(SHAPES))}
    found = execute("accumulate", [*sums, *gradients], [(s, dtype) for s in SHAPES], {}, block, places)
    for total, before, g in zip(found, sums, gradients, strict=True):
        wanted = 0.375 * g.astype(np.float64) + (before if summed else 0)
        np.testing.assert_allclose(total, wanted, rtol=1e-6, atol=1e-6)


def arrays(dtype, seed, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


def by_name(values):
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize(("solver", "dtype", "clip"), diagonal(list(SOLVERS), ["float32", "float64"], CLIPS))
def test_two_steps(execute, solver, dtype, clip):
    optimizer = ref.SOLVERS[solver](
        rate=0.1, l2=0.01, method=clip if clip != "none" else "l2norm",
        threshold={"none": np.inf, "absolute-value": 0.7, "l2norm": 5.0, "global-l2norm": 20.0}[clip],
        learn_rate_factors=by_name(RATE_FACTORS), l2_factors=by_name(L2_FACTORS), **SOLVERS[solver],
    )  # fmt: skip
    p, state = arrays(dtype, 0), [[np.zeros(shape, dtype) for shape in SHAPES] for _ in range(optimizer.ARRAYS)]
    expected, frozen = by_name(p), NAMES.index("p4")
    for seed in (1, 2):
        g = arrays(dtype, seed)
        expected = optimizer.step(expected, by_name(g))
        p_before, state_before = p, state
        p, state = step(execute, optimizer, p, g, state, clip, in_place=seed == 1)
        tolerance = 2e-6 if dtype == "float32" else 1e-14
        for i, name in enumerate(NAMES):
            np.testing.assert_allclose(p[i], expected[name], rtol=tolerance, atol=tolerance)
            for found, wanted in zip(state, optimizer.state.get(name, ()), strict=False):
                np.testing.assert_allclose(found[i], wanted, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(p[frozen], p_before[frozen])
        for found, before in zip(state, state_before, strict=True):
            np.testing.assert_array_equal(found[frozen], before[frozen])


@pytest.mark.parametrize(("solver", "dtype"), [("sgdm", "float32"), ("adam", "float32"), ("rmsprop", "float64")])
def test_averages_below_the_smallest_normal_number_are_0(execute, solver, dtype):
    least = np.finfo(dtype).smallest_normal
    optimizer = ref.SOLVERS[solver](rate=0.1, l2=0.0, **SOLVERS[solver])
    for start, expected in ((least / 2, 0.0), (least * 64, least * 64 * next(iter(SOLVERS[solver].values())))):
        p, g = [np.ones(70, dtype)], [np.zeros(70, dtype)]
        state = [[np.full(70, start, dtype)] for _ in range(optimizer.ARRAYS)]
        (p,), state = step(execute, optimizer, p, g, state, "none", ((1.0,), (1.0,)))
        np.testing.assert_allclose(state[0][0], expected, rtol=1e-6)
        np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize(("clip", "threshold"), diagonal(CLIPS[1:], [5.0, 4.0, 10.0]))
def test_clip_at_below_and_above_the_threshold(execute, clip, threshold):
    """A gradient (3, 4) of norm 5, from zero parameters: at 5 and 10 no norm clip acts, at 4 it scales by 4/5."""
    optimizer = ref.Sgdm(rate=1.0, momentum=0.0, l2=0.0, threshold=threshold)
    zero, g = np.zeros(2), np.array([3.0, -4.0])
    (p,), _ = step(execute, optimizer, [zero], [g], [[zero]], clip, ((1.0,), (1.0,)))
    scale = min(1.0, threshold / 5.0) if clip != "absolute-value" else 1.0
    np.testing.assert_allclose(p, -np.clip(g, -4 if threshold == 4 else -5, 5) * scale, rtol=1e-15)


@pytest.mark.parametrize(("solver", "clip"), diagonal(list(SOLVERS), CLIPS))
def test_zero_and_nan_gradients(execute, solver, clip):
    optimizer = ref.SOLVERS[solver](rate=1.0, l2=0.0, threshold=1.0)
    ones, zeros = np.ones(5, np.float32), np.zeros(5, np.float32)
    bad, state = np.array([1, np.nan, 0, 0, 0], np.float32), [[zeros]] * optimizer.ARRAYS
    two = [[zeros, zeros]] * optimizer.ARRAYS
    (still, hurt), _ = step(execute, optimizer, [ones, ones], [zeros, bad], two, clip, ((1.0, 1.0), (1.0, 1.0)))
    np.testing.assert_array_equal(still, ones)
    assert np.isnan(hurt[1])
    assert np.isfinite(hurt[0])
    (still,), _ = step(execute, optimizer, [ones], [zeros], state, clip, ((1.0,), (1.0,)))
    np.testing.assert_array_equal(still, ones)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_bits_of_frozen_values_stay(execute, solver):
    """A negative zero and the payload of a NaN too, of the parameter and of its state."""
    odd = np.array([-0.0, np.inf, 1e-42], np.float32)
    odd = np.concatenate([odd, np.array([0x7FC12345], np.uint32).view(np.float32)])
    optimizer = ref.SOLVERS[solver](rate=1.0)
    (p,), state = step(
        execute, optimizer, [odd], [np.ones(4, np.float32)], [[odd]] * optimizer.ARRAYS, "none", ((0.0,), (1.0,))
    )
    for found in (p, *(array for (array,) in state)):
        np.testing.assert_array_equal(found.view(np.uint32), odd.view(np.uint32))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_update_statistics(execute, dtype):
    generator, channels, epsilon = np.random.default_rng(0), 13, 1e-5
    mean, variance = generator.standard_normal(channels), generator.random(channels) + 0.1
    variance[3] = 0
    high = mean.astype(np.float32)
    statistics = np.stack([high, mean - high, 1 / np.sqrt(variance + epsilon)], axis=-1)[None].astype(dtype)
    old_mean, old_variance = generator.standard_normal(channels).astype(dtype), generator.random(channels).astype(dtype)
    new_mean, new_variance = execute(
        "update_statistics", [statistics, old_mean, old_variance], [((channels,), dtype)] * 2,
        {"decays": (0.1, 0.3), "count": 7, "epsilon": epsilon}, in_place={0: 1, 1: 2},
    )  # fmt: skip
    tolerance = 1e-6 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(new_mean, 0.1 * mean + 0.9 * old_mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(new_variance, 0.3 * variance + 0.7 * old_variance, rtol=tolerance, atol=tolerance)


def test_update_statistics_adds_what_the_variance_over_ranks_has_more(execute):
    statistics, old, more = np.array([[[1.0, 0.0, 0.5], [2.0, 0.0, 1.0]]]), np.array([3.0, 4.0]), np.array([0.5, 0.0])
    given, kinds = {"decays": (0.1, 0.3), "count": 7, "epsilon": 0.0}, [((2,), "float64")] * 2
    for share, weights in ((1, []), (0.25, [np.array([0.25])])):
        mean, variance = execute("update_statistics", [statistics, old, old, more, *weights], kinds, given)
        np.testing.assert_allclose(mean, 0.1 * share * np.array([1.0, 2.0]) + 0.9 * old)
        np.testing.assert_allclose(variance, 0.3 * share * (np.array([4.0, 1.0]) + more) + 0.7 * old)


@pytest.mark.full(like="kernels/test_update.py::test_two_steps")
def test_many_parameters_take_several_launches(execute):
    """101 parameters have 505 buffers: two launches, each with its own share of the table."""
    shapes = [(1 + i % 7,) for i in range(101)]
    factors = tuple(float(i % 3) for i in range(101)), tuple(float(i % 2) for i in range(101))
    names = [f"p{i}" for i in range(101)]
    optimizer = ref.Sgdm(
        rate=0.1, momentum=0.8, l2=0.01, method="global-l2norm", threshold=5.0,
        learn_rate_factors=dict(zip(names, factors[0], strict=True)),
        l2_factors=dict(zip(names, factors[1], strict=True)),
    )  # fmt: skip
    p, g = arrays("float32", 0, shapes), arrays("float32", 1, shapes)
    got, _ = step(execute, optimizer, p, g, [[np.zeros_like(a) for a in p]], "global-l2norm", factors)
    expected = optimizer.step(dict(zip(names, p, strict=True)), dict(zip(names, g, strict=True)))
    for name, new in zip(names, got, strict=True):
        np.testing.assert_allclose(new, expected[name], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("magnitude", [1e-25, 1e25])
def test_norms_of_extreme_gradients(execute, magnitude):
    """Squares of either would leave float32."""
    g = (np.random.default_rng(0).standard_normal(5000) * magnitude).astype(np.float32)
    results, attributes = [((1,), "float64")], {"l2_factors": (1.0,)}
    (norm,) = execute("gradient_norms", [np.zeros_like(g), g], results, attributes, numbers(l2_regularization=0))
    np.testing.assert_allclose(norm, np.linalg.norm(g.astype(np.float64)), rtol=1e-6)


def test_scaled_gradients(execute):
    """Gradients of 1024 · loss give the step of the loss; one that is not finite leaves everything as it is."""
    scale, factors = np.array([1024, 7], np.float32), {"l2_factors": (1.0, 0.5), "scaled": True}
    block = numbers("sgdm", learn_rate=0.1, l2_regularization=0.01, momentum=0.8)
    p, g, v = ([drawn * 1 for drawn in arrays("float32", seed, [(5, 7), (40,)])] for seed in range(3))
    results = [(a.shape, "float32") for a in (*p, *v)]

    def stepped(g):
        (norms,) = execute("gradient_norms", [*p, *g, scale], [((2,), "float64")], factors, block)
        attributes = factors | {"learn_rate_factors": (1.0, 1.0), "clip": "none", "solver": "sgdm"}
        new = execute("update", [*p, *g, *v, norms, scale], results, attributes, block)
        (following,) = execute("update_loss_scale", [norms, scale], [((2,), "float32")])
        return norms, new, tuple(following)

    norms, new, following = stepped([1024 * each for each in g])
    slopes = [a + 0.01 * f * b for a, b, f in zip(g, p, (1.0, 0.5), strict=True)]
    np.testing.assert_allclose(norms, [np.linalg.norm(slope) for slope in slopes], rtol=1e-6)
    moved = [0.8 * a - 0.1 * b for a, b in zip(v, slopes, strict=True)]
    for found, wanted in zip(new, [*(a + b for a, b in zip(p, moved, strict=True)), *moved], strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert following == (1024, 8)
    for bad in (np.inf, np.nan):
        spoiled = [1024 * g[0], g[1].copy()]
        spoiled[1][3] = bad
        _, new, following = stepped(spoiled)
        for found, before in zip(new, (*p, *v), strict=True):
            np.testing.assert_array_equal(found, before)
        assert following == (512, 0)
