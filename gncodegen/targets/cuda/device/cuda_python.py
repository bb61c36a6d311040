"""The one place that knows cuda.core and the driver's bindings: where names live, how they changed, what errors mean.

cuda.core 0.7 and later are served. What it lacks (copies of raw addresses, a kernel's shared memory limit, free
memory) goes to the driver's bindings, which it stands on.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import TargetError

DLPACK_CUDA = 2
"""The type of a GPU's memory in DLPack."""


def core() -> Any:
    """The module cuda.core.

    Raises:
        TargetError: it is not installed, or too old; names the extra.
    """
    try:
        module = import_module("cuda.core")
    except ImportError as error:
        raise TargetError(
            f"target='cuda' needs cuda.core, which cannot be imported ({error}); allowed: target='cpu' without it; "
            "run `pip install 'gncodegen[cuda]'`"
        ) from error
    if not hasattr(module, "Device"):
        raise TargetError(
            f"target='cuda' needs cuda-core 0.7 or later; given: {getattr(module, '__version__', 'an older one')}; "
            "run `pip install --upgrade 'gncodegen[cuda]'`"
        )
    return module


def driver() -> Any:
    """The driver's bindings."""
    core()
    return import_module("cuda.bindings.driver")


def call(name: str, *arguments: Any) -> Any:
    """Calls a function of the driver; its result, if it has one.

    Raises:
        TargetError: the driver reports an error.
    """
    status, *results = getattr(driver(), name)(*arguments)
    if int(status):
        raise TargetError(f"the CUDA driver's {name} reports {getattr(status, 'name', status)}; {FIND}")
    return results[0] if results else None


FIND = (
    "to find the cause compile with the GPU's architecture and emulate=True: the emulator names kernel, line and thread"
)


@contextmanager
def reported() -> Generator[None]:
    """Errors of cuda.core become TargetErrors that name a cure.

    Raises:
        TargetError: the GPU or its driver reports an error.
    """
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "CUDAError":
            raise
        text = _first_line(error)
        if re.search("ILLEGAL_INSTRUCTION|LAUNCH_FAILED", text):
            text += (
                "; a kernel whose blocks wait for each other stops itself where one has not come after half a minute"
            )
        raise TargetError(f"the GPU reports {text}; {FIND}") from error


def count() -> int:
    """How many GPUs this process sees; 0 without a driver."""
    try:
        call("cuInit", 0)
        return int(call("cuDeviceGetCount"))
    except Exception:  # `open_device` says what is wrong
        return 0


def open_device(number: int) -> Any:
    """A GPU's cuda.core Device, made current.

    Raises:
        TargetError: there is no driver or no GPU; says what to do without.
    """
    without = "target='sm_90' to inspect kernels, with emulate=True to run them on the CPU, and target='cpu'"
    try:
        device = core().Device(number)
        device.set_current()
    except TargetError:
        raise
    except Exception as error:  # of cuda.core, of its bindings or of its search for libraries
        text = _first_line(error)
        if re.search(r"NO_DEVICE|INVALID_DEVICE|no CUDA-capable|device_id|ordinal", text):
            raise TargetError(
                f"target='cuda' finds no GPU ({text}); allowed without one: {without}; check nvidia-smi and "
                "CUDA_VISIBLE_DEVICES"
            ) from error
        if re.search(r"NOT_INITIALIZED|error code: 3\b", text, re.IGNORECASE):
            raise TargetError(
                f"the NVIDIA driver does not start ({text}): this process is a fork of one that uses a GPU; allowed: a "
                "process that was started anew; write multiprocessing.get_context('spawn')"
            ) from error
        if re.search(r"INSUFFICIENT_DRIVER|DRIVER_MISMATCH|VERSION_MISMATCH", text):
            raise TargetError(
                f"the NVIDIA driver is too old or does not fit its kernel module ({text}); allowed: a driver for CUDA "
                f"{linker_major() or 13} or later; update it (nvidia-smi shows it)"
            ) from error
        raise TargetError(
            f"target='cuda' finds no NVIDIA driver ({text}); allowed without one: {without}; install the driver"
        ) from error
    _check_driver()
    return device


