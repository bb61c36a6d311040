"""What an iteration asks of the options: its learning rate and its other run-time numbers."""

from __future__ import annotations

from gncodegen.runtime.state import Hyperparameters
from gncodegen.train.options import TrainingOptions


def learn_rate(options: TrainingOptions, epoch: int) -> float:
    """The base learning rate of an epoch (1, 2, …).

    "piecewise": initial_learn_rate · learn_rate_drop_factor^⌊(epoch − 1) / learn_rate_drop_period⌋.
    """
    if options.learn_rate_schedule == "none":
        return options.initial_learn_rate
    return options.initial_learn_rate * options.learn_rate_drop_factor ** (
        (epoch - 1) // options.learn_rate_drop_period
    )


def prepare(hyperparameters: Hyperparameters, options: TrainingOptions, epoch: int, iteration: int) -> float:
    """Sets the numbers of one iteration and returns its base learning rate.

    The solver's state is left as it is, also where the rate drops.
    """
    rate = learn_rate(options, epoch)
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
