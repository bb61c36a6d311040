"""select: kernels shared, results in their destinations, names made of ops only."""

from __future__ import annotations

import re

import pytest
from support import numpy_gn
from support.mlir import IMAGE, function, ops

from gncodegen.errors import CompileError
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Launch, Machine, Plan, Problem
from gncodegen.passes.pipeline import run_pipeline
from gncodegen.passes.select import Select

RELU = f'%y = gn.activation(%x) {{function = "relu", layers = ["r"]}} : ({IMAGE}) -> {IMAGE}'
TWICE = RELU.replace("%y", "%a") + "\n" + RELU.replace("%x", "%a")


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)


def test_equal_schedules_share_a_kernel() -> None:
    text = run_pipeline(function(TWICE), "select")
    assert re.findall(r"kern.kernel @(\w+)", text) == ["activation_1"]
    assert text.count("kern.launch @activation_1") == 2
    other = TWICE.replace('"relu"', '"tanh"', 1)
    assert re.findall(r"kern.kernel @(\w+)", run_pipeline(function(other), "select")) == [
        "activation_1",
        "activation_2",
    ]


def test_results_are_written_where_they_belong() -> None:
    text = run_pipeline(function(RELU), "select")
    assert "kern.alloc" not in text
    assert 'memref<2x4x4x6xf32> {gn.kind = "output", gn.name = "r0"}' in text
    assert text.rstrip().endswith("func.return\n  }\n}")


def test_reshape_is_a_view_and_so_is_a_reshaped_result() -> None:
    body = f"{RELU}\n%z = gn.reshape(%y) {{shape = [2, 96]}} : ({IMAGE}) -> tensor<2x96xf32>"
    text = run_pipeline(function(body, "%z : tensor<2x96xf32>"), "select")
    assert "kern.alloc" not in text
    assert re.search(r"kern\.view\(%\w+\) : \(memref<2x96xf32>\) -> memref<2x4x4x6xf32>", text)


def test_what_cannot_be_written_directly_is_copied() -> None:
    same_twice = run_pipeline(function(RELU, f"%y, %y : {IMAGE}, {IMAGE}"), "select")
    assert same_twice.count("kern.launch @transpose_1") == 1
    assert re.findall(r"kern.view\(%(\w+)\)", same_twice) == ["r0", "r1"]
    handed_on = run_pipeline(function("", f"%x : {IMAGE}"), "select")
    assert handed_on.count("kern.launch @transpose_1") == 1


def test_updates_go_into_their_argument() -> None:
    kinds = "tensor<16xf64>, tensor<16xf64>, tensor<16xf64>, tensor<16xf64>"
    slots = ", ".join(
        f'%{name}: tensor<16xf64> {{gn.kind = "{kind}", gn.name = "{key}"}}'
        for name, kind, key in (
            ("p", "parameter", "p"),
            ("g", "input", "g"),
            ("v", "velocity", "p"),
            ("h", "hyperparameters", "h"),
        )
    )
    attributes = '{names = ["p"], solver = "sgdm", learn_rate_factors = [1.0], l2_factors = [1.0]}'
    results = ", ".join(
        f'tensor<16xf64> {{gn.kind = "update", gn.name = "p", gn.updates = "{kind}"}}'
        for kind in ("parameter", "velocity")
    )

    def text(after: str = "", returned: str = "%q, %w : tensor<16xf64>, tensor<16xf64>", more: str = "") -> str:
        update = f"%q, %w = gn.update(%p, %g, %v, %h) {attributes} : ({kinds}) -> (tensor<16xf64>, tensor<16xf64>)"
        body = f"{update} {after} func.return {returned}"
        return f"builtin.module {{ func.func @f({slots}) -> ({results}{more}) {{ {body} }} }}"

    direct = run_pipeline(text(), "select")
    assert "kern.launch @update_1(%p, %g, %v, %h, %p, %v)" in direct
    assert "kern.alloc" not in direct
    # The old value is returned too: the update must wait until it is copied out.
    more = ', tensor<16xf64> {gn.kind = "output", gn.name = "y"}'
    old = run_pipeline(text("", "%q, %w, %p : tensor<16xf64>, tensor<16xf64>, tensor<16xf64>", more), "select")
    copies = re.findall(r"%(\d) = kern.view\(%(\w+)\)", old)
    assert [source for _, source in copies] == ["p", "y", "q", "p"]
    # Or it is read after the update: it must stay until then.
    late = '%a = gn.activation(%p) {function = "relu"} : (tensor<16xf64>) -> tensor<16xf64>'
    kept = run_pipeline(text(late, "%q, %w, %a : tensor<16xf64>, tensor<16xf64>, tensor<16xf64>", more), "select")
    assert [line.split(" {")[0] for line in ops(kept)] == [
        "alloc", "launch @update_1", "launch @activation_1", "view", "view", "launch @transpose_1",
    ]  # fmt: skip


def test_machine_and_options_are_the_same() -> None:
    machine = Machine("sm_90", "cuda", 64, 32, 1, 2, 3, 4)
    assert Select.of(machine).machine == machine
    assert Select.of(machine, choices=("ab:1", "cd:2")).choices == ("ab:1", "cd:2")
    text = run_pipeline(function(RELU), 'select{target=sm_90 vector_bytes=64 choices="ab:1","cd:2"}')
    assert 'target = "sm_90"' in text


def test_a_missing_kernel_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(problem: Problem) -> Plan:
        raise CompileError(f"op {problem.op!r} has no kernel")

    monkeypatch.setattr(catalog, "plan", refuse)
    with pytest.raises(CompileError, match="r: op 'activation' has no kernel"):
        run_pipeline(function(RELU), "select")


def test_a_plan_that_names_no_buffer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(problem: Problem) -> Plan:
        (launch,) = numpy_gn.plan(problem).launches
        return Plan((Launch(launch.schedule, ("operand7", "result0"), 1, (1,)),))

    monkeypatch.setattr(catalog, "plan", wrong)
    with pytest.raises(CompileError, match="plan of activation names 'operand7'; it has operand0, result0"):
        run_pipeline(function(RELU), "select")
