"""What differs between two stages of the IR: a unified diff in which the numbers of values do not count."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import takewhile

from gncodegen.ir.printing import Line

Change = tuple[str, Line]
"""(" " as before, "-" gone, "+" new or "…" left out; the line)."""


def changes(before: Sequence[Line], after: Sequence[Line], context: int | None = 3) -> Iterator[Change]:
    """The lines that were taken away or added, with those around them.

    Args:
        before: the lines of a stage.
        after: those of a later one.
        context: lines shown around a change; None = all.
    """
    old, new = ([_meaning(line.text) for line in lines] for lines in (before, after))
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    groups = [matcher.get_opcodes()] if context is None else matcher.get_grouped_opcodes(context)
    for number, group in enumerate(groups):
        if number:
            yield "…", Line("")
        for tag, first, last, begin, end in group:
            if tag == "equal":
                yield from ((" ", line) for line in after[begin:end])
            else:
                yield from (("-", line) for line in before[first:last])
                yield from (("+", line) for line in after[begin:end])


@lru_cache(maxsize=1 << 16)
def _meaning(text: str) -> str:
    """The line without the numbers of its values and aliases, which change wherever one is added."""
    return re.sub(r"%\d+|(?<=#)[a-z_]+\d+", "%", text).strip()


def about(lines: Sequence[Line], layer: str) -> list[Line]:
    """The lines that are about a layer, behind the aliases that they name."""
    return by_layer(lines).get(layer, [])


def by_layer(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Layer → the lines that are about it, behind the aliases that they name."""
    aliases: defaultdict[str, list[Line]] = defaultdict(list)
    name = ""
    for line in takewhile(lambda line: line.text.startswith(("#", "    ")), lines):
        name = line.text.split(" ", 1)[0] if line.text.startswith("#") else name
        aliases[name].append(line)
    chosen: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        for layer in line.layers:
            chosen[layer].append(line)
    found: dict[str, list[Line]] = {}
    for layer, own in chosen.items():
        used = set(re.findall(r"= (#\w+)", "\n".join(line.text for line in own)))
        found[layer] = [line for name in aliases if name in used for line in aliases[name]] + own
    return found
