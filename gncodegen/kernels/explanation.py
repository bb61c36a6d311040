"""A schedule in words: what its template says of itself, with this kernel's numbers in the place of their names."""

from __future__ import annotations

import re
from functools import cache

from gncodegen.kernels.schedule import Schedule
from gncodegen.kernels.templates import template_folder


def explanation(schedule: Schedule) -> str:
    """What a kernel computes and what one tile of it does: "… in register tiles of 6 × 16 …", then all numbers.

    Args:
        schedule: of the kernel.
    """
    constants = schedule.constants

    def number(found: re.Match[str]) -> str:
        value = constants.get(found[0].lower())
        return f"{value:g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else found[0]

    prose = re.sub(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b", number, _prose(schedule.family, schedule.template))
    numbers = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in constants.items() if value != "")
    return f"{prose}\n{numbers[:1].upper()}{numbers[1:]}." if numbers else prose


@cache
def _prose(family: str, template: str) -> str:
    """The docstring of a template, and the comment behind it."""
    text = (template_folder() / family / f"{template}.py.jinja").read_text(encoding="utf-8")
    found = re.match(r'"""(.*?)"""\n((?:##[^\n]*\n)*)', text, re.DOTALL)
    if found is None:
        return ""
    comment = [line.removeprefix("##").strip() for line in found[2].splitlines()]
    return " ".join([*found[1].split(), *filter(None, comment)])
