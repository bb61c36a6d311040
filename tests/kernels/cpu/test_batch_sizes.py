"""Kernels whose sums run over the batch serve any number of observations, more and fewer than they were planned for."""

from dataclasses import replace

import pytest
from support.execution import problem_of
from support.targets import machine

from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Order, Tensor

CONVOLUTIONS = {
    # name: side of the image, channels, filters, side of the window
    "one patch each": (3, 32, 48, 3),
    "a patch of an image": (4, 32, 48, 3),
    "many patches": (12, 32, 48, 3),
    "few pixels": (2, 16, 24, 1),
    "bands of rows": (40, 3, 8, 5),
    "few channels": (3, 3, 40, 3),
}
CHANNELS = (1, 3, 8, 20, 48, 128)
SIDES = (1, 3, 12)


def convolution(n, side, channels, filters, window):
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (window // 2,) * 4, "groups": 1, "bias": True}
    given = [((n, side, side, count), "float32") for count in (channels, filters)]
    results = [((window, window, channels, filters), "float32"), ((filters,), "float32")]
    return "convolution_weight_gradient", given, results, attributes


def bias(n, side, channels, dtype="float32"):
    return "bias_gradient", [((n, side, side, channels), dtype)], [((channels,), "float32")], {}


def batch_norm(n, side, channels):
    x, row, statistics = (
        ((n, side, side, channels), "float32"),
        ((channels,), "float32"),
        ((1, channels, 3), "float32"),
    )
    attributes = {"groups": channels, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0, "reduced": "batch-spatial"}
    return "group_norm", [x, row, row], [x, statistics], attributes


def batch_norm_gradient(n, side, channels):
    op, (x, row, _), (_, statistics), attributes = batch_norm(n, side, channels)
    return f"{op}_gradient", [x, x, row, row, statistics], [x, row, row], attributes


CASES = {
    **{f"convolution: {name}": (convolution, *shape) for name, shape in CONVOLUTIONS.items()},
    **{
        f"{make.__name__}: {side}² of {channels}": (make, side, channels)
        for make in (bias, batch_norm, batch_norm_gradient)
        for channels in CHANNELS
        for side in SIDES
    },
    "bias: bfloat16": (bias, 12, 20, "bfloat16"),
}


def schedules(case, n, batch):
    make, *shape = case
    problem, model = (problem_of(*make(each, *shape), machine("cpu", cores=2)) for each in (n, batch))
    return {launch.schedule for launch in catalog.plan(replace(problem, model=model)).launches}


@pytest.mark.parametrize("name", CASES)
def test_no_number_needs_another_kernel(name):
    for batch in (1, 48):
        known = schedules(CASES[name], batch, batch)
        for n in (1, 2, 7, 33, 49, 64, 100, 150, 500):
            assert schedules(CASES[name], n, batch) == known, (batch, n)


@pytest.mark.parametrize(("n", "fewest"), [(1, 2), (3, 6), (7, 14), (64, 16)])
def test_few_observations_are_cut_for_all_cores(n, fewest):
    """Kernels for 64 images of 16 patches each: blocks of those are smaller where there are few."""
    given, results = [((n, 14, 14, 16), "float32"), ((3, 3, 16, 24), "float32")], [((n, 14, 14, 24), "float32")]
    attributes = {"stride": (1, 1), "dilation": (1, 1), "padding": (1,) * 4, "groups": 1}
    problem = problem_of("convolution", given, results, attributes, machine("cpu", cores=2))
    operands, larger = problem.operands, Tensor((64, 14, 14, 24), "float32")
    model = replace(problem, operands=(Tensor((64, 14, 14, 16), "float32"), operands[1]), results=(larger,))
    for each in (replace(problem, model=model), problem):
        *_, main = catalog.plan(each).launches
        order = Order(*main.order)
        assert main.schedule.template == "winograd"
        assert order.needed(problem.observations) * order.repeats == main.grid >= fewest