def linker_major() -> int:
    """The major CUDA version that cubins are linked for; 0 where no linker is installed."""
    for package in ("nvidia-nvjitlink", "nvidia-nvjitlink-cu12"):
        try:
            return int(version(package).split(".")[0])
        except PackageNotFoundError:
            continue
    return 0


def _check_driver() -> None:
    found, wanted = int(call("cuDriverGetVersion")), linker_major()
    if found // 1000 < wanted:
        raise TargetError(
            f"the NVIDIA driver is for CUDA {found // 1000}.{found % 1000 // 10}, and kernels are linked for CUDA "
            f"{wanted}; allowed: a driver for CUDA {wanted} or later; update the driver, or run `pip install "
            f"'numba-cuda[cu{found // 1000}]'`"
        )


def load(cubin: bytes, name: str, file: object) -> Any:
    """A kernel of a cubin.

    Raises:
        TargetError: the driver cannot load it; `file` names it.
    """
    try:
        return core().ObjectCode.from_cubin(cubin, name=name).get_kernel(name)
    except Exception as error:
        raise TargetError(
            f"the NVIDIA driver cannot load {file} ({_first_line(error)}); allowed: cubins of this GPU's architecture "
            f"and of a CUDA version the driver knows (CUDA {linker_major() or 13}); update the driver, or delete the "
            "file's folder and compile again"
        ) from error


def allow(kernel: Any, device: int, dynamic_shared: int, cluster: int) -> None:
    """Lifts a kernel's limits: 48 KiB of shared memory, and 8 blocks in a cluster."""
    names = driver().CUfunction_attribute
    handle = getattr(kernel, "handle", None) or kernel._handle
    if dynamic_shared:
        wanted = names.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        call("cuKernelSetAttribute", wanted, dynamic_shared, handle, device)
    if cluster > 8:
        call("cuKernelSetAttribute", names.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED, 1, handle, device)


def resident_blocks(kernel: Any, threads: int, dynamic_shared: int) -> int:
    """Blocks of a kernel that one multiprocessor holds at once."""
    with reported():
        return int(kernel.occupancy.max_active_blocks_per_multiprocessor(threads, dynamic_shared))


