"""`training_options(solver, …)`: every option, its default, what is allowed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import numpy as np

from gncodegen.errors import OptionsError
from gncodegen.kernels.solvers import SOLVERS, Solver
from gncodegen.layers.checks import (
    Check,
    flag,
    function,
    integer_from,
    number_where,
    one_of,
    optional,
    path,
    positive_int,
    positive_number,
    require,
    shown,
)
from gncodegen.layers.frozen import freeze
from gncodegen.parallel.collective import TIMEOUT
from gncodegen.parallel.environments import ENVIRONMENTS
from gncodegen.tables import alike, keyword_cure

Schedule = Callable[[int, int], float]
"""(epoch, iteration) → base learning rate."""

F = TypeVar("F", bound=Callable[..., Any])

_PLACED = ("solver", "hyperparameters", "initial_learn_rate")
"""Fields that `training_options` fills in by solver."""

OutputFcn = Callable[[Any], object]
"""Called with a `TrainingState`; a true result stops the training."""


def _infinity(value: Any) -> float:
    require(isinstance(value, float | np.floating) and value == math.inf)
    return math.inf


def _pair(value: Any) -> tuple[Any, Any]:
    require(isinstance(value, tuple | list))
    x, y = value
    return x, y


def _functions(value: Any) -> tuple[OutputFcn, ...]:
    if value is None:
        return ()
    functions: tuple[Any, ...] = (value,) if callable(value) else tuple(value)
    require(all(map(callable, functions)))
    return functions


def _mapping(value: Any) -> Mapping[str, float]:
    require(isinstance(value, Mapping))
    return dict(value)


_numbers = Check(_mapping, "a mapping of names to numbers", "{}")
_infinite = Check(_infinity, "inf", "inf")
_fraction = number_where(lambda x: 0 <= x <= 1, "a number from 0 to 1", "0.9")
_no_negative = number_where(lambda x: x >= 0, "a finite number ≥ 0", "1e-4")


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingOptions:
    """Options of a training; build them with `training_options(solver, …)`.

    The solver gets, for a parameter p, the gradient g ← g + l2_regularization·l2_factor·p, clipped, and the learning
    rate times the parameter's learn_rate_factor. Its own options are read like all others: `options.momentum`.

    Args:
        solver: "sgdm", "adam" or "rmsprop"; `gncodegen.kernels.solvers` has their formulas.
        hyperparameters: the solver's own options, by name.
        initial_learn_rate: > 0; 0.01 for "sgdm", else 0.001.
        learn_rate_schedule: "none"; "piecewise": the rate drops; or a callable of (epoch, iteration), both from 1, that
            returns the base learning rate.
        learn_rate_drop_factor: the rate times this, in [0, 1], ...
        learn_rate_drop_period: ... every so many epochs.
        l2_regularization: ≥ 0, times each parameter's own factor.
        gradient_threshold: > 0, or inf for no clipping.
        gradient_threshold_method: clip the norm "l2norm" per parameter or "global-l2norm" over all of them,
            or "absolute-value" each element.
        max_epochs, mini_batch_size: positive ints. The last incomplete mini-batch of an epoch is dropped. A stream has
            mini-batches of its own.
        gradient_accumulation_steps: mini-batches whose gradients are added up, weighted by their observations, before
            one update with L2 and clipping. Such an update is an iteration for schedules, histories, frequencies and
            output functions: all is as with a mini_batch_size so many times as large, the last incomplete one of an
            epoch included, in the memory of one. Batch norms take the statistics of each mini-batch. Of a stream so
            many batches make an iteration, and what is left at an epoch's end makes one, too.
        shuffle: "once" before training, "never", or "every-epoch".
        verbose, verbose_frequency: print a table with a row at the first, every n-th and the last iteration, and at
            validations.
        validation_data: None or (x, y), arrays as for training.
        validation_frequency: iterations, positive int; the first and the last iteration validate too.
        validation_patience: training stops after so many validations in a row that do not lower the best loss.
        output_network: "last-iteration" or "best-validation-loss".
        checkpoint_path: None, or a folder for checkpoints, which `train_network(…, resume=folder)` goes on with.
        checkpoint_frequency, checkpoint_frequency_unit: every so many of "epoch" or "iteration".
        checkpoints_kept: how many of the last stay.
        execution_environment: "auto", what `target` says; "cpu"; "gpu", which is target="cuda"; "parallel": the
            processes that mpiexec started train one network, each on its share of every mini-batch; "multi-gpu": so,
            each on a GPU.
        bucket_size: bytes of gradients that several ranks average at once, while the backward pass goes on; None: an
            eighth of all gradients, and 1 MiB at most.
        synchronize_batch_normalization: several ranks take the statistics of batch norms over all of a mini-batch, not
            over their shares.
        rank_timeout: seconds that a rank is waited for before the training ends with an error.
        reset_input_normalization: recompute the input layer's statistics from the training data even where it has some;
            those of a stream only where one is missing.
        batch_normalization_statistics: "population" (one more pass after training) or "moving".
        output_fcn: a callable or a list of them, called with a `TrainingState` at the start, after each iteration
            and at the end; a true result stops the training.
        detect_anomaly: stop with an AnomalyError at the first NaN or infinity in the loss or a parameter; it names the
            layer and op that it comes from, and the iteration. Steps take longer.
        plots: "none", or "training-progress": the course is drawn while it runs, in a window or a notebook, or, where
            there is neither, at its end as training-progress.png in checkpoint_path or the current folder. Needs
            matplotlib.
        seed: one int ≥ 0 that fixes initial values, shuffles and dropout; None draws one.

    Raises:
        OptionsError: naming the option, what was given, what is allowed and the cure.
    """

    solver: Annotated[str, one_of(*SOLVERS)]
    hyperparameters: Annotated[Mapping[str, float], _numbers]
    initial_learn_rate: Annotated[float, positive_number]
    learn_rate_schedule: Annotated[Literal["none", "piecewise"] | Schedule, one_of("none", "piecewise") | function] = (
        "none"
    )
    learn_rate_drop_factor: Annotated[float, _fraction] = 0.1
    learn_rate_drop_period: Annotated[int, positive_int] = 10
    l2_regularization: Annotated[float, _no_negative] = 1e-4
    gradient_threshold: Annotated[float, positive_number | _infinite] = math.inf
    gradient_threshold_method: Annotated[
        Literal["l2norm", "global-l2norm", "absolute-value"], one_of("l2norm", "global-l2norm", "absolute-value")
    ] = "l2norm"
    max_epochs: Annotated[int, positive_int] = 30
    mini_batch_size: Annotated[int, positive_int] = 128
    gradient_accumulation_steps: Annotated[int, positive_int] = 1
    shuffle: Annotated[Literal["once", "never", "every-epoch"], one_of("once", "never", "every-epoch")] = "once"
    verbose: Annotated[bool, flag] = True
    verbose_frequency: Annotated[int, positive_int] = 50
    validation_data: Annotated[tuple[Any, Any] | None, optional(Check(_pair, "a pair (x, y)", "(x, y)"))] = None
    validation_frequency: Annotated[int, positive_int] = 50
    validation_patience: Annotated[float, positive_int | _infinite] = math.inf
    output_network: Annotated[
        Literal["last-iteration", "best-validation-loss"], one_of("last-iteration", "best-validation-loss")
    ] = "last-iteration"
    checkpoint_path: Annotated[Path | None, optional(Check(path, "a folder's path", '"checkpoints"'))] = None
    checkpoint_frequency: Annotated[int, positive_int] = 1
    checkpoint_frequency_unit: Annotated[Literal["epoch", "iteration"], one_of("epoch", "iteration")] = "epoch"
    checkpoints_kept: Annotated[int, positive_int] = 3
    execution_environment: Annotated[Literal["auto", "cpu", "gpu", "parallel", "multi-gpu"], one_of(*ENVIRONMENTS)] = (
        "auto"
    )
    bucket_size: Annotated[int | None, optional(positive_int)] = None
    synchronize_batch_normalization: Annotated[bool, flag] = False
    rank_timeout: Annotated[float, positive_number] = TIMEOUT
    reset_input_normalization: Annotated[bool, flag] = True
    batch_normalization_statistics: Annotated[Literal["population", "moving"], one_of("population", "moving")] = (
        "population"
    )
    output_fcn: Annotated[Any, Check(_functions, "None, a callable or a list of callables", "None")] = None
    detect_anomaly: Annotated[bool, flag] = False
    plots: Annotated[Literal["none", "training-progress"], one_of("none", "training-progress")] = "none"
    seed: Annotated[int | None, optional(integer_from(0, "an int from 0 to 2⁶³ − 1", "0"))] = None

    def __post_init__(self) -> None:
        freeze(type(self), OptionsError, "training options", "write training_options(…, {name}={value})")
        for name, (check, default) in _checks().items():
            given = getattr(self, name)
            object.__setattr__(self, name, _accepted(name, given, check, default))
        if self.output_network == "best-validation-loss" and self.validation_data is None:
            raise OptionsError(
                "output_network = 'best-validation-loss' without validation data; "
                "allowed: 'last-iteration', or with validation data; write validation_data=(x, y)"
            )

    @property
    def observations_of_update(self) -> int:
        """Observations whose gradients make one update."""
        return self.mini_batch_size * self.gradient_accumulation_steps

    def __getattr__(self, name: str) -> float:
        """One of the solver's own options."""
        own: Mapping[str, float] = self.__dict__.get("hyperparameters", {})
        if name not in own:
            close = alike(name, [each for each in dir(self) if not each.startswith("_")])
            cure = f"; write {close[0]}" if close else ""
            raise AttributeError(f"training options have no option {name!r}{cure}", name=name, obj=self)
        return own[name]

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.hyperparameters})


