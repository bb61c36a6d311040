"""Checkpoints: a training that was stopped, interrupted or killed goes on with the bits of an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.cache import disk
from gncodegen.train.checkpoint import checkpoints

X = np.random.default_rng(0).normal(size=(20, 4, 4, 2)).astype(np.float32)
Y = np.arange(20) % 3


def layers(channels=4):
    """Everything that has a state: input statistics, running statistics, dropout, a frozen parameter."""
    return [
        gnc.ImageInputLayer((4, 4, 2)), gnc.Convolution2dLayer(3, channels), gnc.BatchNormalizationLayer(),
        gnc.GroupNormalizationLayer(2, scale_learn_rate_factor=0), gnc.ReluLayer(), gnc.DropoutLayer(0.5),
        gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ]  # fmt: skip


def train(folder=None, resume=None, *, net=None, solver="adam", **options):
    chosen = {
        "max_epochs": 4, "mini_batch_size": 6, "seed": 5, "shuffle": "every-epoch", "verbose": False,
        "validation_data": (X[:8], Y[:8]), "validation_frequency": 2, "checkpoint_path": folder,
    } | options  # fmt: skip
    return gnc.train_network(X, Y, net or layers(), gnc.training_options(solver, **chosen), resume=resume)


def assert_equal(found, wanted):
    """The same bits of every parameter and of the whole course."""
    (net, info), (other, course) = found, wanted
    for name, value in other.compiled.parameters.items():
        np.testing.assert_array_equal(net.compiled.parameters[name], value, err_msg=name)
    for name in ("training_loss", "training_accuracy", "validation_loss", "base_learn_rate", "final_validation_loss"):
        np.testing.assert_array_equal(getattr(info, name), getattr(course, name), err_msg=name)
    assert info.output_network_iteration == course.output_network_iteration


@pytest.fixture(scope="module")
def unbroken():
    return train()


def test_accumulated_gradients_are_those_of_a_larger_batch_and_go_on_with_the_same_bits(tmp_path):
    """Ten observations at a time in parts of five."""
    plain = [*layers()[:2], *layers()[3:5], *layers()[6:]]  # no batch norm, no dropout

    def accumulated(folder=None, resume=None, **options):
        return train(folder, resume, net=plain, **{"mini_batch_size": 5, "gradient_accumulation_steps": 2} | options)

    wanted, found = train(net=plain, mini_batch_size=10)[1], accumulated()
    assert len(found[1].training_loss) == 8
    np.testing.assert_allclose(found[1].training_loss, wanted.training_loss, rtol=1e-5)
    np.testing.assert_array_equal(found[1].training_accuracy, wanted.training_accuracy)
    accumulated(tmp_path, checkpoint_frequency_unit="iteration", output_fcn=lambda state: state.iteration == 5)
    assert_equal(accumulated(tmp_path, tmp_path), found)
    with pytest.raises(gnc.OptionsError, match="gradient_accumulation_steps"):
        accumulated(tmp_path, tmp_path, gradient_accumulation_steps=4)


@pytest.mark.parametrize("last", [4, 5, 9])
def test_a_stopped_training_goes_on_with_the_same_bits(tmp_path, unbroken, last):
    _, info = train(tmp_path, output_fcn=lambda state: state.iteration == last)
    assert len(info.training_loss) == last
    assert [path.name for path in checkpoints(tmp_path)] == [f"checkpoint_{i:08d}" for i in range(3, last, 3)]
    assert_equal(train(tmp_path, tmp_path), unbroken)


def test_best_weights_and_patience_come_back(tmp_path):
    options = {
        "output_network": "best-validation-loss", "initial_learn_rate": 0.1, "solver": "sgdm",
        "validation_data": (X, (Y + 1) % 3), "validation_patience": 4,
    }  # fmt: skip
    wanted = train(**options)
    assert wanted[1].stop_reason == "validation-patience"
    assert 0 < wanted[1].output_network_iteration < 6, "the best weights come from before the checkpoint"
    assert len(wanted[1].training_loss) in (8, 10), "and patience is used up after it"
    train(tmp_path, output_fcn=lambda state: state.iteration == 7, **options)
    found = train(tmp_path, tmp_path, **options)
    assert_equal(found, wanted)
    assert found[1].stop_reason == "validation-patience"


def test_a_finished_training_returns_at_once(tmp_path, unbroken):
    train(tmp_path)
    assert_equal(train(tmp_path, tmp_path), unbroken)


def test_an_empty_folder_starts_anew_and_a_longer_training_goes_on(tmp_path, unbroken):
    train(tmp_path, tmp_path, max_epochs=2, validation_data=None)
    assert len(checkpoints(tmp_path)) == 2
    _, info = train(tmp_path, tmp_path, validation_data=None)
    np.testing.assert_array_equal(info.training_loss, unbroken[1].training_loss)


def test_without_a_seed_the_first_one_stays(tmp_path):
    train(tmp_path, seed=None, max_epochs=2)
    net, info = train(tmp_path, tmp_path, seed=None)
    seed = net.compiled.hyperparameters["seed"]
    np.testing.assert_array_equal(info.training_loss, train(seed=int(seed))[1].training_loss)


def test_every_so_many_iterations_and_the_last_few_are_kept(tmp_path):
    train(tmp_path, checkpoint_frequency=2, checkpoint_frequency_unit="iteration", checkpoints_kept=2)
    assert [path.name for path in tmp_path.iterdir()] == [path.name for path in sorted(tmp_path.iterdir())]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint_00000010", "checkpoint_00000012"}
    net = gnc.load(checkpoints(tmp_path)[-1])
    assert net.classify(X)[0].shape == (20,), "a checkpoint is a saved network too"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_training_after_its_iteration(tmp_path, unbroken, number):
    before = signal.getsignal(number)

    def interrupt(state):
        if state.iteration == 5 and state.state == "iteration":
            os.kill(os.getpid(), number)

    net, info = train(tmp_path, output_fcn=interrupt)
    assert info.stop_reason == "interrupted"
    assert len(info.training_loss) == info.output_network_iteration == 5
    assert net.compiled.hyperparameters.steps == 5
    assert signal.getsignal(number) is before
    assert checkpoints(tmp_path)[-1].name == "checkpoint_00000005"
    assert_equal(train(tmp_path, tmp_path), unbroken)


def test_a_write_that_breaks_off_leaves_the_checkpoint_before(tmp_path, unbroken, monkeypatch):
    replace = disk.replace

    def full(path, content, **kept):
        if "00000006" in str(path) and path.name == "progress.json":
            raise OSError(28, "No space left on device")
        replace(path, content, **kept)

    monkeypatch.setattr(disk, "replace", full)
    with pytest.raises(
        gnc.SaveError, match=r"cannot be written: No space left on device; allowed: .*; free some"
    ) as error:
        train(tmp_path)
    assert error.value.network.compiled.hyperparameters.steps == 6
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_00000003"]
    assert_equal(train(tmp_path, tmp_path), unbroken)
    assert len(list(tmp_path.iterdir())) == 3


SCRIPT = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from train.test_checkpoint import train
def kill(state):
    if state.iteration == 7:
        os.kill(os.getpid(), signal.SIGKILL)
train(sys.argv[1], output_fcn=kill)
"""


