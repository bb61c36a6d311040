"""Target "cuda" against a stand-in for cuda.core whose memory and launches are the emulator's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.fake_cuda import CUDAError, FakeCuda, GpuArray

import gncodegen as gnc
from gncodegen.errors import ArrayError, TargetError
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.targets.cuda import compile as cuda_compile
from gncodegen.targets.cuda.device import cuda_python
from gncodegen.targets.cuda.device.gpu import Gpu, _merged
from gncodegen.targets.device import DeviceLaunch, LoadedKernel, Work

LAYERS = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]


@pytest.fixture
def fake(monkeypatch):
    return install(monkeypatch, FakeCuda())


def install(monkeypatch, fake):
    monkeypatch.setattr(cuda_python, "import_module", fake.import_module)
    return fake


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 3, 4)).astype(np.float32)


def pooled(x):
    windows = np.stack([x[:, i : i + 2, j : j + 2] for i in (0, 1) for j in (0, 1)])
    return np.stack([np.maximum(w, 0).max((1, 2)) for w in windows], 1).reshape(len(x), 2, 2, 4)


class TestRuns:
    def test_host_arrays_in_and_out_with_a_graph_from_the_second_run_on(self, fake):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        assert compiled.target == "cuda"
        for count in (4, 9, 3):
            x = images(count, count)
            np.testing.assert_array_equal(compiled.predict(x), pooled(x))
        assert fake.count("capture") == 1
        assert fake.count("graph") == 4
        launched = [entry for entry in fake.log if entry[0] == "launch"]
        assert len(launched) == len(compiled.program.calls)
        assert {entry[3] for entry in launched} == {"own"}

    def test_the_machine_is_that_of_the_gpu(self, fake):
        schedules = [k.schedule for k in gnc.compile(LAYERS, "cuda", batch_size=4).kernels.values()]
        assert {s.target for s in schedules} == {"sm_90"}

    def test_parameters_are_read_and_assigned(self, fake):
        layers = [*LAYERS, gnc.GroupNormalizationLayer(2)]
        compiled = gnc.compile(layers, "cuda", batch_size=2)
        compiled.parameters["groupnorm_1.scale"] = [1, 2, 3, 4]
        assert compiled.parameters["groupnorm_1.scale"].tolist() == [1, 2, 3, 4]
        assert compiled.parameters["groupnorm_1.offset"].tolist() == [0, 0, 0, 0]
        twin = gnc.compile(layers, batch_size=2)
        twin.parameters["groupnorm_1.scale"] = [1, 2, 3, 4]
        np.testing.assert_allclose(compiled.predict(images(2)), twin.predict(images(2)), rtol=1e-5, atol=1e-6)

    def test_neighbouring_copies_are_one(self):
        assert _merged([(512, 9512, 100), (768, 9768, 4), (4096, 13096, 8)]) == [(512, 9512, 260), (4096, 13096, 8)]

    def test_the_callers_stream(self, fake):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        torch_stream = SimpleNamespace(__cuda_stream__=lambda: (0, 4711))
        with compiled.stream(torch_stream):
            compiled.predict(images(4))
        waits = [entry for entry in fake.log if entry[0] == "wait"]
        assert waits == [("wait", "caller's", "own"), ("wait", "own", "caller's")]
        assert {e[3] for e in fake.log if e[0] == "launch"} == {"caller's"}
        with compiled.stream(SimpleNamespace(cuda_stream=0)):
            compiled.predict(images(4))
        assert [e[1] for e in fake.log if e[0] == "graph"] == ["default"]
        with pytest.raises(TargetError, match="__cuda_stream__"), compiled.stream("fast"):
            pass


class TestDeviceArrays:
    def test_are_read_where_they_are_and_results_stay_there(self, fake):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(8)
        fake.log.clear()
        y = compiled.predict(GpuArray(fake, x))
        assert isinstance(y, DeviceArray)
        assert fake.count("in", "out") == 0, "nothing goes over the bus"
        assert y.shape == (8, 2, 2, 4)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.numpy(), pooled(x))
        np.testing.assert_array_equal(y[2:5].numpy(), pooled(x)[2:5])
        assert y.__cuda_array_interface__["data"] == (y.address, False)
        assert y.__cuda_array_interface__["stream"] == 101

    def test_a_last_batch_is_filled_up_on_the_device(self, fake):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(7)
        y = compiled.predict(GpuArray(fake, x))
        assert fake.count("in", "out") == 0
        np.testing.assert_array_equal(y.numpy(), pooled(x))

    def test_graphs_are_kept_by_address(self, fake):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        batches = [GpuArray(fake, images(4, i)) for i in range(3)]
        for _ in range(3):
            for i, x in enumerate(batches):
                np.testing.assert_array_equal(compiled.predict(x).numpy(), pooled(images(4, i)))
        assert fake.count("capture") == 3
        assert fake.count("graph") == 6
        for i in range(20):
            compiled.predict(GpuArray(fake, images(4, i)))
        assert fake.count("capture") == 3, "addresses that come once are not captured"

    def test_an_address_askew_is_copied_first(self, fake):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(4)
        y = compiled.predict(GpuArray(fake, x, shift=4))
        np.testing.assert_array_equal(y.numpy(), pooled(x))

    def test_dlpack_waits_for_the_work(self, fake):
        y = gnc.compile(LAYERS, "cuda", batch_size=4).predict(GpuArray(fake, images(4)))
        assert y.__dlpack_device__() == (2, 0)
        kind, address, shape, dtype, owner, options = y.__dlpack__(stream=9, max_version=(1, 0))
        assert (kind, address, shape, dtype, owner) == ("capsule", y.address, y.shape, y.dtype, y)
        assert options == {"max_version": (1, 0)}
        assert fake.log[-1] == ("wait", "caller's", "own")

    @pytest.mark.parametrize(
        ("values", "more", "said"),
        [
            (images(4).astype(np.float64), {}, "float64.*allowed: float32"),
            (images(4).reshape(4, 9, 4), {}, "shape"),
            (images(4), {"strides": (4, 16, 48, 144)}, "contiguous"),
            (images(4), {"gpu": 1}, "GPU 1; allowed: GPU 0"),
        ],
    )
    def test_that_do_not_fit_are_refused_with_the_cure(self, fake, values, more, said):
        with pytest.raises(ArrayError, match=said):
            gnc.compile(LAYERS, "cuda", batch_size=4).predict(GpuArray(fake, values, **more))

    def test_on_other_targets_are_refused_with_the_cure(self, fake):
        for choice in ({}, {"target": "sm_90", "emulate": True}):
            with pytest.raises(ArrayError, match=r"target='cuda'.*x\.cpu\(\)"):
                gnc.compile(LAYERS, batch_size=4, **choice).predict(GpuArray(fake, images(4)))


class TestTraining:
    LAYERS = (*LAYERS[:2], gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer())

    def pair(self):
        options = gnc.training_options("sgdm", initial_learn_rate=0.1)
        return [gnc.compile(list(self.LAYERS), where, batch_size=4, options=options) for where in ("cuda", "cpu")]

    def test_steps_on_host_arrays(self, fake):
        (gpu, cpu), x, t = self.pair(), images(4), np.array([0, 1, 2, 1])
        for step in range(4):
            fake.log.clear()
            gpu.hyperparameters.learn_rate = cpu.hyperparameters.learn_rate = 0.1 / (step + 1)
            assert gpu.train_step(x, t) == pytest.approx(cpu.train_step(x, t), rel=1e-5)
        asked = [entry[0] for entry in fake.log]
        assert asked == ["in", "graph", "event sync"], "the numbers, one graph, one wait"
        np.testing.assert_allclose(gpu.last_scores, cpu.last_scores, rtol=1e-5)
        for name, value in cpu.parameters.items():
            np.testing.assert_allclose(gpu.parameters[name], value, rtol=1e-4, atol=1e-6)

    def test_steps_on_device_arrays_do_not_wait(self, fake):
        (gpu, cpu), x = self.pair(), images(4)
        rows = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
        there, targets = GpuArray(fake, x), GpuArray(fake, rows)
        for _ in range(4):
            fake.log.clear()
            loss = gpu.train_step(there, targets)
            assert fake.count("sync", "event sync", "out") == 0
            assert isinstance(loss, DeviceArray)
            assert float(loss) == pytest.approx(cpu.train_step(x, rows), rel=1e-5)
        assert gpu.evaluate(there, targets)[0] == pytest.approx(cpu.evaluate(x, rows)[0], rel=1e-5)
        found, wanted = gpu.gradients(there, targets), cpu.gradients(x, rows)
        np.testing.assert_allclose(found["fc_1.weights"].numpy(), wanted["fc_1.weights"], rtol=1e-4, atol=1e-6)

    def test_never_more_than_a_few_steps_ahead(self, fake):
        gpu, _ = self.pair()
        there, targets = GpuArray(fake, images(4)), GpuArray(fake, np.eye(4, 3, dtype=np.float32))
        for _ in range(30):
            gpu.train_step(there, targets)
        assert fake.count("event sync") >= 20

    def test_class_indices_on_the_device_are_fetched(self, fake):
        (gpu, cpu), x, t = self.pair(), images(4), np.array([0, 1, 2, 1])
        loss = gpu.train_step(GpuArray(fake, x), GpuArray(fake, t))
        assert float(loss) == pytest.approx(cpu.train_step(x, t), rel=1e-5)

    def test_saved_here_and_loaded_on_the_cpu(self, fake, tmp_path):
        gpu, _ = self.pair()
        x, t = images(4), np.array([0, 1, 2, 1])
        gpu.train_step(x, t)
        gpu.save(tmp_path)
        assert gnc.load(tmp_path, target="cpu").train_step(x, t) == pytest.approx(gpu.train_step(x, t), rel=1e-5)


class TestLaunches:
    def launched(self, monkeypatch, tmp_path, legacy, **tiles):
        fake = install(monkeypatch, FakeCuda(legacy=legacy))
        gpu = Gpu()
        path = tmp_path / "a_1.py"
        read = {".cubin": b"\x7fELF"}.__getitem__
        source = SimpleNamespace(path=path, beside=path.with_suffix, read=read)
        kernel = gpu.load(source, SimpleNamespace(tiles={"threads": 128, **tiles}))
        assert isinstance(kernel, LoadedKernel)
        monkeypatch.setattr(fake, "_run", lambda *_: None)
        gpu.prepare(Work((), (DeviceLaunch(kernel, 12, (1 << 40,), 7), DeviceLaunch(kernel, 0, (1 << 40,))), ()))()
        (launch,) = (entry for entry in fake.log if entry[0] == "launch")
        return fake, launch[2]

    @pytest.mark.parametrize("legacy", [False, True])
    def test_a_plain_one(self, monkeypatch, tmp_path, legacy):
        fake, config = self.launched(monkeypatch, tmp_path, legacy)
        assert (config.grid, config.block, config.shmem_size, config.cluster) == (12, 128, 0, None)
        assert not fake.count("attribute")

    @pytest.mark.parametrize("legacy", [False, True])
    def test_much_shared_memory_clusters_and_all_blocks_at_once(self, monkeypatch, tmp_path, legacy):
        fake, config = self.launched(monkeypatch, tmp_path, legacy, dynamic_shared=100_000, cluster=4, cooperative=True)
        assert (config.grid, config.cluster, config.shmem_size, config.cooperative) == (3, 4, 100_000, True)
        (entry,) = (entry for entry in fake.log if entry[0] == "attribute")
        assert entry[1:] == ("CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES", 100_000, "handle of kernel_a_1", 0)

    def test_a_large_cluster_is_allowed_for(self, monkeypatch, tmp_path):
        fake, _ = self.launched(monkeypatch, tmp_path, False, cluster=12)
        assert fake.log[0][1] == "CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED"


class TestErrors:
    """Each names the cure."""

    def refused(self, said):
        return pytest.raises(TargetError, match=said)

    def test_no_driver_here(self):
        with self.refused(r"no NVIDIA driver.*target='sm_90'.*emulate=True.*install the driver"):
            gnc.compile(LAYERS, "cuda")

    def test_missing_wheels(self, monkeypatch):
        def absent(name):
            raise ModuleNotFoundError(f"No module named {name!r}")

        monkeypatch.setattr(cuda_python, "import_module", absent)
        with self.refused(r"pip install 'gncodegen\[cuda\]'"):
            gnc.compile(LAYERS, "cuda")

    def test_missing_compiler(self, monkeypatch, tmp_path):
        monkeypatch.setattr(cuda_compile, "find_spec", lambda name: None)
        layers = [gnc.ImageInputLayer((7, 1, 5), normalization="none"), gnc.ReluLayer()]
        with self.refused(r"numba.cuda.*pip install 'gncodegen\[cuda\]'"):
            gnc.compile(layers, "sm_90", batch_size=3)

    def test_no_gpu(self, fake):
        fake.broken = CUDAError("CUDA_ERROR_NO_DEVICE: This indicates that no CUDA-capable devices were detected")
        with self.refused(r"no GPU.*target='sm_90'.*CUDA_VISIBLE_DEVICES"):
            gnc.compile(LAYERS, "cuda")

    def test_a_driver_that_does_not_start(self, fake):
        fake.broken = CUDAError("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH: the driver does not fit")
        with self.refused("update it"):
            gnc.compile(LAYERS, "cuda")

    def test_a_driver_older_than_the_cubins(self, monkeypatch):
        install(monkeypatch, FakeCuda(driver_version=12040))
        with self.refused(r"CUDA 12\.4.*CUDA 13.*update the driver"):
            gnc.compile(LAYERS, "cuda")

    def test_a_cubin_the_driver_does_not_take(self, fake, monkeypatch):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        fake.broken = CUDAError("CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image")
        with self.refused(r"cannot load .*\.cubin.*update the driver"):
            compiled.lowered("predict", 5)

    def test_too_little_memory(self, fake):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        fake.free_bytes = 10_000
        with self.refused(r"144,384 bytes are needed; 10,000 bytes are free.*smaller batch_size"):
            compiled.lowered("predict", 1001)
        np.testing.assert_array_equal(compiled.predict(images(4)), pooled(images(4)))  # as before

    @pytest.mark.parametrize("capability", [(7, 0), (6, 1), (13, 0)])
    def test_an_unsupported_architecture(self, monkeypatch, capability):
        install(monkeypatch, FakeCuda(capability=capability))
        with self.refused(rf"Fake GPU is of architecture sm_{capability[0]}{capability[1]}.*sm_75.*target='cpu'"):
            gnc.compile(LAYERS, "cuda")

    def test_a_fault_on_the_gpu_points_to_the_emulator(self, fake):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        fake.broken = CUDAError("CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access")
        with self.refused(r"ILLEGAL_ADDRESS.*emulate=True"):
            compiled.predict(images(4))
