"""A compiled network whose losses are scripted and which remembers what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from gncodegen.runtime.state import Hyperparameters


@dataclass
class FakeCompiled:
    """`losses` and `validation_losses` are handed out one by one, the last one for ever.

    Its only parameter counts the training steps, so a test sees which iteration the weights come from.
    """

    losses: list[float] = field(default_factory=lambda: [1.0])
    validation_losses: list[float] = field(default_factory=lambda: [1.0])
    classes: int = 2
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    parameters: dict[str, np.ndarray] = field(default_factory=lambda: {"w": np.zeros(1)})
    steps: list[SimpleNamespace] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    last_scores: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    def train_step(self, x, t, *, parts=1):
        self.steps.append(SimpleNamespace(x=x.copy(), t=t.copy(), **self.hyperparameters.values()))
        self.parameters["w"] = self.parameters["w"] + 1
        self.last_scores = np.eye(self.classes)[x.reshape(len(x), -1)[:, 0].astype(int) % self.classes]
        return self.losses[min(len(self.steps), len(self.losses)) - 1]

    def evaluate(self, x, t):
        loss = self.validation_losses[min(len(self.evaluations), len(self.validation_losses) - 1)]
        self.evaluations.append(float(self.parameters["w"][0]))
        return loss, np.eye(self.classes)[np.zeros(len(x), int)]
