"""The table that training prints."""

from __future__ import annotations

from gncodegen.train.history import Record, StopReason

_COLUMNS = (
    ("", "Epoch", "", 5),
    ("", "Iteration", "", 9),
    ("", "Time", "Elapsed", 9),
    ("", "Mini-batch", "{measure}", 10),
    ("", "Validation", "{measure}", 10),
    ("", "Mini-batch", "Loss", 10),
    ("", "Validation", "Loss", 10),
    ("Base", "Learning", "Rate", 8),
)
"""Three header lines and the width of each column: with the bars, 80 characters."""

_REASONS: dict[StopReason, str] = {
    "max-epochs-completed": "all epochs completed",
    "output-fcn": "an output function stopped it",
    "validation-patience": "the validation loss stopped falling",
    "interrupted": "it was interrupted; the network is that of the last whole iteration",
    "training-loss-is-nan": "the training loss is NaN; try a smaller initial_learn_rate or a gradient_threshold",
}


def _elapsed(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}"


class ProgressTable:
    """Prints one line per shown iteration.

    Columns: Epoch, Iteration, Time Elapsed (hh:mm:ss), Mini-batch Accuracy (or RMSE), Validation Accuracy (or RMSE),
    Mini-batch Loss, Validation Loss, Base Learning Rate.

    Args:
        classification: whether the measure is accuracy, not RMSE.
        frequency: a row every so many iterations; the first, the last and validated ones have theirs too.
    """

    def __init__(self, classification: bool, frequency: int) -> None:
        self.classification = classification
        self.frequency = frequency
        self._rule = "|" + "=" * (sum(width + 1 for *_, width in _COLUMNS) - 1) + "|"

    def start(self) -> None:
        """Prints the header."""
        measure = "Accuracy" if self.classification else "RMSE"
        heads = zip(*((*upper, lower.format(measure=measure)) for *upper, lower, _ in _COLUMNS), strict=True)
        lines = (
            "|" + "|".join(f"{text:^{w}}" for text, (*_, w) in zip(head, _COLUMNS, strict=True)) + "|" for head in heads
        )
        print(self._rule, *lines, self._rule, sep="\n", flush=True)

    def row(self, record: Record, *, last: bool) -> None:
        """Prints the row of an iteration, if it has one."""
        due = record.iteration == 1 or record.iteration % self.frequency == 0
        if due or last or record.validation_loss is not None:
            cells = (
                f"{record.epoch}",
                f"{record.iteration}",
                _elapsed(record.seconds),
                self._measure(record.measure),
                self._measure(record.validation_measure),
                _loss(record.loss),
                _loss(record.validation_loss),
                f"{record.rate:.4f}" if record.rate >= 1e-3 else f"{record.rate:.1e}",
            )
            print(
                "|" + "|".join(f"{text:>{w - 1}} " for text, (*_, w) in zip(cells, _COLUMNS, strict=True)) + "|",
                flush=True,
            )

    def finish(self, reason: StopReason) -> None:
        """Prints the end of the table and why training ended."""
        print(self._rule, f"Training finished: {_REASONS[reason]}.", sep="\n", flush=True)

    def _measure(self, value: float | None) -> str:
        if value is None:
            return ""
        return f"{value:.2f}%" if self.classification else f"{value:.2f}"


def _loss(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:.3e}"
