"""Training data that come as mini-batches: an iterable, a callable that makes one per epoch, a DataLoader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.parallel.collective import ALONE, Collective, share
from gncodegen.train.batches import Augmentation, Batch, as_batch, augmented
from gncodegen.train.history import Record
from gncodegen.train.inputs import along, checked_inputs
from gncodegen.train.options import TrainingOptions
from gncodegen.train.pairs import checked

Pairs = Iterator[tuple[Any, Any]]


class Stream:
    """Pairs (x, y), epoch by epoch.

    Args:
        data: an iterable of pairs; or a callable that makes one per epoch, and is given the number of the epoch (from
            1) if it takes an argument, and `rank` and `ranks` if it has parameters of those names. It is to start anew
            each time; an iterator lasts for one epoch.
        collective: the ranks. Where a callable does not ask for its rank, each takes its share of every batch.

    Raises:
        ArrayError: it is neither.
    """

    def __init__(self, data: Any, collective: Collective = ALONE) -> None:
        if hasattr(data, "__array__") or hasattr(data, "__dlpack__") or not (callable(data) or _is_iterable(data)):
            raise ArrayError(
                f"y is None and the data is of type {type(data).__name__}; allowed: an iterable of (x, y) batches, or "
                "a callable that makes one per epoch; give x and y as arrays, or wrap a data set, as with "
                "torch.utils.data.DataLoader(data, batch_size=64)"
            )
        self._data: Any = data
        self.collective = collective
        self._own = collective.ranks > 1 and not _is_iterable(data) and {"rank", "ranks"} <= _parameters(data).keys()
        self._peeked: tuple[tuple[Any, Any], Pairs] | None = None
        self.one_shot = isinstance(data, Iterator)
        self._spent = False

    @property
    def length(self) -> int:
        """Batches of an epoch; 0 = nobody knows."""
        try:
            return 0 if not _is_iterable(self._data) else len(self._data)
        except TypeError:
            return 0

    def share(self, count: int) -> slice:
        """Which observations of a batch are this rank's: all, where the callable asked for its rank."""
        return slice(0, count) if self._own else share(count, self.collective)

    def first(self) -> tuple[Any, Any]:
        """The first pair of the first epoch, which comes again when that epoch is begun."""
        if self._peeked is None:
            pairs = self.epoch(1)
            pair = next(pairs, None)
            if pair is None:
                raise no_batch(1)
            self._peeked = pair, pairs
        return self._peeked[0]

    def epoch(self, number: int) -> Pairs:
        """The pairs of an epoch, from 1."""
        if number == 1 and self._peeked is not None:
            (pair, pairs), self._peeked = self._peeked, None
            return chain([pair], pairs)
        return self._pairs(number)

    def again(self, why: str) -> Pairs:
        """The pairs of the first epoch, for a pass besides the training.

        Raises:
            ArrayError: the data can be read once only.
        """
        if self.one_shot:
            raise ArrayError(
                f"the data is an iterator, which can be read once, and {why} takes a pass of its own; allowed: data "
                "that can be iterated again; give a callable that makes the batches, or what that pass is to find"
            )
        return self._pairs(1)

    def _pairs(self, number: int) -> Pairs:
        data = self._data
        batches: Iterable[Any] = data if _is_iterable(data) else _made(data, number, self.collective)
        for position, pair in enumerate(batches, 1):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                length = f" of length {len(pair)}" if isinstance(pair, (tuple, list)) else ""
                raise ArrayError(
                    f"batch {position} of epoch {number} is a {type(pair).__name__}{length}; allowed: pairs (x, y) of "
                    "arrays; yield x, y"
                )
            yield pair[0], pair[1]


def _is_iterable(data: Any) -> bool:
    return hasattr(data, "__iter__")


def _parameters(make: Callable[..., Any]) -> Mapping[str, Parameter]:
    try:
        return signature(make).parameters
    except ValueError:  # written in C
        return {}


