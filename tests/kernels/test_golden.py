"""Generated source as golden files: a changed template or plan shows in the diff; `pytest --update-golden` rewrites."""

from __future__ import annotations

from pathlib import Path

import pytest

from gncodegen.kernels.catalog import plan
from gncodegen.kernels.render import render
from gncodegen.kernels.schedule import Machine, Problem, Tensor
from gncodegen.targets.cuda.architectures import machine

FOLDER = Path(__file__).parent / "golden"
MACHINE = Machine(vector_bytes=32, vector_registers=16, l1=32 << 10, l2=512 << 10, l3=32 << 20, cores=2)
X, VECTOR, STATISTICS = Tensor((4, 14, 14, 16), "float32"), Tensor((16,), "float32"), Tensor((4, 4, 3), "float32")
WINDOW = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1}
GROUPS = {"groups": 4, "epsilon": 1e-5, "activation": "relu"}
GPU = machine("sm_90")
PROBLEMS = [
    Problem("group_norm", (X, VECTOR, VECTOR), (X, STATISTICS), GROUPS, GPU),
    Problem("group_norm_gradient", (X, X, VECTOR, VECTOR, STATISTICS), (X, VECTOR, VECTOR), GROUPS, GPU),
    Problem("convolution", (X, Tensor((3, 3, 16, 16), "float32"), VECTOR), (X,), WINDOW, GPU),
    Problem("group_norm", (X, VECTOR, VECTOR), (X, STATISTICS), GROUPS, MACHINE),
    Problem("group_norm_gradient", (X, X, VECTOR, VECTOR, STATISTICS), (X, VECTOR, VECTOR), GROUPS, MACHINE),
    Problem("convolution", (X, Tensor((3, 3, 16, 16), "float32"), VECTOR), (X,), WINDOW, MACHINE),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"{problem.op}-{problem.machine.target}")
def test_generated_source_is_the_golden_one(problem, request):
    for number, launch in enumerate(plan(problem).launches, 1):
        family = "" if problem.machine.family == "cpu" else f"{problem.machine.target}_"
        path = FOLDER / f"{family}{problem.op}_{number}.golden"
        source = render(launch.schedule)
        if request.config.getoption("--update-golden"):
            path.write_text(source, encoding="utf-8")
        assert source == path.read_text(encoding="utf-8"), (
            f"{path.name} differs; look at it, then pytest --update-golden"
        )
