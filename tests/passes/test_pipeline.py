"""The ordered list, `run_pipeline` as `gncodegen opt` uses it, and lowering as a whole."""

from __future__ import annotations

import json
import time

import pytest
from support import numpy_gn
from support.mlir import IMAGE, VECTOR, function
from support.networks import NETWORKS, plain

import gncodegen as gnc
from gncodegen.errors import CompileError
from gncodegen.ir.printing import print_module
from gncodegen.ir.text import parse_module
from gncodegen.kernels import catalog
from gncodegen.kernels.program import Program
from gncodegen.layers.network import Network
from gncodegen.passes.lower import lower
from gncodegen.passes.pipeline import PASSES, STAGES, run_pipeline

RELU = f'%y = gn.activation(%x) {{function = "relu", layers = ["r"]}} : ({IMAGE}) -> {IMAGE}'


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)


def test_the_list() -> None:
    assert STAGES == (
        "gn",
        "shapes",
        "canonicalize",
        "gradients",
        "dce",
        "fold",
        "fuse",
        "cse",
        "layout",
        "partial-statistics",
        "prologue",
        "storage",
        "reduce",
        "select",
        "hoist",
        "memory",
    )
    assert tuple(PASSES) == STAGES[1:]


def test_stages_on_text_are_the_stages_of_lowering() -> None:
    stages, _ = lower(plain(), "train_step", batch_size=2)
    text = stages["gn"]
    for name in STAGES[1:]:
        text = run_pipeline(text, name)
        assert text == stages[name], name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fusee", r"Unrecognized passes: \['fusee'\]; passes: shapes, canonicalize.*; write 'fuse'$"),
        ("canonicalise{synchronize=true},dce,fuze", r"write 'canonicalize' or 'fuse'$"),
        ("fuse{foo=1}", "foo"),
        ("layout{data_format=1}", "Incompatible types"),
        ("fuse,{", "Expected pass name"),
        ("fuse}", "fuse}"),
        ("fuse{", "Expected argument name"),
        ("select{choices=a}", "choices = 'a'; allowed: digest:number"),
        ("select{vector_bytes=0}", "vector_bytes=0}; allowed: 8, 16, 32 or 64"),
        ("select{cores=-1}", "cores=-1}; allowed: a positive int"),
        ("prologue{l2=-5}", "l2=-5}; allowed: an int, 0 or more"),
        ("select{math=exact}", "math=exact}; allowed: float32, tf32, bf16"),
        ("shapes{batch_size=true}", "shapes: batch_size = true; allowed: int"),
        ("prologue{l2=false}", "prologue: l2 = false; allowed: int"),
        ("shapes{batch_size=-1}", "batch_size = -1; allowed: 0 to"),
        ("shapes{batch_size=99999999999999999999}", "batch_size = 9+; allowed: 0 to"),
    ],
)
def test_faulty_pipelines_are_compile_errors(spec: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        run_pipeline(function(RELU), spec)


def test_an_empty_pipeline_prints_the_module() -> None:
    text = run_pipeline(function(RELU), "")
    assert run_pipeline(text, "") == text


def test_a_fault_inside_a_pass_is_reported_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "plan", lambda problem: 1 / 0)
    with pytest.raises(
        CompileError, match=r"stage 'select' failed: ZeroDivisionError: .*; this is a fault of gncodegen"
    ):
        run_pipeline(function(RELU), "select")


def test_shapes_gives_another_batch() -> None:
    body = f"{RELU}\n%z = gn.reshape(%y) {{shape = [2, 96]}} : ({IMAGE}) -> tensor<2x96xf32>"
    text = run_pipeline(function(body, "%z : tensor<2x96xf32>"), "shapes{batch_size=7}")
    assert "tensor<2x" not in text
    assert "tensor<7x96xf32>" in text
    parse_module(text)


def test_shapes_of_a_whole_network_agree_with_building_it() -> None:
    for make in NETWORKS.values():
        for name in ("predict", "loss"):
            built = lower(make(), name, batch_size=9)[0]["gn"]
            assert run_pipeline(lower(make(), name, batch_size=2)[0]["gn"], "shapes{batch_size=9}") == built


def test_shapes_names_the_layer_that_does_not_fit() -> None:
    text = function(f'%y = gn.bias(%x, %b) {{layers = ["conv"]}} : ({IMAGE}, {VECTOR}) -> {IMAGE}')
    with pytest.raises(CompileError, match="bias has shape"):
        run_pipeline(text.replace(VECTOR, "tensor<5xf32>"), "shapes")


def test_programs_survive_json() -> None:
    for make in NETWORKS.values():
        program = lower(make(), "train_step", batch_size=3)[1]
        again = Program.from_dict(json.loads(json.dumps(program.to_dict())))
        assert again == program
        assert all(again.kernels[name].key == schedule.key for name, schedule in program.kernels.items())


def test_lowering_is_deterministic() -> None:
    first, second = (lower(NETWORKS["residual"](), "train_step", batch_size=3) for _ in range(2))
    assert first[1] == second[1]
    assert first[0]["memory"] == second[0]["memory"]


def test_fusions_and_layers_are_reported() -> None:
    program = lower(plain(), "train_step", batch_size=3)[1]
    assert "groupnorm_1 + relu_1" in program.fused
    assert "softmax + classoutput" in program.fused
    (norm,) = [name for name in program.kernels if name.startswith("group_norm_gradient")]
    assert program.layers_of(norm) == ("groupnorm_1", "relu_1")


def test_unknown_stage_is_refused() -> None:
    with pytest.raises(CompileError, match="there is no stage 'fused'; allowed: gn, shapes"):
        _ = lower(plain(), "predict", batch_size=1)[0]["fused"]


def test_a_three_block_train_step_lowers_in_half_a_second_of_a_core() -> None:
    blocks = [
        layer
        for filters in (8, 16, 32)
        for layer in (
            gnc.Convolution2dLayer(3, filters, padding="same"), gnc.GroupNormalizationLayer(4), gnc.ReluLayer(),
            gnc.MaxPooling2dLayer(2, stride=2),
        )
    ]  # fmt: skip
    ends = [gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]
    network = Network.build([gnc.ImageInputLayer((28, 28, 1)), *blocks, *ends])
    lower(network, "train_step", batch_size=128)
    durations: list[float] = []
    for _ in range(3):
        start = time.thread_time()
        stages, _ = lower(network, "train_step", batch_size=128)
        durations.append(time.thread_time() - start)
    assert min(durations) < 0.5
    assert print_module(parse_module(stages["memory"])) == stages["memory"]
