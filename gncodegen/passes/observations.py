"""Which ops treat each observation alone, as a row of their first axis: found by giving the function one more."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import PassFailedException

from gncodegen.ir.function import function_of, operations_of, results, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.values import tensor_of
from gncodegen.passes.shapes import Shapes

FIXED, ROWS, MIXED = range(3)
"""What becomes of a value's shape: it stays, its first axis is longer by one, or another axis changes."""


def separate(module: ModuleOp, context: Context) -> frozenset[GnOperation]:
    """The ops that read rows of observations and give rows of observations.

    None where any value has its observations elsewhere than in its first axis, nor where the function returns sums over
    them, such as a loss, for which it has to do all of them.
    """
    function = function_of(module)
    if any(slot.kind not in ("output", "activation") for _, slot in results(function)):
        return frozenset()
    extents = [tensor_of(value).shape for value, slot in slots(function) if slot.kind == "input"]
    batch = next((shape[0] for shape in extents if shape), 0)
    larger = module.clone()
    try:
        Shapes(batch + 1).apply(context, larger)
    except PassFailedException:
        return frozenset()  # a shape that only this batch has
    found: set[GnOperation] = set()
    pairs = (operations_of(function_of(each)) for each in (module, larger))
    for operation, other in zip(*pairs, strict=True):
        if not isinstance(operation, GnOperation):
            continue
        read, given = (
            {_growth(*pair, batch) for pair in zip(before, after, strict=True)}
            for before, after in ((operation.operands, other.operands), (operation.results, other.results))
        )
        if MIXED in read | given:
            return frozenset()
        if ROWS in read and given == {ROWS}:
            found.add(operation)
    return frozenset(found)


def _growth(value: SSAValue, other: SSAValue, batch: int) -> int:
    before, after = tensor_of(value).shape, tensor_of(other).shape
    if before == after:
        return FIXED
    return ROWS if (before, after) == ((batch, *before[1:]), (batch + 1, *before[1:])) else MIXED
