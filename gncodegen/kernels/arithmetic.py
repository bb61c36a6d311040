"""The table of elementwise functions of several operands: what IR and kernels of every target know of one.

Formulas are those of NumPy and of the ONNX operators; operands broadcast as there. NaN passes on; a mask, 0 where a
sequence has ended, lets nothing through there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from gncodegen.errors import CompileError
from gncodegen.kernels.formulas import intrinsics, written


@dataclass(frozen=True)
class Arithmetic:
    """One function of two or three operands, or of any number by folding: f(f(a, b), c).

    Args:
        name: the attribute `function` of gn.elementwise.
        forward: y as a formula of a and b, and of c where it takes three.
        cotangents: those of a, b, … as formulas of them and dy; "" where y is flat in an operand. A function that folds
            has one, which serves every operand, with the others as b.
        flops: floating-point operations of one application.
    """

    name: str
    forward: str
    cotangents: tuple[str, ...]
    flops: int = 1

    @property
    def folds(self) -> bool:
        """Whether it takes any number of operands, in any order."""
        return len(self.cotangents) == 1

    def flat(self, place: int) -> bool:
        """Whether y is flat in operand number `place`, whose cotangent is nothing then."""
        return not self.cotangents[0 if self.folds else place]

    @property
    def intrinsics(self) -> frozenset[str]:
        """The functions that its formulas call."""
        formulas = filter(None, (self.forward, *self.cotangents))
        return frozenset[str]().union(*map(intrinsics, formulas))


ZERO = "select(a < a, a, 0.0)"  # as wide as a


def _comparison(name: str, holds: str) -> Arithmetic:
    """1 where a comparison of a and b holds, else 0."""
    return Arithmetic(name, f"select({holds}, 1.0, {ZERO})", ("", ""))


ROWS = (
    Arithmetic("add", "a + b", ("dy",)),
    Arithmetic("multiply", "a * b", ("dy * b",)),
    # Of equal operands each gets half, as in PyTorch.
    Arithmetic(
        "minimum", "select((a > b) | (b != b), b, a)", ("select(a < b, dy, select(a > b, 0.0, dy * 0.5))",), flops=2
    ),
    Arithmetic(
        "maximum", "select((a < b) | (b != b), b, a)", ("select(a > b, dy, select(a < b, 0.0, dy * 0.5))",), flops=2
    ),
    Arithmetic("subtract", "a - b", ("dy", "dy * -1.0")),
    Arithmetic("divide", "a / b", ("dy / b", "dy * -1.0 / b * (a / b)"), flops=8),
    Arithmetic(
        "power",
        "power(a, b)",
        ("select(b == 0.0, 0.0, dy * b * power(a, b - 1.0))", "select(a == 0.0, 0.0, dy * power(a, b) * log(a))"),
        flops=60,
    ),
    # The remainder of a / b, with the sign of a; "modulo" has that of b.
    Arithmetic("remainder", "remainder(a, b)", ("dy", "dy * ((remainder(a, b) - a) / b)"), flops=20),
    Arithmetic(
        "modulo",
        "select(remainder(a, b) * b < 0.0, remainder(a, b) + b, remainder(a, b))",
        ("dy", "dy * -1.0 * floor(a / b)"),
        flops=20,
    ),
    # A slope for each element below 0: He et al., Delving Deep into Rectifiers, ICCV 2015.
    Arithmetic(
        "prelu",
        "select(a < 0.0, a * b, a)",
        ("select(a <= 0.0, dy * b, dy)", "select(a <= 0.0, dy * a, 0.0)"),
        flops=2,
    ),
    # b is a mask: where it is 0, nothing depends on a, not even where that is NaN.
    Arithmetic(
        "mask", "select(b > 0.0, a * b, 0.0)", ("select(b > 0.0, dy * b, 0.0)", "select(b > 0.0, dy * a, 0.0)"), flops=2
    ),
    Arithmetic("mask-lowest", "select(b > 0.0, a, -1e999)", ("select(b > 0.0, dy, 0.0)", "")),
    _comparison("less", "a < b"),
    _comparison("less-or-equal", "a <= b"),
    _comparison("greater", "a > b"),
    _comparison("greater-or-equal", "a >= b"),
    _comparison("equal", "a == b"),
    _comparison("not-equal", "a != b"),
    # b where the condition a holds, else c.
    Arithmetic(
        "select", "select(a != 0.0, b, c)", ("", "select(a != 0.0, dy, 0.0)", "select(a != 0.0, 0.0, dy)"), flops=1
    ),
)

ARITHMETIC = {row.name: row for row in ROWS}
"""The functions gn.elementwise knows, by name."""


def arithmetic(name: str, operands: int) -> Arithmetic:
    """The row of a function that takes so many operands.

    Raises:
        CompileError: there is no such function, or it takes two.
    """
    if name not in ARITHMETIC:
        raise CompileError(f"elementwise function {name!r} is unknown; allowed: {', '.join(ARITHMETIC)}")
    row = ARITHMETIC[name]
    if operands < 1 or (operands != len(row.cotangents) and not row.folds):
        raise CompileError(
            f"{name!r} of {operands} operands; allowed: {'1 or more' if row.folds else len(row.cotangents)}"
        )
    return row


def _named(operands: tuple[str, ...], **more: str) -> dict[str, str]:
    """The names that formulas have for operands → those of a kernel."""
    return {**dict(zip("abc", operands, strict=False)), **more}


def combined(name: str, operands: tuple[str, ...]) -> str:
    """The expression of y in a kernel that calls its operands so."""
    row = arithmetic(name, len(operands))
    if not row.folds:
        return f"({written(row.forward, _named(operands), {})})"
    return reduce(lambda a, b: f"({written(row.forward, _named((a, b)), {})})", operands)


def cotangent(name: str, operands: tuple[str, ...], place: int, dy: str) -> str:
    """The expression of the cotangent of operand number `place`.

    Raises:
        CompileError: y is flat in this operand.
    """
    row = arithmetic(name, len(operands))
    if row.flat(place):
        raise CompileError(f"{name!r} has no gradient for operand {place}; allowed: operands in which it is not flat")
    if not row.folds:
        return written(row.cotangents[place], _named(operands, dy=dy), {})
    others = operands[:place] + operands[place + 1 :]
    if not others:
        return dy
    return written(row.cotangents[0], _named((operands[place], combined(name, others)), dy=dy), {})


def elementwise(name: str, count: int, place: int) -> str:
    """The expression of y for operands v[0], v[1], …; where place ≥ 0, of that one's cotangent, and dy comes last."""
    operands = tuple(f"v[{i}]" for i in range(count if place < 0 else count - 1))
    return combined(name, operands) if place < 0 else cotangent(name, operands, place, f"v[{count - 1}]")


def intrinsics_of_formulas() -> frozenset[str]:
    """The functions that the table's formulas call; every target has them."""
    return frozenset[str]().union(*(row.intrinsics for row in ARITHMETIC.values()))
