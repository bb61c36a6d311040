"""The constants of what kernels do to a result before they store it: bias and activation."""

from __future__ import annotations

from collections.abc import Collection

from gncodegen.errors import CompileError
from gncodegen.kernels.activations import IN_REGISTERS, MASKS, activation
from gncodegen.kernels.schedule import Constant, Problem


def fused(problem: Problem) -> dict[str, Constant]:
    """The constants of an activation that is part of another op."""
    return {"activation": activation(problem.text("activation")).name, "alpha": problem.number("alpha")}


def biased_epilogue(problem: Problem, bias: bool) -> dict[str, Constant]:
    """The constants of bias and activation of a convolution or matrix product.

    Raises:
        CompileError: the activation cannot be fused.
    """
    return {"bias": bias, **_among(problem, IN_REGISTERS)}


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
