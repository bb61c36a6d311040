"""The training loop: mini-batches through a compiled step, with validation, patience and output functions."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.runtime.state import Hyperparameters
from gncodegen.train.ahead import made_ahead
from gncodegen.train.anomaly import Traceable, anomaly, is_finite
from gncodegen.train.batches import Batch, Samples, Source
from gncodegen.train.checkpoint import Checkpoints, Progress
from gncodegen.train.history import History, Record, StopReason, TrainingInfo
from gncodegen.train.interruption import Interruption, interruptible
from gncodegen.train.learn_rate import learn_rate, prepare
from gncodegen.train.options import TrainingOptions
from gncodegen.train.plot import ProgressPlot
from gncodegen.train.progress import ProgressTable
from gncodegen.train.targets import measure


class Trainable(Traceable, Protocol):
    """What the loop asks of a compiled network."""

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The numbers the next step reads."""
        ...

    @property
    def parameters(self) -> MutableMapping[str, NDArray[Any]]:
        """Name → array; assigning copies the values in."""
        ...

    @property
    def last_scores(self) -> NDArray[Any]:
        """The network's outputs of the last step."""
        ...

    def train_step(self, x: NDArray[Any], t: NDArray[Any]) -> float:
        """One step on one mini-batch; returns its loss."""
        ...

    def evaluate(self, x: NDArray[Any], t: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Loss and outputs of any number of samples, in prediction mode."""
        ...


class Validation:
    """Validates, remembers the best weights, and tells when patience is used up.

    Args:
        compiled: the network.
        samples: the validation data; None = never validate.
        options: validation_frequency, validation_patience and output_network.
    """

    def __init__(self, compiled: Trainable, samples: Samples | None, options: TrainingOptions) -> None:
        self.compiled = compiled
        self.samples = samples
        self.options = options
        self.best_loss = math.inf
        self.best_iteration = 0
        self.worse = 0
        self.weights: dict[str, NDArray[Any]] = {}

    def measure(self) -> tuple[float, float]:
        """Loss and accuracy or RMSE now; NaNs without validation data."""
        if self.samples is None:
            return math.nan, math.nan
        targets = self.samples.targets
        loss, y = self.compiled.evaluate(self.samples.x, targets.whole())
        return loss, measure(loss, y, targets.whole(), targets.classes is not None)

    def after(self, iteration: int, last: bool) -> tuple[float, float] | None:
        """Validates if it is time to: at the first, every `validation_frequency`-th and the last iteration."""
        due = iteration == 1 or last or iteration % self.options.validation_frequency == 0
        if self.samples is None or not due:
            return None
        loss, measured = self.measure()
        if loss < self.best_loss:
            self.best_loss, self.best_iteration, self.worse = loss, iteration, 0
            if self.options.output_network == "best-validation-loss":
                self.weights = {name: np.array(value) for name, value in self.compiled.parameters.items()}
        else:
            self.worse += 1
        return loss, measured

    @property
    def exhausted(self) -> bool:
        """Whether as many validations in a row as patience allows did not lower the best loss."""
        return self.worse >= self.options.validation_patience

    def restore_best(self, iteration: int) -> int:
        """Puts back the best weights if the options ask for them; returns the iteration the weights come from."""
        if not self.weights:
            return iteration
        for name, value in self.weights.items():
            self.compiled.parameters[name] = value
        return self.best_iteration


class Training:
    """One run of the loop.

    Args:
        compiled: the network to train, in place.
        training: where its mini-batches come from.
        validation: the validation data, or None.
        options: every option of the run.
        finalize: runs after the last iteration, on the weights to return, before the final validation.
    """

    def __init__(
        self,
        compiled: Trainable,
        training: Source,
        validation: Samples | None,
        options: TrainingOptions,
        finalize: Callable[[], None] = lambda: None,
    ) -> None:
        self.compiled = compiled
        self.training = training
        self.options = options
        self.finalize = finalize
        self.validation = Validation(compiled, validation, options)
        self.history = History(training.classification, training.iterations)
        frequency = options.verbose_frequency
        self.table = ProgressTable(training.classification, frequency) if options.verbose else None
        self.plot = None
        if options.plots == "training-progress":
            self.plot = ProgressPlot(
                lambda: self.history.info((math.nan, math.nan), 0, "interrupted"), options.checkpoint_path
            )
        self.checkpoints: Checkpoints | None = None
        self._began = perf_counter()

    def restore(self, progress: Progress) -> None:
        """Goes on after the iteration of a checkpoint, whose network `compiled` holds already."""
        self.history.records[:] = progress.records
        self._began -= progress.records[-1].seconds
        validation = self.validation
        validation.best_loss, validation.best_iteration = progress.best_loss, progress.best_iteration
        validation.worse, validation.weights = progress.worse, dict(progress.best)

    def run(self) -> TrainingInfo:
        """Trains until the epochs are done or something stops it."""
        records = self.history.records
        record = records[-1] if records else Record(0, 0, self._seconds(), learn_rate(self.options, 1, 1))
        if self.table:
            self.table.start()
        reason: StopReason = "max-epochs-completed"
        if self._ask("start", record):
            reason = "output-fcn"
        else:
            made = self.training.batches(list(records))
            prepared = made_ahead(made) if self.training.slow else nullcontext(made)
            with interruptible() as interruption, prepared as batches:
                for batch in batches:
                    record = self._iterate(batch)
                    records.append(record)
                    stopped = self._stop_reason(record, interruption)
                    if self.table:
                        self.table.row(record, last=stopped is not None or batch.last)
                    if self.plot:
                        self.plot.update()
                    self._checkpoint(batch, stopped)
                    if stopped:
                        reason = stopped
                        break
        return self._end(record, reason)

    def _checkpoint(self, batch: Batch, stopped: StopReason | None) -> None:
        # A training that ended for a reason of its own would not go on, so it leaves nothing to go on with.
        if self.checkpoints and (stopped == "interrupted" or (stopped is None and self.checkpoints.due(batch))):
            records, best = self.history.records, self.validation
            self.checkpoints.write(
                Progress(batch.iteration, records, best.best_loss, best.best_iteration, best.worse, best.weights)
            )

    def _iterate(self, batch: Batch) -> Record:
        epoch, iteration, x, t, _, last = batch
        rate = prepare(self.compiled.hyperparameters, self.options, epoch, iteration)
        before = dict(self.compiled.parameters) if self.options.detect_anomaly else None
        loss = self.compiled.train_step(x, t)
        if before is not None and not is_finite(loss, self.compiled.parameters):
            prepare(self.compiled.hyperparameters, self.options, epoch, iteration)  # the same dropout
            raise anomaly(self.compiled, before, x, t, iteration)
        measured = measure(loss, self.compiled.last_scores, t, self.history.classification)
        validation = self.validation.after(iteration, last) or (None, None)
        return Record(epoch, iteration, self._seconds(), rate, loss, measured, *validation)

    def _stop_reason(self, record: Record, interruption: Interruption) -> StopReason | None:
        # The output functions are asked first: they see every iteration, also the one that stops for another reason.
        if self._ask("iteration", record):
            return "output-fcn"
        if record.loss is not None and math.isnan(record.loss):
            return "training-loss-is-nan"
        if self.validation.exhausted:
            return "validation-patience"
        return "interrupted" if interruption.requested else None

    def _ask(self, state: Any, record: Record) -> bool:
        """Calls every output function; whether any of them asks to stop."""
        functions = self.options.output_fcn
        given = self.history.state(state, record) if functions else None
        return any([bool(function(given)) for function in functions])  # noqa: C419  all are called

    def _end(self, record: Record, reason: StopReason) -> TrainingInfo:
        iteration = self.validation.restore_best(record.iteration)
        self.finalize()
        final = self.validation.measure()
        if self.table:
            self.table.finish(reason)
        if self.plot:
            self.plot.update(last=True)
        self._ask("done", record)
        return self.history.info(final, iteration, reason)

    def _seconds(self) -> float:
        return perf_counter() - self._began
