"""What this machine can: bytes per second by the size of what is moved, and operations per second; measured once.

Bandwidth is that of copies on all cores, read and written bytes counted; operations are fused multiply-adds in float32,
counted as two each. After S. Williams, A. Waterman, D. Patterson, "Roofline", Communications of the ACM 52 (4), 2009.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from gncodegen.allocation import lasting
from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.kernels.schedule import Constant, Schedule
from gncodegen.process.waiting import Waiting
from gncodegen.runtime.backend import PersistentBuffers
from gncodegen.runtime.executor import Executor
from gncodegen.runtime.host_backend import HostBackend
from gncodegen.runtime.state import Hyperparameters

SIZES = (64 << 10, 512 << 10, 4 << 20, 64 << 20)
"""Bytes that one core moves, read and written together: in L1 and L2, in L2 or L3, in L3, in memory."""

_ENOUGH = 0.2
"""Seconds to spend on each number."""

_CHAINS, _STEPS = 12, 100_000
"""Of fused multiply-adds: enough to fill the time that each takes, and so long that starting is nothing."""


@dataclass(frozen=True)
class Roofline:
    """Measured limits of the machine.

    Args:
        cores: that took part.
        bandwidths: (bytes moved by all cores, bytes per second), by size.
        flops: float32 operations per second.
    """

    cores: int
    bandwidths: tuple[tuple[int, float], ...]
    flops: float

    def bandwidth(self, size: int) -> float:
        """Bytes per second that copies of this size reach, between the measured sizes in their logarithm."""
        sizes, rates = zip(*self.bandwidths, strict=True)
        return float(np.interp(np.log(max(size, 1)), np.log(sizes), rates))

    def seconds(self, size: int, flops: int) -> float:
        """The least time in which so many bytes are moved and so many operations done."""
        return max(size / self.bandwidth(size), flops / self.flops)


def measured(backend: HostBackend, cores: int, again: bool = False) -> Roofline:
    """The roofline of this machine, measured now or by an earlier process.

    Args:
        backend: of the CPU.
        cores: that compiled networks use.
        again: measure now, and keep of each number the larger one: other work on the machine only makes them smaller.
    """
    path = _path(backend.target.tag, cores)
    known: Roofline | None = None
    try:
        record = json.loads(files.read(path) or b"")
        known = Roofline(record["cores"], tuple(map(tuple, record["bandwidths"])), record["flops"])
    except (ValueError, KeyError, TypeError):
        again = True
    if known is not None and not again:
        return known
    with Waiting("measuring the machine"):
        # Where other work runs, one core alone may do more than all that wait for each other.
        rates = [max(_bandwidth(backend, size, count) for count in {cores, 1}) for size in SIZES]
        flops = max(_flops(backend, count) for count in {cores, 1})
    if known is not None:
        rates = [max(pair) for pair in zip(rates, (rate for _, rate in known.bandwidths), strict=True)]
        flops = max(flops, known.flops)
    roofline = Roofline(cores, tuple((size * cores, rate) for size, rate in zip(SIZES, rates, strict=True)), flops)
    files.keep(path, json.dumps(asdict(roofline)).encode())
    return roofline


def _path(tag: str, cores: int) -> Path:
    return root() / "roofline" / f"{tag}-{cores}.json"


def _best(run: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    run()
    times: list[float] = []
    while sum(times) < _ENOUGH:
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return min(times)


def _bandwidth(backend: HostBackend, size: int, cores: int) -> float:
    """Bytes per second of copies, each core within arrays of its own."""
    count = size // 8 * cores
    tiles = {"block": size // 8, "vector": backend.target.machine.lanes("float32")}
    repeats = max(1, SIZES[-1] // size // 4)
    buffers = tuple(Buffer(kind, name, (count,), "float32") for kind, name in (("input", "x"), ("output", "y")))
    call = Call("copy", (0, 1), (1,), grid=cores, bytes=size * cores)
    run = _runner(backend, "copy", {"count": count}, tiles, buffers, (call,) * repeats)
    return size * cores * repeats / _best(run)


def _flops(backend: HostBackend, cores: int) -> float:
    """Operations per second of fused multiply-adds."""
    lanes = backend.target.machine.lanes("float32")
    flops = 2 * lanes * _CHAINS * _STEPS * cores
    call = Call("peak", (0,), (0,), grid=cores, flops=flops)
    buffers = (Buffer("output", "y", (cores, lanes), "float32"),)
    return flops / _best(
        _runner(backend, "peak", {"steps": _STEPS}, {"lanes": lanes, "chains": _CHAINS}, buffers, (call,))
    )


def _runner(
    backend: HostBackend,
    template: str,
    shape: Mapping[str, Constant],
    tiles: Mapping[str, Constant],
    buffers: tuple[Buffer, ...],
    calls: tuple[Call, ...],
) -> Callable[[], None]:
    """A Program of one kernel, on arrays of zeros, ready to run."""
    schedule = Schedule("peak", template, backend.target.machine.target, "float32", shape=shape, tiles=tiles)
    (source,) = backend.target.write([schedule])
    backend.target.compile([source])
    program = Program("peak", {template: schedule}, buffers, calls, 0)
    persistent = PersistentBuffers(backend.values({}, "float32"), {}, Hyperparameters())
    runner = backend.runner(program, {template: source}, persistent, Executor)
    arrays = {(buffer.kind, buffer.name): lasting(buffer.shape, "float32") for buffer in buffers}
    for array in arrays.values():
        array[...] = 0
    return lambda: runner.run(arrays)
