"""execution_environment → what the ranks of a training are."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.parallel.collective import ALONE, Collective


def _alone(timeout: float) -> Collective:
    return ALONE


def _mpi(timeout: float) -> Collective:
    from gncodegen.parallel.mpi import MpiCollective, communicator  # noqa: PLC0415  needs mpi4py

    return MpiCollective(communicator(timeout), timeout)


ENVIRONMENTS: Mapping[str, Callable[[float], Collective]] = {
    "auto": _alone,
    "cpu": _alone,
    "gpu": _alone,
    "parallel": _mpi,
}
"""Name → what makes the collective, given the seconds that a rank is waited for."""
