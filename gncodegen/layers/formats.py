"""Axis orders: format strings with one letter per axis, S space, C channel, B batch, T time."""

from __future__ import annotations

from functools import cache

from gncodegen.errors import ArrayError
from gncodegen.layers.checks import shown

_MOST = {"B": 1, "S": 3, "T": 1, "C": 1}
"""How often each letter may stand in a format."""


def axis_order(data_format: str, letters: str) -> str:
    """The letters an array has, in the order `data_format` gives them: "BCSS" orders features "BC" as "BC".

    Args:
        data_format: axis order of the caller's arrays; letters the array lacks are skipped; "" = as in `letters`.
        letters: the array's axes, for example "BSSC".

    Raises:
        ArrayError: the array has an axis that `data_format` does not place.
    """
    text = isinstance(data_format, str)  # pyright: ignore[reportUnnecessaryIsInstance]
    if text and not data_format:
        return letters
    order = _order(data_format, letters) if text else None
    if order is None:
        raise ArrayError(
            f"data_format = {shown(data_format)}; allowed: any order of the letters of {letters!r}; "
            f"write data_format={letters!r} for channel-last arrays"
        )
    return order


@cache
def _order(data_format: str, letters: str) -> str | None:
    """The order, or None where there is none."""
    left, order = list(letters), ""
    for letter in data_format:
        if letter in left:
            left.remove(letter)
            order += letter
    twice = any(data_format.count(letter) > most for letter, most in _MOST.items())
    return None if left or twice or not set(data_format) <= set(_MOST) else order


@cache
def permutation(source: str, target: str) -> tuple[int, ...]:
    """For each axis of `target` the axis of `source` it comes from; equal letters keep their order."""
    positions: dict[str, list[int]] = {}
    for axis, letter in enumerate(source):
        positions.setdefault(letter, []).append(axis)
    return tuple(positions[letter].pop(0) for letter in target)
