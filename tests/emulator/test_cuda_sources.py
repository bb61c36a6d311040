"""Kernels in CUDA C++, compiled by NVRTC for several architectures, run as PTX."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from emulator.cuda_arithmetic import ARITHMETIC
from emulator.cuda_cooperation import COOPERATION
from emulator.cuda_sources import EXAMPLES
from support.cuda_kernels import from_bfloat16
from support.sets import few
from support.targets import WITH_CUDA

from gncodegen.emulator import DeviceMemory, EmulationFault, Executable, run

pytestmark = WITH_CUDA

HEADERS = [
    Path(folder) / "cu13" / "include" for folder in getattr(find_spec("nvidia"), "submodule_search_locations", [])
]
INCLUDES = [f"--include-path={folder}".encode() for root in HEADERS for folder in (root, root / "cccl")]


def compiled(source, architecture):
    """PTX of NVRTC, which needs no driver; cuda.core's way to it does."""
    from cuda.bindings import nvrtc

    def call(name, *arguments):
        status, *found = getattr(nvrtc, name)(*arguments)
        assert not status, status
        return found[0] if found else None

    source = source.replace("__global__", 'extern "C" __global__')
    program = call("nvrtcCreateProgram", source.encode(), b"kernel.cu", 0, [], [])
    options = [f"--gpu-architecture=compute_{architecture}".encode(), b"--std=c++17", *INCLUDES]
    try:
        call("nvrtcCompileProgram", program, len(options), options)
    except AssertionError as error:
        log = bytearray(call("nvrtcGetProgramLogSize", program))
        call("nvrtcGetProgramLog", program, log)
        raise AssertionError(log.decode()) from error
    ptx = bytearray(call("nvrtcGetPTXSize", program))
    call("nvrtcGetPTX", program, ptx)
    return ptx.rstrip(b"\0").decode()


CASES = {**EXAMPLES, **ARITHMETIC, **COOPERATION}


@pytest.mark.parametrize(("name", "architecture"), few([(name, n) for n in (90, 75, 120) for name in CASES], 1))
def test_what_numpy_says(name, architecture, capfd):
    example, memory = CASES[name](), DeviceMemory()
    addresses = {i: memory.allocate(one.nbytes, f"argument {i}") for i, one in enumerate(example.arguments)
                 if one.ndim}  # fmt: skip
    for i, address in addresses.items():
        memory.write(address, example.arguments[i])
    arguments = [addresses.get(i, one) for i, one in enumerate(example.arguments)]
    module = Executable(compiled(example.source, max(architecture, example.least)))
    run(
        module, grid=example.grid, block=example.block, arguments=arguments, memory=memory,
        cluster=example.cluster, cooperative=example.cooperative, dynamic_shared=example.shared,
    )  # fmt: skip
    for i, wanted in example.expected.items():
        found = memory.read(addresses[i], wanted.shape, example.arguments[i].dtype)
        both = (from_bfloat16(one) if one.dtype == np.uint16 else one for one in (found, wanted))
        np.testing.assert_allclose(*both, rtol=example.tolerance, atol=example.tolerance)
    assert capfd.readouterr().out == example.printed


def test_an_assertion_that_fails():
    source = "__global__ void kernel(int n) { assert(threadIdx.x < n); }"
    with pytest.raises(EmulationFault, match=r"kernel.cu:1: .*kernel.*: assertion `threadIdx.x < n` failed .*thread 3"):
        run(Executable(compiled(source, 90)), grid=1, block=8, arguments=[np.int32(3)], memory=DeviceMemory())


def test_what_is_not_known_is_listed():
    source = """
    __global__ void kernel(cudaTextureObject_t from, cudaSurfaceObject_t to, int** kept) {
      surf2Dwrite(tex2D<float>(from, threadIdx.x, 0.5f), to, 4 * threadIdx.x, 0);
      kept[threadIdx.x] = (int*)malloc(64);
    }"""
    with pytest.raises(EmulationFault, match=r"does not know these instructions: tex\.2d\S*, sust\S*, call\.malloc "):
        Executable(compiled(source, 90))
