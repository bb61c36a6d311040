"""Averages over ranks of what lies in GPUs, through nccl4py; MPI tells the ranks where to meet.

A bucket is summed in a stream beside the one that the backward pass goes on in: it waits for the launches before it,
and the launches that read the averages wait for it.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from gncodegen.errors import RankError, TargetError
from gncodegen.parallel.averaging import Averaging
from gncodegen.parallel.collective import Collective, everyone, raise_together
from gncodegen.targets.cuda.device import cuda_python as cuda
from gncodegen.targets.device import Device

_PAUSE = 50e-6
"""Seconds between two looks at whether a GPU has done its work."""

_IN_PROGRESS = 7
"""ncclInProgress: work goes on, and nothing is wrong."""


class NcclAveraging(Averaging):
    """Σ share·buffer over all ranks, each of which has a GPU.

    The share is NCCL's pre-multiplication (ncclRedOpCreatePreMulSum): each rank's GPU multiplies its own values as it
    sends them.

    Args:
        collective: the same ranks, for what lies on the host.

    Raises:
        TargetError: nccl4py is not installed.
    """

    def __init__(self, collective: Collective) -> None:
        super().__init__(collective)
        self._nccl = _nccl()
        hosts = everyone(platform.node(), collective)
        number = hosts[: collective.rank].count(hosts[collective.rank]) % max(cuda.count(), 1)
        self.target = f"cuda:{number}" if number else "cuda"
        self._device: Device | None = None
        self._communicator: Any = None
        self._sum: tuple[tuple[float, Any], Any] | None = None
        self._passed: Callable[[], bool] | None = None

    def connect(self, device: Device) -> None:
        """Makes the communicator of all ranks' GPUs; each rank calls this, once for its GPU.

        Raises:
            TargetError: the device is no GPU, two ranks have one, or NCCL cannot connect them.
            RankError: so it is on another rank.
        """
        if self._device is device:
            return
        if device.stream_handle is None:
            raise TargetError(
                "the emulator has no ranks; allowed: one process in the emulator, or several on GPUs; write "
                'execution_environment="gpu"'
            )
        self._require_own_gpus(device)
        ranks, rank = self.collective.ranks, self.collective.rank
        with _together(self.collective):
            first = bytes(self._nccl.get_unique_id()) if rank == 0 else b""
        (first, *_) = everyone(first, self.collective)
        with _together(self.collective):
            self._communicator = self._nccl.Communicator.init(ranks, rank, self._nccl.UniqueId.from_bytes(first))
        self._device = device

    def _require_own_gpus(self, device: Device) -> None:
        """Raises a TargetError on all ranks where two of them have one GPU."""
        gpus = everyone((platform.node(), device.identifier), self.collective)
        for host, own in Counter(host for host, _ in gpus).items():
            here = len({gpu for node, gpu in gpus if node == host})
            if here < own:
                raise TargetError(
                    f"{own} ranks on {host} have {here} GPU{'s' * (here > 1)}; allowed: one for each rank; start fewer "
                    'ranks there, or write execution_environment="parallel" for CPUs'
                )

    def begin(self, buffer: Any) -> None:
        """Asks for the average of a device array, behind all work so far; what comes next goes on beside it."""
        device, communicator = self._connected()
        with _reported():
            operator = self._operator(buffer.dtype)
            device.aside(lambda stream: communicator.allreduce(buffer, buffer, operator, stream=stream))

    def finish(self) -> None:
        """Makes work from here on wait for all averages; nobody waits here."""
        if self._device is not None:
            self._passed = self._device.join()

    def wait(self) -> None:
        """Waits until the last averages are there.

        Raises:
            RankError: a rank did not come, or NCCL lost one.
        """
        passed, self._passed, begin = self._passed, None, time.monotonic()
        while passed is not None and not passed():
            with _reported():
                status = int(self._communicator.get_async_error())
            if status not in (0, _IN_PROGRESS):
                raise RankError(f"NCCL reports {self._nccl.get_error_string(status)} on rank {self.collective.rank}")
            if time.monotonic() - begin > self.collective.timeout:
                raise RankError(
                    f"rank {self.collective.rank} waited {self.collective.timeout:g} s for others' GPUs; allowed: "
                    "ranks that do the same iterations; look at what they do, or write rank_timeout=… for more seconds"
                )
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Destroys the communicator; there are no averages after this."""
        communicator, self._communicator, self._sum = self._communicator, None, None
        if communicator is not None:
            with _reported():
                communicator.destroy()

    def _connected(self) -> tuple[Device, Any]:
        if self._device is None or self._communicator is None:
            raise RankError(
                "the ranks of this training have ended; allowed: averages within it; write train_network(…) again"
            )
        return self._device, self._communicator

    def _operator(self, dtype: Any) -> Any:
        """The sum of what is multiplied by this rank's share."""
        key = (self.share, dtype)
        if self._sum is None or self._sum[0] != key:
            if self._sum is not None:
                self._sum[1].close()
            kind = self._nccl.NcclDataType(dtype)
            self._sum = key, self._communicator.create_pre_mul_sum(self.share, kind)
        return self._sum[1]


def _nccl() -> Any:
    """The module nccl.core.

    Raises:
        TargetError: it is not installed; names the extra.
    """
    try:
        return import_module("nccl.core")
    except ImportError as error:
        raise TargetError(
            f'execution_environment="multi-gpu" needs nccl4py, which cannot be imported ({error}); allowed: "gpu" for '
            "one GPU, \"parallel\" for CPUs; run `pip install 'gncodegen[nccl]'`"
        ) from error


@contextmanager
def _reported() -> Generator[None]:
    """Errors of nccl4py become TargetErrors.

    Raises:
        TargetError: NCCL reports an error, or its library is not there.
    """
    try:
        yield
    except (TargetError, RankError):
        raise
    except Exception as error:  # of nccl4py, of its bindings or of its search for libraries
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TargetError(
            f"NCCL reports {text}; allowed: its library for the driver's CUDA, and a GPU for each rank; run `pip "
            "install 'gncodegen[nccl]'`, and set NCCL_DEBUG=WARN to see more"
        ) from error


@contextmanager
def _together(collective: Collective) -> Generator[None]:
    """What goes wrong on one rank within it is raised on all."""
    error = None
    try:
        with _reported():
            yield
    except TargetError as found:
        error = found
    raise_together(error, collective)