def launch_config(grid: int, threads: int, dynamic_shared: int, cluster: int, cooperative: bool) -> Any:
    """How a kernel is launched; with clusters cuda.core counts the grid in clusters."""
    options: dict[str, Any] = {"grid": grid, "block": threads, "shmem_size": dynamic_shared}
    if cluster > 1:
        options |= {"grid": grid // cluster, "cluster": cluster}
    config = core().LaunchConfig
    if not cooperative:
        return config(**options)
    try:
        return config(**options, is_cooperative=True)
    except TypeError:  # its name before cuda.core 1.0
        return config(**options, cooperative_launch=True)


def timed_event(stream: Any) -> Any:
    """An event of now in a stream, from which time is counted."""
    options = core().EventOptions
    try:
        return stream.record(options=options(timing_enabled=True))
    except TypeError:  # its name before cuda.core 1.0
        return stream.record(options=options(enable_timing=True))


def seconds_between(begin: Any, end: Any) -> float:
    """From one event to a later one that has passed; half a microsecond is their resolution."""
    return float(end - begin) * 1e-3


def own_stream(device: Any) -> Any:
    """A stream that the default stream waits for and that waits for it.

    So arrays of libraries that work on the default stream, as PyTorch and CuPy do unless told otherwise, are ordered
    with ours.
    """
    return device.create_stream(options=core().StreamOptions(nonblocking=False))


def stream_beside(device: Any) -> Any:
    """A stream that only waits for what it is told to."""
    return device.create_stream(options=core().StreamOptions(nonblocking=True))


def accept_stream(stream: Any, device: Any) -> Any:
    """The cuda.core Stream of a caller's stream.

    Args:
        stream: cuda.core's, an object with `__cuda_stream__`, `cuda_stream` (PyTorch) or `ptr` (CuPy), or an address.
        device: cuda.core's.

    Raises:
        TargetError: it is none.
    """
    types = core()
    if isinstance(stream, types.Stream):
        return stream
    described = getattr(stream, "__cuda_stream__", None)
    handle = described()[1] if described is not None else stream
    for name in ("cuda_stream", "ptr"):
        handle = getattr(handle, name, handle)
    if isinstance(handle, bool) or not isinstance(handle, int):
        raise TargetError(
            f"stream = {stream!r}; allowed: an object with __cuda_stream__, cuda_stream or ptr, or a stream's address; "
            "write compiled.stream(torch.cuda.current_stream())"
        )
    if handle in (0, 1):
        return getattr(types, "LEGACY_DEFAULT_STREAM", None) or device.default_stream
    if handle == 2:
        return types.PER_THREAD_DEFAULT_STREAM
    return types.Stream.from_handle(handle)


def strided_view(value: Any, stream: int) -> Any:
    """cuda.core's view of another library's array, ready on a stream."""
    kind = import_module("cuda.core.utils").StridedMemoryView
    make = getattr(kind, "from_any_interface", kind)
    return make(value, stream_ptr=stream)


def capsule(address: int, shape: tuple[int, ...], dtype: Any, owner: Any, **options: Any) -> Any:
    """A DLPack capsule of device memory that keeps `owner`.

    Raises:
        BufferError: this cuda.core exports none.
    """
    kind = import_module("cuda.core.utils").StridedMemoryView
    if not hasattr(kind, "from_buffer") or not hasattr(kind, "__dlpack__"):
        raise BufferError(
            "this cuda.core exports no shaped DLPack capsules; allowed: __cuda_array_interface__; run `pip install "
            "--upgrade cuda-core`"
        )
    nbytes = dtype.itemsize
    for extent in shape:
        nbytes *= extent
    buffer = core().Buffer.from_handle(address, nbytes, owner=owner)
    return kind.from_buffer(buffer, shape=shape, dtype=dtype).__dlpack__(**options)


class _Pinned:
    """What NumPy makes an array of; the array keeps it, and it keeps the memory."""

    def __init__(self, buffer: Any, size: int) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "data": (int(buffer.handle), False), "shape": (size,), "typestr": "|u1", "version": 3
        }  # fmt: skip


def pinned(size: int) -> NDArray[np.uint8]:
    """Page-locked host memory."""
    return np.asarray(_Pinned(core().LegacyPinnedMemoryResource().allocate(size), size))


def allocate(device: Any, size: int, stream: Any) -> Any:
    """A buffer of device memory.

    Where there is not enough, memory that was freed in pieces goes back to the driver, which may make a larger one.

    Raises:
        TargetError: there is not enough even so; says how much is needed and free.
    """
    for attempt in ("first", "last"):
        try:
            return device.allocate(size, stream=stream)
        except Exception as error:
            if not re.search("OUT_OF_MEMORY|Failed to allocate", str(error)):
                with reported():
                    raise
            if attempt == "last":
                raise _too_little(size) from error
        with reported():
            stream.sync()
        call("cuMemPoolTrimTo", call("cuDeviceGetMemPool", int(device.device_id)), 0)
    raise AssertionError


def _too_little(size: int) -> TargetError:
    status, free, _ = driver().cuMemGetInfo()
    known = f"; {int(free):,} bytes are free" if not int(status) else ""
    return TargetError(
        f"the GPU has too little memory: {size:,} bytes are needed{known}; allowed: what fits; compile with a smaller "
        "batch_size, or end other programs on the GPU"
    )


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
