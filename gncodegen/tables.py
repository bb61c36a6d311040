"""What is shown to a user: tables that fit a terminal or stand in a notebook, numbers with units, names to choose."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from html import escape
from itertools import chain

NARROWEST = 6
"""Characters that a column keeps, however narrow the terminal is."""


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; `str()` of it fits the terminal, 80 characters where there is none.

    Args:
        header: a title per column.
        rows: a text per column each.
        right: numbers of the columns that stand at the right.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size().columns)

    def text(self, width: int) -> str:
        """The table in `width` characters; cells that are too wide go on in the next line."""
        widths, gap = self._widths(width)
        head, *rows = (self._lines(row, widths, gap) for row in (self.header, *self.rows))
        return "\n".join([*head, gap.join("─" * each for each in widths), *chain(*rows)])

    def _widths(self, width: int) -> tuple[list[int], str]:
        """Of the columns, and what parts them: the widest becomes narrower until they fit, words and numbers last."""
        columns = list(zip(self.header, *self.rows, strict=True))
        widths = [max(1, *map(len, cells)) for cells in columns]
        words = [
            widths[column]
            if column in self.right
            else max([1, *(len(word) for cell in cells for word in cell.split())])
            for column, cells in enumerate(columns)
        ]
        gap = 2 if sum(words) + 2 * (len(columns) - 1) <= width else 1
        for least in (words, [NARROWEST] * len(columns)):
            while sum(widths) + gap * (len(widths) - 1) > width:
                room = [(each, i) for i, each in enumerate(widths) if each > least[i]]
                if not room:
                    break
                widths[max(room)[1]] -= 1
        return widths, " " * gap

    def _lines(self, cells: Sequence[str], widths: Sequence[int], gap: str) -> list[str]:
        wrapped = [
            textwrap.wrap(cell, width, break_on_hyphens=False) if cell else [""]
            for cell, width in zip(cells, widths, strict=True)
        ]
        lines: list[str] = []
        for number in range(max(map(len, wrapped))):
            parts = [cell[number] if number < len(cell) else "" for cell in wrapped]
            placed = [
                part.rjust(width) if column in self.right else part.ljust(width)
                for column, (part, width) in enumerate(zip(parts, widths, strict=True))
            ]
            lines.append(gap.join(placed))
        return lines

    @property
    def html(self) -> str:
        """The table in HTML."""
        rows = [self._html("th", self.header), *(self._html("td", row) for row in self.rows)]
        return f"<table>{''.join(rows)}</table>"

    def _html(self, tag: str, cells: Sequence[str]) -> str:
        sides = ("right" if column in self.right else "left" for column in range(len(cells)))
        parts = (f'<{tag} style="text-align:{side}">{escape(c)}</{tag}>' for c, side in zip(cells, sides, strict=True))
        return f"<tr>{''.join(parts)}</tr>"


def scaled(number: float, unit: str) -> str:
    """A number with three digits and the unit's prefix: `scaled(1.6e6, "B")` = "1.6 MB"."""
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(number) >= factor:
            return f"{number / factor:.3g} {prefix}{unit}"
    return f"{number:.3g} {unit}"


def alike(name: object, known: Iterable[str]) -> list[str]:
    """Those names that contain a mistyped one, the shortest first, else the most alike; capitals do not count."""
    names, text = {each.lower(): each for each in known}, str(name).lower()
    containing = sorted((each for each in names if text and text in each), key=len)
    return [names[each] for each in containing or get_close_matches(text, names, 3)]


def near(name: object, known: Iterable[str]) -> list[str]:
    """Those names that are like a mistyped one, else all."""
    names = list(known)
    return alike(name, names) or names


def keyword_cure(name: object, known: Iterable[str]) -> str:
    """What to do about a mistyped keyword argument: `write epsilon=…`, or `leave it out` where none is like it."""
    found = alike(name, known)
    return f"write {found[0]}=…" if found else "leave it out"


def any_of(names: Iterable[str]) -> str:
    """`'a' or 'b'`."""
    return " or ".join(map(repr, names))
