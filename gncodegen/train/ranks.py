"""What the ranks of a training tell each other beside gradients: whether all go on, with what, and how well."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import OptionsError, RankError
from gncodegen.layers.network import Network
from gncodegen.layers.normalization import BatchNormalizationLayer
from gncodegen.parallel.averaging import Averaging
from gncodegen.parallel.collective import everyone, gathered, raise_together, share
from gncodegen.train.batches import Batch
from gncodegen.train.history import StopReason
from gncodegen.train.options import TrainingOptions
from gncodegen.train.targets import hits, measure

_REASONS: tuple[StopReason, ...] = ("output-fcn", "interrupted")
"""Why one rank may want all to stop; what else stops a training all of them see."""


def check_together(network: Network, options: TrainingOptions, ranks: Ranks) -> None:
    """Refuses what several ranks do not do, and says what they do otherwise than one.

    Raises:
        OptionsError: detect_anomaly.
    """
    if not ranks.several:
        return
    if options.detect_anomaly:
        raise OptionsError(
            f"detect_anomaly = True on {ranks.collective.ranks} ranks; allowed: on one; train a few iterations with "
            'execution_environment="cpu" to find the layer'
        )
    normalized = any(isinstance(layer, BatchNormalizationLayer) for layer in network.layers)
    if normalized and ranks.first and options.verbose:
        whose = "all ranks take" if options.synchronize_batch_normalization else "each rank takes"
        share = "a mini-batch" if options.synchronize_batch_normalization else "its share of a mini-batch"
        print(f"Batch normalization: {whose} the statistics of {share}.", flush=True)


class Ranks:
    """The ranks of a training, as one of them sees it; of a single one nothing is asked.

    Args:
        averaging: of their gradients.
    """

    def __init__(self, averaging: Averaging | None = None) -> None:
        self.averaging = averaging or Averaging()
        self.collective = self.averaging.collective
        self.several = self.collective.ranks > 1
        self.told = False
        """Whether all ranks know of the error that ends the training."""

    @property
    def first(self) -> bool:
        """Whether this is the rank that prints, asks output functions and writes."""
        return self.collective.rank == 0

    def share(self, count: int) -> slice:
        """Which of so many observations are this rank's."""
        return share(count, self.collective)

    def agreed(self, value: Any) -> Any:
        """What the first rank has."""
        return everyone(value, self.collective)[0]

    def begin(self, compiled: Any, seed: int, iterations: int) -> None:
        """Before the first iteration: all have the first one's values, and each has dropout masks of its own.

        Args:
            compiled: the network.
            seed: of the training.
            iterations: that a checkpoint has brought along.

        Raises:
            OptionsError: ranks go on with different checkpoints.
        """
        if not self.several:
            return
        done = gathered([iterations], self.collective)[:, 0]
        if len(set(done)) > 1:
            found = ", ".join(f"{each:g}" for each in done)
            raise OptionsError(
                f"resume: the ranks found checkpoints of iterations {found}; allowed: the same on all; name a folder "
                "that all of them see"
            )
        for name, value in compiled.parameters.items():  # an initializer may draw another one on each rank
            kept = np.array(value) if self.first else np.full_like(value, -0.0)
            self.collective.allreduce(kept)
            compiled.parameters[name] = kept
        compiled.hyperparameters["seed"] = seed + (self.collective.rank << 32)

    def require(self, observations: int, parts: int = 1) -> None:
        """Refuses mini-batches that leave a rank without work.

        Args:
            observations: of an update.
            parts: that each rank takes its share of them in.

        Raises:
            OptionsError: there are fewer observations in one than ranks.
        """
        ranks = self.collective.ranks
        if self.several and observations // parts < ranks:
            raise OptionsError(
                f"a mini-batch of {observations // parts} observations over {ranks} ranks; allowed: one or more for "
                "each; give a larger mini_batch_size, or start fewer ranks"
            )

    def together(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The mini-batches of this rank, each when all have theirs; the share of the next step is set.

        Raises:
            RankError: another rank has no batch, or could not make one; its error is in the text.
        """
        if not self.several:
            yield from batches
            return
        while True:
            batch, error = None, None
            try:
                batch = next(batches, None)
            except Exception as found:
                error = found
            size = 0 if batch is None else len(batch.t)
            rows = gathered([size, error is not None], self.collective)
            self.raise_first(error, bool(rows[:, 1].any()))
            sizes = rows[:, 0]
            if batch is None and not sizes.any():
                return
            if not sizes.all():
                empty = ", ".join(map(str, np.flatnonzero(sizes == 0)))
                raise RankError(
                    f"rank {empty} has no mini-batch where others have one; allowed: as many on each rank; give the "
                    "ranks' data callables equally many"
                )
            assert batch is not None
            self.averaging.share = size / float(sizes.sum())
            yield batch

    def raise_first(self, error: Exception | None, any_failed: bool) -> None:
        """Raises what went wrong, if something did.

        Args:
            error: what went wrong here.
            any_failed: whether something did anywhere; all ranks know it.
        """
        if not any_failed:
            return
        self.told = True
        raise_together(error, self.collective)

    def measured(self, loss: float, y: NDArray[Any], t: NDArray[Any], classification: bool) -> tuple[float, float]:
        """Loss and accuracy or RMSE of the observations of all ranks; this one may have none.

        Args:
            loss: mean over this rank's.
            y: their outputs.
            t: their targets.
            classification: as for `measure`.
        """
        if not self.several:
            return loss, measure(loss, y, t, classification)
        count = len(t)
        right, counted = hits(y, t) if classification and count else (0, 0)
        sums = gathered([count * loss if count else 0.0, count, right, counted], self.collective).sum(axis=0)
        total = float(sums[0] / sums[1])
        if not classification:
            return total, math.sqrt(2.0 * total) if total >= 0 else math.nan
        return total, float(100.0 * sums[2] / sums[3]) if sums[3] else math.nan

    def stopped(self, reason: StopReason | None, error: Exception | None) -> StopReason | None:
        """Why all are to stop after this iteration: the reason of the first rank that has one."""
        if not self.several:
            if error is not None:
                raise error
            return reason
        number = 1 + _REASONS.index(reason) if reason in _REASONS else 0
        rows = gathered([number, error is not None], self.collective)
        self.raise_first(error, bool(rows[:, 1].any()))
        found = [int(row) for row in rows[:, 0] if row]
        return _REASONS[found[0] - 1] if found else reason
