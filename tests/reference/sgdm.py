"""Stochastic gradient descent with momentum: decay, clip, velocity, step, in the order the specification fixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[np.float64]


def learn_rate(initial: float, epoch: int, *, schedule: str = "none", factor: float = 0.1, period: int = 10) -> float:
    """The rate in this epoch (counted from 1): "piecewise" multiplies by `factor` after every `period` epochs."""
    return initial * factor ** ((epoch - 1) // period) if schedule == "piecewise" else initial


def clip_gradients(gradients: Mapping[str, Array], method: str, threshold: float) -> dict[str, Array]:
    """Gradients after "l2norm" (each array), "global-l2norm" (all as one vector) or "absolute-value" (each element)."""
    if method == "absolute-value":
        return {name: np.clip(g, -threshold, threshold) for name, g in gradients.items()}
    norms = {name: float(np.sqrt(np.sum(g**2))) for name, g in gradients.items()}
    if method == "global-l2norm":
        norms = dict.fromkeys(gradients, float(np.sqrt(sum(norm**2 for norm in norms.values()))))
    # A NaN norm is not above the threshold, so NaN gradients stay as they are.
    return {name: g * (threshold / norms[name]) if norms[name] > threshold else g for name, g in gradients.items()}


@dataclass
class Sgdm:
    """The optimizer and its velocities; a parameter with learn rate factor 0 never moves and counts in no norm."""

    rate: float = 0.01
    momentum: float = 0.9
    l2: float = 1e-4
    method: str = "l2norm"
    threshold: float = np.inf
    learn_rate_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    l2_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    velocities: dict[str, Array] = field(default_factory=dict[str, Array])

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters after one update; both factors are 1 where none is given."""
        rates = {name: self.learn_rate_factors.get(name, 1.0) for name in gradients}
        moving = [name for name in gradients if rates[name] != 0]
        decayed = {n: gradients[n] + self.l2 * self.l2_factors.get(n, 1.0) * parameters[n] for n in moving}
        clipped = clip_gradients(decayed, self.method, self.threshold)
        updated = dict(parameters)
        for name in moving:
            old = self.velocities.get(name, np.zeros_like(parameters[name]))
            self.velocities[name] = self.momentum * old - self.rate * rates[name] * clipped[name]
            updated[name] = parameters[name] + self.velocities[name]
        return updated
