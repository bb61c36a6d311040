"""Output layers: they compute the loss, with the targets as second operand of their operation."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from gncodegen.layers.base import Layer, Operation, Size
from gncodegen.layers.checks import ClassWeights, label, labels, one_of, optional

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, eq=False)
class ClassificationLayer(Layer):
    """Cross-entropy of K exclusive classes: loss = -(1/N) Σ_n Σ_i w_i · t_ni · ln y_ni, divided by N, not by Σ w.

    Over positions, such as the pixels of an image, the sum over them is divided by N too, not by their number.

    Args:
        classes: "auto" = as the training data has them; or K distinct labels, in the order of the channels.
        class_weights: None = 1 each; or K finite numbers > 0.
        ignore_label: the label of samples and positions that neither loss nor accuracy sees, no class; None = there is
            none. Where targets are class indices, -1 is ignored too; where they are rows, a row of zeros.
    """

    _: KW_ONLY
    classes: Annotated[Any, one_of("auto") | labels] = "auto"
    class_weights: ClassWeights = None
    ignore_label: Annotated[Any, optional(label)] = None
    kind: ClassVar[str] = "classoutput"
    numbered: ClassVar[bool] = False
    is_output: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ignore_label is not None and self.classes != "auto" and self.ignore_label in self.classes:
            raise self._refusal(
                f"ignore_label = {self.ignore_label!r}, which is one of classes",
                "a label that is no class",
                f"leave {self.ignore_label!r} out of classes",
            )
        counts = self._counts()
        if len(set(counts.values())) > 1:
            raise self._refusal(
                f"{counts['class_weights']} class_weights for {counts['classes']} classes",
                "one weight per class",
                f"give {counts['classes']} class_weights",
            )

    def _counts(self) -> dict[str, int]:
        """The class counts the properties state, by property."""
        stated: dict[str, Sequence[Any] | None] = {
            "classes": None if self.classes == "auto" else self.classes,
            "class_weights": self.class_weights,
        }
        return {name: len(values) for name, values in stated.items() if values is not None}

    def shape_errors(self, inputs: tuple[Size, ...]) -> Iterator[str]:
        size = inputs[0]
        for name, count in self._counts().items():
            if count != size.channels:
                yield (
                    f"{count} {name}, but its input {size} has {size.channels} channels; allowed: {size.channels} "
                    f"{name}; give the last FullyConnectedLayer {count} outputs or list {size.channels} {name}"
                )

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("cross_entropy", (), {"class_weights": tuple(self.class_weights or ())}),)


@dataclass(frozen=True, eq=False)
class RegressionLayer(Layer):
    """Half squared error: loss = (1/N) Σ_n ½ Σ_i (y_ni - t_ni)², not divided by the number of responses."""

    kind: ClassVar[str] = "regressionoutput"
    numbered: ClassVar[bool] = False
    is_output: ClassVar[bool] = True

    def operations(self, inputs: tuple[Size, ...]) -> tuple[Operation, ...]:
        return (Operation("half_squared_error"),)
