"""What a row of the operator table holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gncodegen.exchange.node import Node, Operand


@dataclass(frozen=True)
class Operator:
    """How one operator becomes layers.

    Args:
        convert: adds the layers of a node and gives its outputs; raises Unsupported for what no layer covers.
        becomes: the layers, for the table in the documentation.
    """

    convert: Callable[[Node], Sequence[Operand]]
    becomes: str


def single(convert: Callable[[Node], Operand], becomes: str) -> Operator:
    """The row of an operator with one output."""
    return Operator(lambda node: [convert(node)], becomes)
