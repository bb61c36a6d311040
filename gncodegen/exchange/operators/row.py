"""What a row of the operator table holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gncodegen.exchange.node import Node, Operand

NEVER = 1 << 30
"""No opset."""


@dataclass(frozen=True)
class Along:
    """The axes that an operator goes along: the one that its attribute `axis` says, or all from that one on.

    Args:
        one_since: the opset from which on it is one.
        before: `axis` where it is left out, before that opset; -1 from then on.
    """

    one_since: int = 0
    before: int = -1

    def of(self, node: Node) -> tuple[int, bool]:
        """(axis as the source counts, whether those behind it are meant, too)."""
        onward = node.opset < self.one_since
        return int(node.attributes.get("axis", self.before if onward else -1)), onward


SOFTMAX = Along(one_since=13, before=1)
"""Softmax and what is made of it."""


@dataclass(frozen=True)
class Operator:
    """How one operator becomes layers.

    Args:
        convert: adds the layers of a node and gives its outputs; raises Unsupported for what no layer covers.
        becomes: the layers, for the table in the documentation.
        along: the axes that it goes along, while all others may be anything; None = it is no such operator.
    """

    convert: Callable[[Node], Sequence[Operand]]
    becomes: str
    along: Along | None = None


def single(convert: Callable[[Node], Operand], becomes: str, along: Along | None = None) -> Operator:
    """The row of an operator with one output."""
    return Operator(lambda node: [convert(node)], becomes, along)
