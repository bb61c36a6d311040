"""The problem of the op `update` as every target plans it: one step of a solver on all trained parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Problem, Tensor
from gncodegen.kernels.solvers import SOLVERS, Solver
from gncodegen.process.forks import kept

NORM_CLIPS = ("l2norm", "global-l2norm")
"""Clips that need the norms of the gradients first."""


@dataclass(frozen=True)
class UpdateProblem:
    """Operands p1…, g1…, the state's arrays, each for all parameters, and, if read, norms; results p1…, state.

    A scaled loss needs norms, too, and its scale comes behind them.

    G ← g + l2·l2_factor·p; clip g; then the solver's formula with the rate learn_rate·learn_rate_factor.
    """

    problem: Problem

    @kept
    def solver(self) -> Solver:
        """The row of the table."""
        return SOLVERS[self.problem.text("solver")]

    @property
    def arrays(self) -> int:
        """Arrays of the state."""
        return len(self.solver.state)

    @property
    def count(self) -> int:
        """Parameters."""
        return len(self.problem.results) // (1 + self.arrays)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """In order."""
        return self.problem.results[: self.count]

    @property
    def clip(self) -> str:
        """How gradients are clipped."""
        return self.problem.text("clip", "none")

    @property
    def learn_rate_factors(self) -> tuple[float, ...]:
        """Of every parameter; 0 leaves its bits and those of its state."""
        return self.problem.numbers("learn_rate_factors", (1.0,) * self.count)

    def shape(self, begin: int = 0, end: int | None = None) -> dict[str, Constant]:
        """What the template asks of parameters `begin` to `end` - 1."""
        return {
            "learn_rate_factors": self.learn_rate_factors[begin:end],
            "l2_factors": self.problem.numbers("l2_factors", (1.0,) * self.count)[begin:end],
            "clip": self.clip,
            "solver": self.solver.name,
            **({"scaled": True, "all_norms": self.count} if self.problem.flag("scaled") else {}),
            "arrays": self.arrays,
            "numbers": self.solver.numbers,
        }

    def arguments(self, numbers: Iterable[int]) -> tuple[str, ...]:
        """The launch's slots for these parameters: operands, norms, results, hyperparameters."""
        numbers, count = tuple(numbers), self.count
        norms = (f"operand{index}" for index in range((2 + self.arrays) * count, len(self.problem.operands)))
        return (
            *(f"operand{array * count + i}" for array in range(2 + self.arrays) for i in numbers),
            *norms,
            *(f"result{array * count + i}" for array in range(1 + self.arrays) for i in numbers),
            "hyperparameters",
        )

    def writes(self, parameters: int) -> tuple[int, ...]:
        """The slots that a launch over so many parameters writes."""
        first = (2 + self.arrays) * parameters + len(self.problem.operands) - (2 + self.arrays) * self.count
        return tuple(range(first, first + (1 + self.arrays) * parameters))

    def bytes(self, elements: int) -> int:
        """Read and written for so many elements."""
        return (3 + 2 * self.arrays) * elements * ITEM_SIZE[self.parameters[0].dtype]

    @property
    def in_place(self) -> tuple[tuple[int, int], ...]:
        """Results take the place of the old values."""
        state = ((i, i + self.count) for i in range(self.count, (1 + self.arrays) * self.count))
        return (*((i, i) for i in range(self.count)), *state)


def norm_slots(problem: Problem) -> tuple[str, ...]:
    """What the kernels of gradient norms read behind parameters and gradients."""
    return (f"operand{len(problem.operands) - 1}",) if problem.flag("scaled") else ()


def norm_constants(problem: Problem) -> dict[str, Constant]:
    """What they are told besides."""
    return {"scaled": True} if problem.flag("scaled") else {}


def statistics_constants(problem: Problem) -> dict[str, Constant]:
    """The constants of new running statistics from those of a batch: operands statistics, mean, variance and more."""
    statistics, mean, *_ = problem.operands
    mean_decay, variance_decay = problem.numbers("decays", (1.0, 1.0))
    return {
        "channels": mean.count,
        "operands": len(problem.operands),
        "mean_decay": mean_decay,
        "variance_decay": variance_decay,
        "epsilon": problem.number("epsilon"),
        "statistics_dtype": statistics.dtype,
    }
