"""fuse: each pattern where it applies, and where it must not."""

from __future__ import annotations

import re

import pytest
from support.mlir import CONVOLUTION, IMAGE, STATISTICS, VECTOR, WEIGHTS, after, function, ops, whole

from gncodegen.kernels.activations import ACTIVATIONS
from gncodegen.kernels.activations import Activation as Row
from gncodegen.passes.pipeline import run_pipeline

CONV = f'%c = gn.convolution(%x, %w) {{{CONVOLUTION}, layers = ["c"]}} : ({IMAGE}, {WEIGHTS}) -> {IMAGE}'
BIAS = f'%d = gn.bias(%c, %b) {{layers = ["c"]}} : ({IMAGE}, {VECTOR}) -> {IMAGE}'
NORM = (
    '%n, %s = gn.group_norm(%d, %scale, %offset) {groups = 3, epsilon = 1.0e-5, layers = ["g"]} : '
    f"({IMAGE}, {VECTOR}, {VECTOR}) -> ({IMAGE}, {STATISTICS})"
)
LOSS = f'%l = gn.half_squared_error(%y, %t) {{layers = ["end"]}} : ({IMAGE}, {IMAGE}) -> tensor<f64>'
NORMED = "groups = 3, epsilon = 1.0e-05"


def relu(source: str, result: str = "%y", name: str = "relu", alpha: str = "") -> str:
    return f'{result} = gn.activation({source}) {{function = "{name}"{alpha}, layers = ["r"]}} : ({IMAGE}) -> {IMAGE}'


def gradients(*lines: str) -> list[str]:
    found = after(
        "gradients{function=gradients},dce,fuse", "\n".join([*lines, LOSS]), "%l : tensor<f64>", training=True
    )
    return found[found.index("half_squared_error_gradient") + 1 :]


def test_convolution_takes_bias_and_relu() -> None:
    assert after("fuse", "\n".join([CONV, BIAS, relu("%d")])) == [f'convolution {{{CONVOLUTION}, activation = "relu"}}']
    text = run_pipeline(function("\n".join([CONV, BIAS, relu("%d")])), "fuse")
    assert 'gn.fused = ["c: convolution + bias", "c + r"]' in text
    assert "gn.convolution(%x, %w, %b)" in text
    assert 'layers = ["c", "r"]' in text


def test_group_norm_takes_relu() -> None:
    found = after("fuse", "\n".join([CONV, BIAS, NORM, relu("%n")]))
    assert found[1] == f'group_norm {{{NORMED}, activation = "relu"}}'
    leaky = after("fuse", "\n".join([CONV, BIAS, NORM, relu("%n", name="leaky-relu", alpha=", alpha = 0.1")]))
    assert leaky[1] == f'group_norm {{{NORMED}, activation = "leaky-relu", alpha = 0.1}}'


@pytest.mark.parametrize("function_name", ["tanh", "sigmoid", "gelu"])
def test_other_activations_stay(function_name: str) -> None:
    found = after("fuse", "\n".join([CONV, BIAS, NORM, relu("%n", name=function_name)]))
    assert found[-1] == f'activation {{function = "{function_name}"}}'


def test_activations_are_an_option() -> None:
    body = "\n".join([CONV, BIAS, NORM, relu("%n", name="tanh")])
    assert after("fuse{activations=relu,tanh}", body)[-1] == f'group_norm {{{NORMED}, activation = "tanh"}}'


def test_a_value_used_elsewhere_is_not_fused_away() -> None:
    twice = "\n".join([CONV, BIAS, NORM, relu("%n", "%r"), f"%y = gn.add(%r, %n) : ({IMAGE}, {IMAGE}) -> {IMAGE}"])
    assert after("fuse", twice)[1:] == [f"group_norm {{{NORMED}}}", 'activation {function = "relu"}', "add"]
    returned = "\n".join([CONV, BIAS, NORM, relu("%n")])
    assert len(after("fuse", returned, f"%y, %n : {IMAGE}, {IMAGE}")) == 3
    biased = "\n".join([CONV, BIAS, f"%y = gn.add(%c, %d) : ({IMAGE}, {IMAGE}) -> {IMAGE}"])
    assert after("fuse", biased) == [f"convolution {{{CONVOLUTION}}}", "bias", "add"]


def test_group_norm_gradient_recomputes_the_mask() -> None:
    found = gradients(CONV, BIAS, NORM, relu("%n"))
    assert found[0] == f'group_norm_gradient {{{NORMED}, activation = "relu"}}'
    assert not any(entry.startswith("activation_gradient") for entry in found)


