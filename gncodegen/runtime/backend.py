"""What a compiled network asks of the place where it runs: kernels compiled, programs run, values kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any, Protocol

from numpy.typing import NDArray

from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source
from gncodegen.parallel.averaging import Averaging
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.state import Hyperparameters, Values
from gncodegen.targets.target import Target

Array = NDArray[Any] | DeviceArray
"""An array that a network reads or returns: of the host, or of a GPU."""

Key = tuple[str, str]
"""(kind, name) of a program's argument, for example ("input", "x")."""


@dataclass(frozen=True)
class PersistentBuffers:
    """What stays in its place from run to run.

    Args:
        values: parameters and state.
        solver_state: what the solver keeps: arrays by parameter, under the name that its row gives them.
        hyperparameters: what a step reads at run time.
        averaging: over ranks, of gradients.
        sums: of gradients over the parts of a mini-batch, under their kind, once a step in parts was asked for.
    """

    values: Values
    solver_state: Mapping[str, Values]
    hyperparameters: Hyperparameters
    averaging: Averaging = field(default_factory=Averaging)
    sums: dict[str, Values] = field(default_factory=dict[str, Values])

    @property
    def by_kind(self) -> Mapping[str, Values]:
        """Kind of a program's argument → the arrays of that kind."""
        return {"parameter": self.values, "state": self.values, **self.solver_state, **self.sums}


class Runner(Protocol):
    """A program, ready to run."""

    def run(self, arguments: Mapping[Key, Any], count: int = 0) -> None:
        """One run, of the first `count` observations or of all; results without an array are kept for `result`."""
        ...

    def result(self, key: Key) -> NDArray[Any]:
        """A result of the last run that no array was given for."""
        ...


class TimedRunner(Runner, Protocol):
    """A program whose runs are timed, call by call."""

    @property
    def seconds(self) -> NDArray[Any]:
        """The times of each run, by call: (runs, calls); of a call that a run left out 0."""
        ...

    @property
    def waits(self) -> NDArray[Any]:
        """What passed in front of each call since the end of the one before, alike; 0 where nobody notes it."""
        ...

    @property
    def averages(self) -> NDArray[Any]:
        """Seconds from the end of the last call before each average over ranks to its begin and to its end.

        (runs, averages, 2); no averages where nobody notes them.
        """
        ...


class Backend(Protocol):
    """One place where networks run; a network has its own. One run at a time: hold `lock` around run and `result`."""

    @property
    def target(self) -> Target:
        """What kernels are compiled for."""
        ...

    @property
    def lock(self) -> RLock:
        """Held by whoever runs."""
        ...

    def values(self, initial: Mapping[str, NDArray[Any]], dtype: str) -> Values:
        """Memory for arrays that the network owns, filled."""
        ...

    def runner(self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers) -> Runner:
        """A program whose kernels are compiled, ready to run; `sources` are its kernels by name."""
        ...

    @property
    def has_clock(self) -> bool:
        """Whether calls can be timed."""
        ...

    def timed_runner(
        self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers
    ) -> TimedRunner:
        """A program, ready to run with each call timed.

        Raises:
            TargetError: there is no clock.
        """
        ...

    def synchronize(self) -> None:
        """Waits until all runs are over."""
        ...

    def import_device_array(self, value: Any, what: str) -> DeviceArray | None:
        """An array in a GPU's memory, not copied; None for anything else.

        Raises:
            ArrayError: it cannot be read where it is; `what` names it.
        """
        ...

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> Any:
        """An array of undefined values in the memory where `like` is."""
        ...

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Within it, work goes to the caller's stream.

        Raises:
            TargetError: there are no streams.
        """
        ...
