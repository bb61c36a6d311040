"""The parametric rectifier: an activation whose slope is learned."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import Annotated, ClassVar

import numpy as np

from gncodegen.layers.base import Layer, Operation, Parameter, Size
from gncodegen.layers.checks import Factor, Vector, finite_number, one_of


@dataclass(frozen=True, eq=False)
class PreluLayer(Layer):
    """y = x where x > 0, else alpha · x, with a learned alpha.

    Args:
        start: what every alpha starts from.
        slopes: "channel-wise" = an alpha per channel; "shared" = one for all.
        alpha: starting alpha (C,), or (1,) where it is shared; None = `start` everywhere.
        alpha_learn_rate_factor: times the global rate, ≥ 0; 0 freezes alpha bit for bit.
        alpha_l2_factor: times the global L2, ≥ 0; 0 as in the paper, because decay would turn it into a ReLU.

    Source: He et al., Delving Deep into Rectifiers, ICCV 2015.
    """

    start: Annotated[float, finite_number] = 0.25
    _: KW_ONLY
    slopes: Annotated[str, one_of("channel-wise", "shared")] = "channel-wise"
    alpha: Vector = field(default=None, repr=False)
    alpha_learn_rate_factor: Factor = 1.0
    alpha_l2_factor: Factor = 0.0
    kind: ClassVar[str] = "prelu"

    def _count(self, size: Size) -> int:
        return 1 if self.slopes == "shared" else size.channels

    def parameters(self, inputs: tuple[Size, ...]) -> tuple[Parameter, ...]:
        shape = (self._count(inputs[0]),)
        value = np.full(shape, self.start) if self.alpha is None else self.alpha
        factors = self.alpha_learn_rate_factor, self.alpha_l2_factor
        return (Parameter("alpha", shape, "zeros", value, *factors),)

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("elementwise", ("alpha",), {"function": "prelu"}),)