def test_an_activation_used_twice_before_it_is_not_fused_backward() -> None:
    both = f"%y = gn.add(%r, %n) : ({IMAGE}, {IMAGE}) -> {IMAGE}"
    found = gradients(CONV, BIAS, NORM, relu("%n", "%r"), both)
    assert found[0] == 'activation_gradient {function = "relu", from = "output"}'
    assert f"group_norm_gradient {{{NORMED}}}" in found


def test_mask_from_the_output_after_convolution() -> None:
    found = gradients(CONV, BIAS, relu("%d"))
    assert found[0] == 'activation_gradient {function = "relu", from = "output"}'


@pytest.mark.parametrize("row", ACTIVATIONS.values(), ids=lambda row: row.name)
def test_the_table_says_which_array_a_gradient_reads(row: Row) -> None:
    constants = "".join(f", {name} = {value!r}" for name, value in zip(("alpha", "beta"), row.constants, strict=False))
    body = "\n".join([CONV, BIAS, NORM, relu("%n", name=row.name, alpha=constants), LOSS])
    text = run_pipeline(function(body, "%l : tensor<f64>", training=True), "gradients{function=gradients},dce,fuse")
    if row.masks:
        assert "gn.activation" not in text
        return
    (forward,) = re.findall(r"(%\w+) = gn\.activation\((%\w+)\)", text)
    (gradient,) = re.findall(r"gn\.activation_gradient\((%\w+), ", text)
    assert gradient == (forward[0] if row.from_output else forward[1])


def test_negative_slope_keeps_its_input() -> None:
    found = gradients(CONV, BIAS, relu("%d", name="leaky-relu", alpha=", alpha = -0.1"))
    assert found[0] == 'activation_gradient {function = "leaky-relu", alpha = -0.1}'


def test_weight_and_bias_gradient_are_one() -> None:
    found = gradients(CONV, BIAS, f"%y = gn.add(%d) : ({IMAGE}) -> {IMAGE}")
    assert not any(entry.startswith("bias_gradient") for entry in found)
    (weights,) = [entry for entry in found if entry.startswith("convolution_weight_gradient")]
    assert "bias = true" in weights


def test_two_layers_on_one_cotangent_keep_their_own_bias() -> None:
    other = CONV.replace("%c", "%e").replace('"c"', '"k"')
    bias = BIAS.replace("%d", "%f").replace("%c,", "%e,").replace('"c"', '"k"')
    text = run_pipeline(
        function(
            "\n".join([CONV, BIAS, other, bias, f"%y = gn.add(%d, %f) : ({IMAGE}, {IMAGE}) -> {IMAGE}", LOSS]),
            "%l : tensor<f64>", training=True,
        ),
        "gradients{function=gradients},dce,fuse",
    )  # fmt: skip
    lines = [line for line in whole(text).splitlines() if "gn.convolution_weight_gradient" in line]
    assert ['layers = ["k"]' in line for line in lines] == [True, False]
    assert all("bias = true" in line for line in lines)


def test_addition_takes_relu() -> None:
    body = "\n".join([f"%a = gn.add(%t, %x) : ({IMAGE}, {IMAGE}) -> {IMAGE}", relu("%a")])
    assert after("fuse", body) == ['add {activation = "relu"}']


SUM = f'%a = gn.add(%d, %x) {{layers = ["a"]}} : ({IMAGE}, {IMAGE}) -> {IMAGE}'
ADDING = f"convolution {{{CONVOLUTION}, residual = true}}"


@pytest.mark.parametrize("summands", ["%d, %x", "%x, %d"])
def test_convolution_takes_bias_addition_and_relu(summands: str) -> None:
    body = "\n".join(
        [CONV, BIAS, SUM.replace("%d, %x", summands), relu("%a", name="clipped-relu", alpha=", alpha = 6.0")]
    )
    assert after("fuse", body) == [ADDING.replace("residual", 'activation = "clipped-relu", alpha = 6.0, residual')]
    text = run_pipeline(function(body), "fuse")
    assert "gn.convolution(%x, %w, %b, %x)" in text
    assert 'gn.fused = ["c: convolution + bias", "c + a + r"]' in text


def test_of_two_products_the_later_takes_the_addition() -> None:
    other = CONV.replace("%c", "%e").replace('"c"', '"k"')
    for summands in ("%c, %e", "%e, %c"):
        body = "\n".join([CONV, other, SUM.replace("%d, %x", summands), relu("%a")])
        text = run_pipeline(function(body), "fuse")
        assert ops(text) == [
            f"convolution {{{CONVOLUTION}}}",
            ADDING.replace("residual", 'activation = "relu", residual'),
        ]
        assert re.search(r"(%\w+) = gn\.convolution\(%x, %w\).*\n.*gn\.convolution\(%x, %w, \1\)", whole(text))
        assert 'layers = ["k", "a", "r"]' in text


