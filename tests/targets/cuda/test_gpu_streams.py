"""Streams of a GPU: a caller's, one for each thread; memory in their order; forks; arrays that go to others."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from support.cuda_stub.arrays import Capsule, GpuArray, OtherStream
from support.cuda_stub.streams import LEGACY

import gncodegen as gnc
from gncodegen.errors import ArrayError, TargetError
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.targets.cuda.device import cuda_python
from gncodegen.targets.cuda.device.gpu import Gpu

LAYERS = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]


@pytest.fixture
def compiled(stub):
    return gnc.compile(LAYERS, "cuda", batch_size=4)


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(4, 3, 3, 4)).astype(np.float32)


def pooled(x):
    windows = np.stack([x[:, i : i + 2, j : j + 2] for i in (0, 1) for j in (0, 1)])
    return np.stack([np.maximum(w, 0).max((1, 2)) for w in windows], 1).reshape(len(x), 2, 2, 4)


def waits(stub):
    """Streams that waited."""
    return [arguments[0] for name, arguments in stub.calls if name == "cuStreamWaitEvent"]


class TestCallers:
    @pytest.mark.parametrize("kind", ["protocol", "pytorch", "cupy", "address"])
    def test_work_goes_there_and_is_ordered(self, stub, compiled, kind):
        own, theirs = compiled._backend.device.stream_handle, OtherStream(stub)
        given = {
            "protocol": theirs, "pytorch": SimpleNamespace(cuda_stream=theirs.handle),
            "cupy": SimpleNamespace(ptr=theirs.handle), "address": theirs.handle,
        }[kind]  # fmt: skip
        with compiled.stream(given):
            np.testing.assert_array_equal(compiled.predict(images()), pooled(images()))
        assert {launch.stream for launch in stub.kernels.launches} == {theirs.handle}
        assert (waits(stub)[0], waits(stub)[-1]) == (theirs.handle, own)

    def test_the_default_stream(self, stub, compiled):
        for _ in range(2):
            with compiled.stream(SimpleNamespace(cuda_stream=0)):
                compiled.predict(images())
        assert [arguments[1] for name, arguments in stub.calls if name == "cuGraphLaunch"] == [LEGACY]

    def test_what_is_no_stream_is_refused(self, compiled):
        with pytest.raises(TargetError, match=r"__cuda_stream__, cuda_stream or ptr"), compiled.stream("fast"):
            pass

    def test_results_outlive_a_stream(self, stub, compiled):
        theirs, x = OtherStream(stub), GpuArray(stub, images())
        with compiled.stream(theirs):
            y = compiled.predict(x)
        stub.streams.finish_all()
        theirs.destroy()
        np.testing.assert_array_equal(y.numpy(), pooled(images()))
        address = y.address
        del y
        gc.collect()
        compiled.predict(images())
        stub.streams.finish_all()
        assert address not in stub.memory.blocks

    def test_memory_that_is_dropped_within_is_freed_after_the_work(self, stub, compiled):
        """The stub would say that the freeing does not wait for the launch."""
        with compiled.stream(OtherStream(stub)):
            compiled.predict(GpuArray(stub, images()))
            gc.collect()
            assert stub.count("cuMemFreeAsync")
            np.testing.assert_array_equal(compiled.predict(images(1)), pooled(images(1)))


class TestThreads:
    def test_each_has_its_own(self, stub, compiled):
        """Entered and left crosswise, as two threads may."""
        own, streams = compiled._backend.device.stream_handle, [OtherStream(stub) for _ in range(2)]
        entered, left, errors = [threading.Event() for _ in range(2)], threading.Event(), []

        def first():
            with compiled.stream(streams[0]):
                entered[0].set()
                entered[1].wait()
                np.testing.assert_array_equal(compiled.predict(images(1)), pooled(images(1)))
            left.set()

        def second():
            entered[0].wait()
            with compiled.stream(streams[1]):
                entered[1].set()
                left.wait()
                np.testing.assert_array_equal(compiled.predict(images(2)), pooled(images(2)))

        def caught(work):
            try:
                work()
            except BaseException as error:
                errors.append(error)
                for event in (*entered, left):
                    event.set()

        threads = [threading.Thread(target=caught, args=(work,)) for work in (first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        used = [launch.stream for launch in stub.kernels.launches]
        assert used[0] == streams[0].handle
        assert compiled._backend.device.stream_handle == own

    def test_arrays_in_several_streams(self, stub, compiled):
        found, x = {}, {number: GpuArray(stub, images(number)) for number in range(3)}
        compiled.predict(images())

        def work(number):
            with compiled.stream(OtherStream(stub)):
                for _ in range(3):
                    found[number] = compiled.predict(x[number]).numpy()

        threads = [threading.Thread(target=work, args=(number,)) for number in x]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, y in found.items():
            np.testing.assert_array_equal(y, pooled(images(number)))


class TestForks:
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork")
    def test_a_child_is_refused(self, compiled):
        compiled.predict(images())
        said = []
        for use in (lambda: compiled.predict(images()), lambda: gnc.compile(LAYERS, "cuda", batch_size=4)):
            reading, writing = os.pipe()
            if not os.fork():
                try:
                    use()
                except BaseException as error:
                    os.write(writing, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.close(writing)
            said.append(os.read(reading, 1 << 12).decode())
            os.close(reading)
            os.wait()
        assert all(text.startswith("TargetError: ") for text in said)
        assert f"fork of process {os.getpid()}, which uses Stub H100" in said[0]
        assert "get_context('spawn')" in said[0]
        assert "get_context('spawn')" in said[1]
        np.testing.assert_array_equal(compiled.predict(images()), pooled(images()))


class TestExports:
    def array(self, stub, compiled):
        return compiled.predict(GpuArray(stub, images()))

    def test_dlpack_waits_for_the_work(self, stub, compiled):
        y, theirs = self.array(stub, compiled), OtherStream(stub)
        stub.calls.clear()
        capsule = Capsule(y.__dlpack__(stream=theirs.handle, max_version=(1, 0)))
        assert (capsule.address, capsule.device, capsule.shape) == (y.address, (2, 0), y.shape)
        assert waits(stub) == [theirs.handle]

    @pytest.mark.parametrize("more", [{"dl_device": (2, 0)}, {"dl_device": (2, 0), "copy": False}, {"dl_device": None}])
    def test_the_own_device_may_be_asked_for(self, stub, compiled, more):
        y = self.array(stub, compiled)
        assert Capsule(y.__dlpack__(stream=LEGACY, max_version=(1, 0), **more)).address == y.address

    def test_another_device_is_refused_as_dlpack_says(self, stub, compiled):
        with pytest.raises(BufferError):
            self.array(stub, compiled).__dlpack__(stream=LEGACY, max_version=(1, 0), dl_device=(1, 0))

    def test_the_device_has_its_number(self, stub):
        array = DeviceArray.empty(Gpu(4), (2,), np.float32)
        assert array.__dlpack_device__() == (2, 4)
        assert Capsule(array.__dlpack__(stream=LEGACY)).device == (2, 4)

    def test_a_capsule_keeps_the_array(self, stub, compiled):
        y = self.array(stub, compiled)
        kept, capsule = weakref.ref(y), y.__dlpack__(stream=OtherStream(stub).handle)
        del y
        gc.collect()
        assert kept() is not None
        del capsule
        gc.collect()
        assert kept() is None

    def test_memory_is_freed_after_the_work_of_who_had_it(self, stub, compiled):
        """A consumer's kernel is still to run in its stream when its array goes."""
        y, theirs = self.array(stub, compiled), OtherStream(stub)
        capsule, address = y.__dlpack__(stream=theirs.handle), y.address
        stub.memory.fill(address, 0, 4, theirs.handle)
        del y, capsule
        gc.collect()
        assert stub.memory.blocks[address].dying

    def test_what_another_lets_go_of_meanwhile_is_waited_for_anew(self, stub, compiled, monkeypatch):
        """A second array comes back while the first one's freeing waits for all streams: that was for the first."""
        theirs, whole = OtherStream(stub), cuda_python.call
        arrays = [self.array(stub, compiled) for _ in range(2)]
        addresses, lent = [y.address for y in arrays], [y.__dlpack__(stream=theirs.handle) for y in arrays]
        arrays.clear()

        def call(name, *arguments):
            found = whole(name, *arguments)
            if name == "cuCtxSynchronize":
                lent.clear()
            return found

        monkeypatch.setattr(cuda_python, "call", call)
        del lent[0]
        assert stub.memory.blocks[addresses[0]].dying
        assert not stub.memory.blocks[addresses[1]].dying
        stub.memory.fill(addresses[1], 0, 4, theirs.handle)  # the stub would say that the freeing does not wait
        compiled.predict(images())
        assert stub.count("cuCtxSynchronize") == 2

    def test_arrays_with_a_gradient_to_record_are_refused(self, stub, compiled):
        x = GpuArray(stub, images())
        x.requires_grad = True
        with pytest.raises(ArrayError, match=r"requires a gradient.*x\.detach\(\)"):
            compiled.predict(x)
        x.requires_grad = False
        assert isinstance(compiled.predict(x), DeviceArray)
