"""The stub of the driver refuses what a driver refuses, and says what one would let pass, by calls of the bindings."""

from __future__ import annotations

import ctypes
import gc
import os

import numpy as np
import pytest
from support.cuda_kernels import compiled
from support.cuda_stub.abi import CLUSTER_DIMENSION, COOPERATIVE, Status
from support.cuda_stub.kernels import DYNAMIC_SHARED, NON_PORTABLE
from support.execution import problem_of
from support.targets import machine

from gncodegen.targets.cuda.compile import entry


@pytest.fixture
def driver(stub):
    """Calls of the bindings with GPU 0 current: results, or a Status where it is an error."""
    bindings = pytest.importorskip("cuda.bindings.driver")

    def function(name):
        def call(*arguments):
            status, *results = getattr(bindings, name)(*arguments)
            return Status(int(status)) if int(status) else (int(results[0]) if results else None)

        return call

    class Driver:
        def __getattr__(self, name):
            return function(name)

    found = Driver()
    found.cuCtxSetCurrent(stub.devices.context_of(0))
    return found


@pytest.fixture
def streams(driver):
    """Two streams that no default stream orders."""
    return [driver.cuStreamCreate(1) for _ in range(2)]


def faults(stub, said):
    """Asserts what the stub has found, one fault, and forgets it."""
    (found,) = stub.faults
    assert said in found
    stub.faults.clear()


class TestMemory:
    def test_is_given_back_once(self, stub, driver, streams):
        address = driver.cuMemAllocAsync(1000, streams[0])
        assert driver.cuMemFreeAsync(address, streams[0]) is None
        assert driver.cuMemFreeAsync(address, streams[0]) == Status.INVALID_VALUE
        faults(stub, "is freed, where no allocation starts")

    def test_freed_is_gone(self, stub, driver, streams):
        address = driver.cuMemAllocAsync(1000, streams[0])
        driver.cuMemFreeAsync(address, streams[0])
        driver.cuMemsetD8Async(address, 0, 8, streams[0])
        faults(stub, "where no memory is (any more)")
        assert driver.cuStreamSynchronize(streams[0]) == Status.ILLEGAL_ADDRESS
        assert "no allocation" in stub.faults.pop()

    def test_work_waits_for_the_allocation(self, stub, driver, streams):
        address = driver.cuMemAllocAsync(1000, streams[0])
        driver.cuMemsetD8Async(address, 0, 1000, streams[1])
        faults(stub, "does not wait for allocation of 1000 bytes")

    def test_freeing_waits_for_the_work(self, stub, driver, streams):
        address = driver.cuMemAlloc(1000)
        driver.cuMemsetD8Async(address, 0, 1000, streams[0])
        driver.cuMemFreeAsync(address, streams[1])
        faults(stub, "freeing of 1000 bytes")

    @pytest.mark.parametrize("waits", [True, False])
    def test_work_on_it_is_ordered(self, stub, driver, streams, waits):
        address, event = driver.cuMemAlloc(1000), driver.cuEventCreate(0)
        driver.cuMemsetD8Async(address, 1, 1000, streams[0])
        driver.cuEventRecord(event, streams[0])
        if waits:
            driver.cuStreamWaitEvent(streams[1], event, 0)
        driver.cuMemsetD8Async(address, 2, 1000, streams[1])
        if not waits:
            faults(stub, "filling of 1000 bytes")
        driver.cuStreamSynchronize(streams[1])
        assert stub.memory.device.read(address, 1, np.uint8)[0] == 2
        driver.cuMemFree(address)

    def test_a_copy_beyond_the_end(self, stub, driver, streams):
        address = driver.cuMemAlloc(1000)
        driver.cuMemsetD8Async(address, 0, 1001, streams[0])
        assert driver.cuStreamSynchronize(streams[0]) == Status.ILLEGAL_ADDRESS
        faults(stub, "leaves")

    def test_of_another_gpu(self, stub, driver, streams):
        driver.cuCtxSetCurrent(stub.devices.context_of(4))
        address = driver.cuMemAlloc(1000)
        driver.cuMemsetD8Async(address, 0, 8, streams[0])
        faults(stub, "touches memory of GPU 4")

    def test_there_is_so_much(self, stub, driver):
        assert driver.cuMemAlloc(1 << 50) == Status.OUT_OF_MEMORY


