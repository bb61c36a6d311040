"""Dynamic loss scaling: what a float16 training step keeps, and its rule.

Gradients below 2⁻²⁴ vanish in float16, so a step computes those of scale · loss. Where one is not finite, the step
leaves parameters and the solver's state as they are and halves the scale; after GROWTH_INTERVAL steps without, it
doubles. P. Micikevicius et al., Mixed Precision Training, ICLR 2018; the numbers are those of PyTorch's
torch.amp.GradScaler.
"""

from __future__ import annotations

from gncodegen.kernels.schedule import Constant, Tensor

LOSS_SCALE = "loss_scale"
"""Kind and name of the array."""

STATE = Tensor((2,), "float32")
"""The scale, and how many steps in a row were finite."""

INITIAL = (2.0**16, 0.0)

SCALED = frozenset(["float16"])
"""The types of networks whose loss is scaled; others have the exponents of float32."""

RULE: dict[str, Constant] = {"growth_interval": 2000, "smallest": 2.0**-24, "largest": 2.0**24}
"""Constants of the kernel: a scale stays a power of two between the bounds, so that scaling loses no bit."""
