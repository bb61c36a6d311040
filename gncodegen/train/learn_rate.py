"""What an iteration asks of the options: its learning rate and its other run-time numbers."""

from __future__ import annotations

import math

from gncodegen.errors import OptionsError
from gncodegen.layers.checks import shown
from gncodegen.runtime.state import Hyperparameters
from gncodegen.train.options import TrainingOptions


def learn_rate(options: TrainingOptions, epoch: int, iteration: int) -> float:
    """The base learning rate of an iteration; both numbers count from 1.

    "piecewise": initial_learn_rate · learn_rate_drop_factor^⌊(epoch − 1) / learn_rate_drop_period⌋; a callable: its
    result.

    Raises:
        OptionsError: a callable gave no finite number ≥ 0.
    """
    schedule = options.learn_rate_schedule
    if callable(schedule):
        given = schedule(epoch, iteration)
        try:
            rate = float(given)
        except (TypeError, ValueError):
            rate = math.nan
        if not 0 <= rate < math.inf:
            raise OptionsError(
                f"learn_rate_schedule: its result for epoch {epoch}, iteration {iteration} is {shown(given)}; allowed: "
                "a finite number ≥ 0; return the base learning rate"
            )
        return rate
    if schedule == "none":
        return options.initial_learn_rate
    return options.initial_learn_rate * options.learn_rate_drop_factor ** (
        (epoch - 1) // options.learn_rate_drop_period
    )


def prepare(hyperparameters: Hyperparameters, options: TrainingOptions, epoch: int, iteration: int) -> float:
    """Sets the numbers of one iteration and returns its base learning rate.

    The solver's state is left as it is, also where the rate drops.
    """
    rate = learn_rate(options, epoch, iteration)
    hyperparameters.update(
        {
            **options.hyperparameters,
            "learn_rate": rate,
            "l2_regularization": options.l2_regularization,
            "gradient_threshold": options.gradient_threshold,
            "iteration": iteration,
        }
    )
    return rate
