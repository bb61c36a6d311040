"""The picture of a training: accuracy or RMSE above, loss below, epochs shaded; live, or as a PNG file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import OptionsError, TargetError

if TYPE_CHECKING:
    from gncodegen.train.history import TrainingInfo

PAUSE = 2.0
"""Seconds from one drawing to the next; a drawing that takes longer doubles its own time."""

FILE = "training-progress.png"
"""Where the picture goes when there is neither a display nor a notebook."""

_TRAINING, _VALIDATION = "tab:blue", "black"


def pyplot() -> Any:
    """matplotlib.pyplot.

    Raises:
        TargetError: matplotlib is not installed.
    """
    try:
        from matplotlib import pyplot as plt  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise TargetError(
            "plots need matplotlib, which is not installed; allowed: matplotlib 3.8 and later; "
            "run `pip install 'gncodegen[plot]'`"
        ) from error
    return plt


def new_axes() -> tuple[Any, Any]:
    """A new figure's upper and lower axes."""
    figure, axes = pyplot().subplots(2, 1, sharex=True, figsize=(8, 6), height_ratios=(3, 2), layout="constrained")
    figure.set_label("Training progress")
    return tuple(axes)


def draw(info: TrainingInfo, axes: Sequence[Any], title: str = "") -> None:
    """Draws the course of a training anew.

    Args:
        info: the course.
        axes: two: accuracy or RMSE goes to the first, the loss to the second; or one, for the loss.
        title: above the first.
    """
    accurate = info.training_accuracy is not None
    measured = info.training_accuracy if accurate else info.training_rmse
    validated = info.validation_accuracy if accurate else info.validation_rmse
    panels: list[tuple[str, Any, Any]] = [("Loss", info.training_loss, info.validation_loss)]
    if len(axes) > 1:
        panels.insert(0, ("Accuracy (%)" if accurate else "RMSE", measured, validated))
    iterations = np.arange(1, len(info.training_loss) + 1)
    for ax, (name, training, validation) in zip(axes, panels, strict=True):
        ax.clear()
        _shade(ax, info.epoch, named=ax is axes[0])
        if training is not None and len(training):
            ax.plot(iterations, training, color=_TRAINING, linewidth=0.8, alpha=0.4)
            ax.plot(iterations, _smooth(training), color=_TRAINING, linewidth=1.6, label="Training (smoothed)")
        if validation is not None and np.isfinite(validation).any():
            known = np.isfinite(validation)
            ax.plot(
                iterations[known], validation[known], "o--", color=_VALIDATION, markersize=3.5, linewidth=1,
                label="Validation",
            )  # fmt: skip
        ax.set_ylabel(name)
        ax.grid(alpha=0.3)
        ax.margins(x=0)
    axes[0].legend(loc="center right" if accurate and len(axes) > 1 else "upper right")
    axes[0].set_title(title or _title(info), fontsize="medium")
    axes[-1].set_xlabel("Iteration")
    if len(axes) > 1 and accurate:
        axes[0].set_ylim(0, 102)


def _title(info: TrainingInfo) -> str:
    rate = f", learning rate {info.base_learn_rate[-1]:.3g}" if len(info.base_learn_rate) else ""
    return f"Epoch {int(info.epoch[-1]) if len(info.epoch) else 0}, iteration {len(info.epoch):,}{rate}"


def _shade(ax: Any, epochs: Any, *, named: bool) -> None:
    """Every second epoch grey, and, where they are named, the number of some below."""
    starts = np.flatnonzero(np.diff(epochs, prepend=0))
    for number, start in enumerate(starts):
        end = starts[number + 1] if number + 1 < len(starts) else len(epochs)
        if number % 2:
            ax.axvspan(start + 0.5, end + 0.5, color="0.93", zorder=0)
        if named and number % max(1, len(starts) // 10) == 0:
            ax.annotate(
                f"Epoch {int(epochs[start])}", (start + 0.5, 0.0), xycoords=("data", "axes fraction"), xytext=(2, 3),
                textcoords="offset points", fontsize="x-small", color="0.45",
            )  # fmt: skip


def _smooth(values: Any) -> Any:
    """An exponential mean over about a thirtieth of the course, without the pull of its start."""
    weight = 1 - 1 / max(1.0, min(50.0, len(values) / 30))
    smooth, total, mass = np.empty(len(values)), 0.0, 0.0
    for i, value in enumerate(values):
        total, mass = weight * total + (1 - weight) * value, weight * mass + (1 - weight)
        smooth[i] = total / mass
    return smooth


class ProgressPlot:
    """Draws a training while it runs: in a window, in a notebook, or, where there is neither, to a file at its end.

    Args:
        info: gives the course so far.
        folder: of the file.
    """

    def __init__(self, info: Callable[[], TrainingInfo], folder: Path | None = None) -> None:
        self._info, self._path = info, (folder or Path()) / FILE
        self._axes = new_axes()
        self._figure = self._axes[0].figure
        self._window = getattr(self._figure.canvas, "required_interactive_framework", None) is not None
        self._shown: Any = None
        self._next = 0.0

    def update(self, *, last: bool = False) -> None:
        """Draws what is new, if it is time for it.

        Raises:
            OptionsError: the file cannot be written.
        """
        notebook = "ipykernel" in sys.modules
        begin = perf_counter()
        if not last and (begin < self._next or not (self._window or notebook)):
            return
        draw(self._info(), self._axes)
        if notebook:
            display = import_module("IPython.display").display

            if self._shown is None:
                self._shown = display(self._figure, display_id=True)
            else:
                self._shown.update(self._figure)
        elif self._window:
            self._figure.show()
            self._figure.canvas.draw_idle()
            self._figure.canvas.flush_events()
        else:
            self._save()
        if last and not self._window:
            pyplot().close(self._figure)
        self._next = perf_counter() + max(PAUSE, perf_counter() - begin)

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._figure.savefig(self._path, dpi=120)
        except OSError as error:
            raise OptionsError(
                f"plots = 'training-progress': {str(self._path)!r} cannot be written: {error.strerror}; allowed: a "
                "folder that can be written; change to one, or name one as checkpoint_path"
            ) from error
        print(f"The course of the training is drawn in {self._path}.", file=sys.stderr)
