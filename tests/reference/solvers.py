"""Solvers: decay, clip, step, in the order the specification fixes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

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


State = tuple[Array, ...]


@dataclass(kw_only=True)
class Solver:
    """What all solvers share: decay, clip, frozen parameters; a learn rate factor of 0 also counts in no norm."""

    ARRAYS: ClassVar[int]
    rate: float
    l2: float = 1e-4
    method: str = "l2norm"
    threshold: float = np.inf
    learn_rate_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    l2_factors: Mapping[str, float] = field(default_factory=dict[str, float])
    state: dict[str, State] = field(default_factory=dict[str, "State"])
    steps: int = 0

    def step(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> dict[str, Array]:
        """The parameters after one update; both factors are 1 where none is given."""
        self.steps += 1
        rates = {name: self.learn_rate_factors.get(name, 1.0) for name in gradients}
        moving = [name for name in gradients if rates[name] != 0]
        decayed = {n: gradients[n] + self.l2 * self.l2_factors.get(n, 1.0) * parameters[n] for n in moving}
        clipped = clip_gradients(decayed, self.method, self.threshold)
        updated = dict(parameters)
        for name in moving:
            old = self.state.get(name, (np.zeros_like(parameters[name]),) * self.ARRAYS)
            change, self.state[name] = self.change(clipped[name], self.rate * rates[name], old)
            updated[name] = parameters[name] + change
        return updated

    def change(self, g: Array, rate: float, state: State) -> tuple[Array, State]:
        """What is added to a parameter of gradient g, and its new state."""
        raise NotImplementedError


@dataclass(kw_only=True)
class Sgdm(Solver):
    """Stochastic gradient descent with momentum: v = momentum v - rate g; p = p + v."""

    ARRAYS: ClassVar[int] = 1
    rate: float = 0.01
    momentum: float = 0.9

    def change(self, g: Array, rate: float, state: State) -> tuple[Array, State]:
        """The new velocity is the change."""
        velocity = self.momentum * state[0] - rate * g
        return velocity, (velocity,)


@dataclass(kw_only=True)
class Adam(Solver):
    """Averages m of g and v of g squared; p = p - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)."""

    ARRAYS: ClassVar[int] = 2
    rate: float = 0.001
    gradient_decay_factor: float = 0.9
    squared_gradient_decay_factor: float = 0.999
    epsilon: float = 1e-8

    def change(self, g: Array, rate: float, state: State) -> tuple[Array, State]:
        """The averages move before they are used."""
        b1, b2, t = self.gradient_decay_factor, self.squared_gradient_decay_factor, self.steps
        m = b1 * state[0] + (1 - b1) * g
        v = b2 * state[1] + (1 - b2) * g**2
        return -rate * np.sqrt(1 - b2**t) / (1 - b1**t) * m / (np.sqrt(v) + self.epsilon), (m, v)


@dataclass(kw_only=True)
class RmsProp(Solver):
    """Average v of g squared; p = p - rate g / (sqrt(v) + epsilon)."""

    ARRAYS: ClassVar[int] = 1
    rate: float = 0.001
    squared_gradient_decay_factor: float = 0.9
    epsilon: float = 1e-8

    def change(self, g: Array, rate: float, state: State) -> tuple[Array, State]:
        """The average moves before it is used."""
        b2 = self.squared_gradient_decay_factor
        v = b2 * state[0] + (1 - b2) * g**2
        return -rate * g / (np.sqrt(v) + self.epsilon), (v,)


SOLVERS: Mapping[str, type[Solver]] = {"sgdm": Sgdm, "adam": Adam, "rmsprop": RmsProp}
"""By the name that training options give them."""
