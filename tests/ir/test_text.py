"""IR text parses back to the same IR at every stage, whatever names the user chose."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import numpy_gn
from support.networks import NETWORKS
from support.sets import diagonal
from xdsl.dialects.builtin import ModuleOp

import gncodegen as gnc
from gncodegen.errors import CompileError
from gncodegen.ir.build import FUNCTIONS, build_module
from gncodegen.ir.kern import KernelOp
from gncodegen.ir.printing import lines_of, print_module
from gncodegen.ir.text import parse_module
from gncodegen.ir.values import decode, encode
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Schedule
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.passes.lower import lower
from gncodegen.passes.pipeline import pipeline, run, run_pipeline

NAMES = st.text(min_size=1).filter(lambda name: "/" not in name and name.isprintable() and name.strip() == name)


def assert_round_trip(module: ModuleOp) -> None:
    text = print_module(module)
    again = parse_module(text)
    assert print_module(again) == text
    assert again.is_structurally_equivalent(module)


@pytest.mark.few
@pytest.mark.parametrize(("name", "function"), diagonal(list(NETWORKS), FUNCTIONS))
def test_round_trip_after_every_pass(monkeypatch: pytest.MonkeyPatch, name: str, function: str) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)
    module = build_module(NETWORKS[name](), function, batch_size=2)
    assert_round_trip(module)
    run(
        module,
        pipeline(CompileOptions(data_format="BCSS", clip="l2norm")),
        lambda stage, module: assert_round_trip(module),
    )


@given(name=NAMES)
def test_layer_names_are_only_text(name: str) -> None:
    network = Network.build([
        gnc.FeatureInputLayer(4), gnc.FullyConnectedLayer(2, name=name), gnc.RegressionLayer(name="end " + name),
    ])  # fmt: skip
    module = build_module(network, "train_step", batch_size=2)
    run(module, pipeline()[:6])
    assert_round_trip(module)
    program = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "plan", numpy_gn.plan)
        program = lower(network, "train_step", batch_size=2)[1]
    assert any(name in call.layers for call in program.calls)
    assert all(kernel.replace("_", "").isalnum() and kernel.isascii() for kernel in program.kernels)
    assert all(name not in repr(schedule) for schedule in program.kernels.values() if len(name) > 12)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.from_regex("[a-z_]+", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=50)
@given(value=VALUES)
def test_values_survive_encoding_and_text(value: object) -> None:
    assert decode(encode(value)) == value
    module = ModuleOp([KernelOp("k_1", Schedule("op", "t", "cpu", "float32", shape={"value": value}))])  # type: ignore[dict-item]
    assert_round_trip(module)
    (kernel,) = parse_module(print_module(module)).ops
    assert isinstance(kernel, KernelOp)
    assert decode(kernel.attributes["shape"]) == {"value": value}


@pytest.mark.parametrize("value", [math.inf, -math.inf, 5e-324, 1e22, 0.1, -0.0])
def test_floats_keep_their_bits(value: float) -> None:
    module = ModuleOp([KernelOp("k_1", Schedule("op", "t", "cpu", "float32", shape={"value": value}))])
    (kernel,) = parse_module(print_module(module)).ops
    assert isinstance(kernel, KernelOp)
    assert math.copysign(1, float(kernel.schedule.shape["value"])) == math.copysign(1, value)  # type: ignore[arg-type]
    assert kernel.schedule.shape["value"] == value


def test_values_without_attribute_are_refused() -> None:
    with pytest.raises(Exception, match="no attribute holds"):
        encode(object())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("builtin.module {", "net.mlir:1:17"),
        ("builtin.module { gn.nonsense() : () -> () }", "gn.nonsense is not registered"),
        ("builtin.module { %0 = gn.activation(%1) {function = \"relu\"} : (tensor<2xf32>) -> tensor<2xf32> }", "%1"),
    ],
)  # fmt: skip
def test_faulty_text_is_a_compile_error(text: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        parse_module(text, "net.mlir")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('builtin.module { "' + "a" * 10**5, r"net.mlir:1:18: this quote begins no text .*; close it"),
        ('builtin.module\n  attributes {a = "b\\q"} {}', "net.mlir:2:19: this quote begins no"),
        ('builtin.module { // it"s\n "', "net.mlir:2:2: this quote"),
        ("builtin.module attributes {a = " + "[" * 10**5 + "} {}", "the IR is nested too deeply; allowed: "),
        ("builtin.module {" * 10**4, "the IR is nested too deeply"),
        ("builtin.module attributes {a = " + "9" * 5000 + "} {}", "5000 digits"),
        ("builtin.module attributes {a = " + "9" * 50 + "} {}", "out of range"),
        ("@" * 10**6, "net.mlir:1:1"),
        (" " * 10**6 + "@", "net.mlir:1:1000001"),
        ("builtin.module attributes {a = dense<0> : tensor<1000000000000xi32>} {}", "no op takes a dense literal"),
    ],
)  # fmt: skip
def test_hostile_text_is_refused_at_once(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(CompileError, match=message) as refusal:
        parse_module(text, "net.mlir")
    assert "fault of gncodegen" not in str(refusal.value)
    assert len(str(refusal.value)) < 3000
    assert time.process_time() - start < 1


def test_bytes_that_are_no_text_are_refused() -> None:
    text = print_module(build_module(NETWORKS[next(iter(NETWORKS))](), "predict", batch_size=2))
    with pytest.raises(CompileError, match=r"the text b'relu\\xff' is not UTF-8"):
        parse_module(text.replace('"relu"', '"relu\\FF"'))


def test_quotes_in_comments_and_escapes_are_fine() -> None:
    parse_module('builtin.module attributes {a = "\\22 // \\"", "b c" = "\\\\"} {} // an odd "\n// "x', "net.mlir")


def test_lines_fit_120_columns_and_repeated_lists_are_aliases():
    layers = '["a long name of a layer", "another"]'
    body = "\n".join(
        f'%{name} = gn.activation(%x) {{function = "relu", layers = {layers}}} : (tensor<4x8xf32>) -> tensor<4x8xf32>'
        for name in ("y", "z")
    )
    slot = '{gn.kind = "input", gn.name = "x"}'
    out = '{gn.kind = "output", gn.name = "y"}'
    text = (
        f"builtin.module {{ func.func @predict(%x: tensor<4x8xf32> {slot}) -> (tensor<4x8xf32> {out}) {{\n{body}\n"
        "func.return %y : tensor<4x8xf32>\n} }"
    )
    module = parse_module(text)
    printed = print_module(module)
    assert printed.startswith(f"#layers1 = {layers}\n")
    assert printed.count("layers = #layers1") == 2
    assert max(map(len, printed.splitlines())) <= 120
    assert parse_module(printed).is_structurally_equivalent(module)
    about_one = [line.text.strip() for line in lines_of(module) if "another" in line.layers]
    assert [line.split(" ")[0] for line in about_one] == ["%y", "%z"]


def test_a_name_that_is_no_text_is_printed_as_it_is() -> None:
    text = "builtin.module { func.func @predict(%x: tensor<4xf32> {gn.name = f64}) { func.return } }"
    assert "{gn.name = f64}" in print_module(parse_module(text))


@pytest.mark.parametrize(
    ("slot", "allowed"),
    [
        ('gn.kind = "parameter", gn.name = 0.0 : f64', "gn.name in .* allowed: a text"),
        ('gn.kind = "parameter", gn.name = "a.b", gn.l2_factor = "1"', "gn.l2_factor in .* allowed: a number"),
    ],
)
def test_descriptions_of_another_type_are_refused(slot: str, allowed: str) -> None:
    text = f"builtin.module {{ func.func @train_step(%x: tensor<4xf32> {{{slot}}}) {{ func.return }} }}"
    with pytest.raises(CompileError, match=allowed):
        run_pipeline(text, "gradients{function=train_step}")
