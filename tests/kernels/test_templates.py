"""Every raw template is Python already, and says on its first line what it computes."""

import ast

import pytest

from gncodegen.kernels.templates import template_folder

TEMPLATES = sorted(template_folder().rglob("*.jinja"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_raw_template_parses(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree) is not None
    assert ast.parse(text.partition("\n")[0]).body, "the docstring is one line"
