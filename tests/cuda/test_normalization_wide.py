"""Group normalization of the CUDA target where a group is too wide for a block, or spans no rows or all."""

from __future__ import annotations

import pytest
from cuda_kernels import ARCHITECTURES, check_static, machine, problem_of
from cuda_normalization import Execute, check

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


@pytest.mark.parametrize(("shape", "groups"), WIDE)
@pytest.mark.parametrize("cores", [1, 8])
def test_wide_groups(execute: Execute, shape, groups, cores):
    check(execute, shape, groups, "float32", "relu", machine("sm_80", cores=cores))


@pytest.mark.parametrize(("shape", "groups"), WIDE[2:4])
@pytest.mark.parametrize("cores", [1, 8])
def test_wide_groups_of_float64(execute: Execute, shape, groups, cores):
    check(execute, shape, groups, "float64", "leaky-relu", machine("sm_80", cores=cores))


@pytest.mark.parametrize("cores", [1, 8])
def test_wide_groups_with_a_residual(execute: Execute, cores):
    check(execute, (2, 3, 4096), 1, "float32", "relu", machine("sm_80", cores=cores), residual=True)


@pytest.mark.parametrize("target", ARCHITECTURES)
@pytest.mark.parametrize(("dtype", "cores"), [("float32", 1), ("bfloat16", 100), ("float64", 1)])
@pytest.mark.parametrize("op", ["group_norm", "group_norm_gradient"])
def test_wide_groups_compile(op, dtype, cores, target):
    problem, plan = planned(op, (2, 2, 4096), 1, target, dtype, cores=cores)
    assert plan.launches[0].schedule.template == f"{op}_wide"
    check_static(problem, plan)
