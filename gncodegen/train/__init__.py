"""Training: options, the loop, the trained network."""

from __future__ import annotations

from gncodegen.train.history import TrainingInfo, TrainingState
from gncodegen.train.options import TrainingOptions, training_options

__all__ = [
    "TrainedNetwork",
    "TrainingInfo",
    "TrainingOptions",
    "TrainingState",
    "load",
    "training_options",
]
