"""The arguments of `gncodegen.compile`, kept with what was compiled."""

from __future__ import annotations

from dataclasses import dataclass

from gncodegen.targets.registry import check


@dataclass(frozen=True)
class Settings:
    """How a network is compiled: the arguments of `gncodegen.compile`, checked.

    Args:
        target: "cpu", "cuda" or an architecture such as "sm_90".
        batch_size: observations per training step.
        training: whether there is a training step.
        dtype: of activations and parameters.
        data_format: axis order of the arrays handed in.
        seed: of initial values and dropout.
        clip: gradient_threshold_method, "none" for an infinite threshold.
        emulate: an architecture's kernels run in the PTX emulator.
        math: how matrix products multiply.
        precise: convolutions on a CPU round less and take longer.
        tune: kernels are chosen by measuring.
        solver: of the training step.
    """

    target: str
    batch_size: int
    training: bool
    dtype: str
    data_format: str
    seed: int
    clip: str
    emulate: bool = False
    math: str = "float32"
    precise: bool = False
    tune: bool = False
    solver: str = "sgdm"

    def check(self) -> None:
        """Checks that the choices go together.

        Raises:
            OptionsError: they do not; names the cure.
            TargetError: there is no such target.
        """
        check(self)
