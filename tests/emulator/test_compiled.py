"""What libnvvm makes of a Numba CUDA kernel runs, on every architecture the target knows."""

import inspect
import math

import numpy as np
import pytest

from gncodegen.emulator import DeviceMemory, EmulationFault, Executable, run

pytest.importorskip("numba.cuda")
# Numba looks for an operator's types in the order of its first compilation: ours must be known before this file's.
pytest.importorskip("gncodegen.targets.cuda.intrinsics")

from numba import cuda, float32, types

TABLE = np.array([1, 2, 3, 4], np.float32)
u32 = types.uint32


def probe(x, y, n):
    shared = cuda.shared.array(64, float32)
    t = u32(cuda.threadIdx.x)
    i = u32(u32(cuda.blockIdx.x) * u32(64) + t)
    shared[t] = x[i] * TABLE[t % u32(4)]
    cuda.syncthreads()
    value = shared[u32(u32(63) - t)]
    value += cuda.shfl_xor_sync(0xFFFFFFFF, value, 16)
    value = math.exp(value) + math.sin(value) * math.log(abs(value) + float32(1)) + math.sqrt(abs(value)) / x[0]
    if value > 0:
        y[i] = value + math.tanh(x[i])


def unsynchronised(x, y, n):
    shared = cuda.shared.array(64, float32)
    t = u32(cuda.threadIdx.x)
    shared[t] = x[t]
    y[t] = shared[u32(u32(63) - t)]


def compiled(function, capability):
    pointer = types.CPointer(float32)
    ptx, _ = cuda.compile(
        function, (pointer, pointer, u32), device=False, abi="numba", cc=capability, output="ptx", lineinfo=True,
        launch_bounds=64,
    )  # fmt: skip
    return Executable(ptx)


@pytest.mark.parametrize("capability", [(7, 5), (9, 0), (12, 0)])
def test_a_numba_kernel(capability):
    module = compiled(probe, capability)
    assert module.layout.shared_bytes == 256
    assert [one.kind for one in module.parameters] == ["u64", "u64", "u32"]
    count = 8 * 64
    values = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    memory = DeviceMemory()
    x, y = memory.allocate(values.nbytes, "x"), memory.allocate(values.nbytes, "y")
    memory.write(x, values)
    memory.write(y, np.zeros_like(values))
    run(module, grid=8, block=64, arguments=[x, y, count], memory=memory)
    wide = values.astype(np.float64).reshape(8, 64)
    thread = np.arange(64)
    wanted = (wide * TABLE[thread % 4])[:, ::-1]
    wanted = wanted + wanted[:, thread ^ 16]
    wanted = np.exp(wanted) + np.sin(wanted) * np.log(np.abs(wanted) + 1) + np.sqrt(np.abs(wanted)) / wide[0, 0]
    wanted = np.where(wanted > 0, wanted + np.tanh(wide), 0)
    np.testing.assert_allclose(memory.read(y, (8, 64), np.float32), wanted, rtol=1e-5, atol=1e-5)


def test_a_fault_names_the_python_line():
    module = compiled(unsynchronised, (9, 0))
    memory = DeviceMemory()
    x, y = memory.allocate(256, "x"), memory.allocate(256, "y")
    memory.write(x, np.zeros(64, np.float32))
    with pytest.raises(EmulationFault, match="race") as raised:
        run(module, grid=1, block=64, arguments=[x, y, 64], memory=memory)
    lines, first = inspect.getsourcelines(unsynchronised)
    place = next(i for i, line in enumerate(lines) if line.strip().startswith("y[t]"))
    assert raised.value.line == first + place
    assert raised.value.source.endswith("test_compiled.py")