def _made(make: Callable[..., Iterable[Any]], epoch: int, collective: Collective) -> Iterable[Any]:
    """The batches of an epoch from a callable that takes its number, or nothing, and perhaps the rank."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.VAR_POSITIONAL)
    parameters, known = _parameters(make), {"rank": collective.rank, "ranks": collective.ranks}
    named = {name: value for name, value in known.items() if name in parameters}
    takes = any(p.kind in kinds for name, p in parameters.items() if name not in named)
    batches = make(epoch, **named) if takes else make(**named)
    if not _is_iterable(batches):
        raise ArrayError(
            f"the data's callable returned {type(batches).__name__} for epoch {epoch}; allowed: an iterable of (x, y) "
            "batches; yield them, or return a list"
        )
    return batches


def no_batch(epoch: int) -> ArrayError:
    """The refusal of an epoch without batches."""
    return ArrayError(
        f"epoch {epoch} of the data has no batch; allowed: one or more in every epoch; an iterator is empty after it "
        "was read once, so give a callable that makes a new one"
    )


@dataclass(frozen=True)
class StreamSource:
    """Mini-batches of a stream; each makes a step, whatever its size.

    Args:
        stream: the training data.
        network: with its classes and input statistics.
        options: of the training.
        data_format: axis order of x.
        seed: of augmentations.
        augment: changes each mini-batch; None = they stay as they are.
        dtype: the floating type of batches.
        length: batches of an epoch, counted in a first pass; 0 = nobody knows.
    """

    stream: Stream
    network: Network
    options: TrainingOptions
    data_format: str
    seed: int
    augment: Augmentation | None
    dtype: str
    length: int = 0

    @property
    def slow(self) -> bool:
        """A thread is to make them: nobody knows how long one takes."""
        return True

    @property
    def classification(self) -> bool:
        """Whether targets are classes."""
        return isinstance(self.network.output_layer, ClassificationLayer)

    @property
    def iterations(self) -> int:
        """All of them, where the data says how long it is."""
        batches = self.stream.length or self.length
        return -(-batches // self.options.gradient_accumulation_steps) * self.options.max_epochs

    def batches(self, records: Sequence[Record]) -> Iterator[Batch]:
        """The mini-batches after these records: the epoch of the last one is read again up to there."""
        iteration = len(records)
        first = records[-1].epoch if records else 1
        done = sum(record.epoch == first for record in records)
        for epoch in range(first, self.options.max_epochs + 1):
            updates = self._updates(epoch)
            skipped = done if epoch == first else 0
            ahead = next(updates, None)
            if ahead is None:
                raise no_batch(epoch)
            position = 0
            while ahead is not None:
                pairs, ahead = ahead, next(updates, None)
                position += 1
                if position > skipped:
                    iteration += 1
                    x, t = self._joined(pairs, iteration)
                    ends = ahead is None
                    yield Batch(epoch, iteration, x, t, ends, ends and epoch == self.options.max_epochs)

    def _updates(self, epoch: int) -> Iterator[tuple[tuple[Any, Any], ...]]:
        """The pairs of an epoch, as many at a time as make an update."""
        pairs, parts = self.stream.epoch(epoch), self.options.gradient_accumulation_steps
        while update := tuple(islice(pairs, parts)):
            yield update

    def _joined(self, pairs: Sequence[tuple[Any, Any]], iteration: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The batches of an update as one; their augmentations are drawn apart."""
        first = (iteration - 1) * self.options.gradient_accumulation_steps + 1
        x, t = zip(*(self._gathered(pair, number) for number, pair in enumerate(pairs, first)), strict=True)
        if len(pairs) == 1:
            return x[0], t[0]
        apart = x[0].dtype == object
        axis = 0 if apart else axis_order(self.data_format, "B" + self.network.input.size.format).index("B")
        return np.concatenate(x, axis), np.concatenate(t)

    def _gathered(self, pair: tuple[Any, Any], number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        x, targets, axis = checked(*pair, self.network, self.data_format, "a batch of")
        own = self.stream.share(x.shape[axis])
        x, indices = along(x, axis, own), np.arange(own.start, own.stop)
        if self.augment is None:
            return as_batch(x, x, self.dtype), targets.gather(indices, self.dtype)
        made, y = augmented(self.augment, x, targets.take(indices), self.seed, number, self.stream.collective.rank)
        return as_batch(made, x, self.dtype), targets.rows(y, self.dtype)

    def inputs(self) -> Iterator[NDArray[Any]]:
        """This rank's share of all inputs of the first epoch."""
        for x, _ in self.stream.again('batch_normalization_statistics = "population"'):
            array, axis = checked_inputs(x, self.network.input, self.data_format)
            own = self.stream.share(array.shape[axis])
            if own.start < own.stop:
                yield as_batch(along(array, axis, own), array, self.dtype)
