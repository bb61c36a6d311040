"""What ranks do together: one operation, and what follows from it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import RankError

TIMEOUT = 600.0
"""Seconds that a rank is waited for."""


class Collective(Protocol):
    """The processes of a job, as one of them sees it."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        ...

    @property
    def ranks(self) -> int:
        """How many there are."""
        ...

    @property
    def timeout(self) -> float:
        """Seconds that a rank is waited for."""
        ...

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Puts the sum over all ranks in the place of a C-contiguous array; each rank calls it with one alike.

        Each element is summed in the order of ranks, so the bits are the same in every run and on every rank.

        Raises:
            RankError: a rank did not come.
        """
        ...

    def end(self, error: BaseException) -> None:
        """Ends the processes of all ranks, as far as that is in this one's power, because of an error in this one."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    ranks: int = 1
    timeout: float = TIMEOUT

    def allreduce(self, buffer: NDArray[Any]) -> None:
        """Nothing: the sum over one."""

    def end(self, error: BaseException) -> None:
        """Nothing: the error ends it."""


ALONE = Alone()


def share(count: int, collective: Collective) -> slice:
    """Which of `count` observations are this rank's: neighbours, as many as others have or one less."""
    rank, ranks = collective.rank, collective.ranks
    return slice(count * rank // ranks, count * (rank + 1) // ranks)


def gathered(row: Any, collective: Collective) -> NDArray[np.float64]:
    """The rows of all ranks, one under the other: (ranks, numbers).

    Args:
        row: as many numbers on each rank.
        collective: the ranks.
    """
    given = np.asarray(row, np.float64)
    rows = np.zeros((collective.ranks, *given.shape), np.float64)
    rows[collective.rank] = given
    collective.allreduce(rows)
    return rows


def everyone(value: Any, collective: Collective) -> list[Any]:
    """What each rank has, in their order; any kind of value that pickle takes."""
    if collective.ranks == 1:
        return [value]
    own = np.frombuffer(pickle.dumps(value), np.uint8)
    sizes = gathered([own.size], collective)[:, 0].astype(int)
    ends = np.cumsum(sizes)
    joined = np.zeros(int(ends[-1]), np.uint8)
    joined[ends[collective.rank] - own.size : ends[collective.rank]] = own
    collective.allreduce(joined)
    return [pickle.loads(joined[end - size : end].tobytes()) for end, size in zip(ends, sizes, strict=True)]


def raise_together(error: Exception | None, collective: Collective) -> None:
    """Raises what went wrong: on the rank where it did as it is, on others with that rank's text.

    Args:
        error: what went wrong here, or None.
        collective: all ranks; each calls this.

    Raises:
        RankError: another rank has an error.
    """
    told = everyone(None if error is None else f"{type(error).__name__}: {error}", collective)
    if error is not None:
        raise error
    for rank, text in enumerate(told):
        if text is not None:
            raise RankError(f"rank {rank} failed with {text}; this is rank {collective.rank}")
