"""What training tells while it runs (`TrainingState`) and afterwards (`TrainingInfo`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gncodegen.tables import Table

StopReason = Literal["max-epochs-completed", "output-fcn", "validation-patience", "training-loss-is-nan", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What an output function is given.

    Args:
        state: "start" before the first iteration, "iteration" after each, "done" at the end.
        epoch, iteration: counted from 1; 0 at the start.
        time_since_start: seconds.
        base_learn_rate: the rate before the parameters' own factors.
        training_loss: of this mini-batch; None at the start.
        training_accuracy, training_rmse: percent for classification, RMSE for regression; the other is None.
        validation_loss, validation_accuracy, validation_rmse: None unless this iteration validated.
        iterations: how many there will be if nothing stops the training; 0 = a stream does not say.
        network: the `TrainedNetwork` as it is now; it changes with the next iteration.
    """

    state: Literal["start", "iteration", "done"]
    epoch: int
    iteration: int
    time_since_start: float
    base_learn_rate: float
    training_loss: float | None = None
    training_accuracy: float | None = None
    training_rmse: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_rmse: float | None = None
    iterations: int = 0
    network: Any = None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainingInfo:
    """The course of a training; arrays are float64 with one element per iteration, NaN where not validated.

    Args:
        epoch: counted from 1.
        training_loss: mini-batch loss.
        training_accuracy, training_rmse: percent for classification, RMSE for regression; the other is None.
        validation_loss, validation_accuracy, validation_rmse: likewise, of the validation data.
        base_learn_rate: the rate before the parameters' own factors.
        final_validation_loss: of the returned network; NaN without validation data.
        final_validation_accuracy, final_validation_rmse: likewise.
        output_network_iteration: the iteration the returned network comes from; 0 = untrained.
        stop_reason: "max-epochs-completed", "output-fcn", "validation-patience", "training-loss-is-nan" or
            "interrupted" (by Ctrl-C or SIGTERM).
    """

    epoch: NDArray[np.float64]
    training_loss: NDArray[np.float64]
    training_accuracy: NDArray[np.float64] | None
    training_rmse: NDArray[np.float64] | None
    validation_loss: NDArray[np.float64]
    validation_accuracy: NDArray[np.float64] | None
    validation_rmse: NDArray[np.float64] | None
    base_learn_rate: NDArray[np.float64]
    final_validation_loss: float
    final_validation_accuracy: float | None
    final_validation_rmse: float | None
    output_network_iteration: int
    stop_reason: StopReason

    def __repr__(self) -> str:
        parts = [f"{name} {text}" for name, text in self._summary]
        return f"TrainingInfo({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return Table(("TrainingInfo", ""), self._summary).html

    def plot(self, ax: Any = None) -> Any:
        """Draws the course: accuracy or RMSE above, loss below, validation as points, epochs shaded.

        Args:
            ax: a pair of matplotlib's axes, or one, for the loss alone; None = those of a new figure.

        Returns:
            the axes.

        Raises:
            TargetError: matplotlib is not installed.
        """
        from gncodegen.train.plot import draw, new_axes  # noqa: PLC0415  needs matplotlib

        axes = new_axes() if ax is None else ax
        draw(self, list(axes) if np.iterable(axes) else [axes])
        return axes

    @property
    def _summary(self) -> tuple[tuple[str, str], ...]:
        """What is worth a look: name and text."""
        count = len(self.training_loss)
        ends = f"{self.training_loss[0]:.4g} → {self.training_loss[-1]:.4g}" if count else "none"
        rows = [("iterations", f"{count:,}"), ("stopped", self.stop_reason), ("loss", ends)]
        accurate = self.training_accuracy is not None
        measure, unit = ("accuracy", " %") if accurate else ("RMSE", "")
        measured = self.training_accuracy if accurate else self.training_rmse
        if count and measured is not None:
            rows.append((measure, f"{measured[-1]:.4g}{unit}"))
        if not np.isnan(self.final_validation_loss):
            final = self.final_validation_accuracy if accurate else self.final_validation_rmse
            rows += [("validation loss", f"{self.final_validation_loss:.4g}")]
            rows += [] if final is None else [(f"validation {measure}", f"{final:.4g}{unit}")]
        return (*rows, ("network of iteration", f"{self.output_network_iteration:,}"))


@dataclass(frozen=True)
class Record:
    """One iteration; `measure` is accuracy in percent or RMSE; None where there is no value."""

    epoch: int
    iteration: int
    seconds: float
    rate: float
    loss: float | None = None
    measure: float | None = None
    validation_loss: float | None = None
    validation_measure: float | None = None


@dataclass
class History:
    """The records of a training.

    Args:
        classification: whether measures are accuracies, not RMSEs.
        iterations: how many are planned.
        network: what is trained, for output functions.
    """

    classification: bool
    iterations: int
    records: list[Record] = field(default_factory=list[Record])
    network: Any = None

    def state(self, state: Literal["start", "iteration", "done"], record: Record) -> TrainingState:
        """A record as output functions see it."""
        measure, validation = record.measure, record.validation_measure
        return TrainingState(
            state=state,
            epoch=record.epoch,
            iteration=record.iteration,
            time_since_start=record.seconds,
            base_learn_rate=record.rate,
            training_loss=record.loss,
            training_accuracy=measure if self.classification else None,
            training_rmse=None if self.classification else measure,
            validation_loss=record.validation_loss,
            validation_accuracy=validation if self.classification else None,
            validation_rmse=None if self.classification else validation,
            iterations=self.iterations,
            network=self.network,
        )

    def info(self, final: tuple[float, float], output_iteration: int, reason: StopReason) -> TrainingInfo:
        """The whole course; `final` is validation loss and measure of the returned network."""

        def column(name: str) -> NDArray[np.float64]:
            # None becomes NaN
            return np.array([getattr(record, name) for record in self.records], dtype=np.float64)

        training, validation = column("measure"), column("validation_measure")
        accurate = self.classification
        return TrainingInfo(
            epoch=column("epoch"),
            training_loss=column("loss"),
            training_accuracy=training if accurate else None,
            training_rmse=None if accurate else training,
            validation_loss=column("validation_loss"),
            validation_accuracy=validation if accurate else None,
            validation_rmse=None if accurate else validation,
            base_learn_rate=column("rate"),
            final_validation_loss=final[0],
            final_validation_accuracy=final[1] if accurate else None,
            final_validation_rmse=None if accurate else final[1],
            output_network_iteration=output_iteration,
            stop_reason=reason,
        )
