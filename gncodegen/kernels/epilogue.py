"""The constants of what kernels do to a result before they store it: bias, residual and activation."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gncodegen.errors import CompileError
from gncodegen.kernels.activations import IN_REGISTERS, MASKS, activation
from gncodegen.kernels.schedule import Constant, Problem


def fused(problem: Problem) -> dict[str, Constant]:
    """The constants of an activation that is part of another op."""
    return {"activation": activation(problem.text("activation")).name, "alpha": problem.number("alpha")}


def product_epilogue(problem: Problem) -> dict[str, Constant]:
    """The constants of bias, residual and activation of a convolution or matrix product, "residual" and "wide" if so.

    Raises:
        CompileError: the activation cannot be fused.
    """
    residual = problem.flag("residual")
    added = len(problem.operands) - 2 - 3 * bool(problem.integer("norm_groups"))
    there: dict[str, Constant] = {"residual": True} if residual else {}
    if problem.flag("wide"):
        there["wide"] = True
    return {"bias": added > residual, **there, **_among(problem, IN_REGISTERS)}


def added_or_none(epilogue: Mapping[str, Constant]) -> tuple[str, str]:
    """The arguments that are bias and residual, behind the product's two; "" where there is none."""
    bias, residual = bool(epilogue["bias"]), "residual" in epilogue
    return "operand2" if bias else "", f"operand{2 + bias}" if residual else ""


def added_slots(epilogue: Mapping[str, Constant]) -> tuple[str, ...]:
    """Those of the two that there are."""
    return tuple(filter(None, added_or_none(epilogue)))


def residual_in_place(epilogue: Mapping[str, Constant], whole: bool = True) -> tuple[tuple[int, int], ...]:
    """The pair that lets y take the residual's place, where no element is written twice (`whole`)."""
    return ((0, 2 + bool(epilogue["bias"])),) if whole and "residual" in epilogue else ()


def norm_epilogue(problem: Problem) -> dict[str, Constant]:
    """Epsilon and the fused activation of a group norm.

    Raises:
        CompileError: the activation's mask cannot be recomputed from x.
    """
    return {"epsilon": problem.number("epsilon"), **_among(problem, MASKS)}


def _among(problem: Problem, allowed: Collection[str]) -> dict[str, Constant]:
    name = problem.text("activation")
    if name not in allowed:
        raise CompileError(f"{problem.op} cannot fuse {name!r}; allowed: {', '.join(map(repr, allowed))}")
    return {"activation": name, "alpha": problem.number("alpha")}
