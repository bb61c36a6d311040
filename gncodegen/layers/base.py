"""What every layer is: a frozen description of sizes, parameters and a chain of gn operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import LayerError

Initializer = str | Callable[[tuple[int, ...]], Any]
"""The name of an initializer, or a callable `f(shape) -> array`."""

Attribute = int | float | bool | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Size:
    """The size of one observation: one format letter per axis, channel last.

    Args:
        format: letters S (space), T (time), C (channel), for example "SSC".
        shape: one extent per letter, for example (28, 28, 8).
    """

    format: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """The extent of the C axis."""
        return self.shape[self.format.index("C")]

    @property
    def spatial(self) -> tuple[int, ...]:
        """The extents of the S axes."""
        return tuple(n for letter, n in zip(self.format, self.shape, strict=True) if letter == "S")

    @property
    def count(self) -> int:
        """The number of elements of one observation."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __str__(self) -> str:
        return "×".join(map(str, self.shape)) + f" ({self.format})"


@dataclass(frozen=True)
class Parameter:
    """One array a layer owns: a learnable, or state such as a trained mean.

    Args:
        name: the part after the dot of `"groupnorm_1.scale"`.
        shape: its extents.
        initializer: used where `value` is None.
        value: the starting value, float array of `shape`.
        learn_rate_factor: times the global rate; 0 freezes the parameter bit for bit.
        l2_factor: times the global L2.
        fans: (fan_in, fan_out) for "glorot" and "he".
        learnable: False for state, which no optimizer touches.
    """

    name: str
    shape: tuple[int, ...]
    initializer: Initializer = "zeros"
    value: NDArray[Any] | None = None
    learn_rate_factor: float = 1.0
    l2_factor: float = 1.0
    fans: tuple[int, int] = (1, 1)
    learnable: bool = True


@dataclass(frozen=True)
class Operation:
    """One link of a layer's chain of gn ops: op name without "gn.", parameter operands, attributes."""

    op: str
    parameters: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Base of all layers.

    A new layer says its `kind` (the stem of automatic names), its output size, its parameters and its chain of operations.
    """

    name: str = ""
    kind: ClassVar[str] = "layer"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LayerError(f"{type(self).__name__}: name = {self.name!r}; allowed: text; write name=\"{self.kind}_1\"")

    @property
    def num_inputs(self) -> int:
        """How many inputs the layer takes."""
        return 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, for `LayerGraph.connect`."""
        return ("in",) if self.num_inputs == 1 else tuple(f"in{i}" for i in range(1, self.num_inputs + 1))

    @property
    def num_outputs(self) -> int:
        """How many outputs the layer has."""
        return 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return ("out",)

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        """The size of the output for these input sizes; raises LayerError where they do not fit."""
        return inputs[0]

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        """The arrays the layer owns for these input sizes."""
        return ()

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        """The chain of gn ops that computes the layer; the first takes the layer's inputs."""
        return ()
