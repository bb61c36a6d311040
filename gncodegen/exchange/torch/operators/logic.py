"""Comparisons, and what is made of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from gncodegen.exchange.torch.call import Array, Call, Row, row


def comparison(operator: str) -> Row:
    """The row of a function of two operands."""
    return row(lambda call: call.emit(operator, call.first, call["other"]), operator)


def differs(call: Call) -> Array:
    """Not equal."""
    return call.emit("Not", call.emit("Equal", call.first, call["other"]))


def finite(call: Call) -> Array:
    """Neither infinite nor NaN."""
    return call.emit("Not", call.emit("Or", call.emit("IsInf", call.first), call.emit("IsNaN", call.first)))


def where(call: Call) -> Array:
    """Self where the condition holds, else other."""
    return call.emit("Where", call["condition"], call["self"], call["other"])


def filled(call: Call) -> Array:
    """A value where the mask holds, else self."""
    return call.emit("Where", call["mask"], call["value"], call.first)


def triangle(upper: int) -> Row:
    """The row of one side of a diagonal."""
    return row(lambda call: call.emit("Trilu", call.first, int(call.get("diagonal", 0)), upper=upper), "Trilu")


def without_nan(call: Call) -> Array:
    """Numbers in place of NaN and of infinities."""
    largest = float(np.finfo(np.float32).max)
    below = call.emit("IsInf", call.first, detect_positive=0)
    above = call.emit("IsInf", call.first, detect_negative=0)
    known = call.emit("Where", call.emit("IsNaN", call.first), float(call.get("nan", 0.0)), call.first)
    # No Clip: numbers beyond those that stand for infinities stay.
    known = call.emit("Where", below, float(call.get("neginf", -largest)), known)
    return call.emit("Where", above, float(call.get("posinf", largest)), known)


OPERATORS: Mapping[str, Row] = {
    "lt": comparison("Less"),
    "le": comparison("LessOrEqual"),
    "gt": comparison("Greater"),
    "ge": comparison("GreaterOrEqual"),
    "eq": comparison("Equal"),
    "ne": row(differs, "Equal", "Not"),
    "logical_and": comparison("And"),
    "logical_or": comparison("Or"),
    "logical_xor": comparison("Xor"),
    "__and__": comparison("And"),
    "__or__": comparison("Or"),
    "__xor__": comparison("Xor"),
    "bitwise_and": comparison("And"),
    "bitwise_or": comparison("Or"),
    "bitwise_xor": comparison("Xor"),
    "logical_not": row(lambda call: call.emit("Not", call.first), "Not"),
    "bitwise_not": row(lambda call: call.emit("Not", call.first), "Not"),
    "isnan": row(lambda call: call.emit("IsNaN", call.first), "IsNaN"),
    "isinf": row(lambda call: call.emit("IsInf", call.first), "IsInf"),
    "isfinite": row(finite, "IsInf", "IsNaN", "Or", "Not"),
    "nan_to_num": row(without_nan, "IsNaN", "IsInf", "Where"),
    "where": row(where, "Where"),
    "masked_fill": row(filled, "Where"),
    "tril": triangle(0),
    "triu": triangle(1),
    "remainder": row(lambda call: call.emit("Mod", call.first, call["other"]), "Mod"),
    "fmod": row(lambda call: call.emit("Mod", call.first, call["other"], fmod=1), "Mod"),
}
