"""Update kernels on every target against the float64 oracle."""

import numpy as np
import pytest
from reference import Sgdm

from gncodegen.kernels.cpu.update import CHUNK

SHAPES = [(3, 3, 2, 5), (5,), (CHUNK + 37,), (1,), (10, 33), (64,)]
RATE_FACTORS, L2_FACTORS = (1.0, 2.0, 1.0, 0.5, 0.0, 1.0), (1.0, 0.0, 1.0, 2.0, 1.0, 1.0)


def step(execute, optimizer, p, g, v, clip, factors=(RATE_FACTORS, L2_FACTORS), in_place=True):
    """One update as the step does it: norms first if the clip needs them."""
    dtype, count = str(p[0].dtype), len(p)
    scalars = [optimizer.rate, optimizer.momentum, optimizer.l2, optimizer.threshold, 1, 0, 0, 0]
    extra = []
    if clip in ("l2norm", "global-l2norm"):
        extra = execute("gradient_norms", [*p, *g], [((count,), "float64")], {"l2_factors": factors[1]}, scalars)
    attributes = {"learn_rate_factors": factors[0], "l2_factors": factors[1], "clip": clip}
    places = {i: i for i in range(count)} | {count + i: 2 * count + i for i in range(count)}
    results = [(a.shape, dtype) for a in (*p, *v)]
    new = execute("sgdm_update", [*p, *g, *v, *extra], results, attributes, scalars, places if in_place else None)
    return new[:count], new[count:]


def arrays(dtype, seed, shapes=SHAPES):
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("clip", ["none", "absolute-value", "l2norm", "global-l2norm"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_steps(execute, dtype, clip):
    names = [f"p{i}" for i in range(len(SHAPES))]
    optimizer = Sgdm(
        rate=0.1, momentum=0.8, l2=0.01, method=clip if clip != "none" else "l2norm",
        threshold={"none": np.inf, "absolute-value": 0.7, "l2norm": 5.0, "global-l2norm": 20.0}[clip],
        learn_rate_factors=dict(zip(names, RATE_FACTORS, strict=True)),
        l2_factors=dict(zip(names, L2_FACTORS, strict=True)),
    )  # fmt: skip
    p, v = arrays(dtype, 0), [np.zeros(shape, dtype) for shape in SHAPES]
    expected = dict(zip(names, p, strict=True))
    for seed in (1, 2):
        g = arrays(dtype, seed)
        expected = optimizer.step(expected, dict(zip(names, g, strict=True)))
        p_before = p
        p, v = step(execute, optimizer, p, g, v, clip, in_place=seed == 1)
        for name, got, before in zip(names, p, p_before, strict=True):
            tolerance = 2e-6 if dtype == "float32" else 1e-14
            np.testing.assert_allclose(got, expected[name], rtol=tolerance, atol=tolerance)
            if optimizer.learn_rate_factors[name] == 0:
                np.testing.assert_array_equal(got, before)


@pytest.mark.parametrize("clip", ["absolute-value", "l2norm", "global-l2norm"])
@pytest.mark.parametrize("threshold", [5.0, 4.0, 10.0])
def test_clip_at_below_and_above_the_threshold(execute, clip, threshold):
    """A gradient (3, 4) of norm 5, from zero parameters: at 5 and 10 no norm clip acts, at 4 it scales by 4/5."""
    optimizer = Sgdm(rate=1.0, momentum=0.0, l2=0.0, threshold=threshold)
    zero, g = np.zeros(2), np.array([3.0, -4.0])
    (p,), _ = step(execute, optimizer, [zero], [g], [zero], clip, ((1.0,), (1.0,)))
    scale = min(1.0, threshold / 5.0) if clip != "absolute-value" else 1.0
    np.testing.assert_allclose(p, -np.clip(g, -4 if threshold == 4 else -5, 5) * scale, rtol=1e-15)


@pytest.mark.parametrize("clip", ["none", "absolute-value", "l2norm", "global-l2norm"])
def test_zero_and_nan_gradients(execute, clip):
    optimizer = Sgdm(rate=1.0, momentum=0.5, l2=0.0, threshold=1.0)
    ones, zeros = np.ones(5, np.float32), np.zeros(5, np.float32)
    bad = np.array([1, np.nan, 0, 0, 0], np.float32)
    (still, hurt), _ = step(
        execute, optimizer, [ones, ones], [zeros, bad], [zeros, zeros], clip, ((1.0, 1.0), (1.0, 1.0))
    )
    np.testing.assert_array_equal(still, ones)
    assert np.isnan(hurt[1])
    assert np.isfinite(hurt[0])
    (still,), _ = step(execute, optimizer, [ones], [zeros], [zeros], clip, ((1.0,), (1.0,)))
    np.testing.assert_array_equal(still, ones)


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


def test_many_parameters_take_several_launches(execute):
    """101 parameters have 505 buffers: two launches, each with its own share of the table."""
    shapes = [(1 + i % 7,) for i in range(101)]
    factors = tuple(float(i % 3) for i in range(101)), tuple(float(i % 2) for i in range(101))
    names = [f"p{i}" for i in range(101)]
    optimizer = Sgdm(
        rate=0.1, momentum=0.8, l2=0.01, method="global-l2norm", threshold=5.0,
        learn_rate_factors=dict(zip(names, factors[0], strict=True)),
        l2_factors=dict(zip(names, factors[1], strict=True)),
    )  # fmt: skip
    p, g = arrays("float32", 0, shapes), arrays("float32", 1, shapes)
    got, _ = step(execute, optimizer, p, g, [np.zeros_like(a) for a in p], "global-l2norm", factors)
    expected = optimizer.step(dict(zip(names, p, strict=True)), dict(zip(names, g, strict=True)))
    for name, new in zip(names, got, strict=True):
        np.testing.assert_allclose(new, expected[name], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("magnitude", [1e-25, 1e25])
def test_norms_of_extreme_gradients(execute, magnitude):
    """Squares of either would leave float32."""
    g = (np.random.default_rng(0).standard_normal(5000) * magnitude).astype(np.float32)
    results, attributes = [((1,), "float64")], {"l2_factors": (1.0,)}
    (norm,) = execute("gradient_norms", [np.zeros_like(g), g], results, attributes, [0.0] * 8)
    np.testing.assert_allclose(norm, np.linalg.norm(g.astype(np.float64)), rtol=1e-6)
