"""The two sets of learnables most layers have: weights and bias, scale and offset."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from gncodegen.layers.base import Layer, Parameter, Size
from gncodegen.layers.checks import Array, Channels, Epsilon, Factor, Vector, VectorInitializer, WeightInitializer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, eq=False)
class WeightedLayer(Layer):
    """A layer with weights, whose last step adds a bias.

    Args:
        weights: starting weights; None = `weights_initializer` makes them.
        bias: starting bias, one number per output channel; None = `bias_initializer` makes it.
        weights_initializer: "glorot", "he", "orthogonal", "narrow-normal", "zeros", "ones" or `f(shape) -> array`.
        bias_initializer: "zeros", "ones", "narrow-normal" or `f(shape) -> array`.
        weight_learn_rate_factor: times the global rate, ≥ 0; 0 freezes the weights.
        bias_learn_rate_factor: likewise for the bias.
        weight_l2_factor: times the global L2, ≥ 0.
        bias_l2_factor: likewise for the bias; 0, so a bias is not decayed by default.
    """

    _: KW_ONLY
    weights: Array = field(default=None, repr=False)
    bias: Vector = field(default=None, repr=False)
    weights_initializer: WeightInitializer = "glorot"
    bias_initializer: VectorInitializer = "zeros"
    weight_learn_rate_factor: Factor = 1.0
    bias_learn_rate_factor: Factor = 1.0
    weight_l2_factor: Factor = 1.0
    bias_l2_factor: Factor = 0.0

    def _weights_and_bias(self, shape: tuple[int, ...], outputs: int, fans: tuple[int, int]) -> tuple[Parameter, ...]:
        """The two parameters; a window of P positions has fans (P · inputs, P · outputs)."""
        return (
            Parameter(
                "weights",
                shape,
                self.weights_initializer,
                self.weights,
                self.weight_learn_rate_factor,
                self.weight_l2_factor,
                fans,
            ),
            Parameter(
                "bias",
                (outputs,),
                self.bias_initializer,
                self.bias,
                self.bias_learn_rate_factor,
                self.bias_l2_factor,
            ),
        )


@dataclass(frozen=True, eq=False)
class AffineLayer(Layer):
    """A normalization, whose last step is y = scale · x̂ + offset per channel.

    Args:
        num_channels: "auto" = as many as the input has; an int must equal that.
        epsilon: added to the variance inside the root; finite, > 0.
        offset: starting offset (C,); None = `offset_initializer` makes it.
        scale: starting scale (C,); None = `scale_initializer` makes it.
        offset_initializer: "zeros", "ones", "narrow-normal" or `f(shape) -> array`.
        scale_initializer: likewise.
        offset_learn_rate_factor: times the global rate, ≥ 0; 0 freezes the offset bit for bit.
        scale_learn_rate_factor: likewise for the scale.
        offset_l2_factor: times the global L2, ≥ 0.
        scale_l2_factor: likewise for the scale.
    """

    _: KW_ONLY
    num_channels: Channels = "auto"
    epsilon: Epsilon = 1e-5
    offset: Vector = field(default=None, repr=False)
    scale: Vector = field(default=None, repr=False)
    offset_initializer: VectorInitializer = "zeros"
    scale_initializer: VectorInitializer = "ones"
    offset_learn_rate_factor: Factor = 1.0
    scale_learn_rate_factor: Factor = 1.0
    offset_l2_factor: Factor = 1.0
    scale_l2_factor: Factor = 1.0

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        yield from channel_shape_errors(self.num_channels, inputs[0])

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        shape = (inputs[0].channels,)
        return (
            Parameter(
                "scale", shape, self.scale_initializer, self.scale, self.scale_learn_rate_factor, self.scale_l2_factor
            ),
            Parameter(
                "offset",
                shape,
                self.offset_initializer,
                self.offset,
                self.offset_learn_rate_factor,
                self.offset_l2_factor,
            ),
        )


def channel_shape_errors(num_channels: int | str, size: Size) -> Iterator[str]:
    """Says so where a given number of channels is not the input's."""
    if num_channels not in ("auto", size.channels):
        yield (
            f"num_channels = {num_channels}, but the input {size} has {size.channels} channels; "
            f'allowed: {size.channels} or "auto"; write num_channels="auto"'
        )
