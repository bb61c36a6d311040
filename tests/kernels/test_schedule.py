"""A Problem's attributes, read by type."""

from __future__ import annotations

import pytest

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import Machine, Problem

PROBLEM = Problem(
    "pad", (), (), {"mode": "replicate", "bias": True, "groups": 4, "alpha": 1, "padding": (0, 1), "decays": (1, 0.5)},
    Machine(),
)  # fmt: skip


def test_attributes_by_type():
    assert PROBLEM.text("mode") == "replicate"
    assert PROBLEM.flag("bias") is True
    assert PROBLEM.integer("groups") == 4
    assert isinstance(PROBLEM.number("alpha"), float)
    assert PROBLEM.integers("padding") == (0, 1)
    assert PROBLEM.numbers("decays") == (1.0, 0.5)


def test_missing_attributes_have_defaults():
    assert (PROBLEM.text("x"), PROBLEM.flag("x"), PROBLEM.integer("x"), PROBLEM.number("x")) == ("", False, 0, 0.0)
    assert (PROBLEM.integers("x"), PROBLEM.numbers("x", (1.0,) * 2)) == ((), (1.0, 1.0))
    assert (PROBLEM.text("x", "none"), PROBLEM.flag("x", True), PROBLEM.integer("x", 1)) == ("none", True, 1)


@pytest.mark.parametrize(
    ("reader", "name"), [("text", "groups"), ("integer", "mode"), ("number", "mode"), ("integers", "mode")]
)
def test_attributes_of_another_type(reader, name):
    with pytest.raises(CompileError, match=rf"pad: attribute '{name}' is .*; allowed: values like"):
        getattr(PROBLEM, reader)(name)
