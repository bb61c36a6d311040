"""Networks in the PTX emulator: the same results as on the CPU, and faults that say where they are."""

from __future__ import annotations

import threading
from bisect import bisect_right
from dataclasses import replace

import numpy as np
import pytest
from support.hyperparameters import numbers

import gncodegen as gnc
from gncodegen.emulator import launch
from gncodegen.emulator.state import memory
from gncodegen.errors import EmulationFault
from gncodegen.kernels.hyperparameters import COUNT, device_slot, slot
from gncodegen.kernels.program import Buffer, Call, Program
from gncodegen.runtime.device_executor import DeviceArena, DeviceExecutor, DeviceHyperparameters, _fresh_slots
from gncodegen.targets.cuda.device.emulated import EmulatedDevice
from gncodegen.targets.cuda.hyperparameters import BYTES, device_block

EMULATED = {"target": "sm_90", "emulate": True}
LAYERS = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.TanhLayer(), gnc.MaxPooling2dLayer(2)]


def images(count, size=(3, 3, 4), seed=0):
    return np.random.default_rng(seed).normal(size=(count, *size)).astype(np.float32)


def far(found, wanted):
    """The largest difference relative to the largest magnitude."""
    return float(np.max(np.abs(np.asarray(found, np.float64) - wanted)) / max(np.max(np.abs(wanted)), 1e-30))


