"""gradients: structure of what autodiff appends. That its values are right, test_meaning shows."""

from __future__ import annotations

import pytest
from support.mlir import CONVOLUTION, IMAGE, VECTOR, WEIGHTS, after, function, whole

from gncodegen.errors import CompileError
from gncodegen.passes.pipeline import run_pipeline

LOSS = f"%l = gn.half_squared_error(%y, %t) : ({IMAGE}, {IMAGE}) -> tensor<f64>"
CONV = f"%c = gn.convolution(%x, %w) {{{CONVOLUTION}}} : ({IMAGE}, {WEIGHTS}) -> {IMAGE}"
BIAS = f"%y = gn.bias(%c, %b) : ({IMAGE}, {VECTOR}) -> {IMAGE}"
NORM = f"""%n, %s = gn.group_norm(%y0, %scale, %offset) {{groups = 3, epsilon = 1.0e-5}}
    : ({IMAGE}, {VECTOR}, {VECTOR}) -> ({IMAGE}, tensor<2x3x3xf32>)"""


def names(found: list[str]) -> list[str]:
    return [entry.split(" {")[0] for entry in found]


def everything(middle: str = f"%y = gn.add(%n) : ({IMAGE}) -> {IMAGE}") -> str:
    return "\n".join([CONV, BIAS.replace("%y", "%y0"), NORM, middle, LOSS])


def test_backward_walks_forward_in_reverse() -> None:
    found = names(after("gradients", everything(), "%l : tensor<f64>", kind="gradients", training=True))
    assert found == [
        "convolution", "bias", "group_norm", "add", "half_squared_error", "half_squared_error_gradient",
        "group_norm_gradient", "bias_gradient", "convolution_weight_gradient", "convolution_input_gradient",
    ]  # fmt: skip


def test_cotangents_of_several_uses_are_added() -> None:
    middle = f"""%r = gn.activation(%n) {{function = "tanh"}} : ({IMAGE}) -> {IMAGE}
        %q = gn.activation(%n) {{function = "sigmoid"}} : ({IMAGE}) -> {IMAGE}
        %y = gn.add(%r, %q, %n) : ({IMAGE}, {IMAGE}, {IMAGE}) -> {IMAGE}"""
    text = run_pipeline(function(everything(middle), "%l : tensor<f64>", kind="gradients", training=True), "gradients")
    (sum_line,) = [line for line in whole(text).splitlines() if "= gn.add(" in line][1:]
    assert sum_line.count("%") == 4, "three summands and a result"


def test_train_step_drops_the_input_gradient() -> None:
    body = everything()
    found = after("gradients,dce", body, "%l : tensor<f64>", kind="train_step", training=True)
    assert "convolution_input_gradient" not in names(found)
    assert found[-1] == (
        'update {names = ["c.weights", "c.bias", "g.scale", "g.offset"], solver = "sgdm", '
        "learn_rate_factors = [1.0, 1.0, 1.0, 1.0], l2_factors = [1.0, 1.0, 1.0, 1.0]}"
    )


@pytest.mark.parametrize("clip", ["l2norm", "global-l2norm"])
def test_norm_clips_measure_first(clip: str) -> None:
    found = after(f'gradients{{clip="{clip}"}}', everything(), "%l : tensor<f64>", kind="train_step", training=True)
    assert names(found)[-2:] == ["gradient_norms", "update"]
    assert f'clip = "{clip}"' in found[-1]


def test_gradient_ops_inherit_the_layer() -> None:
    body = everything().replace("epsilon = 1.0e-5", 'epsilon = 1.0e-5, layers = ["g"]')
    text = run_pipeline(function(body, "%l : tensor<f64>", kind="gradients", training=True), "gradients")
    (line,) = [line for line in whole(text).splitlines() if "gn.group_norm_gradient" in line]
    assert 'layers = ["g"]' in line


def test_other_functions_are_left_alone() -> None:
    body = everything()
    found = after("gradients", body, "%l : tensor<f64>", kind="loss")
    assert len(found) == 5
    asked = after("gradients{function=gradients}", body, "%l : tensor<f64>", kind="loss")
    assert "group_norm_gradient" in names(asked)


def test_what_does_not_reach_the_loss_is_named() -> None:
    body = f'{CONV}\n%y = gn.activation(%x) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}\n{LOSS}'
    with pytest.raises(CompileError, match=r"parameter 'c\.weights' does not reach the loss; connect its layer"):
        after("gradients", body, "%l : tensor<f64>", kind="gradients")


def test_batch_norm_must_be_canonical() -> None:
    line = "%n = gn.batch_norm(%y0, %scale, %offset, %mean, %variance) {epsilon = 1.0e-5}"
    body = everything().replace(NORM, f"{line} : ({IMAGE}, {', '.join([VECTOR] * 4)}) -> {IMAGE}")
    with pytest.raises(CompileError, match=r"gn\.batch_norm has no gradient; run canonicalize"):
        after("gradients", body, "%l : tensor<f64>", kind="gradients", training=True)


def test_a_loss_is_needed() -> None:
    with pytest.raises(CompileError, match="returns 0 losses; allowed: 1; add an output layer"):
        after("gradients", CONV, f"%c : {IMAGE}", kind="gradients")


def test_a_train_step_needs_hyperparameters() -> None:
    text = function(everything(), "%l : tensor<f64>", kind="train_step", training=True)
    without = text.replace(', %hyper: tensor<16xf64> {gn.kind = "hyperparameters", gn.name = "hyperparameters"}', "")
    with pytest.raises(CompileError, match="has no argument of kind 'hyperparameters'"):
        run_pipeline(without, "gradients")


def test_clip_is_checked() -> None:
    with pytest.raises(CompileError, match="clip = 'norm'; allowed: none, l2norm"):
        after("gradients{clip=norm}", everything(), "%l : tensor<f64>", kind="train_step")
