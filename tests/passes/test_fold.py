"""fold: which chains go into a product's parameters, and which stay."""

from __future__ import annotations

import pytest
from support.mlir import CONVOLUTION, IMAGE, VECTOR, WEIGHTS, after, function

from gncodegen.passes.pipeline import run_pipeline

CONV = f'%c = gn.convolution(%x, %w) {{{CONVOLUTION}, layers = ["c"]}} : ({IMAGE}, {WEIGHTS}) -> {IMAGE}'
NORM = (
    '%n = gn.channel_normalize(%d, %mean, %variance, %scale, %offset) {epsilon = 1.0e-3, layers = ["n"]} : '
    f"({IMAGE}, {', '.join([VECTOR] * 4)}) -> {IMAGE}"
)
RELU = f'%y = gn.activation(%n) {{function = "relu", layers = ["r"]}} : ({IMAGE}) -> {IMAGE}'
FOLDED = "folded_parameters {{steps = [{}], epsilons = [{}], axis = 3}}"


def bias(source: str, result: str) -> str:
    return f'{result} = gn.bias({source}, %b) {{layers = ["c"]}} : ({IMAGE}, {VECTOR}) -> {IMAGE}'


def arithmetic(name: str, operands: str, result: str) -> str:
    types = ", ".join(IMAGE if operand in ("%x", "%c", "%d", "%n") else VECTOR for operand in operands.split(", "))
    return f'{result} = gn.elementwise({operands}) {{function = "{name}", layers = ["e"]}} : ({types}) -> {IMAGE}'


def test_bias_norm_and_arithmetic_are_one_fold() -> None:
    body = "\n".join([CONV, bias("%c", "%d"), NORM, arithmetic("multiply", "%b, %n", "%y")])
    steps = FOLDED.format('"add", "normalize", "multiply"', "0.0, 0.001, 0.0")
    assert after("fold", body) == [steps, f"convolution {{{CONVOLUTION}}}"]
    text = run_pipeline(function(body), "fold")
    assert "gn.folded_parameters(%w, %b, %mean, %variance, %scale, %offset, %b)" in text
    assert 'gn.fused = ["c + n + e"]' in text


def test_the_activation_behind_it_joins_the_convolution() -> None:
    body = "\n".join([CONV, NORM.replace("%d", "%c"), RELU])
    assert after("fold,fuse", body)[1:] == [f'convolution {{{CONVOLUTION}, activation = "relu"}}']
    assert 'gn.fused = ["c + n + r"]' in run_pipeline(function(body), "fold,fuse")


def test_weights_and_channels_of_a_fully_connected_layer() -> None:
    rows, vector = "tensor<2x6xf32>", "tensor<6xf32>"
    weights = "%v = gn.reshape(%w) {shape = [6, 6]} : (tensor<1x1x6x6xf32>) -> tensor<6x6xf32>"
    product = f"%c = gn.fully_connected(%x, %v) : ({rows}, tensor<6x6xf32>) -> {rows}"
    shift = f'%y = gn.elementwise(%c, %b) {{function = "subtract"}} : ({rows}, {vector}) -> {rows}'
    text = function(f"{weights}\n{product}\n{shift}", f"%y : {rows}").replace(f"%x: {IMAGE}", f"%x: {rows}")
    assert "gn.folded_parameters" not in run_pipeline(text, "fold"), "its weights are computed"
    text = text.replace(weights, "").replace("%v", "%w").replace("1x1x6x6", "6x6")
    assert "axis = 0" in run_pipeline(text, "fold")


@pytest.mark.parametrize(
    "body",
    [
        (bias("%c", "%y"),),
        (arithmetic("subtract", "%b, %c", "%y"),),
        (arithmetic("maximum", "%c, %b", "%y"),),
        (arithmetic("multiply", "%c, %x", "%y"),),
        (arithmetic("multiply", "%c, %c", "%y"),),
        (NORM.replace("%d", "%c"), arithmetic("multiply", "%n, %c", "%y")),
        (NORM.replace("%d", "%c").replace("%c, %mean", "%x, %mean"), arithmetic("add", "%n, %c", "%y")),
    ],
    ids=["bias alone", "reversed", "no affine map", "by an image", "itself", "read twice", "another value"],
)
def test_chains_that_stay(body: tuple[str, ...]) -> None:
    assert not any(entry.startswith("folded") for entry in after("fold", "\n".join([CONV, *body])))


def test_a_value_that_is_returned_or_trained_stays() -> None:
    body = "\n".join([CONV, NORM.replace("%d", "%c").replace("%n", "%y")])
    assert len(after("fold", body, f"%y, %c : {IMAGE}, {IMAGE}")) == 2
    assert after("fold", body)[0].startswith("folded")
    assert after("fold", body, training=True)[0].startswith("convolution")