def _accepted(name: str, given: Any, check: Check, default: Any) -> Any:
    """The canonical form of an option's value."""
    try:
        return check.accept(given)
    except (ValueError, TypeError, OverflowError):
        raise OptionsError(
            f"{name} = {shown(given)}; allowed: {check.allowed}; write {name}={default!r}, the default"
        ) from None


@cache
def _checks() -> dict[str, tuple[Check, Any]]:
    """Option → the check in its annotation, and its default."""
    hints = get_type_hints(TrainingOptions, include_extras=True)
    return {
        field.name: (next(extra for extra in hints[field.name].__metadata__ if isinstance(extra, Check)), field.default)
        for field in fields(TrainingOptions)
    }


def _signature(function: F) -> F:
    """Decorator of `training_options`: its signature names every option, so that a shell completes them."""
    own = {each.name: each.default for row in SOLVERS.values() for each in row.hyperparameters}
    common = {each.name: each.default for each in fields(TrainingOptions) if each.name not in _PLACED}
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in ({"initial_learn_rate": None} | own | common).items()
    ]
    signature = inspect.signature(function)
    solver = next(iter(signature.parameters.values()))
    function.__signature__ = signature.replace(parameters=[solver, *named])  # pyright: ignore[reportFunctionMemberAccess]
    return function


