"""Input layers: the size of one observation and how it is normalized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from gncodegen.errors import ArrayError
from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.checks import FiniteNumber, PositiveInt, Statistic, function, one_of, positive_int, tuple_of
from gncodegen.layers.statistics import extremes, moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STATISTICS: dict[str, tuple[str, ...]] = {
    "zerocenter": ("mean",),
    "zscore": ("mean", "standard_deviation"),
    "rescale-symmetric": ("min", "max"),
    "rescale-zero-one": ("min", "max"),
}
_NEUTRAL = {"mean": "zeros", "standard_deviation": "ones", "min": "zeros", "max": "ones"}

Normalization = Annotated[str | Callable[[Any], Any], one_of(*_STATISTICS, "none") | function]


@dataclass(frozen=True, eq=False)
class InputLayer(Layer):
    """Takes the observations into the network.

    "zerocenter": x - mean; "zscore": (x - mean) / standard_deviation; "rescale-symmetric": (min, max) → (-1, 1);
    "rescale-zero-one": (min, max) → (0, 1). A constant channel is only shifted, never divided by zero.
    Arrays of the host whose type the network's cannot hold, such as float64 for float32, are normalized in float64
    before they are converted.

    Args:
        normalization: one of the above, "none", or a callable that takes and returns the array of observations; it runs
            before the network does.
        normalization_dimension: "channel" = one statistic per channel; "element" = one per element; "all" = one;
            "auto" = as the given statistics have it, else per channel.
        mean: given statistic, (C,), the input's shape or a number; None = from the training data.
        standard_deviation: likewise.
        min: likewise.
        max: likewise.
    """

    _: KW_ONLY
    normalization: Normalization = "none"
    normalization_dimension: Annotated[str, one_of("auto", "channel", "element", "all")] = "auto"
    mean: Statistic = field(default=None, repr=False)
    standard_deviation: Statistic = field(default=None, repr=False)
    min: Statistic = field(default=None, repr=False)
    max: Statistic = field(default=None, repr=False)
    numbered: ClassVar[bool] = False
    is_input: ClassVar[bool] = True
    shaping: ClassVar[frozenset[str]] = frozenset(_NEUTRAL)

    def __post_init__(self) -> None:
        super().__post_init__()
        shapes = self._shapes()
        for name, value in self._given().items():
            if value.shape not in shapes.values():
                raise self._refusal(
                    f"{name} has shape {value.shape}",
                    " or ".join(f'{shape} for "{dimension}"' for dimension, shape in shapes.items()),
                    f"give {name} one number per channel",
                )
        if len({value.shape for value in self._given().values()}) > 1:
            given = ", ".join(f"{name} {value.shape}" for name, value in self._given().items())
            raise self._refusal(f"statistics of shapes {given}", "statistics of one shape", "give them the same shape")

    def _size(self) -> Size:
        """The size of one observation."""
        raise NotImplementedError

    def _step(self) -> Size:
        """The size of one time step, which a statistic per element has; of all where there is no time."""
        return self._size()

    def _given(self) -> dict[str, NDArray[Any]]:
        values = {name: getattr(self, name) for name in _NEUTRAL}
        return {name: value for name, value in values.items() if value is not None}

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of a statistic, by the dimensions that are open."""
        step = self._step()
        shapes = {"channel": (step.channels,), "element": step.shape, "all": (1,)}
        chosen = self.normalization_dimension
        return shapes if chosen == "auto" else {chosen: shapes[chosen]}

    def _statistic_shape(self) -> tuple[int, ...]:
        given = [value.shape for value in self._given().values()]
        return given[0] if given else next(iter(self._shapes().values()))

    def _statistics(self) -> tuple[str, ...]:
        """The statistics the normalization needs."""
        return _STATISTICS.get(self.normalization, ()) if isinstance(self.normalization, str) else ()

    @property
    def normalized(self) -> InputLayer:
        """The layer of observations that are normalized already."""
        given: dict[str, Any] = dict.fromkeys(_NEUTRAL)
        return replace(self, normalization="none", normalization_dimension="auto", **given)

    def statistics(self, x: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """The statistics the normalization needs, of training data.

        Args:
            x: observations (N, *input size), any real dtype, N ≥ 1.

        Returns:
            float64 arrays by parameter name; a constant channel has standard deviation exactly 0.

        Raises:
            ArrayError: x has another shape, or no observation.
        """
        x = self.counted(x)
        shape = self._statistic_shape()
        # Axes to reduce: the batch always, then whichever axes the statistic does not have.
        axes = tuple(range(x.ndim if shape == (1,) else x.ndim - len(shape)))
        names = self._statistics()
        found = moments(x, axes, deviation=len(names) > 1) if "mean" in names else extremes(x, axes)
        return {name: value.reshape(shape) for name, value in zip(names, found, strict=False)}

    def counted(self, x: NDArray[Any]) -> NDArray[Any]:
        """What of training data counts in statistics, as observations; the argument and errors are `statistics`'s."""
        if x.shape[1:] != self._size().shape or not x.size:
            raise ArrayError(
                f"{type(self).__name__} {self.name!r}: training data of shape {x.shape}; "
                f"allowed: (N, {', '.join(map(str, self._size().shape))}) with N ≥ 1; reshape it"
            )
        return x

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        return self._size()

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        shape = self._statistic_shape()
        given = self._given()
        return tuple(
            Parameter(name, shape, _NEUTRAL[name], given.get(name), learnable=False) for name in self._statistics()
        )

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        names = self._statistics()
        return (Operation("input_normalization", names, {"method": str(self.normalization)}),) if names else ()


_IMAGE = tuple_of(positive_int, (3,), "3 positive ints (height, width, channels)", "(28, 28, 1)")
_VOLUME = tuple_of(positive_int, (4,), "4 positive ints (height, width, depth, channels)", "(28, 28, 28, 1)")
_STEP = positive_int | tuple_of(positive_int, (2, 3, 4), "2 to 4 of them, channels last", "12")


@dataclass(frozen=True, eq=False)
class ImageInputLayer(InputLayer):
    """Two-dimensional images: `ImageInputLayer((28, 28, 1))`.

    Args:
        input_size: (height, width, channels).

    The other properties are those of `InputLayer`; the default normalization is "zerocenter".
    """

    input_size: Annotated[tuple[int, int, int], _IMAGE]
    _: KW_ONLY
    normalization: Normalization = "zerocenter"
    kind: ClassVar[str] = "imageinput"

    def _size(self) -> Size:
        return Size("SSC", self.input_size)


@dataclass(frozen=True, eq=False)
class Image3dInputLayer(InputLayer):
    """Volumes: `Image3dInputLayer((28, 28, 28, 1))`; arrays are N, H, W, D, C.

    Args:
        input_size: (height, width, depth, channels).

    The other properties are those of `InputLayer`; the default normalization is "zerocenter".
    """

    input_size: Annotated[tuple[int, int, int, int], _VOLUME]
    _: KW_ONLY
    normalization: Normalization = "zerocenter"
    kind: ClassVar[str] = "image3dinput"

    def _size(self) -> Size:
        return Size("SSSC", self.input_size)


@dataclass(frozen=True, eq=False)
class SequenceInputLayer(InputLayer):
    """Sequences: `SequenceInputLayer(12, min_length=29)` takes arrays N, T, C of 29 steps of 12 channels.

    Args:
        input_size: channels of a step; or (…, channels) for steps that are lines, images or volumes.
        min_length: steps T of every sequence; compiled steps have this length.
        padding: what becomes of shorter sequences, which come as a list of arrays (T_i, C): "none" = they are refused;
            "include" = they are padded, and padding counts like data, as in the reference; "mask" (ours) = they are
            padded, and every result is that of the sequence alone: padding has no part in statistics, losses and
            gradients.
        padding_value: what stands in the padding before x is normalized; with "mask" nothing depends on it.
        padding_direction: "right" = behind a sequence; "left" = in front of it, with "include" only.

    The other properties are those of `InputLayer`. A statistic per element has the shape of one step; statistics of
    training data are over the steps that sequences have, without padding.
    """

    input_size: Annotated[int | tuple[int, ...], _STEP]
    _: KW_ONLY
    min_length: PositiveInt = 1
    padding: Annotated[str, one_of("none", "include", "mask")] = "none"
    padding_value: FiniteNumber = 0.0
    padding_direction: Annotated[str, one_of("right", "left")] = "right"
    kind: ClassVar[str] = "sequenceinput"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.padding == "mask" and self.padding_direction == "left":
            raise self._refusal(
                'padding_direction = "left" with padding = "mask"',
                '"right", since no result depends on where padding stands',
                'write padding_direction="right"',
            )

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Extents of one step, channel last."""
        return self._step().shape

    def counted(self, x: NDArray[Any]) -> NDArray[Any]:
        if x.dtype != object:
            return super().counted(x)
        return np.concatenate([np.asarray(each) for each in x])[:, None]

    def _size(self) -> Size:
        step = self._step()
        return Size("T" + step.format, (self.min_length, *step.shape))

    def _step(self) -> Size:
        size = (self.input_size,) if isinstance(self.input_size, int) else self.input_size
        return Size("S" * (len(size) - 1) + "C", size)


@dataclass(frozen=True, eq=False)
class FeatureInputLayer(InputLayer):
    """Vectors of features: `FeatureInputLayer(21)`.

    Args:
        num_features: features per observation.

    The other properties are those of `InputLayer`.
    """

    num_features: PositiveInt
    kind: ClassVar[str] = "featureinput"

    def _size(self) -> Size:
        return Size("C", (self.num_features,))


def input_layer(size: Size, normalization: Normalization) -> InputLayer | None:
    """The input layer of observations of a size; None where there is none, as for one S axis without T."""
    match size.format, size.shape:
        case "C", (features,):
            return FeatureInputLayer(features, normalization=normalization)
        case "SSC", (height, width, channels):
            return ImageInputLayer((height, width, channels), normalization=normalization)
        case "SSSC", (height, width, depth, channels):
            return Image3dInputLayer((height, width, depth, channels), normalization=normalization)
        case ("TC", (steps, *step)) | ("TSC", (steps, *step)) | ("TSSC", (steps, *step)) | ("TSSSC", (steps, *step)):
            one = step[0] if len(step) == 1 else tuple(step)
            return SequenceInputLayer(one, min_length=steps, normalization=normalization)
        case _:
            return None
