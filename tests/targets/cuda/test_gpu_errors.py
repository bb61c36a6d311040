"""What can go wrong on a GPU, on a stub of the driver: each error names the cure, and what was there goes on."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.cuda_stub.abi import Status
from support.cuda_stub.driver import STARTING

import gncodegen as gnc
from gncodegen import programs
from gncodegen.errors import TargetError
from gncodegen.kernels import store
from gncodegen.targets.cuda import compile as cuda_compile
from gncodegen.targets.cuda.device import cuda_python
from gncodegen.targets.cuda.device.gpu import Gpu

LAYERS = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]
X = np.random.default_rng(0).normal(size=(4, 3, 3, 4)).astype(np.float32)


def refused(said):
    return pytest.raises(TargetError, match=said)


class TestStart:
    def test_no_driver_here(self):
        with refused(r"no NVIDIA driver.*target='sm_90'.*emulate=True.*install the driver"):
            gnc.compile(LAYERS, "cuda")

    def test_missing_wheels(self, monkeypatch):
        def absent(name):
            raise ModuleNotFoundError(f"No module named {name!r}")

        monkeypatch.setattr(cuda_python, "import_module", absent)
        with refused(r"pip install 'gncodegen\[cuda\]'"):
            gnc.compile(LAYERS, "cuda")

    def test_an_old_cuda_core(self, monkeypatch):
        monkeypatch.setattr(cuda_python, "import_module", lambda name: SimpleNamespace(__version__="0.4.2"))
        with refused(r"cuda-core 0\.7 or later; given: 0\.4\.2; run `pip install --upgrade"):
            gnc.compile(LAYERS, "cuda")

    def test_missing_compiler(self, monkeypatch, tmp_path):
        for module in (store, programs):  # what is in a cache needs no compiler
            monkeypatch.setattr(module, "root", lambda: tmp_path)
        monkeypatch.setattr(cuda_compile, "find_spec", lambda name: None)
        layers = [gnc.ImageInputLayer((7, 1, 5), normalization="none"), gnc.ReluLayer()]
        with refused(r"numba.cuda.*pip install 'gncodegen\[cuda\]'"):
            gnc.compile(layers, "sm_90", batch_size=3)

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (Status.NO_DEVICE, r"no GPU.*target='sm_90'.*CUDA_VISIBLE_DEVICES"),
            (Status.SYSTEM_DRIVER_MISMATCH, "update it"),
            (Status.NOT_INITIALIZED, r"fork.*get_context\('spawn'\)"),
        ],
    )
    def test_a_driver_that_does_not_start(self, stub, status, said):
        stub.answers |= dict.fromkeys(STARTING, status)
        with refused(said):
            gnc.compile(LAYERS, "cuda")

    def test_a_driver_older_than_the_cubins(self, stub):
        stub.devices.version = 12040
        with refused(r"CUDA 12\.4.*CUDA 13.*update the driver"):
            gnc.compile(LAYERS, "cuda")

    @pytest.mark.parametrize(("number", "name"), [(1, "sm_70"), (2, "sm_61"), (3, "sm_130")])
    def test_an_unsupported_architecture(self, stub, number, name):
        with refused(rf"is of architecture {name}.*sm_75.*target='cpu'"):
            Gpu(number)

    def test_a_gpu_between_known_ones_runs_cubins_of_its_family(self, stub):
        assert Gpu(5).architecture == "sm_90"


class TestRunning:
    def test_a_cubin_the_driver_does_not_take(self, stub):
        stub.answers["cuLibraryLoadData"] = Status.NO_BINARY_FOR_GPU
        with refused(r"cannot load .*\.cubin.*update the driver"):
            gnc.compile(LAYERS, "cuda", batch_size=4)

    def test_a_fault_on_the_gpu_points_to_the_emulator(self, stub):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        for status, said in (
            (Status.ILLEGAL_ADDRESS, r"ILLEGAL_ADDRESS.*emulate=True"),
            (Status.LAUNCH_FAILED, r"LAUNCH_FAILED.*blocks wait for each other stops itself.*emulate=True"),
        ):
            stub.answers["cuEventSynchronize"] = status
            with refused(said):
                compiled.predict(X)


class TestMemory:
    @pytest.fixture
    def left(self, stub):
        """`left(bytes)`: so much is left on the GPU, besides what is in use."""

        def leave(nbytes):
            stub.streams.finish_all()
            gpu = stub.devices.gpus[0]
            used = gpu.memory - stub.memory.free_bytes(0)
            stub.devices.gpus[0] = replace(gpu, memory=used + nbytes)

        return leave

    def test_too_little(self, left):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        expected = compiled.predict(X)
        left(10_000)
        with refused(r"144,384 bytes are needed; [\d,]+ bytes are free.*smaller batch_size"):
            compiled.lowered("predict", 1001)
        np.testing.assert_array_equal(compiled.predict(X), expected)

    def test_what_was_freed_in_pieces_serves_a_larger_one(self, stub, left):
        gpu = Gpu()
        left(100_000)
        pieces = [gpu.allocate({"x": 60_000}), gpu.allocate({"x": 30_000})]
        del pieces
        assert gpu.allocate({"x": 90_000}).addresses["x"]
        assert stub.count("cuMemPoolTrimTo") == 1

    @pytest.mark.parametrize("asked", [1, 2])
    def test_any_failure_leaves_the_network_as_it_was(self, stub, asked):
        """Of the arena, which the second program needs larger, or of what comes behind it."""
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        expected, calls = compiled.predict(X), []
        plain = stub.memory.allocate

        def fail(size, device, pool=None):
            calls.append(size)
            if len(calls) >= asked:
                raise RuntimeError("the stub itself fails")
            return plain(size, device, pool)

        stub.memory.allocate = fail
        try:
            with pytest.raises(TargetError):
                compiled.lowered("predict", 999 + asked)
        finally:
            del stub.memory.allocate
        assert len(calls) >= asked
        stub.faults.clear()
        np.testing.assert_array_equal(compiled.predict(X), expected)
