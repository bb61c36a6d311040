"""Formulas of one element as text: the expressions of a table's row, written with a kernel's own names and numbers.

A formula is a Python expression of operands, constants and the targets' intrinsics (`exp`, `select`, …), which work on
scalars and vectors of both targets: `"select(v < 0.0, v * alpha, v)"`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache


def written(formula: str, names: Mapping[str, str], constants: Mapping[str, float]) -> str:
    """The formula with other names for its operands, and numbers for its constants.

    Args:
        formula: an expression.
        names: operand of the formula → identifier or call of the kernel.
        constants: constant of the formula → its number.
    """
    words = {**names, **{name: _literal(number) for name, number in constants.items()}}
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda match: words.get(match[0], match[0]), formula)


@cache
def intrinsics(formula: str) -> frozenset[str]:
    """The names of the functions that a formula calls; names in capitals are constants of the kernel."""
    calls = (node.func for node in ast.walk(ast.parse(formula)) if isinstance(node, ast.Call))
    return frozenset(function.id for function in calls if isinstance(function, ast.Name) and function.id.islower())


def _literal(number: float) -> str:
    """A literal of the number; Python has none for infinity, but reads what is too large as it."""
    return repr(number).replace("inf", "1e999")
