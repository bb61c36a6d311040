"""What every layer is: a frozen description of sizes, parameters and a chain of gn operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from math import prod
from typing import Annotated, Any, ClassVar, Self, get_type_hints

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import LayerError
from gncodegen.layers.checks import Check, Initializer, Shared, shown, text
from gncodegen.layers.frozen import check_names, freeze

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
        return prod(self.shape)

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
    """One link of a layer's chain of gn ops: op name without "gn.", parameter operands, attributes.

    Its operands are what the link before it gave; `with_inputs`, the layer's inputs; the parameters.
    """

    op: str
    parameters: tuple[str, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    with_inputs: bool = False


@cache
def _checks(layer_type: type[Layer]) -> tuple[tuple[str, Check], ...]:
    """The checks in the annotations of a layer type's properties."""
    hints = get_type_hints(layer_type, include_extras=True)
    return tuple(
        (field.name, extra)
        for field in fields(layer_type)
        for extra in getattr(hints[field.name], "__metadata__", ())
        if isinstance(extra, Check)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Base of all layers.

    A new layer says its `kind` (the stem of automatic names), its output size, its parameters and its operations.
    A property with a check in its annotation (see `checks`) is checked at construction and stored in canonical form.
    A parameter and the property that gives its starting value have the same name.
    Layers are equal when their types and all their properties are, arrays included.

    Args:
        name: the layer's name; "" = one is made when the network is built.
        shared: learnables that are another layer's, such as {"weights": "conv_1.weights"}: one array with the values,
            factors and place of that layer, whose gradient is the sum over all uses. "fc_1.weights[1, 0]" is read with
            its axes in this order.
    """

    name: Annotated[str, text] = ""
    shared: Shared = ()
    kind: ClassVar[str] = "layer"
    numbered: ClassVar[bool] = True
    """Whether the first automatic name has a number too: "conv_1", but "softmax"."""
    shaping: ClassVar[frozenset[str]] = frozenset()
    """Arrays whose shapes decide those of the layer: they stay where the array is another layer's."""
    is_input: ClassVar[bool] = False
    is_output: ClassVar[bool] = False
    """Output layers compute the loss; their last operation takes the targets as second operand."""

    def __new__(cls, *arguments: Any, **given: Any) -> Self:
        """Checks the names first."""
        check_names(cls, LayerError, len(arguments), given)
        return super().__new__(cls)

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]:
        """What a copy or a pickle gives to `__new__`; both set the properties afterwards."""
        return (), {field.name: getattr(self, field.name) for field in fields(self) if field.init}

    def __post_init__(self) -> None:
        freeze(type(self), LayerError, "a layer", "write dataclasses.replace(layer, {name}={value})")
        for name, check in _checks(type(self)):
            self._settle(name, check)

    def _settle(self, name: str, check: Check) -> None:
        """Replaces a property by its canonical form, or refuses it."""
        value = getattr(self, name)
        try:
            canonical = check.accept(value)
        except (ValueError, TypeError, OverflowError):
            allowed, cure = check.allowed_instead_of(value), f"write {name}={check.example}"
            raise self._refusal(f"{name} = {shown(value)}", allowed, cure) from None
        object.__setattr__(self, name, canonical)

    def _refusal(self, given: str, allowed: str, cure: str) -> LayerError:
        named: Any = getattr(self, "name")  # noqa: B009  it may be what is refused, and of any type
        label = type(self).__name__ + (f" {shown(named)}" if isinstance(named, str) and named else "")
        return LayerError(f"{label}: {given}; allowed: {allowed}; {cure}")

    def _identity(self) -> tuple[Any, ...]:
        values = (getattr(self, field.name) for field in fields(self))
        return (type(self), *((v.shape, v.dtype.str, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    @property
    def num_inputs(self) -> int:
        """How many inputs the layer takes."""
        return 0 if self.is_input else 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the inputs, for `LayerGraph.connect`."""
        return ("in",) if self.num_inputs == 1 else tuple(f"in{i}" for i in range(1, self.num_inputs + 1))

    @property
    def num_outputs(self) -> int:
        """How many outputs the layer has."""
        return 0 if self.is_output else 1

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return ("out",) * self.num_outputs

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        """What makes these input sizes unfit, beyond what `output_size` raises: given, allowed and cure."""
        yield from ()

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        """The size of the output for these input sizes; raises LayerError where there is none."""
        return inputs[0]

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        """The arrays the layer reads for these input sizes."""
        return ()

    def owned(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        """Those of them that are its own, and not shared ones of another layer."""
        elsewhere = {name for name, _ in self.shared}
        return tuple(parameter for parameter in self.parameters(inputs) if parameter.name not in elsewhere)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        """The gn ops that compute the layer: the first takes the layer's inputs; an empty chain hands them on."""
        return ()
