"""Blocks that wait for each other fit on the GPU at once, as the assembler made their kernels."""

from __future__ import annotations

import pytest
from support.cuda_kernels import compiled, report
from support.execution import problem_of
from support.sets import few
from support.targets import machine

from gncodegen.kernels import catalog
from gncodegen.targets.cuda.occupancy import resident_blocks

SPREAD = (((8, 64, 64, 64), 2), ((1, 128, 128, 64), 2), ((1, 56, 56, 256), 1))
"""(shape, groups) that several of the plans below give to blocks that wait for each other."""

PROCESSORS = (132, 78, 114, 148)
"""Of an H100, of a part of one, of an H100 PCIe, of a B200."""


def plans(shape, groups, processors):
    """Of the norm and its gradient."""
    on = machine("sm_90", cores=processors)
    x, parameter = (shape, "float32"), (shape[-1:], "float32")
    statistics = ((shape[0], groups, 3), "float32")
    attributes = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
    forward = problem_of("group_norm", [x, parameter, parameter], [x, statistics], attributes, on)
    operands, results = [x, x, parameter, parameter, statistics], [x, parameter, parameter]
    gradient = problem_of("group_norm_gradient", operands, results, attributes, on)
    return catalog.plan(forward), catalog.plan(gradient)


@pytest.mark.parametrize(
    ("processors", "shape", "groups"), few([(n, *spread) for n in PROCESSORS for spread in SPREAD], 1)
)
def test_planned_grids_are_resident(processors, shape, groups):
    launches = [launch for plan in plans(shape, groups, processors) for launch in plan.launches]
    meeting = [launch for launch in launches if launch.schedule.tiles.get("cooperative")]
    assert meeting, "the shape is one of others"
    for launch, source in zip(meeting, compiled([launch.schedule for launch in meeting]), strict=True):
        said = report(source)
        each = resident_blocks("sm_90", int(launch.schedule.tiles["threads"]), said["registers"], said["shared"])
        assert launch.grid <= each * processors
