"""The table of execution environments: the target that one is, and what the ranks of a training are in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name

from gncodegen.parallel.averaging import Averaging
from gncodegen.parallel.collective import ALONE, Collective


def _alone(timeout: float) -> Collective:
    return ALONE


def _mpi(timeout: float) -> Collective:
    from gncodegen.parallel.mpi import MpiCollective, communicator  # noqa: PLC0415  needs mpi4py

    return MpiCollective(communicator(timeout), timeout)


@dataclass(frozen=True)
class ExecutionEnvironment:
    """One row.

    Args:
        target: that networks are compiled for; "" = the one that is chosen.
        collective: the ranks, given the seconds that one is waited for.
        averaging: "module:class", Collective → Averaging, imported when it is asked for.
    """

    target: str
    collective: Callable[[float], Collective] = _alone
    averaging: str = "gncodegen.parallel.averaging:Averaging"

    @property
    def several(self) -> bool:
        """Whether it is for several ranks."""
        return self.collective is not _alone

    def open(self, timeout: float) -> Averaging:
        """What averages over the ranks.

        Args:
            timeout: seconds that a rank is waited for.

        Raises:
            TargetError: what the environment needs is not installed.
        """
        return resolve_name(self.averaging)(self.collective(timeout))


ENVIRONMENTS: Mapping[str, ExecutionEnvironment] = {
    "auto": ExecutionEnvironment(""),
    "cpu": ExecutionEnvironment("cpu"),
    "gpu": ExecutionEnvironment("cuda"),
    "parallel": ExecutionEnvironment("cpu", _mpi),
    "multi-gpu": ExecutionEnvironment("cuda", _mpi, "gncodegen.targets.cuda.device.nccl:NcclAveraging"),
}
"""execution_environment → its row."""
