"""Normalization layers: group, batch, layer and instance."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Operation, Parameter, Size
from gncodegen.layers.checks import Decay, Variances, Vector, divisors, one_of, positive_int
from gncodegen.layers.learnables import AffineLayer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class GroupNormalizationLayer(AffineLayer):
    """Normalizes over contiguous blocks of channels and all positions of one observation.

    x̂ = (x - μ) / sqrt(σ² + ε), y = scale_c · x̂ + offset_c, with mean μ and population variance σ² per observation and
    group. No state: training and prediction are the same function.

    Args:
        num_groups: positive int that divides the number of channels; "all-channels" = one group (layer normalization);
            "channel-wise" = one group per channel (instance normalization).

    The other properties are those of `AffineLayer`.

    Source: Wu and He, Group Normalization, ECCV 2018.
    """

    num_groups: Annotated[int | str, positive_int | one_of("all-channels", "channel-wise")]
    kind: ClassVar[str] = "groupnorm"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.num_channels, int):
            for error in self._group_shape_errors(self.num_channels):
                raise self._refusal(f"num_groups = {self.num_groups}", "a divisor of num_channels", error)

    def _group_shape_errors(self, channels: int) -> Iterator[str]:
        if isinstance(self.num_groups, int) and channels % self.num_groups:
            yield (f"{channels} channels do not split into {self.num_groups} groups; divisors are {divisors(channels)}")

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from super().shape_errors(inputs)
        yield from self._group_shape_errors(inputs[0].channels)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (_group_norm(self.num_groups, self.epsilon, "spatial-channel"),)


@dataclass(frozen=True, eq=False)
class InstanceNormalizationLayer(AffineLayer):
    """Normalizes each channel of each observation over all positions: group normalization with one group per channel.

    The properties are those of `AffineLayer`.

    Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization, 2016.
    """

    kind: ClassVar[str] = "instancenorm"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (_group_norm("channel-wise", self.epsilon, "spatial-channel"),)


@dataclass(frozen=True, eq=False)
class LayerNormalizationLayer(AffineLayer):
    """Normalizes each observation over its channels, or over its positions and channels.

    Args:
        operation_dimension: "channel-only" = at each position over the channels; "spatial-channel" = over positions and
            channels, each time step alone; "batch-excluded" = over everything but the batch; "auto" = spatial-channel
            for images and their sequences, channel-only for other sequences and features.

    The other properties are those of `AffineLayer`.

    Source: Ba, Kiros and Hinton, Layer Normalization, 2016.
    """

    _: KW_ONLY
    operation_dimension: Annotated[str, one_of("auto", "channel-only", "spatial-channel", "batch-excluded")] = "auto"
    kind: ClassVar[str] = "layernorm"

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        axes = inputs[0].format
        of_images = ("step" if "T" in axes else "spatial-channel") if "S" in axes else "channel"
        reduced = {
            "auto": of_images,
            "channel-only": "channel",
            "spatial-channel": of_images,
            "batch-excluded": "channel" if axes == "C" else "spatial-channel",
        }[self.operation_dimension]
        return (_group_norm("all-channels", self.epsilon, reduced),)


@dataclass(frozen=True, eq=False)
class BatchNormalizationLayer(AffineLayer):
    """Normalizes each channel over the mini-batch and all positions; prediction uses the trained mean and variance.

    x̂ = (x - μ) / sqrt(σ² + ε), y = scale_c · x̂ + offset_c, with population variance. While training,
    running = decay · batch + (1 - decay) · old.

    Args:
        mean_decay: decay of the running mean, from 0 to 1.
        variance_decay: decay of the running variance, from 0 to 1.
        trained_mean: mean for prediction (C,); None = zeros until training.
        trained_variance: variance for prediction (C,), ≥ 0; None = ones until training.

    The other properties are those of `AffineLayer`.

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015.
    """

    _: KW_ONLY
    mean_decay: Decay = 0.1
    variance_decay: Decay = 0.1
    trained_mean: Vector = field(default=None, repr=False)
    trained_variance: Variances = field(default=None, repr=False)
    kind: ClassVar[str] = "batchnorm"

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        shape = (inputs[0].channels,)
        return (
            *super().parameters(inputs),
            Parameter("trained_mean", shape, "zeros", self.trained_mean, learnable=False),
            Parameter("trained_variance", shape, "ones", self.trained_variance, learnable=False),
        )

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        attributes = {
            "epsilon": self.epsilon,
            "mean_decay": self.mean_decay,
            "variance_decay": self.variance_decay,
        }
        return (Operation("batch_norm", ("scale", "offset", "trained_mean", "trained_variance"), attributes),)


def _group_norm(groups: int | str, epsilon: float, reduced: str) -> Operation:
    return Operation("group_norm", ("scale", "offset"), {"groups": groups, "epsilon": epsilon, "reduced": reduced})