@_signature
def training_options(solver: str = "sgdm", /, **options: Any) -> TrainingOptions:
    """Options for `train_network`.

    Args:
        solver: "sgdm" (stochastic gradient descent with momentum), "adam" or "rmsprop".
        options: the fields of `TrainingOptions`, by name, and the solver's own: momentum of "sgdm";
            gradient_decay_factor, squared_gradient_decay_factor and epsilon of "adam"; the latter two of "rmsprop".

    Raises:
        OptionsError: for an unknown solver or option, an option of another solver, or a value that is not allowed.
    """
    if not isinstance(solver, str) or solver not in SOLVERS:  # pyright: ignore[reportUnnecessaryIsInstance]
        allowed = ", ".join(f'"{name}"' for name in SOLVERS)
        raise OptionsError(f'solver = {shown(solver)}; allowed: {allowed}; write training_options("sgdm", …)')
    row = SOLVERS[solver]
    own = {each.name: each for each in row.hyperparameters}
    common = [name for name in _checks() if name not in ("solver", "hyperparameters")]
    for name in options:
        if name not in own and name not in common:
            raise _unknown(name, row, common)
    numbers = {
        name: _accepted(
            name,
            options.pop(name, each.default),
            number_where(each.holds, each.allowed, str(each.default)),
            each.default,
        )
        for name, each in own.items()
    }
    rate = options.pop("initial_learn_rate", row.initial_learn_rate)
    rate = _accepted("initial_learn_rate", rate, positive_number, row.initial_learn_rate)
    return TrainingOptions(solver=solver, hyperparameters=numbers, initial_learn_rate=rate, **options)


def _unknown(name: str, row: Solver, common: Sequence[str]) -> OptionsError:
    """The refusal of an option that a solver does not take."""
    own = [each.name for each in row.hyperparameters]
    others = [other.name for other in SOLVERS.values() if name in (each.name for each in other.hyperparameters)]
    if others:
        takers = " or ".join(f'training_options("{other}", {name}=…)' for other in others)
        return OptionsError(
            f'{name}: no option of solver "{row.name}"; allowed: {", ".join(own)}, and what all solvers take; '
            f"leave it out, or write {takers}"
        )
    known = [*own, *common]
    return OptionsError(f"{name}: no such option; allowed: {', '.join(known)}; {keyword_cure(name, known)}")
