"""Kernels in CUDA C++, compiled by NVRTC for several architectures, run as PTX."""

import numpy as np
import pytest
from emulator.cuda_sources import EXAMPLES
from support.sets import few
from support.targets import WITH_CUDA

from gncodegen.emulator import DeviceMemory, Executable, run

pytestmark = WITH_CUDA


def compiled(source, architecture):
    """PTX of NVRTC, which needs no driver; cuda.core's way to it does."""
    from cuda.bindings import nvrtc

    def call(name, *arguments):
        status, *found = getattr(nvrtc, name)(*arguments)
        assert not status, status
        return found[0] if found else None

    program = call("nvrtcCreateProgram", f'extern "C" {source}'.encode(), b"kernel.cu", 0, [], [])
    options = [f"--gpu-architecture={architecture.replace('sm', 'compute')}".encode()]
    call("nvrtcCompileProgram", program, len(options), options)
    ptx = bytearray(call("nvrtcGetPTXSize", program))
    call("nvrtcGetPTX", program, ptx)
    return ptx.rstrip(b"\0").decode()


@pytest.mark.parametrize(("name", "architecture"), few([(name, f"sm_{n}") for n in (90, 75) for name in EXAMPLES], 1))
def test_what_numpy_says(name, architecture):
    example, memory = EXAMPLES[name](), DeviceMemory()
    addresses = {i: memory.allocate(one.nbytes, f"argument {i}") for i, one in enumerate(example.arguments)
                 if one.ndim}  # fmt: skip
    for i, address in addresses.items():
        memory.write(address, example.arguments[i])
    arguments = [addresses.get(i, one) for i, one in enumerate(example.arguments)]
    module = Executable(compiled(example.source, architecture))
    run(module, grid=example.grid, block=example.block, arguments=arguments, memory=memory)
    for i, wanted in example.expected.items():
        found = memory.read(addresses[i], wanted.shape, example.arguments[i].dtype)
        np.testing.assert_allclose(found, wanted, rtol=example.tolerance, atol=example.tolerance)
