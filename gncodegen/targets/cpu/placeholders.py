"""Integers that stand for the constants of a kernel while it is lowered, so that its IR serves other constants, too.

Numba reads the size of a vector where it makes a type of it; most constants of a kernel are but operands of arithmetic.
"""

from __future__ import annotations

from itertools import count

FIRST = 1 << 62
"""No constant of a kernel is as large."""

_numbers = count(FIRST)
_placeholders: dict[tuple[str, str, int], int] = {}
_values: dict[int, int] = {}
_fixed: set[int] = set()


def placeholder(template: str, name: str, value: int) -> int:
    """The integer that stands for constant `name` of a kernel from `template`, whose value is `value`.

    It does so for the whole process: Numba keeps what it found for it.
    """
    key = template, name, value
    if key not in _placeholders:
        number = next(_numbers)
        _values[number] = value
        _placeholders.setdefault(key, number)  # another thread may have been here
    return _placeholders[key]


def meaning(integer: int) -> int:
    """The value of a literal argument: the IR depends on it in more than an operand, so the constant is fixed."""
    if integer < FIRST:
        return integer
    _fixed.add(integer)
    return _values[integer]


def is_fixed(integer: int) -> bool:
    """Whether the IR depends on this constant's value."""
    return integer in _fixed
