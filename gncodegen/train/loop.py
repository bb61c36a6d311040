"""The training loop: mini-batches through a compiled step, with validation, patience and output functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, MutableMapping
from itertools import islice
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.runtime.state import Hyperparameters
from gncodegen.train.anomaly import Traceable, anomaly, is_finite
from gncodegen.train.batches import Samples, Step, step_count, steps
from gncodegen.train.checkpoint import Checkpoints, Progress
from gncodegen.train.history import History, Record, StopReason, TrainingInfo
from gncodegen.train.interruption import Interruption, interruptible
from gncodegen.train.learn_rate import learn_rate, prepare
from gncodegen.train.options import TrainingOptions
from gncodegen.train.progress import ProgressTable
from gncodegen.train.targets import ClassTargets


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
        last: the last planned iteration.
    """

    def __init__(self, compiled: Trainable, samples: Samples | None, options: TrainingOptions, last: int) -> None:
        self.compiled = compiled
        self.samples = samples
        self.options = options
        self.last = last
        self.best_loss = math.inf
        self.best_iteration = 0
        self.worse = 0
        self.weights: dict[str, NDArray[Any]] = {}

    def measure(self) -> tuple[float, float]:
        """Loss and accuracy or RMSE now; NaNs without validation data."""
        if self.samples is None:
            return math.nan, math.nan
        loss, y = self.compiled.evaluate(self.samples.x, self.samples.targets.whole())
        return loss, self.samples.targets.measure(loss, y)

    def after(self, iteration: int) -> tuple[float, float] | None:
        """Validates if it is time to: at the first, every `validation_frequency`-th and the last iteration."""
        due = iteration in (1, self.last) or iteration % self.options.validation_frequency == 0
        if self.samples is None or not due:
            return None
        loss, measure = self.measure()
        if loss < self.best_loss:
            self.best_loss, self.best_iteration, self.worse = loss, iteration, 0
            if self.options.output_network == "best-validation-loss":
                self.weights = {name: np.array(value) for name, value in self.compiled.parameters.items()}
        else:
            self.worse += 1
        return loss, measure

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
        training: the training data.
        validation: the validation data, or None.
        options: every option of the run.
        generator: the source of the shuffles.
        finalize: runs after the last iteration, on the weights to return, before the final validation.
    """

    def __init__(
        self,
        compiled: Trainable,
        training: Samples,
        validation: Samples | None,
        options: TrainingOptions,
        generator: np.random.Generator,
        finalize: Callable[[], None] = lambda: None,
    ) -> None:
        self.compiled = compiled
        self.training = training
        self.options = options
        self.generator = generator
        self.finalize = finalize
        total = step_count(len(training), options.mini_batch_size, options.max_epochs)
        classification = isinstance(training.targets, ClassTargets)
        self.validation = Validation(compiled, validation, options, total)
        self.history = History(classification, total)
        self.table = ProgressTable(classification, options.verbose_frequency) if options.verbose else None
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
            with interruptible() as interruption:
                for step in self._steps():
                    record = self._iterate(step)
                    records.append(record)
                    stopped = self._stop_reason(record, interruption)
                    if self.table:
                        self.table.row(record, last=stopped is not None or record.iteration == self.history.iterations)
                    self._checkpoint(record.iteration, stopped)
                    if stopped:
                        reason = stopped
                        break
        return self._end(record, reason)

    def _steps(self) -> Iterator[Step]:
        """The iterations that are not done yet; their shuffles follow from those of all before."""
        options = self.options
        every = steps(len(self.training), options.mini_batch_size, options.max_epochs, options.shuffle, self.generator)
        return islice(every, len(self.history.records), None)

    def _checkpoint(self, iteration: int, stopped: StopReason | None) -> None:
        # A training that ended for a reason of its own would not go on, so it leaves nothing to go on with.
        if self.checkpoints and (stopped == "interrupted" or (stopped is None and self.checkpoints.due(iteration))):
            best = self.validation
            self.checkpoints.write(
                Progress(iteration, self.history.records, best.best_loss, best.best_iteration, best.worse, best.weights)
            )

    def _iterate(self, step: Step) -> Record:
        rate = prepare(self.compiled.hyperparameters, self.options, step.epoch, step.iteration)
        x, t = self.training.gather(step.indices)
        before = dict(self.compiled.parameters) if self.options.detect_anomaly else None
        loss = self.compiled.train_step(x, t)
        if before is not None and not is_finite(loss, self.compiled.parameters):
            prepare(self.compiled.hyperparameters, self.options, step.epoch, step.iteration)  # the same dropout
            raise anomaly(self.compiled, before, x, t, step.iteration)
        measure = self.training.targets.measure(loss, self.compiled.last_scores, step.indices)
        validation = self.validation.after(step.iteration) or (None, None)
        return Record(step.epoch, step.iteration, self._seconds(), rate, loss, measure, *validation)

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
        self._ask("done", record)
        return self.history.info(final, iteration, reason)

    def _seconds(self) -> float:
        return perf_counter() - self._began
