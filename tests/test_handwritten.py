"""IR text that is compiled and run on arrays by name."""

from __future__ import annotations

import numpy as np
import pytest

from gncodegen.errors import ArrayError, CompileError
from gncodegen.handwritten import Handwritten

SLOTS = ['{gn.kind = "input", gn.name = "x"}', '{gn.kind = "parameter", gn.name = "g.scale"}',
         '{gn.kind = "parameter", gn.name = "g.offset"}']  # fmt: skip
TEXT = f"""
builtin.module {{
  func.func @predict(%x: tensor<4x6xf32> {SLOTS[0]}, %g: tensor<6xf32> {SLOTS[1]}, %b: tensor<6xf32> {SLOTS[2]})
      -> (tensor<4x6xf32> {{gn.kind = "output", gn.name = "y"}}) {{
    %n, %s = gn.group_norm(%x, %g, %b) {{groups = 2, epsilon = 1.0e-05}} : (tensor<4x6xf32>, tensor<6xf32>,
        tensor<6xf32>) -> (tensor<4x6xf32>, tensor<4x2x3xf32>)
    %y = gn.activation(%n) {{function = "relu"}} : (tensor<4x6xf32>) -> tensor<4x6xf32>
    func.return %y : tensor<4x6xf32>
  }}
}}
"""


@pytest.fixture(scope="module")
def function():
    return Handwritten(TEXT)


def arrays():
    random = np.random.default_rng(0)
    return {"x": random.normal(size=(4, 6)).astype(np.float32), "g.scale": np.ones(6), "g.offset": np.zeros(6)}


def test_it_runs(function):
    given = arrays()
    x = given["x"].astype(float).reshape(4, 2, 3)
    wanted = (x - x.mean(2, keepdims=True)) / np.sqrt(x.var(2, keepdims=True) + 1e-5)
    assert function.arguments == ("x", "g.scale", "g.offset")
    found = function.run(given)
    assert found.keys() == {"y"}
    np.testing.assert_allclose(found["y"], np.maximum(wanted, 0).reshape(4, 6), rtol=1e-5, atol=1e-6)


def test_missing_and_misshapen_arrays(function):
    with pytest.raises(ArrayError, match=r"no array for 'g.scale', 'g.offset'; allowed"):
        function.run(arrays()["x"])
    with pytest.raises(ArrayError, match=r"x has shape \(3, 6\); allowed: \(4, 6\)"):
        function.run(arrays() | {"x": np.ones((3, 6))})


def test_kern_text_goes_on_behind_select(function):
    from gncodegen.passes.pipeline import program_of_text, run_pipeline
    from gncodegen.targets.cpu import host

    placed = run_pipeline(TEXT, "shapes,canonicalize,fuse,layout,select,hoist,memory", machine=host.machine())
    program = program_of_text(placed, function.options, host.machine())
    assert program.kernels == function.program.kernels


def test_text_that_is_none():
    with pytest.raises(CompileError, match=r"parse net\.mlir"):
        Handwritten("nonsense", "net.mlir")