def test_a_killed_process_goes_on(tmp_path, unbroken):
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), str(tests), str(tests.parent)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert checkpoints(tmp_path)[-1].name == "checkpoint_00000006"
    assert_equal(train(tmp_path, tmp_path), unbroken)


class TestRefusals:
    def test_a_folder_with_another_trainings_checkpoints(self, tmp_path):
        train(tmp_path, max_epochs=1)
        with pytest.raises(gnc.OptionsError, match=r"holds checkpoints of another training; allowed: .*resume="):
            train(tmp_path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"net": layers(6)}, r"parameters is .*conv_1.weights \[3, 3, 2, 6\].*was .*\[3, 3, 2, 4\]"),
            ({"mini_batch_size": 5}, "mini_batch_size is 5, and was 6"),
            ({"seed": 6}, "seed is 6, and was 5"),
            ({"solver": "rmsprop"}, "solver is 'rmsprop', and was 'adam'"),
        ],
    )
    def test_another_training(self, tmp_path, change, said):
        train(tmp_path, max_epochs=1)
        with pytest.raises(gnc.OptionsError, match=f"resume: {said}.*; allowed: the same"):
            train(tmp_path, tmp_path, **change)

    @pytest.mark.parametrize("file", ["progress.json", "progress.safetensors"])
    def test_a_damaged_checkpoint(self, tmp_path, file):
        train(tmp_path, max_epochs=1)
        (checkpoints(tmp_path)[-1] / file).write_text("no")
        with pytest.raises(gnc.NetworkError, match=r"checkpoint_00000003 holds no checkpoint: .*; allowed: .*; remove"):
            train(tmp_path, tmp_path)


def test_an_output_function_that_raises_keeps_the_network():
    def fail(state):
        if state.iteration == 2:
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine") as error:
        train(output_fcn=fail)
    assert error.value.network.compiled.hyperparameters.steps == 2
    assert error.value.network.classify(X)[0].shape == (20,)


def test_an_output_function_sees_the_network():
    seen = []
    net, _ = train(max_epochs=1, output_fcn=lambda state: seen.append(state.network))
    assert all(network is net for network in seen)
    assert len(seen) == 5