class TestOrder:
    def test_garbage_is_not_collected_within_work(self, stub, driver, streams, monkeypatch):
        """Pinned memory of who has gone is freed after all work, which would run the filling before the copy."""
        memory, kept = stub.memory, driver.cuMemAllocHost(256)
        address = driver.cuMemAlloc(256)
        real, lists = memory.device.read, []

        def read(*arguments):
            lists.extend([] for _ in range(100_000))  # enough for a collection
            return real(*arguments)

        class Owner:
            def __del__(self):
                driver.cuMemFreeHost(kept)

        monkeypatch.setattr(memory.device, "read", read)
        driver.cuMemsetD8Async(address, 1, 256, streams[0])
        driver.cuMemcpyDtoDAsync(address + 128, address, 128, streams[0])
        driver.cuMemsetD8Async(address, 2, 128, streams[0])
        gc.collect()
        owner = Owner()
        owner.itself = owner
        del owner
        driver.cuStreamSynchronize(streams[0])
        assert real(address, 256, np.uint8).tolist() == [2] * 128 + [1] * 128
        lists.clear()
        gc.collect()
        assert kept not in memory.pinned
        driver.cuMemFree(address)

    def test_work_runs_when_somebody_waits(self, stub, driver, streams):
        address, host = driver.cuMemAlloc(8), driver.cuMemAllocHost(8)
        content = (ctypes.c_ubyte * 8).from_address(host)
        driver.cuMemsetD8Async(address, 7, 8, streams[0])
        driver.cuMemcpyDtoHAsync(host, address, 8, streams[0])
        assert content[0] != 7
        driver.cuStreamSynchronize(streams[1])
        assert content[0] != 7
        driver.cuStreamSynchronize(streams[0])
        assert content[0] == 7
        driver.cuMemFreeHost(host)

    def test_the_default_stream_is_ordered_with_blocking_ones(self, stub, driver):
        blocking, address = driver.cuStreamCreate(0), driver.cuMemAlloc(8)
        driver.cuMemsetD8Async(address, 1, 8, blocking)
        driver.cuMemsetD8Async(address, 2, 8, 0)
        driver.cuMemsetD8Async(address, 3, 8, blocking)
        driver.cuStreamSynchronize(blocking)
        assert stub.memory.device.read(address, 1, np.uint8)[0] == 3

    def test_a_stream_that_is_gone(self, stub, driver, streams):
        driver.cuStreamDestroy(streams[0])
        assert driver.cuStreamSynchronize(streams[0]) == Status.INVALID_HANDLE
        faults(stub, "is no stream (any more)")

    def test_a_handle_of_another_kind(self, stub, driver, streams):
        assert driver.cuEventSynchronize(streams[0]) == Status.INVALID_HANDLE
        faults(stub, "is no event")

    def test_without_a_context(self, driver):
        driver.cuCtxSetCurrent(0)
        assert driver.cuMemAlloc(8) == Status.INVALID_CONTEXT

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
    def test_a_forked_child(self, driver):
        if not (child := os.fork()):
            os._exit(int(driver.cuMemAlloc(8)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == Status.NOT_INITIALIZED


class TestCapture:
    def begin(self, driver, stream, mode=2):
        assert driver.cuStreamBeginCapture(stream, driver_mode(mode)) is None

    def test_waiting_breaks_it(self, driver, streams):
        self.begin(driver, streams[0])
        assert driver.cuStreamSynchronize(streams[0]) == Status.STREAM_CAPTURE_UNSUPPORTED
        assert driver.cuStreamEndCapture(streams[0]) == Status.STREAM_CAPTURE_INVALIDATED

    @pytest.mark.parametrize(("mode", "status"), [(0, Status.STREAM_CAPTURE_UNSUPPORTED), (2, None)])
    def test_unsafe_calls_elsewhere(self, driver, streams, mode, status):
        self.begin(driver, streams[0], mode)
        assert driver.cuCtxSynchronize() == status
        driver.cuStreamEndCapture(streams[0])

    def test_memory_is_neither_allocated_nor_freed(self, stub, driver, streams):
        address = driver.cuMemAlloc(8)
        self.begin(driver, streams[0])
        driver.cuMemAllocAsync(8, streams[0])
        faults(stub, "allocated in a captured stream")
        driver.cuMemFreeAsync(address, streams[0])
        faults(stub, "freed in a captured stream")
        driver.cuStreamEndCapture(streams[0])

    def test_host_memory_is_page_locked(self, stub, driver, streams):
        address, array = driver.cuMemAlloc(8), np.zeros(8, np.uint8)
        self.begin(driver, streams[0])
        driver.cuMemcpyHtoDAsync(address, array.ctypes.data, 8, streams[0])
        faults(stub, "not page-locked")
        driver.cuStreamEndCapture(streams[0])

    def test_a_graph_runs_what_was_captured_and_when_it_is_launched(self, stub, driver, streams):
        address = driver.cuMemAlloc(8)
        driver.cuMemsetD8Async(address, 1, 8, streams[0])
        driver.cuStreamSynchronize(streams[0])
        self.begin(driver, streams[0])
        driver.cuMemsetD8Async(address, 2, 8, streams[0])
        graph = driver.cuGraphInstantiate(driver.cuStreamEndCapture(streams[0]), 0)
        driver.cuStreamSynchronize(streams[0])
        assert stub.memory.device.read(address, 1, np.uint8)[0] == 1
        driver.cuGraphLaunch(graph, streams[0])
        driver.cuStreamSynchronize(streams[0])
        assert stub.memory.device.read(address, 1, np.uint8)[0] == 2


def driver_mode(number):
    from cuda.bindings.driver import CUstreamCaptureMode

    return CUstreamCaptureMode(number)


class TestKernels:
    """Of a kernel that clears flags, the smallest there is."""

    @pytest.fixture
    def source(self):
        problem = problem_of("group_norm", [], [], {}, machine("sm_90"))
        schedule = problem.schedule("group_norm_flags", "uint32", shape={"count": 16}, tiles={"threads": 256})
        (found,) = compiled([schedule])
        return found

    @pytest.fixture
    def kernel(self, driver, source):
        library = driver.cuLibraryLoadData(source.read(".cubin"), [], [], 0, [], [], 0)
        return driver.cuLibraryGetKernel(library, entry(source.path).encode())

    @pytest.fixture
    def launch(self, driver, kernel, streams):
        """`launch(grid, block, shared, cluster, cooperative)` on 16 flags: a Status, or their values."""
        from cuda.bindings import driver as bindings

        def attribute(kind, value):
            made = bindings.CUlaunchAttribute()
            made.id = bindings.CUlaunchAttributeID(kind)
            if kind == CLUSTER_DIMENSION:
                made.value.clusterDim.x, made.value.clusterDim.y, made.value.clusterDim.z = value, 1, 1
            else:
                made.value.cooperative = value
            return made

        def start(grid=1, block=256, shared=0, cluster=1, cooperative=False, arguments=None):
            address = driver.cuMemAlloc(64)
            driver.cuMemsetD8Async(address, 9, 64, streams[0])
            config = bindings.CUlaunchConfig()
            config.gridDimX, config.gridDimY, config.gridDimZ = grid, 1, 1
            config.blockDimX, config.blockDimY, config.blockDimZ = block, 1, 1
            config.sharedMemBytes, config.hStream = shared, streams[0]
            attributes = [attribute(CLUSTER_DIMENSION, cluster)] if cluster > 1 else []
            attributes += [attribute(COOPERATIVE, 1)] if cooperative else []
            config.attrs, config.numAttrs = attributes, len(attributes)
            values = arguments or ((address, 0), (ctypes.c_uint64, ctypes.c_uint32))
            status = driver.cuLaunchKernelEx(config, bindings.CUfunction(kernel), values, 0)
            if status is not None:
                return status
            host = np.zeros(16, np.uint32)
            driver.cuMemcpyDtoHAsync(host.ctypes.data, address, 64, streams[0])
            return host

        return start

    def test_runs(self, launch):
        assert not launch().any()

    @pytest.mark.parametrize("shape", [{"grid": 0}, {"block": 0}, {"block": 1025}])
    def test_no_such_grid(self, launch, shape):
        assert launch(**shape) == Status.INVALID_VALUE

    def test_much_shared_memory_is_asked_for(self, driver, kernel, launch):
        assert launch(shared=(48 << 10) + 1) == Status.INVALID_VALUE
        attributes = pytest.importorskip("cuda.bindings.driver").CUfunction_attribute
        assert driver.cuKernelSetAttribute(attributes(DYNAMIC_SHARED), 228 << 10, kernel, 0) == Status.INVALID_VALUE
        assert driver.cuKernelSetAttribute(attributes(DYNAMIC_SHARED), 64 << 10, kernel, 0) is None
        assert not launch(shared=64 << 10).any()

    def test_large_clusters_are_asked_for(self, driver, kernel, launch):
        assert launch(grid=16, cluster=16) == Status.INVALID_CLUSTER_SIZE
        attributes = pytest.importorskip("cuda.bindings.driver").CUfunction_attribute
        assert driver.cuKernelSetAttribute(attributes(NON_PORTABLE), 1, kernel, 0) is None
        assert not launch(grid=16, cluster=16).any()
        assert launch(grid=7, cluster=2) == Status.INVALID_CLUSTER_SIZE

    def test_all_blocks_of_a_cooperative_launch_are_resident(self, stub, launch):
        most = 8 * stub.devices.gpus[0].processors
        assert launch(grid=most + 1, cooperative=True) == Status.COOPERATIVE_LAUNCH_TOO_LARGE
        assert not launch(grid=most, cooperative=True).any()

    def test_registers_of_a_block(self, stub, launch):
        for kernel in (found for found in stub._handles.values() if hasattr(found, "report")):
            kernel.report["registers"] = 255
        assert launch(block=512) == Status.LAUNCH_OUT_OF_RESOURCES

    def test_an_argument_that_is_no_address(self, stub, launch):
        assert launch(arguments=((1 << 40, 0), (ctypes.c_uint64, ctypes.c_uint32))) is not None
        assert "where no memory is" in stub.faults.pop(0)
        assert "out of bounds" in stub.faults.pop(0)

    def test_a_cubin_of_another_architecture(self, stub, driver, source):
        driver.cuCtxSetCurrent(stub.devices.context_of(4))
        loaded = driver.cuLibraryLoadData(source.read(".cubin"), [], [], 0, [], [], 0)
        assert loaded == Status.NO_BINARY_FOR_GPU

    def test_a_name_that_is_not_in_it(self, driver, source):
        library = driver.cuLibraryLoadData(source.read(".cubin"), [], [], 0, [], [], 0)
        assert driver.cuLibraryGetKernel(library, b"kernel_of_nobody") == Status.NOT_FOUND
