"""A network that learns without this package: steps of the solver on the parameters that it predicts with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gncodegen.allocation import address_of, lasting
from gncodegen.exchange.standalone.network import Function, Key, Network, Port
from gncodegen.exchange.standalone.weights import stored, write_arrays
from gncodegen.runtime.arrays import one_hot
from gncodegen.runtime.state import Hyperparameters


class Target(NamedTuple):
    """What a step learns from.

    Args:
        name: of the output layer.
        shape: of one target, channel last.
        order: the axes of a batch of them, as callers give responses and kernels read rows.
        is_class: whether they are class indices or one-hot rows.
        ignored: values beside the indices that are left out of the loss; None = there are none.
    """

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    is_class: bool
    ignored: tuple[float, ...] | None


class TrainableNetwork(Network):
    """A network with a function "train_step" beside "predict".

    Args:
        weights, functions, inputs, outputs: as for Network.
        target: what steps learn from.
        hyperparameters: numbers of a step, which may be set by name between steps.
    """

    def __init__(
        self,
        weights: Path,
        functions: Mapping[str, Function],
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        target: Target,
        hyperparameters: Hyperparameters,
    ) -> None:
        super().__init__(weights, functions, inputs, outputs)
        self.hyperparameters = hyperparameters
        self._target = target
        self._persistent["hyperparameters", "hyperparameters"] = hyperparameters.array
        self._free: dict[Key, NDArray[Any]] = {
            (each.kind, each.name): lasting(each.shape, each.dtype)
            for each in functions["train_step"].buffers
            if each.kind in ("input", "target", "loss", "output")
        }

    def train_step(self, x: Any, t: Any) -> float:
        """One step of the solver on one mini-batch; returns its loss before the step.

        Args:
            x: an array, or a mapping of the inputs' names to arrays, of as many observations as the file was made for.
            t: class indices or one-hot rows; for regression, responses.

        Raises:
            ValueError: they do not fit.
        """
        with self._lock:
            name, given = self._given("train_step", (x,))
            rows = self._free["target", "t"]
            count = len(next(iter(given.values())))
            if count != len(rows):
                raise ValueError(f"{count} observations; allowed: {len(rows)}, a mini-batch as this file is made for")
            rows[...] = self._rows(t, rows)
            for key, array in given.items():
                self._free[key][...] = array.reshape(self._free[key].shape)
            program = self._program(name)
            try:
                program.run({key: address_of(array) for key, array in self._free.items()}, count)
            finally:  # an interruption comes when the step is done
                self.hyperparameters.advance()
                for each in self._programs.values():
                    each.renew()
            return float(self._free["loss", "loss"])

    def _rows(self, t: Any, rows: NDArray[Any]) -> NDArray[Any]:
        """Targets as kernels read them."""
        target = self._target
        if target.is_class:
            array = one_hot(t, target.shape, rows.dtype, target.name, target.ignored).transpose(target.order)
        else:
            array = np.asarray(t, rows.dtype)
            array = array[:, None] if array.ndim == 1 and target.shape == (1,) else array
        if array.shape != rows.shape:
            raise ValueError(f"{target.name}: targets of shape {array.shape}; allowed: {rows.shape}")
        return array

    def save(self, path: str | Path) -> None:
        """Writes the parameters and the solver's arrays as they are now, as a file of weights."""
        with self._lock:
            self._load()
            buffers = {stored(each.kind, each.name): (each.kind, each.name) for function in self._functions.values()
                       for each in function.buffers}  # fmt: skip
            write_arrays(path, {name: self._persistent[key] for name, key in buffers.items() if name})
