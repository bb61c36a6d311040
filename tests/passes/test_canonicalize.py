"""canonicalize: one spelling, and training or prediction decided."""

from __future__ import annotations

import pytest
from support.mlir import IMAGE, STATISTICS, VECTOR, after, function

from gncodegen.passes.pipeline import run_pipeline

AFFINE = f"({IMAGE}, {VECTOR}, {VECTOR})"
FOUR = ", ".join([VECTOR] * 4)


@pytest.mark.parametrize(("text", "groups", "rows"), [("all-channels", 1, 1), ("channel-wise", 6, 6)])
def test_groups_become_a_number(text: str, groups: int, rows: int) -> None:
    line = f'%y, %s = gn.group_norm(%x, %scale, %offset) {{groups = "{text}", epsilon = 1.0e-5}}'
    body = f"{line} : {AFFINE} -> ({IMAGE}, tensor<2x{rows}x3xf32>)"
    assert after("canonicalize", body) == [f"group_norm {{groups = {groups}, epsilon = 1.0e-05}}"]


def batch_norm() -> str:
    operands = "%x, %scale, %offset, %mean, %variance"
    attributes = "{epsilon = 1.0e-3, mean_decay = 0.25}"
    return f"%y = gn.batch_norm({operands}) {attributes} : ({IMAGE}, {FOUR}) -> {IMAGE}"


def test_batch_norm_in_prediction_uses_trained_statistics() -> None:
    assert after("canonicalize", batch_norm()) == ["channel_normalize {epsilon = 0.001}"]


def test_batch_norm_in_training_is_a_group_norm_over_the_batch() -> None:
    norm = 'group_norm {groups = 6, epsilon = 0.001, reduced = "batch-spatial"}'
    assert after("canonicalize", batch_norm(), kind="loss", training=True) == [norm]
    update = "update_statistics {decays = [0.25, 0.1], count = 32, epsilon = 0.001}"
    assert after("canonicalize", batch_norm(), kind="train_step", training=True) == [norm, update]
    text = run_pipeline(function(batch_norm(), kind="train_step", training=True), "canonicalize")
    assert '{gn.kind = "update", gn.name = "g.trained_variance", gn.updates = "state"}' in text


def test_batch_norm_over_ranks_takes_the_averages_of_their_statistics() -> None:
    found = after("canonicalize{synchronize=true},dce", batch_norm(), kind="train_step", training=True)
    names = [line.partition(" ")[0] for line in found]
    assert names.count("all_reduce") == 2
    assert names[:3] == ["group_statistics", "update_statistics", "all_reduce"]
    assert names[-2:] == ["channel_normalize", "update_statistics"]
    assert "of_batch = true" in found[-2]
    single = 'group_norm {groups = 6, epsilon = 0.001, reduced = "batch-spatial"}'
    assert after("canonicalize{synchronize=true}", batch_norm(), kind="loss", training=True) == [single]


def test_dropout_is_there_in_training_only() -> None:
    body = f"%y = gn.dropout(%x, %hyper) {{probability = 0.5, index = 0}} : ({IMAGE}, tensor<16xf64>) -> {IMAGE}"
    assert after("canonicalize", body) == []
    assert after("canonicalize", body, training=True) == ["dropout {probability = 0.5, index = 0}"]
    assert after("canonicalize", body.replace("0.5", "0.0"), training=True) == []


@pytest.mark.parametrize(
    "line",
    [
        'gn.pad(%x) {padding = [0, 0, 0, 0], mode = "replicate"}',
        "gn.max_pool(%x) {window = [1, 1], stride = [1, 1], padding = [0, 0, 0, 0]}",
        "gn.add(%x)",
        "gn.concatenate(%x)",
        "gn.reshape(%x) {shape = [2, 4, 4, 6]}",
        "gn.transpose(%x) {permutation = [0, 1, 2, 3]}",
    ],
)
def test_what_changes_nothing_goes(line: str) -> None:
    assert after("canonicalize", f"%y = {line} : ({IMAGE}) -> {IMAGE}") == []


def test_reshapes_in_a_row_are_one() -> None:
    body = f"""%a = gn.reshape(%x) {{shape = [2, 96]}} : ({IMAGE}) -> tensor<2x96xf32>
        %b2 = gn.reshape(%a) {{shape = [8, 24]}} : (tensor<2x96xf32>) -> tensor<8x24xf32>
        %y = gn.activation(%b2) {{function = "relu"}} : (tensor<8x24xf32>) -> tensor<8x24xf32>"""
    assert after("canonicalize", body, "%y : tensor<8x24xf32>") == [
        "reshape {shape = [8, 24]}", 'activation {function = "relu"}',
    ]  # fmt: skip


def test_dead_ops_go_but_results_stay() -> None:
    body = f"""%y = gn.activation(%x) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}
        %z, %s = gn.group_norm(%x, %scale, %offset) {{groups = 3, epsilon = 1.0e-5}}
            : {AFFINE} -> ({IMAGE}, {STATISTICS})"""
    assert after("canonicalize", body) == ['activation {function = "relu"}']
