"""The table of ATen operators: one row each, said in the operators that all importers share."""

from __future__ import annotations

from collections.abc import Mapping

from gncodegen.exchange.torch.call import Row
from gncodegen.exchange.torch.operators import arithmetic, elementwise, logic, movement, reduction, resizing, windows

OPERATORS: Mapping[str, Row] = {
    **windows.OPERATORS,
    **elementwise.OPERATORS,
    **arithmetic.OPERATORS,
    **logic.OPERATORS,
    **reduction.OPERATORS,
    **movement.OPERATORS,
    **resizing.OPERATORS,
}
"""Name of an operator, without its overload → how it is said."""
