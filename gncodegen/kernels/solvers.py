"""The table of solvers. A row is all that is known of a solver, but for its formula in templates/parts/solver.py.jinja.

A solver gets the gradient g of a parameter p decayed and clipped, and the step's rate times the parameter's factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Numbers = Mapping[str, float]
Scalar = Callable[[Numbers, int], float]
"""(hyperparameters by name, number of the step, from 1) → a number that the host computes in float64 once a step."""


@dataclass(frozen=True)
class Hyperparameter:
    """A number of the formula that the user chooses; an option of `training_options` of the same name.

    Args:
        name: in options, in saved networks and in the formula.
        default: its value where none is given.
        holds: whether a finite value is allowed.
        allowed: the same in words.
        meaning: half a sentence for the documentation.
    """

    name: str
    default: float
    holds: Callable[[float], bool]
    allowed: str
    meaning: str


@dataclass(frozen=True)
class Solver:
    """One row.

    Args:
        name: as `training_options` takes it.
        title: what it is called in full.
        formula: one step, as documentation.
        source: where it was published.
        state: names of the arrays it keeps for every parameter, zero at first.
        hyperparameters: what its user chooses.
        initial_learn_rate: default of the option of that name.
        flops: floating-point operations of one element.
        scalars: names in the formula of what follows from the hyperparameters and the number of the step.
    """

    name: str
    title: str
    formula: str
    source: str
    state: tuple[str, ...]
    hyperparameters: tuple[Hyperparameter, ...]
    initial_learn_rate: float
    flops: int
    scalars: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])

    @property
    def numbers(self) -> tuple[str, ...]:
        """Every name that the formula may use besides the state, the gradient, the parameter and the rate."""
        return (*(each.name for each in self.hyperparameters), *self.scalars)


def _decay(name: str, default: float, meaning: str) -> Hyperparameter:
    return Hyperparameter(
        name, default, lambda value: 0 <= value < 1, "a number from 0 up to, not including, 1", meaning
    )


_EPSILON = Hyperparameter(
    "epsilon", 1e-8, lambda value: value > 0, "a finite number > 0", "added to the root that divides"
)
_SQUARED_GRADIENT_WEIGHT: Mapping[str, Scalar] = {
    # In float32, 1 − 0.999 would be wrong by 1 part in 80,000.
    "squared_gradient_weight": lambda numbers, step: 1 - numbers["squared_gradient_decay_factor"],
}


def _bias_correction(numbers: Numbers, step: int) -> float:
    """sqrt(1 − β2ᵗ) / (1 − β1ᵗ): the averages start at zero, and this undoes it."""
    first, second = numbers["gradient_decay_factor"], numbers["squared_gradient_decay_factor"]
    return math.sqrt(1 - second**step) / (1 - first**step)


_ROWS = (
    Solver(
        name="sgdm",
        title="stochastic gradient descent with momentum",
        formula="v ← momentum·v − rate·g; p ← p + v",
        source="B. T. Polyak, Some methods of speeding up the convergence of iteration methods, 1964",
        state=("velocity",),
        hyperparameters=(
            Hyperparameter(
                "momentum", 0.9, lambda value: 0 <= value <= 1, "a number from 0 to 1", "share of the last step kept"
            ),
        ),
        initial_learn_rate=0.01,
        flops=6,
    ),
    Solver(
        name="adam",
        title="adaptive moment estimation",
        formula="m ← β1·m + (1−β1)·g; v ← β2·v + (1−β2)·g²; p ← p − rate·sqrt(1−β2ᵗ)/(1−β1ᵗ)·m/(sqrt(v) + ε)",
        source="D. P. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, 2015",
        state=("average_gradient", "average_squared_gradient"),
        hyperparameters=(
            _decay("gradient_decay_factor", 0.9, "β1, share of the average gradient kept"),
            _decay("squared_gradient_decay_factor", 0.999, "β2, share of the average squared gradient kept"),
            _EPSILON,
        ),
        initial_learn_rate=0.001,
        flops=15,
        scalars={
            "gradient_weight": lambda numbers, step: 1 - numbers["gradient_decay_factor"],
            **_SQUARED_GRADIENT_WEIGHT,
            "bias_correction": _bias_correction,
        },
    ),
    Solver(
        name="rmsprop",
        title="root mean square propagation",
        formula="v ← β2·v + (1−β2)·g²; p ← p − rate·g/(sqrt(v) + ε)",
        source="T. Tieleman and G. Hinton, Lecture 6.5 of Neural Networks for Machine Learning, 2012",
        state=("average_squared_gradient",),
        hyperparameters=(
            _decay("squared_gradient_decay_factor", 0.9, "β2, share of the average squared gradient kept"),
            _EPSILON,
        ),
        initial_learn_rate=0.001,
        flops=11,
        scalars=_SQUARED_GRADIENT_WEIGHT,
    ),
)

SOLVERS: Mapping[str, Solver] = {row.name: row for row in _ROWS}
"""Name → row."""

STATE_ARRAYS = tuple(dict.fromkeys(array for row in _ROWS for array in row.state))
"""Every array that some solver keeps; also the kind of such an argument of a function."""
