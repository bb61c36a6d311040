"""The table of activations: a row is enough, and no other file knows a name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.mlir import IMAGE, function

import gncodegen
from gncodegen.errors import CompileError
from gncodegen.kernels import activations
from gncodegen.kernels.activations import ACTIVATIONS, Activation
from gncodegen.kernels.templates import template_folder
from gncodegen.passes.pipeline import run_pipeline

ROW = Activation(
    "soft-absolute", "sqrt(v * v + alpha)", "dy * v / sqrt(v * v + alpha)", 10, "dy * sqrt(v * v - alpha) / v",
    constants=(1.0,),
)  # fmt: skip
"""Calls what no template imports."""


@pytest.fixture(autouse=True)
def _row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, ROW.name, ROW)


def test_a_row_is_a_kernel_and_its_gradient(execute):
    x, dy = 1 + np.random.default_rng(0).random((2, 5, 3)), np.random.default_rng(1).standard_normal((2, 5, 3))
    attributes = {"function": ROW.name, "alpha": 0.5}
    (y,) = execute("activation", [x], [(x.shape, "float64")], attributes)
    np.testing.assert_allclose(y, np.sqrt(x**2 + 0.5), rtol=1e-15)
    for source, values in (("input", x), ("output", y)):
        result = [(x.shape, "float64")]
        (dx,) = execute("activation_gradient", [values, dy], result, {**attributes, "from": source})
        np.testing.assert_allclose(dx, dy * x / y, rtol=1e-12)


def test_a_row_is_a_function_of_the_ir_and_of_fusion():
    body = (
        f'%a = gn.activation(%x) {{function = "soft-absolute", alpha = 1.0}} : ({IMAGE}) -> {IMAGE}\n'
        f"%l = gn.half_squared_error(%a, %t) : ({IMAGE}, {IMAGE}) -> tensor<f64>"
    )
    text = run_pipeline(function(body, "%l : tensor<f64>", training=True), "gradients{function=gradients},dce,fuse")
    assert "gn.activation_gradient(%a, " in text
    assert 'from = "output"' in text


def test_what_is_no_row_is_refused():
    with pytest.raises(CompileError, match="'bend' is unknown; allowed: relu, "):
        activations.activation("bend")
    with pytest.raises(CompileError, match="no gradient from its output"):
        activations.gradient("gelu", 0.0, "output", "v", "dy")
    with pytest.raises(CompileError, match="register tiles cannot apply 'tanh'; allowed: '', 'relu'"):
        activations.activated("tanh")


def test_an_infinite_constant_is_a_literal():
    assert activations.forward("hard-tanh", 0.0, "v", float("inf")) == "minimum(maximum(v, 0.0), 1e999)"


def test_no_other_file_knows_a_name():
    package = Path(gncodegen.__file__).parent
    rooms = [package / "ir", package / "passes", package / "kernels", template_folder()]
    files = [path for room in rooms for path in (*room.rglob("*.py"), *room.rglob("*.jinja"))]
    known = {path.name for path in files for name in ACTIVATIONS if f'"{name}"' in path.read_text(encoding="utf-8")}
    assert known == {"activations.py"}
