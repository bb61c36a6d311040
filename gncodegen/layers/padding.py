"""The layer that surrounds images with more positions."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import finite_number, non_negative_int, one_of, tuple_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MODES = ("constant", "symmetric-include-edge", "symmetric-exclude-edge", "replicate")
_SIDES = tuple_of(non_negative_int, (2, 4, 6), "two ints ≥ 0 per spatial axis", "(1, 1, 0, 2)")


@dataclass(frozen=True, eq=False)
class PaddingLayer(Layer):
    """Adds positions at the ends of the spatial axes: `PaddingLayer((1, 1, 0, 2), mode="replicate")`.

    Args:
        padding: for an image (top, bottom, left, right); for each spatial axis how many at its start and at its end.
        mode: what stands there: "constant", a mirror image ("symmetric-include-edge", "symmetric-exclude-edge"), or the
            edge ("replicate").
        value: the constant.
    """

    padding: Annotated[tuple[int, ...], _SIDES]
    _: KW_ONLY
    mode: Annotated[str, one_of(*MODES)] = "constant"
    value: Annotated[float, finite_number] = 0.0
    kind: ClassVar[str] = "padding"

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        size = inputs[0]
        if len(self.padding) != 2 * len(size.spatial):
            yield (
                f"padding = {self.padding} for the input {size}, which has {len(size.spatial)} spatial axes; allowed: "
                f"two ints per axis of lines, images or volumes; write padding={(0, 0) * max(len(size.spatial), 1)}"
            )
        elif self.mode.startswith("symmetric"):
            most = [n - (self.mode == "symmetric-exclude-edge") for n in size.spatial for _ in range(2)]
            if any(pad > limit for pad, limit in zip(self.padding, most, strict=True)):
                yield (
                    f'padding = {self.padding} with mode="{self.mode}" mirrors more than the input {size} has; '
                    f'allowed: up to {tuple(most)}; write mode="replicate"'
                )

    def output_size(self, inputs: tuple[Size, ...]) -> Size:
        sides = iter(self.padding)
        letters = zip(inputs[0].format, inputs[0].shape, strict=True)
        shape = (n + next(sides, 0) + next(sides, 0) if letter == "S" else n for letter, n in letters)
        return Size(inputs[0].format, tuple(shape))

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("pad", (), {"padding": self.padding, "mode": self.mode, "value": self.value}),)
