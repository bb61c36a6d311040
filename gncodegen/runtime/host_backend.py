"""Networks on this machine's CPU."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from threading import RLock
from typing import Any

from numpy.typing import NDArray

from gncodegen.environment import environment
from gncodegen.errors import TargetError
from gncodegen.kernels.program import Program
from gncodegen.kernels.store import Source
from gncodegen.runtime.backend import Array, Key, PersistentBuffers
from gncodegen.runtime.call_times import TimedExecutor
from gncodegen.runtime.checking import CheckedExecutor
from gncodegen.runtime.executor import Arena, Executor
from gncodegen.runtime.pool import POOL
from gncodegen.runtime.state import HostValues
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu.target import CpuTarget
from gncodegen.targets.registry import TargetOptions


class HostBackend:
    """All cores, values in NumPy arrays.

    Args:
        target: what kernels are compiled for.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target
        self._arena = Arena()

    @property
    def lock(self) -> RLock:
        """Held by whoever runs."""
        return self._arena.lock

    def values(self, initial: Mapping[str, NDArray[Any]], dtype: str) -> HostValues:
        """Aligned copies."""
        return HostValues(initial, dtype)

    def runner(
        self,
        program: Program,
        sources: Mapping[str, Source],
        persistent: PersistentBuffers,
        executor: type[Executor] | None = None,
    ) -> Executor:
        """Links the kernels and binds what stays in its place; `executor` = None: as GNCODEGEN_CHECK says."""
        own = persistent.values
        assert isinstance(own, HostValues)
        for name in program.changed:
            own.place(name)
        kernels = dict(zip(sources, self.target.link(list(sources.values())), strict=True))
        arrays: dict[Key, NDArray[Any]] = {("hyperparameters", "hyperparameters"): persistent.hyperparameters.array}
        for kind, values in persistent.by_kind.items():
            assert isinstance(values, HostValues)
            arrays |= {(kind, name): array for name, array in values.arrays.items()}
        chosen = executor or (CheckedExecutor if environment().check else Executor)
        return chosen(program, kernels, self._arena, arrays, own, persistent.averaging)

    has_clock = True

    def timed_runner(
        self, program: Program, sources: Mapping[str, Source], persistent: PersistentBuffers
    ) -> TimedExecutor:
        """As `runner`; the launch loop notes the times."""
        runner = self.runner(program, sources, persistent, TimedExecutor)
        assert isinstance(runner, TimedExecutor)
        return runner

    def synchronize(self) -> None:
        """Nothing to wait for: a run is over when it returns."""

    def import_device_array(self, value: Any, what: str) -> None:
        """None: no array of a GPU is read here."""

    def empty(self, shape: tuple[int, ...], dtype: str, like: Array) -> NDArray[Any]:
        """Recycled memory."""
        return POOL.array(shape, dtype)

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """There are none."""
        raise TargetError("stream: target 'cpu' has no streams; allowed: target='cuda'; leave stream() out")


def host_backend(options: TargetOptions) -> HostBackend:
    """This machine's CPU.

    Raises:
        TargetError: it does not convert elements of the network's type.
    """
    host.processor().require_storage(options.dtype)
    return HostBackend(CpuTarget(replace(host.machine(), **options.of_machine)))
