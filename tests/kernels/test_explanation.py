"""Every template explains itself, with the numbers of a schedule."""

from __future__ import annotations

import re

import pytest

from gncodegen.kernels.explanation import explanation
from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.templates import template_folder

TEMPLATES = sorted(
    (folder, path.name.removesuffix(".py.jinja"))
    for folder in ("cpu", "cuda")
    for path in (template_folder() / folder).glob("*.py.jinja")
)


@pytest.mark.parametrize(("family", "template"), TEMPLATES)
def test_every_template_says_what_it_does(family, template):
    text = explanation(Schedule("op", template, "cpu", "float32", family=family))
    assert re.search(r"\.$", text), text
    assert "##" not in text
    assert len(text.split()) > 4


def test_numbers_take_the_place_of_names():
    tiles = {"tile_rows": 64, "tile_columns": 32, "tile_depth": 16}
    schedule = Schedule("convolution", "matrix_product", "sm_90", "float32", family="cuda", tiles=tiles)
    prose, _, numbers = explanation(schedule).partition("\n")
    assert "A block does 64 × 32 values of C and steps 16 products at a time" in prose
    assert numbers == "Tile rows 64, tile columns 32, tile depth 16."
