"""Kernels of weight gradients, whose sums run over the batch, serve more observations than they were planned for."""

import pytest
from support.execution import modelled, problem_of
from support.targets import machine

from gncodegen.kernels import catalog

SHAPES = {
    # name: side of the image, channels, filters, side of the window
    "one patch each": (3, 32, 48, 3),
    "many patches": (12, 32, 48, 3),
    "few pixels": (2, 16, 24, 1),
    "bands of rows": (40, 3, 8, 5),
    "few channels": (3, 3, 40, 3),
}


def schedules(name, n, batch):
    side, channels, filters, window = SHAPES[name]
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (window // 2,) * 4, "groups": 1, "bias": True}
    x, dy = ((n, side, side, count) for count in (channels, filters))
    given, results = (
        [(x, "float32"), (dy, "float32")],
        [((window, window, channels, filters), "float32"), ((filters,), "float32")],
    )
    problem = problem_of("convolution_weight_gradient", given, results, attributes, machine("cpu", cores=2))
    return {launch.schedule for launch in catalog.plan(modelled(problem, batch)).launches}


@pytest.mark.parametrize("name", SHAPES)
def test_no_number_needs_another_kernel(name):
    known = schedules(name, 48, 48)
    for n in (33, 49, 64, 100, 150):
        assert schedules(name, n, 48) == known, n
