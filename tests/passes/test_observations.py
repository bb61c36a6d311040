"""Which ops treat each observation alone; launches of others, and all where an op moves observations, have no order."""

from __future__ import annotations

import pytest
from support.mlir import IMAGE, function

from gncodegen.ir.function import function_of, operations_of
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.text import context, parse_module
from gncodegen.passes.observations import separate
from gncodegen.passes.pipeline import run_pipeline

RELU = f'%a = gn.activation(%x) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}'


def turned(permutation: str, shape: str) -> str:
    return f"{RELU}\n%y = gn.transpose(%a) {{permutation = [{permutation}]}} : ({IMAGE}) -> tensor<{shape}xf32>"


def found(text: str) -> list[bool]:
    module = parse_module(text, "test")
    chosen = separate(module, context())
    return [each in chosen for each in operations_of(function_of(module)) if isinstance(each, GnOperation)]


@pytest.mark.parametrize(
    ("permutation", "shape", "expected"),
    [("0, 3, 1, 2", "2x6x4x4", [True, True]), ("3, 1, 2, 0", "6x4x4x2", [False, False])],
)
def test_where_observations_stay_first(permutation: str, shape: str, expected: list[bool]) -> None:
    assert found(function(turned(permutation, shape), f"%y : tensor<{shape}xf32>")) == expected


def test_a_fixed_batch_size_makes_none() -> None:
    body = f"%y = gn.reshape(%x) {{shape = [4, 48]}} : ({IMAGE}) -> tensor<4x48xf32>"
    assert found(function(f"{RELU}\n{body}", "%y : tensor<4x48xf32>")) == [False, False]


@pytest.mark.parametrize(
    ("permutation", "shape", "orders"), [("0, 3, 1, 2", "2x6x4x4", 2), ("3, 1, 2, 0", "6x4x4x2", 0)]
)
def test_launches_say_how_tiles_follow_them(permutation: str, shape: str, orders: int) -> None:
    text = run_pipeline(function(turned(permutation, shape), f"%y : tensor<{shape}xf32>"), "select")
    assert text.count("order = [") == orders
