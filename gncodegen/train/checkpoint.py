"""Checkpoints of a training: folders that appear whole or not at all; the last few are kept, and a training goes on."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.cache import disk
from gncodegen.errors import OptionsError
from gncodegen.loading import MalformedError, count, entry, json_of, made_of
from gncodegen.saving import array_bytes, written_beside
from gncodegen.train.batches import Batch
from gncodegen.train.history import Record
from gncodegen.train.options import TrainingOptions

_NAME = re.compile(r"checkpoint_(\d+)")
_RECORD, _ARRAYS = "progress.json", "progress.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training has come, beside the network: what the loop needs to go on.

    Args:
        iteration: the last one done; shuffles and dropout follow from it and the seed.
        records: of all iterations.
        best_loss, best_iteration, worse: of the validations: the best, where it was, and how many since were no better.
        best: the values of then, where the options ask for them.
    """

    iteration: int
    records: list[Record]
    best_loss: float = math.inf
    best_iteration: int = 0
    worse: int = 0
    best: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])


class Checkpoints:
    """Writes the checkpoints of one training.

    Args:
        options: checkpoint_path, checkpoint_frequency, checkpoint_frequency_unit and checkpoints_kept.
        save: writes the network to a folder.
        facts: what must be the same when the training goes on.
    """

    def __init__(self, options: TrainingOptions, save: Callable[[Path], None], facts: Mapping[str, Any]) -> None:
        assert options.checkpoint_path is not None
        self.folder, self._kept = Path(options.checkpoint_path), options.checkpoints_kept
        self._every, self._epochs = options.checkpoint_frequency, options.checkpoint_frequency_unit == "epoch"
        self._save, self._facts = save, dict(facts)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f".*{disk.UNFINISHED}"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)

    def due(self, batch: Batch) -> bool:
        """Whether the iteration on this mini-batch is to leave a checkpoint."""
        return (
            batch.ends_epoch and batch.epoch % self._every == 0 if self._epochs else batch.iteration % self._every == 0
        )

    def write(self, progress: Progress) -> None:
        """Writes a checkpoint, then removes those that are too old."""
        place = self.folder / f"checkpoint_{progress.iteration:08d}"
        arrays = {"records": _table(progress.records)} | {f"best/{key}": value for key, value in progress.best.items()}
        numbers = {name: getattr(progress, name) for name in ("iteration", "best_loss", "best_iteration", "worse")}
        text = json.dumps({"facts": self._facts, **numbers}, indent=1)
        with written_beside(place) as draft:
            self._save(draft / place.name)
            disk.replace(draft / place.name / _ARRAYS, array_bytes(arrays))
            disk.replace(draft / place.name / _RECORD, text.encode())
        disk.flush_names(self.folder)
        for old in checkpoints(self.folder)[: -self._kept]:
            _remove(old)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first; none where there is no folder."""
    found = [(_NAME.fullmatch(path.name), path) for path in folder.iterdir()] if folder.is_dir() else []
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def refuse_others(folder: Path) -> None:
    """Refuses a folder with the checkpoints of another training, which a resumed one would take for its own.

    Raises:
        OptionsError: there are some.
    """
    if checkpoints(folder):
        raise OptionsError(
            f"checkpoint_path = {str(folder)!r} holds checkpoints of another training; allowed: a folder without any; "
            f"write train_network(…, resume={str(folder)!r}) to go on with it, or take another folder"
        )


def read(path: Path, facts: Mapping[str, Any]) -> tuple[Progress, int]:
    """The progress of a checkpoint, and the seed of its training.

    Args:
        path: the checkpoint.
        facts: of the training that is to go on; a seed of None stands for any.

    Raises:
        NetworkError: the checkpoint cannot be read.
        OptionsError: it is of a training that differs; names what differs.
    """
    from safetensors.numpy import load  # noqa: PLC0415  used here only

    def progress() -> tuple[Progress, dict[str, Any]]:
        record = json_of(path / _RECORD)
        then: dict[str, Any] = entry(record, "facts", dict)
        count(then, "seed")
        with disk.opened(path / _ARRAYS) as file:
            arrays = load(file.read())
        records = [_record(row) for row in arrays.pop("records")]
        best = {key.removeprefix("best/"): value for key, value in arrays.items()}
        shapes = [f"{name} {list(value.shape)}" for name, value in best.items()]
        if best and sorted(shapes) != sorted(entry(then, "parameters", list)):
            raise MalformedError(f"{_ARRAYS} has {', '.join(shapes)}, not the values of all parameters")
        numbers = {name: count(record, name) for name in ("iteration", "best_iteration", "worse")}
        if not records or records[-1].iteration != numbers["iteration"]:
            raise MalformedError(
                f"{_ARRAYS} has {len(records)} records, not those of {numbers['iteration']} iterations"
            )
        return Progress(records=records, best=best, best_loss=entry(record, "best_loss", float), **numbers), then

    found, then = made_of(path, "checkpoint", "a folder that a training wrote; remove it", progress)
    for name, value in facts.items():
        if then.get(name) != value and not (name == "seed" and value is None):
            raise OptionsError(
                f"resume: {name} is {value!r}, and was {then.get(name)!r} in the training that wrote {path}; allowed: "
                "the same layers, data and options; give those of then, or start anew in an empty folder"
            )
    return found, then["seed"]


def _table(records: list[Record]) -> NDArray[np.float64]:
    """A row per record, NaN for None."""
    rows = np.array([astuple(record) for record in records], np.float64)  # None becomes NaN
    return rows.reshape(len(records), len(fields(Record)))


def _record(row: NDArray[np.float64]) -> Record:
    epoch, iteration, *numbers = (None if math.isnan(value) else value for value in row.tolist())
    return Record(int(epoch or 0), int(iteration or 0), *numbers)  # pyright: ignore[reportArgumentType]


def _remove(folder: Path) -> None:
    """Removes a checkpoint so that half of one never bears its name."""
    gone = folder.with_name(f".{folder.name}{disk.UNFINISHED}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)
