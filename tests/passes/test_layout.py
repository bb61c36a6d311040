"""layout: transposes at the edges, and as few as possible."""

from __future__ import annotations

import pytest
from support.mlir import IMAGE, after, function

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.passes.pipeline import run_pipeline

RELU = f'%y = gn.activation(%x) {{function = "relu"}} : ({IMAGE}) -> {IMAGE}'


def test_channel_last_stays() -> None:
    assert after("layout", RELU) == ['activation {function = "relu"}']
    assert after("layout{data_format=BSSC}", RELU) == ['activation {function = "relu"}']


def test_input_is_transposed_at_the_edge() -> None:
    text = run_pipeline(function(RELU), "layout{data_format=BCSS}")
    assert '%x: tensor<2x6x4x4xf32> {gn.kind = "input", gn.name = "x", gn.format = "BCSS"}' in text
    assert "gn.transpose(%x) {permutation = [0, 2, 3, 1]}" in text


def test_transposes_in_a_row_cancel() -> None:
    body = f"""%a = gn.transpose(%x) {{permutation = [0, 3, 1, 2]}} : ({IMAGE}) -> tensor<2x6x4x4xf32>
        %y = gn.transpose(%a) {{permutation = [0, 2, 3, 1]}} : (tensor<2x6x4x4xf32>) -> {IMAGE}"""
    assert after("layout", body) == []
    other = body.replace("[0, 2, 3, 1]", "[0, 1, 3, 2]").replace(f"-> {IMAGE}", "-> tensor<2x6x4x4xf32>")
    assert after("layout", other, "%y : tensor<2x6x4x4xf32>") == ["transpose {permutation = [0, 3, 2, 1]}"]


def test_moving_axes_of_one_is_a_reshape() -> None:
    body = f"""%a = gn.reshape(%x) {{shape = [2, 1, 96, 1]}} : ({IMAGE}) -> tensor<2x1x96x1xf32>
        %y = gn.transpose(%a) {{permutation = [3, 0, 1, 2]}} : (tensor<2x1x96x1xf32>) -> tensor<1x2x1x96xf32>"""
    found = after("layout", body, "%y : tensor<1x2x1x96xf32>")
    assert found == ["reshape {shape = [2, 1, 96, 1]}", "reshape {shape = [1, 2, 1, 96]}"]


@pytest.mark.parametrize(
    ("data_format", "inner", "outer"),
    [
        ("BCSS", "BSSC", "BCSS"),
        ("BCSS", "BC", "BC"),
        ("SSCB", "BC", "CB"),
        ("TBC", "BTC", "TBC"),
        ("SCSB", "BSSC", "SCSB"),
    ],
)
def test_axis_order(data_format: str, inner: str, outer: str) -> None:
    assert axis_order(data_format, inner) == outer


def test_equal_letters_keep_their_order() -> None:
    assert permutation("SCSB", "BSSC") == (3, 0, 2, 1)


def test_a_format_without_the_axes_is_refused() -> None:
    with pytest.raises(ArrayError, match="data_format = 'BC'; allowed: any order of the letters of 'BSSC'"):
        after("layout{data_format=BC}", RELU)
