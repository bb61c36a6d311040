"""Builds the shared library and puts a driver behind it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gncodegen.environment import environment
from support.cuda_stub.abi import Status
from support.cuda_stub.driver import Driver

SOURCE = Path(__file__).with_name("libcuda.c")
SONAME = "libcuda.so.1"
RESOLVER = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint64), ctypes.c_int, ctypes.c_uint64,
    ctypes.POINTER(ctypes.c_int),
)  # fmt: skip


def missing() -> str:
    """Why there can be no stub here; "" where there can."""
    if os.name != "posix" or not Path("/proc").exists():
        return "the stub of the CUDA driver is for Linux"
    if compiler() is None:
        return "there is no C compiler for the stub of the CUDA driver"
    if Path("/proc/driver/nvidia").exists():
        return "a CUDA driver is here"
    return ""


def compiler() -> str | None:
    """A C compiler at hand."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path) -> Path:
    """Compiles the library into a folder, if it is not there."""
    path = folder / SONAME
    if not path.exists():
        command = [compiler() or "cc", "-shared", "-fPIC", f"-Wl,-soname,{SONAME}", "-o", path, SOURCE]
        subprocess.run([str(part) for part in command], check=True)
    return path


@cache
def load(folder: Path | None = None) -> Driver:
    """The driver of this process: the bindings, which ask for the library by its name, find it loaded already.

    Args:
        folder: keeps the library for processes that come later; None = it is made for this one.
    """
    with TemporaryDirectory() as own:
        library = ctypes.CDLL(str(build(folder or Path(own))), mode=ctypes.RTLD_GLOBAL)
    library.stub_slot.restype = ctypes.c_void_p
    driver = Driver(library.stub_slot)

    @RESOLVER
    def resolve(name: bytes, out: Any, version: int, flags: int, found: Any) -> int:
        out[0] = driver.resolve(name.decode(), version)
        if found:
            found[0] = 0
        return Status.SUCCESS

    driver.kept_alive = resolve
    library.stub_answer(resolve)
    atexit.register(library.stub_end)
    gc.collect()
    gc.freeze()  # tests collect what they leave on the GPU; what is here already need not be looked through each time
    return driver


@contextmanager
def running(kernels: Path) -> Generator[Driver]:
    """The driver of a process that is no test: what is wrong at its end is an error.

    Args:
        kernels: a cache folder of gncodegen's that has the kernels' PTX; the process's own keeps the stub's library.

    Raises:
        AssertionError: there can be no stub here, or it found something wrong.
    """
    assert not missing(), missing()
    folder = environment().cache_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    driver = load(folder)
    driver.begin()
    driver.kernels.cache = kernels
    yield driver
    gc.collect()
    driver.end()
    assert not driver.faults, driver.faults
