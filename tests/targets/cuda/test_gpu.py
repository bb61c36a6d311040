"""Target "cuda" on a stub of the driver, through the real cuda.core: runs, arrays of others, training, launches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.cuda_stub.arrays import GpuArray
from support.execution import Case, problem_of
from support.gpu_execution import executor, run
from support.normalization import only_tier, oracle
from support.targets import machine

import gncodegen as gnc
from gncodegen.errors import ArrayError, TargetError
from gncodegen.kernels import catalog
from gncodegen.kernels.hyperparameters import COUNT
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.targets.cuda.device.gpu import Gpu, _merged

LAYERS = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]


def images(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3, 3, 4)).astype(np.float32)


def pooled(x):
    windows = np.stack([x[:, i : i + 2, j : j + 2] for i in (0, 1) for j in (0, 1)])
    return np.stack([np.maximum(w, 0).max((1, 2)) for w in windows], 1).reshape(len(x), 2, 2, 4)


class TestRuns:
    def test_host_arrays_in_and_out_with_a_graph_from_the_second_run_on(self, stub):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        assert compiled.target == "cuda"
        for count in (4, 9, 3, 1, 3):
            x = images(count, count)
            np.testing.assert_array_equal(compiled.predict(x), pooled(x))
        assert stub.count("cuStreamBeginCapture") == 3, "one for 4, one for 1 and one for 3"
        assert stub.count("cuGraphLaunch") == 4
        assert len(stub.kernels.launches) == 3 * 2 * len(compiled.program.calls), "once as they are, once captured"

    def test_the_machine_is_that_of_the_gpu(self, stub):
        schedules = [k.schedule for k in gnc.compile(LAYERS, "cuda", batch_size=4).kernels.values()]
        assert {s.target for s in schedules} == {"sm_90"}

    def test_parameters_are_read_and_assigned(self, stub):
        layers = [*LAYERS, gnc.GroupNormalizationLayer(2)]
        compiled = gnc.compile(layers, "cuda", batch_size=2)
        compiled.parameters["groupnorm_1.scale"] = [1, 2, 3, 4]
        assert compiled.parameters["groupnorm_1.scale"].tolist() == [1, 2, 3, 4]
        assert compiled.parameters["groupnorm_1.offset"].tolist() == [0, 0, 0, 0]
        twin = gnc.compile(layers, batch_size=2)
        twin.parameters["groupnorm_1.scale"] = [1, 2, 3, 4]
        np.testing.assert_allclose(compiled.predict(images(2)), twin.predict(images(2)), rtol=1e-5, atol=1e-6)


class TestDeviceArrays:
    def test_are_read_where_they_are_and_results_stay_there(self, stub):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(8)
        stub.calls.clear()
        y = compiled.predict(GpuArray(stub, x))
        assert isinstance(y, DeviceArray)
        assert stub.count("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync") == 0, "nothing goes over the bus"
        assert y.shape == (8, 2, 2, 4)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y.numpy(), pooled(x))
        np.testing.assert_array_equal(y[2:5].numpy(), pooled(x)[2:5])
        assert y.__cuda_array_interface__["data"] == (y.address, False)
        assert y.__cuda_array_interface__["stream"] == compiled._backend.device.stream_handle

    def test_a_last_batch_is_filled_up_on_the_device(self, stub):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(7)
        y = compiled.predict(GpuArray(stub, x))
        assert stub.count("cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync") == 0
        np.testing.assert_array_equal(y.numpy(), pooled(x))

    def test_graphs_are_kept_by_address(self, stub):
        compiled = gnc.compile(LAYERS, "cuda", batch_size=4)
        batches = [GpuArray(stub, images(4, i)) for i in range(3)]
        for _ in range(3):
            for i, x in enumerate(batches):
                np.testing.assert_array_equal(compiled.predict(x).numpy(), pooled(images(4, i)))
        assert stub.count("cuStreamBeginCapture") == 3
        assert stub.count("cuGraphLaunch") == 6
        for i in range(20):
            compiled.predict(GpuArray(stub, images(4, i)))
        assert stub.count("cuStreamBeginCapture") == 3, "addresses that come once are not captured"

    def test_an_address_askew_is_copied_first(self, stub):
        compiled, x = gnc.compile(LAYERS, "cuda", batch_size=4), images(4)
        y = compiled.predict(GpuArray(stub, x, shift=4))
        np.testing.assert_array_equal(y.numpy(), pooled(x))

    @pytest.mark.parametrize(
        ("values", "more", "said"),
        [
            (images(4).astype(np.float64), {}, "float64.*allowed: float32"),
            (images(4).reshape(4, 9, 4), {}, "shape"),
            (images(4), {"strides": (4, 16, 48, 144)}, "contiguous"),
            (images(4), {"gpu": 1}, "GPU 1; allowed: GPU 0"),
        ],
    )
    def test_that_do_not_fit_are_refused_with_the_cure(self, stub, values, more, said):
        with pytest.raises(ArrayError, match=said):
            gnc.compile(LAYERS, "cuda", batch_size=4).predict(GpuArray(stub, values, **more))

    def test_on_other_targets_are_refused_with_the_cure(self, stub):
        for choice in ({}, {"target": "sm_90", "emulate": True}):
            with pytest.raises(ArrayError, match=r"target='cuda'.*x\.cpu\(\)"):
                gnc.compile(LAYERS, batch_size=4, **choice).predict(GpuArray(stub, images(4)))


class TestTraining:
    LAYERS = (*LAYERS[:2], gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer())

    def pair(self):
        options = gnc.training_options("sgdm", initial_learn_rate=0.1)
        return [gnc.compile(list(self.LAYERS), where, batch_size=4, options=options) for where in ("cuda", "cpu")]

    def test_steps_on_host_arrays(self, stub):
        (gpu, cpu), x, t = self.pair(), images(4), np.array([0, 1, 2, 1])
        for step in range(4):
            stub.calls.clear()
            gpu.hyperparameters.learn_rate = cpu.hyperparameters.learn_rate = 0.1 / (step + 1)
            assert gpu.train_step(x, t) == pytest.approx(cpu.train_step(x, t), rel=1e-5)
        other = ("cuCtxSetCurrent", "cuStreamIsCapturing", "cuEventCreate", "cuEventRecord", "cuEventDestroy")
        asked = [name for name, _ in stub.calls if name not in other]
        assert asked == ["cuMemcpyHtoDAsync", "cuGraphLaunch", "cuEventSynchronize"], "the numbers, one graph, one wait"
        np.testing.assert_allclose(gpu.last_scores, cpu.last_scores, rtol=1e-5)
        for name, value in cpu.parameters.items():
            np.testing.assert_allclose(gpu.parameters[name], value, rtol=1e-4, atol=1e-6)

    def test_steps_on_device_arrays_do_not_wait(self, stub):
        (gpu, cpu), x = self.pair(), images(4)
        rows = np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
        there, targets = GpuArray(stub, x), GpuArray(stub, rows)
        for _ in range(4):
            stub.calls.clear()
            loss = gpu.train_step(there, targets)
            assert stub.count("cuStreamSynchronize", "cuEventSynchronize", "cuMemcpyDtoHAsync") == 0
            assert isinstance(loss, DeviceArray)
            assert float(loss) == pytest.approx(cpu.train_step(x, rows), rel=1e-5)
        assert gpu.evaluate(there, targets)[0] == pytest.approx(cpu.evaluate(x, rows)[0], rel=1e-5)
        found, wanted = gpu.gradients(there, targets), cpu.gradients(x, rows)
        np.testing.assert_allclose(found["fc_1.weights"].numpy(), wanted["fc_1.weights"], rtol=1e-4, atol=1e-6)

    def test_never_more_than_a_few_steps_ahead(self, stub):
        gpu, _ = self.pair()
        there, targets = GpuArray(stub, images(4)), GpuArray(stub, np.eye(4, 3, dtype=np.float32))
        for _ in range(30):
            gpu.train_step(there, targets)
        assert stub.count("cuEventSynchronize") >= 20

    def test_class_indices_on_the_device_are_fetched(self, stub):
        (gpu, cpu), x, t = self.pair(), images(4), np.array([0, 1, 2, 1])
        loss = gpu.train_step(GpuArray(stub, x), GpuArray(stub, t))
        assert float(loss) == pytest.approx(cpu.train_step(x, t), rel=1e-5)

    def test_saved_here_and_loaded_on_the_cpu(self, stub, tmp_path):
        gpu, _ = self.pair()
        x, t = images(4), np.array([0, 1, 2, 1])
        gpu.train_step(x, t)
        gpu.save(tmp_path)
        assert gnc.load(tmp_path, target="cpu").train_step(x, t) == pytest.approx(gpu.train_step(x, t), rel=1e-5)


class TestLaunches:
    """Norms whose blocks work together, planned for the GPU."""

    SHAPE, GROUPS = (2, 8, 8, 32), 8

    def case(self, monkeypatch, kind):
        only_tier(monkeypatch, kind, 3, wave=1)
        x = np.random.default_rng(0).standard_normal(self.SHAPE).astype(np.float32)
        scale, offset = np.random.default_rng(1).standard_normal((2, self.SHAPE[-1])).astype(np.float32)
        attributes = {"groups": self.GROUPS, "epsilon": 1e-5, "activation": "", "alpha": 0.0}
        given = [(each.shape, "float32") for each in (x, scale, offset)]
        results = [(x.shape, "float32"), ((2, self.GROUPS, 3), "float32")]
        problem = problem_of("group_norm", given, results, attributes, machine("sm_90"))
        return Case(problem, catalog.plan(problem), [x, scale, offset], np.zeros(COUNT))

    @pytest.mark.parametrize("kind", ["cluster", "flags"])
    def test_blocks_that_meet(self, stub, monkeypatch, kind):
        case = self.case(monkeypatch, kind)
        y, _ = run(case, Gpu())
        x, scale, offset = case.operands
        np.testing.assert_allclose(y, oracle(x, self.GROUPS, scale, offset)[0], atol=4e-6)
        launch = stub.kernels.launches[-1]
        assert (launch.cluster, launch.cooperative) == ((3, False) if kind == "cluster" else (1, True))

    def test_blocks_that_cannot_meet_are_refused(self, stub, monkeypatch):
        monkeypatch.setattr(stub.kernels, "occupancy", lambda *_: 0)
        with pytest.raises(TargetError, match=r"blocks that wait for each other, and the GPU holds 0 of them at once"):
            executor(self.case(monkeypatch, "flags"), Gpu())

    @pytest.mark.parametrize("amount", [100_000, 0])
    def test_much_shared_memory_is_asked_for(self, stub, monkeypatch, amount):
        case = self.case(monkeypatch, "cluster")
        launches = [
            replace(one, schedule=replace(one.schedule, tiles={**one.schedule.tiles, "dynamic_shared": amount}))
            for one in case.plan.launches
        ]
        y, _ = run(replace(case, plan=replace(case.plan, launches=tuple(launches))), Gpu())
        assert np.isfinite(y).all()
        assert stub.count("cuKernelSetAttribute") == (1 if amount else 0)

    def test_neighbouring_copies_are_one(self):
        assert _merged([(512, 9512, 100), (768, 9768, 4), (4096, 13096, 8)]) == [(512, 9512, 260), (4096, 13096, 8)]
