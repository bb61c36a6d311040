"""Matrix products as machine code: what the inner loop holds at the shapes of a residual network, on every GPU."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from support.cuda_kernels import check_static, report
from support.execution import problem_of
from support.sets import few
from support.targets import ON_ARCHITECTURES, machine

from gncodegen.kernels import catalog
from gncodegen.targets.cuda.disassemble import sass


def convolution(op, image, filters, window, stride, on):
    """The problem of one op of a convolution with half the window around the image."""
    batch, rows, columns, channels = image
    before = window // 2
    extents = [(extent + 2 * before - window) // stride + 1 for extent in (rows, columns)]
    x, y = (image, "float32"), ((batch, *extents, filters), "float32")
    weights, bias = ((window, window, channels, filters), "float32"), ((filters,), "float32")
    attributes = {"stride": (stride, stride), "padding": (before,) * 4}
    operands, results = {
        "convolution": ([x, weights, bias], [y]),
        "convolution_input_gradient": ([y, weights], [x]),
        "convolution_weight_gradient": ([x, y], [weights, bias]),
    }[op]
    more = {"bias": True} if op == "convolution_weight_gradient" else {}
    return problem_of(op, operands, results, {**attributes, **more}, on)


def inner_loop(text):
    """Mnemonics of the loop with the most multiplications."""
    labels, code, best = {}, [], []
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line.strip()):
            labels[label[1]] = len(code)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(\S+)(.*?);", line):
            code.append(found[1])
            target = re.search(r"`\((\.L_x_\d+)\)", found[2]) if found[1].startswith("BRA") else None
            if target and target[1] in labels:
                best = max(best, code[labels[target[1]] :], key=multiplications)
    return best


def multiplications(code):
    return sum(name.startswith(("FFMA", "HMMA")) for name in code)


def compiled(problem):
    """Plan, inner loop and assembler's report of the product's kernel."""
    plan = catalog.plan(problem)
    source = check_static(problem, plan)[0]
    return plan, inner_loop(sass(source.beside(".cubin"))), report(source)


SHAPES = {
    "3x3": ("convolution", (8, 56, 56, 64), 64, 3, 1, 0.8),
    "3x3-input": ("convolution_input_gradient", (8, 56, 56, 64), 64, 3, 1, 0.8),
    "3x3-weights": ("convolution_weight_gradient", (8, 28, 28, 128), 128, 3, 1, 0.8),
    "stride-2-input": ("convolution_input_gradient", (8, 56, 56, 128), 128, 3, 2, 0.78),
    "1x1": ("convolution", (8, 56, 56, 64), 256, 1, 1, 0.8),
    "7x7": ("convolution", (8, 224, 224, 3), 64, 7, 2, 0.7),
}


def check(problem, share):
    plan, loop, figures = compiled(problem)
    names = Counter(loop)
    assert multiplications(loop) / len(loop) >= share, names
    assert any(re.match(r"LDS(\.U)?\.128", name) for name in names), names
    assert any(name.startswith("LDG.E.128") for name in names), names
    threads = plan.launches[0].schedule.tiles["threads"]
    assert 65536 // (-(-figures["registers"] // 8) * 8 * threads) >= 1


@pytest.mark.few
@pytest.mark.parametrize("shape", few([(shape,) for shape in SHAPES.values()], 2), ids=SHAPES)
def test_the_inner_loop_multiplies(shape):
    *asked, share = shape
    check(convolution(*asked, machine("sm_90")), share)


@pytest.mark.parametrize("target", ON_ARCHITECTURES)
def test_on_every_architecture(target):
    check(convolution("convolution", (8, 28, 28, 128), 128, 3, 1, machine(target)), 0.74)


@pytest.mark.parametrize("math", ["tf32", "bf16"])
@pytest.mark.parametrize("target", ON_ARCHITECTURES)
def test_tensor_cores(target, math):
    problem = convolution("convolution", (8, 28, 28, 128), 128, 3, 1, machine(target, math=math))
    _, loop, _ = compiled(problem)
    names = Counter(loop)
    if target == "sm_75":
        assert names["FFMA"], "it has no tensor cores for these types"
        return
    kind = {"tf32": "HMMA.1688.F32.TF32", "bf16": "HMMA.16816.F32.BF16"}[math]
    assert names[kind] >= {"tf32": 32, "bf16": 16}[math], names
    assert any(name.startswith("LDGSTS.E.BYPASS.128") for name in names), names
    assert any(name.startswith("LDSM") for name in names), names


def test_float64_is_not_for_tensor_cores():
    problem = problem_of(
        "fully_connected", [((64, 64), "float64"), ((64, 64), "float64")], [((64, 64), "float64")],
        on=machine("sm_90", math="tf32"),
    )  # fmt: skip
    assert catalog.plan(problem).launches[0].schedule.tiles["math"] == "float32"


def test_small_problems_still_fill_the_gpu():
    """A batch of 8 small images of many channels: the depth is shared out until most multiprocessors have a block."""
    plan = catalog.plan(convolution("convolution", (8, 7, 7, 512), 512, 3, 1, machine("sm_90")))
    assert plan.launches[0].grid >= 120
