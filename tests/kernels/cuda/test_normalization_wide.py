"""Group normalization of the CUDA target where a group is too wide for a block, or spans no rows or all."""

from __future__ import annotations

import numpy as np
import pytest
from support.cuda_kernels import check_static
from support.execution import problem_of
from support.normalization import Execute, check, forward
from support.sets import diagonal, few
from support.targets import ON_ARCHITECTURES, machine

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Plan, Problem


def planned(op: str, shape, groups: int, target: str, dtype: str, **more) -> tuple[Problem, Plan]:
    """A group normalization with a residual and ReLU, and its plan."""
    c, real = shape[-1], "float64" if dtype == "float64" else "float32"
    statistics, x, parameters = ((shape[0], groups, 3), real), (shape, dtype), [((c,), real)] * 2
    given = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0, "residual": True}
    if op == "group_norm":
        operands, results = [x, *parameters, x], [x, statistics]
    else:
        operands, results = [x, x, *parameters, statistics, x], [x, *parameters, x]
    problem = problem_of(op, operands, results, given, machine(target, **more))
    return problem, catalog.plan(problem)


WIDE = [
    # (shape, groups): one row, 16384 channels, odd channels, shares of rows, an odd last share, several groups
    ((2, 4096), 1),
    ((1, 16384), 1),
    ((3, 5000), 1),
    ((2, 3, 3, 1001), 1),
    ((2, 7, 8192), 1),
    ((1, 5, 7, 6144), 2),
    ((2, 3, 3003), 3),
]


@pytest.mark.few
@pytest.mark.parametrize(("shape", "groups", "cores"), few(diagonal(WIDE, [1, 8]), 1))
def test_wide_groups(execute: Execute, shape, groups, cores):
    check(execute, shape, groups, "float32", "relu", machine("sm_80", cores=cores))


@pytest.mark.parametrize(("shape", "groups", "cores"), few(diagonal(WIDE[2:4], [1, 8]), 1))
def test_wide_groups_of_float64(execute: Execute, shape, groups, cores):
    check(execute, shape, groups, "float64", "leaky-relu", machine("sm_80", cores=cores))


@pytest.mark.parametrize("cores", few([1, 8], 1))
def test_wide_groups_with_a_residual(execute: Execute, cores):
    check(execute, (2, 3, 4096), 1, "float32", "relu", machine("sm_80", cores=cores), residual=True)


@pytest.mark.few
@pytest.mark.parametrize("target", ON_ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "cores"), [("float32", 1), ("bfloat16", 100), ("float64", 1)])
@pytest.mark.parametrize("op", ["group_norm", "group_norm_gradient"])
def test_wide_groups_compile(op, dtype, cores, target):
    problem, plan = planned(op, (2, 2, 4096), 1, target, dtype, cores=cores)
    assert plan.launches[0].schedule.template == f"{op}_wide"
    check_static(problem, plan)


KINDS = [
    ("resident", "sm_80", (4, 6, 7, 32), 8, "spatial-channel"),
    ("cluster", "sm_90", (4, 6, 7, 32), 8, "spatial-channel"),
    ("flags", "sm_80", (4, 6, 7, 32), 8, "spatial-channel"),
    ("split", "sm_80", (4, 6, 7, 32), 8, "spatial-channel"),
    ("resident", "sm_80", (4, 3, 96), 1, "channel"),
    ("wide", "sm_80", (4, 3, 4096), 1, "spatial-channel"),
    pytest.param("wide", "sm_80", (4, 3, 4096), 1, "channel", marks=pytest.mark.full),
]


@pytest.mark.few
@pytest.mark.parametrize(("kind", "target", "shape", "groups", "reduced"), few(KINDS, 2))
def test_a_slice_of_the_batch_keeps_its_bits(execute, monkeypatch, kind, target, shape, groups, reduced):
    """Within one tier, y, statistics and dx of an observation do not depend on the others.

    dscale and doffset are sums over the batch; and reduced="batch-spatial" makes the batch one observation.
    """
    from gncodegen.kernels.cuda import normalization, normalization_tiers

    def fixed(view, batch, item, held, on, counted):
        if kind == "wide":
            cut = normalization_tiers.wide_panel(1, *view[1:], item, held, on)
        else:
            cut = next(normalization_tiers.panels(*view[1:], item, held, on, 1 if kind == "resident" else 3))
        cut = cut.of(*view[:2])
        named = kind if kind != "wide" else "resident" if cut.parts == 1 else "split"
        return normalization_tiers.Tier(named, cut, cut.panels)

    monkeypatch.setattr(normalization, "choose_tier", fixed)
    rng, c, on = np.random.default_rng(6), shape[-1], machine(target, cores=4)
    x, dy = rng.standard_normal((2, *shape)).astype(np.float32)
    scale, bias = rng.standard_normal((2, c)).astype(np.float32)
    given = {"epsilon": 1e-5, "activation": "relu", "alpha": 0.0, "reduced": reduced}

    def both(x: np.ndarray, dy: np.ndarray) -> list[np.ndarray]:
        y, statistics = forward(execute, x, groups, scale, bias, on, **given)
        ends = [(x.shape, "float32"), ((c,), "float32"), ((c,), "float32")]
        operands = [x, dy, scale, bias, statistics]
        dx = execute("group_norm_gradient", operands, ends, {"groups": groups, **given}, on=on)[0]
        return [y, statistics.reshape(len(x), -1), dx]

    for whole, alone in zip(both(x, dy), both(x[2:3], dy[2:3]), strict=True):
        np.testing.assert_array_equal(whole[2:3], alone)