@pytest.mark.parametrize(
    ("body", "returned"),
    [
        ((CONV, SUM.replace("%d, %x", "%c, %c")), "%a"),
        ((CONV, SUM.replace("%d, %x", "%c, %x, %x").replace(f"({IMAGE}", f"({IMAGE}, {IMAGE}")), "%a"),
        ((CONV, SUM.replace("%d", "%c")), "%a, %c"),
        ((CONV, relu("%c", "%d"), SUM), "%a"),
    ],
    ids=["itself", "three summands", "returned", "activated"],
)
def test_products_that_stay(body: tuple[str, ...], returned: str) -> None:
    types = ", ".join([IMAGE] * (returned.count(",") + 1))
    assert after("fuse", "\n".join(body), f"{returned} : {types}")[-1] == "add"


def test_gradients_of_product_addition_and_activation_read_the_output() -> None:
    found = gradients(CONV, BIAS, SUM, relu("%a"))
    assert found[0] == 'activation_gradient {function = "relu", from = "output"}'
    assert sum(entry.startswith("convolution") for entry in found) == 2


ADDED = f'%a = gn.add(%n, %x) {{layers = ["a"]}} : ({IMAGE}, {IMAGE}) -> {IMAGE}'
OTHER = NORM.replace("%n, %s", "%m, %q").replace("(%d,", "(%x,").replace('"g"', '"h"')
RESIDUAL = f'group_norm {{{NORMED}, activation = "relu", residual = true}}'


@pytest.mark.parametrize("summands", ["%n, %x", "%x, %n"])
def test_group_norm_takes_the_addition_and_relu(summands: str) -> None:
    body = "\n".join([CONV, BIAS, NORM, ADDED.replace("%n, %x", summands), relu("%a")])
    assert after("fuse", body)[1:] == [RESIDUAL]
    text = run_pipeline(function(body), "fuse")
    assert re.search(r"gn\.group_norm\(%\w+, %scale, %offset, %x\)", text)
    assert 'gn.fused = ["c: convolution + bias", "g + a + r"]' in text
    assert 'layers = ["g", "a", "r"]' in text


def test_group_norm_takes_an_addition_alone() -> None:
    body = "\n".join([CONV, BIAS, NORM, ADDED, relu("%a", name="tanh")])
    assert after("fuse", body)[1:] == [f"group_norm {{{NORMED}, residual = true}}", 'activation {function = "tanh"}']
    assert 'gn.fused = ["g + a", "c: convolution + bias"]' in run_pipeline(function(body), "fuse")
    found = gradients(CONV, BIAS, NORM, ADDED, relu("%a", name="tanh"))
    assert found[:2] == [
        'activation_gradient {function = "tanh", from = "output"}',
        f"group_norm_gradient {{{NORMED}}}",
    ]


def test_of_two_norms_the_first_takes_the_addition() -> None:
    for summands, first, second in (("%n, %m", "g", "h"), ("%m, %n", "h", "g")):
        body = "\n".join([CONV, BIAS, NORM, OTHER, ADDED.replace("%n, %x", summands), relu("%a")])
        assert after("fuse", body)[1:] == [f"group_norm {{{NORMED}}}", RESIDUAL]
        text = run_pipeline(function(body), "fuse")
        assert f'"{first} + a + r"' in text
        assert f'layers = ["{second}"]' in text


@pytest.mark.parametrize(
    ("norm", "addition"),
    [
        (NORM, ADDED.replace("%n, %x", "%n, %x, %d").replace(f"({IMAGE}", f"({IMAGE}, {IMAGE}")),
        (NORM, ADDED.replace("%n, %x", "%n, %n")),
        (NORM.replace("epsilon", 'reduced = "channel", epsilon').replace(STATISTICS, "tensor<32x3x3xf32>"), ADDED),
        (f"{NORM}\n{relu('%n', '%p')}", ADDED.replace("%n, %x", "%p, %x")),
    ],
    ids=["three summands", "itself", "channel", "activated"],
)
def test_additions_that_stay(norm: str, addition: str) -> None:
    found = after("fuse", "\n".join([CONV, BIAS, norm, addition, relu("%a")]))
    assert found[-1] == 'add {activation = "relu"}'


def test_a_norm_that_is_returned_keeps_the_addition_apart() -> None:
    body = "\n".join([CONV, BIAS, NORM, ADDED, relu("%a")])
    assert after("fuse", body, f"%y, %n : {IMAGE}, {IMAGE}")[-1] == 'add {activation = "relu"}'
    # A sum with a second reader is computed; its activation stays apart.
    found = after("fuse", body, f"%y, %a : {IMAGE}, {IMAGE}")
    assert found[1:] == [f"group_norm {{{NORMED}, residual = true}}", 'activation {function = "relu"}']


