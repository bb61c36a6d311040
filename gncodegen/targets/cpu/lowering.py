"""Loops, whole division and variables in few instructions, where Numba's lowering takes ten times as many.

Numba prepares for what kernels have not: variables that count references or that nobody has set, divisors and steps of
zero that raise. LLVM takes all of it out again; writing, reading and removing it is half of a compilation.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite.ir import Undefined
from llvmlite.ir.instructions import InsertValue
from numba.core import cgutils, lowering, types
from numba.core.compiler_machinery import register_pass
from numba.core.imputils import Registry
from numba.core.typed_passes import BaseNativeLowering

REGISTRY = Registry(__name__)
"""Takes precedence over Numba's own, which has more general signatures or comes earlier."""

INTEGER = types.int64
RANGE = types.range_state64_type
ITERATOR = types.range_iter64_type
ZERO, ONE = (cgutils.intp_t(value) for value in (0, 1))


class _Lowering(lowering.Lower):
    """Variables without a value in the beginning, whose last value nobody gives back."""

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        """Room for a variable."""
        if self._disable_sroa_like_opt:
            return super().alloca_lltype(name, lltype, datamodel)
        return _slot(self.builder, lltype, name)

    def storevar(self, value: Any, name: str, argidx: Any = None) -> None:
        """Stores a variable."""
        if self._disable_sroa_like_opt or name in self._singly_assigned_vars:
            super().storevar(value, name, argidx)
        else:
            self._alloca_var(name, self.typeof(name))
            self.builder.store(value, self.getvar(name))


@register_pass(mutates_CFG=True, analysis_only=False)
class Lowering(BaseNativeLowering):
    """Takes the place of Numba's NativeLowering."""

    _name = "gncodegen_lowering"

    @property
    def lowering_class(self) -> Any:
        """How a function is lowered."""
        return _Lowering


def _slot(builder: Any, kind: Any, name: str = "") -> Any:
    """Room on the stack, wherever the builder is."""
    with builder.goto_entry_block():
        return builder.alloca(kind, name=name)


def _structure(context: Any, builder: Any, kind: Any, fields: dict[int, Any]) -> Any:
    """A structure of which these fields are set."""
    found = context.get_value_type(kind)(Undefined)
    for place, value in fields.items():
        found = builder.insert_value(found, value, place)
    return found


def _field(builder: Any, structure: Any, place: int) -> Any:
    """A field of a structure: what was put there, where that can be seen."""
    while isinstance(structure, InsertValue):
        whole, value = structure.operands
        if structure.indices == [place]:
            return value
        structure = whole
    return builder.extract_value(structure, place)


@REGISTRY.lower(range, INTEGER)
@REGISTRY.lower(range, INTEGER, INTEGER)
@REGISTRY.lower(range, INTEGER, INTEGER, INTEGER)
def _range(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    start, stop, step = (ZERO, *args, ONE) if len(args) == 1 else (*args, ONE)[:3]
    return _structure(context, builder, RANGE, {0: start, 1: stop, 2: step})


@REGISTRY.lower("getiter", RANGE)
def _iterator(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """Where the next value and the number of those that are left lie, and the step between."""
    start, stop, step = (_field(builder, args[0], place) for place in range(3))
    count = builder.sub(stop, start) if step is ONE else _count(builder, builder.sub(stop, start), step)
    current, left = (_slot(builder, step.type) for _ in range(2))
    builder.store(start, current)
    builder.store(count, left)
    return _structure(context, builder, ITERATOR, {0: current, 2: step, 3: left})


def _count(builder: Any, distance: Any, step: Any) -> Any:
    """⌈distance / step⌉, and 0 where that is negative or the step 0."""
    forward = builder.icmp_signed(">", distance, ZERO)
    turned = builder.xor(forward, builder.icmp_signed(">", step, ZERO))
    none = builder.or_(turned, builder.icmp_signed("==", step, ZERO))
    before = builder.block
    with builder.if_then(builder.not_(none)):
        rest = builder.srem(distance, step)
        rest = builder.select(forward, rest, builder.neg(rest))
        uneven = builder.zext(builder.icmp_signed(">", rest, ZERO), step.type)
        count = builder.add(builder.sdiv(distance, step), uneven)
        inside = builder.block
    return _join(builder, {before: ZERO, inside: count})


@REGISTRY.lower("iternext", ITERATOR)
def _next(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The pair of the next value and whether there is one."""
    current, step, left = (_field(builder, args[0], place) for place in (0, 2, 3))
    count, value = builder.load(left), builder.load(current)
    valid = builder.icmp_signed(">", count, ZERO)
    with builder.if_then(valid):
        builder.store(builder.sub(count, ONE, flags=["nsw"]), left)
        builder.store(builder.add(value, step), current)
    return _structure(context, builder, sig.return_type, {0: value, 1: valid})


@REGISTRY.lower(operator.floordiv, INTEGER, INTEGER)
@REGISTRY.lower(operator.ifloordiv, INTEGER, INTEGER)
def _quotient(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The quotient ⌊x / y⌋, and 0 for y = 0."""
    return _divided(builder, *args)[0]


@REGISTRY.lower(operator.mod, INTEGER, INTEGER)
@REGISTRY.lower(operator.imod, INTEGER, INTEGER)
def _remainder(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    """The remainder x - ⌊x / y⌋ y, and 0 for y = 0."""
    return _divided(builder, *args)[1]


def _divided(builder: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The quotient, rounded down, and what is left over: rounded to zero, both are others where the signs differ."""
    outside = builder.block
    with builder.if_then(builder.icmp_signed("!=", y, ZERO)):
        quotient, rest = builder.sdiv(x, y), builder.srem(x, y)
        differ = builder.icmp_signed("<", builder.xor(y, rest), ZERO)
        before = builder.block
        with builder.if_then(builder.and_(builder.icmp_signed("!=", rest, ZERO), differ)):
            lower, upper = builder.sub(quotient, ONE), builder.add(rest, y)
            below = builder.block
        quotient = _join(builder, {before: quotient, below: lower})
        rest = _join(builder, {before: rest, below: upper})
        inside = builder.block
    return _join(builder, {outside: ZERO, inside: quotient}), _join(builder, {outside: ZERO, inside: rest})


def _join(builder: Any, values: dict[Any, Any]) -> Any:
    """A value for each block that the builder's comes from."""
    found = builder.phi(ZERO.type)
    for block, value in values.items():
        found.add_incoming(value, block)
    return found
