"""The training loop: mini-batches through a compiled step, with validation, patience and output functions."""

from __future__ import annotations

import math
from collections.abc import Callable, MutableMapping
from contextlib import nullcontext
from time import perf_counter
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.runtime.state import Hyperparameters
from gncodegen.train.ahead import made_ahead
from gncodegen.train.anomaly import Traceable, anomaly, is_finite
from gncodegen.train.batches import Batch, Samples, Source
from gncodegen.train.checkpoint import Checkpoints, Progress
from gncodegen.train.history import History, Record, StopReason, TrainingInfo
from gncodegen.train.inputs import along
from gncodegen.train.interruption import Interruption, interruptible
from gncodegen.train.learn_rate import learn_rate, prepare
from gncodegen.train.options import TrainingOptions
from gncodegen.train.plot import ProgressPlot
from gncodegen.train.progress import ProgressTable
from gncodegen.train.ranks import Ranks


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

    def train_step(self, x: NDArray[Any], t: NDArray[Any], *, parts: int = 1) -> float:
        """One step on one mini-batch, run in parts; returns its loss."""
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
        ranks: each validates its share of the samples.
    """

    def __init__(self, compiled: Trainable, samples: Samples | None, options: TrainingOptions, ranks: Ranks) -> None:
        self.compiled = compiled
        self.ranks = ranks
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
        samples, own = self.samples, self.ranks.share(len(self.samples))
        t, loss, y = samples.targets.whole()[own], 0.0, np.empty(0)
        if len(t):
            loss, y = self.compiled.evaluate(along(samples.x, samples.batch_axis, own), t)
        return self.ranks.measured(loss, y, t, samples.targets.classes is not None)

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
        ranks: that train the network together.
    """

    def __init__(
        self,
        compiled: Trainable,
        training: Source,
        validation: Samples | None,
        options: TrainingOptions,
        finalize: Callable[[], None] = lambda: None,
        ranks: Ranks | None = None,
    ) -> None:
        self.ranks = ranks or Ranks()
        self.compiled = compiled
        self.training = training
        self.options = options
        self.finalize = finalize
        self.validation = Validation(compiled, validation, options, self.ranks)
        self.history = History(training.classification, training.iterations)
        frequency = options.verbose_frequency
        self.table = ProgressTable(training.classification, frequency) if options.verbose and self.ranks.first else None
        self.plot = None
        if options.plots == "training-progress" and self.ranks.first:
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
        if self._stop_reason("start", record):
            return self._end(record, "output-fcn")
        made = self.training.batches(list(records))
        prepared = made_ahead(made) if self.training.slow else nullcontext(made)
        with interruptible() as interruption, prepared as batches:
            try:
                for batch in self.ranks.together(batches):
                    record = self._iterate(batch)
                    records.append(record)
                    stopped = self._stop_reason("iteration", record, interruption)
                    if self.table:
                        self.table.row(record, last=stopped is not None or batch.last)
                    if self.plot:
                        self.plot.update()
                    self._checkpoint(batch, stopped)
                    if stopped:
                        reason = stopped
                        break
            except Exception:
                if self.ranks.told and self.checkpoints and records:
                    self._write_checkpoint(self.checkpoints)
                raise
        return self._end(record, reason)

    def _checkpoint(self, batch: Batch, stopped: StopReason | None) -> None:
        # A training that ended for a reason of its own would not go on, so it leaves nothing to go on with.
        if self.checkpoints and (stopped == "interrupted" or (stopped is None and self.checkpoints.due(batch))):
            self._write_checkpoint(self.checkpoints)

    def _write_checkpoint(self, checkpoints: Checkpoints) -> None:
        """Of the last iteration that was done."""
        records, best = self.history.records, self.validation
        checkpoints.write(
            Progress(records[-1].iteration, records, best.best_loss, best.best_iteration, best.worse, best.weights)
        )

    def _iterate(self, batch: Batch) -> Record:
        epoch, iteration, x, t, _, last = batch
        rate = prepare(self.compiled.hyperparameters, self.options, epoch, iteration)
        before = dict(self.compiled.parameters) if self.options.detect_anomaly else None
        loss = self.compiled.train_step(x, t, parts=self.options.gradient_accumulation_steps)
        if before is not None and not is_finite(loss, self.compiled.parameters):
            prepare(self.compiled.hyperparameters, self.options, epoch, iteration)  # the same dropout
            raise anomaly(self.compiled, before, x, t, iteration)
        loss, measured = self.ranks.measured(loss, self.compiled.last_scores, t, self.history.classification)
        validation = self.validation.after(iteration, last) or (None, None)
        return Record(epoch, iteration, self._seconds(), rate, loss, measured, *validation)

    def _stop_reason(
        self, state: Literal["start", "iteration"], record: Record, interruption: Interruption | None = None
    ) -> StopReason | None:
        """Why all ranks are to stop now, if they are."""
        reason, error = None, None
        try:
            reason = self._own_reason(state, record, interruption)
        except Exception as found:  # of an output function
            error = found
        return self.ranks.stopped(reason, error)

    def _own_reason(
        self, state: Literal["start", "iteration"], record: Record, interruption: Interruption | None
    ) -> StopReason | None:
        # The output functions are asked first: they see every iteration, also the one that stops for another reason.
        if self._ask(state, record):
            return "output-fcn"
        if state == "start":
            return None
        if record.loss is not None and math.isnan(record.loss):
            return "training-loss-is-nan"
        if self.validation.exhausted:
            return "validation-patience"
        return "interrupted" if interruption and interruption.requested else None

    def _ask(self, state: Any, record: Record) -> bool:
        """Calls every output function, on the first rank; whether any of them asks to stop."""
        functions = self.options.output_fcn if self.ranks.first else ()
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