def test_statistics_read_before_the_addition_keep_the_norm_where_it_is() -> None:
    back = f"%v, %u, %p = gn.group_norm_gradient(%d, %x, %scale, %offset, %s) {{{NORMED}}}"
    types = f"({IMAGE}, {IMAGE}, {VECTOR}, {VECTOR}, {STATISTICS}) -> ({IMAGE}, {VECTOR}, {VECTOR})"
    body = "\n".join([CONV, BIAS, NORM, f"{back} : {types}", ADDED.replace("%x", "%v"), relu("%a")])
    assert after("fuse", body)[-1] == 'add {activation = "relu"}'


def test_a_fused_norm_can_still_be_differentiated() -> None:
    passes = "fuse,gradients{function=gradients},dce"
    for middle, expected in (
        (relu("%a"), RESIDUAL.replace("norm", "norm_gradient")),
        (relu("%a", name="tanh"), f"group_norm_gradient {{{NORMED}}}"),
    ):
        body = "\n".join([NORM.replace("%d", "%x"), ADDED, middle, LOSS])
        assert expected in after(passes, body, "%l : tensor<f64>", training=True)


@pytest.mark.parametrize(("name", "alpha"), [("relu", ""), ("leaky-relu", ", alpha = -0.1")])
def test_gradients_of_norm_addition_and_activation_are_one(name: str, alpha: str) -> None:
    body = "\n".join([CONV, BIAS, NORM, OTHER, ADDED.replace("%x", "%m"), relu("%a", name=name, alpha=alpha), LOSS])
    text = run_pipeline(
        function(body, "%l : tensor<f64>", training=True), "gradients{function=gradients},dce,fuse"
    )  # fmt: skip
    found = [op for op in ops(text) if op.startswith(("activation", "group_norm_gradient"))]
    assert found == [
        f'group_norm_gradient {{{NORMED}, activation = "{name}"{alpha}, residual = true}}',
        f"group_norm_gradient {{{NORMED}}}",
    ]
    first, second = [line for line in whole(text).splitlines() if "gn.group_norm_gradient" in line]
    assert 'layers = ["g", "a", "r"]' in first
    assert first.split(" = ")[0].split(", ")[3].strip() in second, "the other norm's dy is dr"


def test_a_norm_without_gradient_leaves_the_mask_to_its_output() -> None:
    body = "\n".join([
        NORM.replace("%d", "%x"), f"%z = gn.bias(%x, %b) : ({IMAGE}, {VECTOR}) -> {IMAGE}",
        ADDED.replace("%x", "%z"), relu("%a"), LOSS,
    ])  # fmt: skip
    text = function(body, "%l : tensor<f64>", kind="train_step", training=True)
    for name in ("scale", "offset"):
        text = text.replace(f'gn.name = "g.{name}"', f'gn.name = "g.{name}", gn.learn_rate_factor = 0.0')
    found = ops(run_pipeline(text, "gradients,dce,fuse"))
    assert RESIDUAL in found
    assert 'activation_gradient {function = "relu", from = "output"}' in found
    assert not any(entry.startswith("group_norm_gradient") for entry in found)


SOFTMAX = f'%y = gn.softmax(%x) {{layers = ["s"]}} : ({IMAGE}) -> {IMAGE}'
ENTROPY = f'%l = gn.cross_entropy(%y, %t) {{layers = ["end"]}} : ({IMAGE}, {IMAGE}) -> tensor<f64>'


def test_softmax_joins_the_loss() -> None:
    body = f"{SOFTMAX}\n{ENTROPY}"
    assert after("fuse", body, f"%l, %y : tensor<f64>, {IMAGE}") == ["softmax_cross_entropy"]
    head = f"%y0 = gn.bias(%x, %b) : ({IMAGE}, {VECTOR}) -> {IMAGE}"
    scaled = body.replace("gn.softmax(%x)", "gn.softmax(%y0)")
    text = function(f"{head}\n{scaled}", "%l : tensor<f64>", training=True)
    found = run_pipeline(text, "gradients{function=gradients},dce,fuse")
    assert "gn.softmax_cross_entropy_gradient" in found
    assert "gn.softmax_gradient" not in found
    assert "gn.cross_entropy_gradient" not in found


def test_regression_after_softmax_is_not_cross_entropy() -> None:
    body = f"{SOFTMAX}\n{LOSS}"
    assert after("fuse", body, "%l : tensor<f64>") == ["softmax", "half_squared_error"]


def test_channel_normalize_takes_relu_in_prediction() -> None:
    line = "%n = gn.channel_normalize(%x, %mean, %variance, %scale, %offset) {epsilon = 1.0e-5}"
    body = f"{line} : ({IMAGE}, {', '.join([VECTOR] * 4)}) -> {IMAGE}\n{relu('%n')}"
    assert after("fuse", body) == ['channel_normalize {epsilon = 1.0e-05, activation = "relu"}']