DEMO = (
    gnc.ImageInputLayer((8, 8, 1), normalization="zerocenter", mean=np.full(1, 0.1)),
    gnc.Convolution2dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(4), gnc.ReluLayer(),
    gnc.MaxPooling2dLayer(2, stride=2),
    gnc.Convolution2dLayer(3, 8, padding="same"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer(),
    gnc.DropoutLayer(0.5), gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
)  # fmt: skip
"""Convolution, group normalization, relu, pooling, dropout, fully connected, softmax: as in the command-line demo."""


@pytest.fixture(scope="module")
def pair():
    """The network on the CPU and in the emulator, and a batch."""
    options = gnc.training_options("sgdm", initial_learn_rate=0.05, gradient_threshold=2.0)
    made = [gnc.compile(list(DEMO), batch_size=4, options=options, seed=3, **where) for where in ({}, EMULATED)]
    return *made, images(4, (8, 8, 1)), np.array([1, 0, 9, 4])


@pytest.mark.full(like="runtime/test_device_executor.py::test_train_network_in_the_emulator")
class TestDemoNetwork:
    @pytest.mark.full(like="runtime/test_device_executor.py::test_train_network_in_the_emulator")
    def test_loss_gradients_steps_and_predictions(self, pair):
        cpu, emulated, x, t = pair
        assert emulated.loss(x, t) == pytest.approx(cpu.loss(x, t), rel=1e-5)
        found, wanted = emulated.gradients(x, t), cpu.gradients(x, t)
        assert found.keys() == wanted.keys()
        assert {name: far(found[name], wanted[name]) for name in wanted if far(found[name], wanted[name]) > 1e-5} == {}
        for _ in range(3):
            assert emulated.train_step(x, t) == pytest.approx(cpu.train_step(x, t), rel=1e-5)
        assert emulated.hyperparameters.iteration == 3
        assert far(emulated.last_scores, cpu.last_scores) < 1e-5
        for name, value in cpu.parameters.items():
            assert far(emulated.parameters[name], value) < 1e-5, name
        more = images(6, (8, 8, 1), 1)
        assert far(emulated.predict(more), cpu.predict(more)) < 1e-5
        assert far(emulated.activations(more, "relu_2"), cpu.activations(more, "relu_2")) < 1e-5
        (loss, y), (other, z) = (c.evaluate(more, np.arange(6)) for c in (emulated, cpu))
        assert loss == pytest.approx(other, rel=1e-5)
        assert far(y, z) < 1e-5

    def test_velocities_are_saved(self, pair, tmp_path):
        _, emulated, x, t = pair
        emulated.save(tmp_path)
        moved = gnc.load(tmp_path, target="cpu", emulate=False)
        assert moved.train_step(x, t) == pytest.approx(emulated.train_step(x, t), rel=1e-5)
        assert moved.train_step(x, t) == pytest.approx(emulated.train_step(x, t), rel=1e-5)


COUNTS = (1, 2, 3, 7, 16, 33, 64, 100)
"""Numbers of observations; the network is compiled for 4."""

LIKE = "runtime/test_device_executor.py::TestAnyNumber::test_of_one_set_of_kernels"


@pytest.mark.full(like="runtime/test_device_executor.py::test_train_network_in_the_emulator")
class TestAnyNumber:
    """Runs of any number of observations by one set of kernels, which read how many there are."""

    @pytest.mark.parametrize(
        "count", [7, *(pytest.param(n, marks=pytest.mark.full(like=LIKE)) for n in COUNTS if n != 7)]
    )
    def test_of_one_set_of_kernels(self, pair, tmp_path, count):
        cpu, emulated, _, _ = pair
        emulated.save(tmp_path)
        cpu.restore(tmp_path)
        x, t = images(count + 1, (8, 8, 1), 2), np.arange(count) % 10
        for name in ("predict", "loss", "gradients", "train_step", "evaluate"):
            emulated.lowered(name, 4)
        before = compiled_files(emulated)
        y = emulated.predict(x)
        np.testing.assert_array_equal(emulated.predict(x[:count]), y[:count])
        np.testing.assert_array_equal(emulated.predict(x[count:]), y[count:])
        found, wanted = emulated.gradients(x[:count], t), cpu.gradients(x[:count], t)
        assert {name: far(found[name], wanted[name]) for name in wanted if far(found[name], wanted[name]) > 1e-5} == {}
        for name, again in emulated.gradients(x[:count], t).items():
            np.testing.assert_array_equal(again, found[name], err_msg=name)
        assert emulated.loss(x[:count], t) == pytest.approx(cpu.loss(x[:count], t), rel=1e-5)
        assert emulated.train_step(x[:count], t) == pytest.approx(cpu.train_step(x[:count], t), rel=1e-5)
        assert far(emulated.evaluate(x[:count], t)[1], cpu.evaluate(x[:count], t)[1]) < 1e-4
        more = compiled_files(emulated) - before
        assert not more or count > emulated.options.batch_size
        # A sum that is one part at the tuned batch may have several in a larger one.
        assert all(name.startswith("partial_sums_") for name in more)

    def test_costs_the_tiles_that_they_need(self, pair):
        program = pair[1].lowered("predict").program
        tiles = [sum(program.grid(call, count) for call in program.calls[program.hoisted :]) for count in range(5)]
        assert program.in_order
        assert tiles[4] == sum(call.grid for call in program.calls[program.hoisted :])
        assert tiles == sorted(tiles)
        assert tiles[1] < tiles[4]


def compiled_files(net):
    return {source.path.name for lowered in net._functions.known for source in lowered.sources.values()}


def test_train_network_in_the_emulator():
    x, y = images(12), np.repeat(["a", "b", "c"], 4)
    layers = [*LAYERS[:1], gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]
    options = gnc.training_options(
        "sgdm", max_epochs=2, mini_batch_size=5, verbose=False, seed=1, validation_data=(x[:7], y[:7])
    )
    on_gpu = replace(options, execution_environment="gpu")
    net, info = gnc.train_network(x, y, layers, on_gpu, **EMULATED)
    with pytest.raises(gnc.OptionsError, match=r"execution_environment = 'gpu' with target = 'cpu'; allowed: one of"):
        gnc.train_network(x, y, layers, on_gpu, target="cpu")
    twin, wanted = gnc.train_network(x, y, layers, options)
    np.testing.assert_allclose(info.training_loss, wanted.training_loss, rtol=1e-5)
    assert info.final_validation_loss == pytest.approx(wanted.final_validation_loss, rel=1e-5)
    assert net.classify(x)[0].tolist() == twin.classify(x)[0].tolist()


class TestArrays:
    @pytest.mark.parametrize("data_format", ["BSSC", "BCSS", "SSCB"])
    def test_any_number_in_any_order(self, data_format):
        order = {"BSSC": (0, 1, 2, 3), "BCSS": (0, 3, 1, 2), "SSCB": (1, 2, 3, 0)}[data_format]
        made = [gnc.compile(LAYERS, batch_size=4, data_format=data_format, **where) for where in ({}, EMULATED)]
        for count in (1, 4, 6):
            x = np.ascontiguousarray(images(count).transpose(order))
            wanted, found = (c.predict(x) for c in made)
            assert found.shape == wanted.shape
            assert far(found, wanted) < 1e-6

    def test_float64(self):
        cpu, emulated = (gnc.compile(LAYERS, batch_size=2, dtype="float64", **where) for where in ({}, EMULATED))
        x = images(2).astype(np.float64)
        assert emulated.predict(x).dtype == np.float64
        assert far(emulated.predict(x), cpu.predict(x)) < 1e-14

    def test_parameters_of_other_types_and_wrong_shapes(self):
        compiled = gnc.compile([*LAYERS, gnc.FullyConnectedLayer(2)], batch_size=1, **EMULATED)
        compiled.parameters["fc_1.bias"] = [1, 2]
        assert compiled.parameters["fc_1.bias"].tolist() == [1, 2]
        with pytest.raises(gnc.ArrayError, match="allowed: "):
            compiled.parameters["fc_1.bias"] = [1, 2, 3]


class TestFaults:
    def test_name_kernel_layer_source_line_block_and_thread(self, monkeypatch):
        compiled = gnc.compile(LAYERS, batch_size=2, **EMULATED)
        whole = EmulatedDevice.allocate

        def short(self, sizes):
            """As if a kernel read past the end of x."""
            return whole(self, {label: size - 16 if label == "x" else size for label, size in sizes.items()})

        monkeypatch.setattr(EmulatedDevice, "allocate", short)
        monkeypatch.setattr("gncodegen.emulator.DeviceMemory._host", lambda self, address, nbytes: address - (1 << 36))
        with pytest.raises(EmulationFault) as caught:
            compiled.predict(images(2))
        fault, kernel = caught.value, compiled.kernels["activation_1"]
        assert fault.kernel == "activation_1"
        assert fault.source == str(kernel.path)
        assert "load" in kernel.source.splitlines()[fault.line - 1]
        assert fault.block == 0
        assert fault.thread >= 0
        assert str(fault).startswith("tanh_1: ")

    def test_a_buffer_read_before_it_is_written(self):
        compiled = gnc.compile(LAYERS, batch_size=2, **EMULATED)
        program = compiled.program
        assert len(program.calls) == 2, "tanh, then pooling of what it wrote"
        device = EmulatedDevice()
        kernels = {name: device.load(compiled._main.sources[name], s) for name, s in program.kernels.items()}
        numbers = DeviceHyperparameters(device, np.zeros(COUNT))
        swapped = replace(program, calls=program.calls[::-1])
        bound = {("hyperparameters", "hyperparameters"): numbers.address}
        executor = DeviceExecutor(swapped, kernels, device, DeviceArena(device), bound, numbers)
        with pytest.raises(EmulationFault, match=r"maxpool_1: .*read before it is written"):
            executor.run({("input", "x"): images(2)})


class TestArena:
    def test_what_is_fresh_at_each_call(self):
        buffers = (
            Buffer("input", "x", (4,), "float32"),
            Buffer("arena", "", (64,), "float32", 0),  # A, lives over calls 0 … 1
            Buffer("arena", "", (64,), "float32", 0),  # B takes A's place in call 1
            Buffer("arena", "", (32,), "float32", 256),  # C, calls 1 … 2
            Buffer("arena", "", (96,), "float32", 0),  # D, call 3: where B and C were
        )
        calls = (
            Call("k", (0, 1), (1,), 1),
            Call("k", (1, 2, 3), (1, 2), 1),
            Call("k", (2, 3), (0,), 1),
            Call("k", (4,), (0,), 1),
        )
        fresh = _fresh_slots(Program("f", {}, buffers, calls, 512))
        assert fresh == [[(0, 256)], [(256, 128)], [], [(0, 384)]]

    def test_one_that_a_larger_program_needs_grows(self):
        device = EmulatedDevice()
        arena = DeviceArena(device)
        arena.reserve(100)
        first = arena.address
        arena.reserve(50)
        assert arena.address == first
        arena.reserve(5000)
        device.memory.write(arena.address, np.zeros(5000, np.uint8))


class TestMemory:
    def test_is_freed_when_nobody_uses_it(self, monkeypatch):
        """Garbage is collected at any moment, here while another allocation is looked up."""
        device = EmulatedDevice()
        dropped, kept = [device.allocate({"a": 8})], device.allocate({"b": 8})
        (gone,) = dropped[0].addresses.values()

        def found(*arguments, **choices):
            place = bisect_right(*arguments, **choices)
            dropped.clear()
            return place

        monkeypatch.setattr(memory, "bisect_right", found)
        device.upload(kept.addresses["b"], np.arange(2.0, dtype=np.float32))
        with pytest.raises(EmulationFault, match="host access"):
            device.upload(gone, np.zeros(2, np.float32))

    def test_grows_between_launches(self, monkeypatch):
        """Another thread asks for memory while a kernel runs."""
        compiled, x = gnc.compile(LAYERS, batch_size=2, **EMULATED), images(2)
        right, threads = compiled.predict(x), []
        device, whole = compiled._backend.device, launch.Interpreter.run

        def run(self):
            threads.append(threading.Thread(target=device.allocate, args=({"more": 4 << 20},)))
            threads[-1].start()
            threads[-1].join(0.1)
            whole(self)

        monkeypatch.setattr(launch.Interpreter, "run", run)
        np.testing.assert_array_equal(compiled.predict(x), right)
        for thread in threads:
            thread.join()


class TestHyperparameters:
    def test_are_sent_when_they_changed(self, monkeypatch):
        device, values = EmulatedDevice(), np.arange(float(COUNT))
        sent = []
        monkeypatch.setattr(device, "upload_later", lambda address, block: sent.append(block.copy()))
        numbers = DeviceHyperparameters(device, values)
        numbers.send()
        numbers.send()
        values[slot("iteration")] = 77
        for _ in range(20):
            values[slot("iteration")] += 1
            numbers.send()
        assert len(sent) == 21
        np.testing.assert_array_equal(sent[-1], device_block(values))

    def test_their_block(self):
        block = device_block(numbers(learn_rate=0.1, iteration=2**24 + 1, seed=2**40 + 5))
        assert block.nbytes == BYTES
        single, words = (block.view(dtype) for dtype in (np.float32, np.uint32))
        named = {"learn_rate": 0.1, "momentum": 0.9, "l2_regularization": 1e-4, "gradient_threshold": np.inf}
        assert {name: single[device_slot(name, "float32", "sgdm")] for name in named} == {
            name: np.float32(value) for name, value in named.items()
        }
        assert words[device_slot("iteration", "uint32")] == 2**24 + 1
        seed = device_slot("seed", "uint32")
        assert words[seed : seed + 2].tolist() == [5, 2**8]
