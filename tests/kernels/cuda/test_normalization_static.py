"""Group normalization of the CUDA target at real shapes: registers, 16-byte accesses, and bytes counted in SASS."""

from __future__ import annotations

import re
from functools import partial

import pytest
from support.cuda_kernels import check_accesses, check_static, report
from support.execution import executor, problem_of
from support.normalization import check
from support.sets import diagonal, few
from support.targets import ARCHITECTURES, ON_ARCHITECTURES, machine

from gncodegen.kernels import catalog
from gncodegen.kernels.cuda.normalization_tiers import BYTES_IN_FLIGHT
from gncodegen.kernels.schedule import Plan, Problem
from gncodegen.targets.cuda.disassemble import sass
from gncodegen.targets.cuda.occupancy import resident_blocks

REAL = [
    ((8, 56, 56, 64), 32),
    ((8, 56, 56, 256), 32),
    ((32, 28, 28, 64), 8),
    ((16, 7, 7, 512), 32),
    ((1, 256, 256, 32), 32),
    ((4, 224, 224, 64), 32),
    ((2, 8, 8, 32), 8),
    ((2, 9, 9, 3), 3),
    ((4, 6, 6, 30), 5),
    ((64, 1, 1, 96), 8),
]


def planned(op: str, shape, groups: int, target: str, dtype: str = "float32", **more) -> tuple[Problem, Plan]:
    """A group normalization with ReLU and its plan."""
    c, statistics = shape[-1], ((shape[0], groups, 3), "float32")
    parameters = [((c,), "float32"), ((c,), "float32")]
    given = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0, **more}
    if op == "group_norm":
        problem = problem_of(op, [(shape, dtype), *parameters], [(shape, dtype), statistics], given, machine(target))
    else:
        operands = [(shape, dtype), (shape, dtype), *parameters, statistics]
        problem = problem_of(op, operands, [(shape, dtype), *parameters], given, machine(target))
    return problem, catalog.plan(problem)


@pytest.mark.few
@pytest.mark.parametrize("target", ARCHITECTURES)
@pytest.mark.parametrize(("shape", "groups"), REAL)
@pytest.mark.parametrize("op", ["group_norm", "group_norm_gradient"])
def test_every_shape_has_a_schedule_that_fills_the_machine(op, target, shape, groups):
    problem, plan = planned(op, shape, groups, target)
    on, size = problem.machine, problem.operands[0].bytes
    main = [launch for launch in plan.launches if launch.schedule.template == op]
    assert sum(launch.bytes for launch in main) >= (2 if op == "group_norm" else 3) * size
    if size >= 64 * on.cores << 10:
        assert all(launch.grid >= on.cores for launch in main)


@pytest.mark.few
@pytest.mark.parametrize(("shape", "groups", "op"), few(diagonal(REAL, ["group_norm", "group_norm_gradient"]), 4))
@pytest.mark.parametrize("target", ON_ARCHITECTURES)
def test_real_shapes_assemble_clean(op, target, shape, groups):
    """No spills, 16-byte accesses, and blocks of a multiprocessor by the assembler's figures.

    Fewer than four blocks only where their registers hold enough data to keep memory busy.
    """
    problem, plan = planned(op, shape, groups, target)
    for launch, source in zip(plan.launches, check_static(problem, plan), strict=True):
        if launch.schedule.template != op:
            continue
        tiles, said = launch.schedule.tiles, report(source)
        check_accesses(source, 4 * int(tiles["lanes"]))
        if tiles["lanes"] == 4:
            code = sass(source.beside(".cubin"))
            assert re.search(r"LDG\.E\.128(\.SYS)?\.CONSTANT|LDG\.E\.128\.CONSTANT", code)
            assert tiles["phase"] in ("statistics", "sums") or "STG.E.128" in code
        threads, registers = int(tiles["threads"]), said["registers"]
        resident = resident_blocks(target, threads, registers, said["shared"])
        # Blocks that wait for each other rely on it.
        assert resident >= int(tiles["blocks_per_processor"])
        data = 4 * int(tiles["steps"]) * int(tiles["lanes"]) * (1 if op == "group_norm" else 2)
        if resident < 4:
            assert resident * threads * data >= BYTES_IN_FLIGHT, (tiles, said)
            assert resident == resident_blocks(target, threads, registers, 0), "shared memory is not the reason"
            assert data // 4 >= registers // 4, "the registers hold data, not addresses"


def test_a_real_shape_moves_the_bytes_that_its_launches_name(execute):
    """The emulator counts the bytes of each launch (conftest.py), SASS has the same accesses as PTX."""
    check(execute, (32, 28, 28, 64), 8, "float32", "relu", machine("sm_90"))


def test_report_names_registers():
    problem, plan = planned("group_norm", (2, 8, 8, 32), 8, "sm_90")
    assert report(check_static(problem, plan)[0])["registers"] <= 64


def test_rows_that_a_kernel_counts_and_lanes_that_mix_groups_leave_registers():
    """On sm_75 the assembler keeps more alive over guards of mixed lanes than over others."""
    executed = partial(executor("sm_75"), cores=46)
    check(executed, (2, 10, 10, 6), 6, "float32", "relu", reduced="batch-spatial")


def test_tables_that_end_inside_an_access():
    """27 sums of nine warps, of which the compiler for sm_120 reads the last three as four."""
    check(executor("sm_120"), (1, 9, 9, 64), 1, "float32", "relu")
