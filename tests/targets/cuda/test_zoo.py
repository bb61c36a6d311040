"""Whole networks as compiled PTX in the emulator, and every kernel they need on every architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import numpy_gn
from support.cuda_kernels import check_kernel, compiled
from support.sets import dealt
from support.targets import ARCHITECTURES, WITH_CUDA, machine
from support.zoo import programs

from bench.zoo import ALWAYS_FUSED, OVER_RANKS, ZOO, Specimen, demo
from gncodegen.ir.text import parse_module
from gncodegen.kernels.cuda import PLANS
from gncodegen.kernels.schedule import Schedule

BAR = {"float32": 2e-5, "float64": 1e-11}
"""Largest difference from float64 NumPy, relative to the largest magnitude of the array or 0.01."""

DROPOUT = "dropout"
"""The specimen whose random masks only the product knows: it is compared with the CPU target."""

COMPARED = [each for each in ZOO if each.name != DROPOUT and each.dtype in BAR]


IN_TURN = ("normalizations", "activations")
"""What a default run trains, whose kernels another test of it has, too; and what it predicts and differentiates."""


def _specimens(of: list[Specimen], name: str) -> Any:
    kept = [each.name for each in of if not each.training] + [name]
    marks = {each.name: [] if each.name in kept else [pytest.mark.full] for each in of}
    return pytest.mark.parametrize(
        "specimen", [pytest.param(each, id=each.name, marks=marks[each.name]) for each in of]
    )


def _expected(compiled_: Any, function: str, x: np.ndarray, t: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """What float64 NumPy makes of the fused IR, by (kind, name)."""
    boundary = compiled_._conversion
    arguments: dict[tuple[str, str], np.ndarray] = {
        key: each.part(0, len(x)) for key, each in boundary.inward((x,), "").items()
    }
    arguments["target", "t"] = boundary.targets(t, len(x), {})
    arguments["hyperparameters", "hyperparameters"] = compiled_.hyperparameters.array
    for name, value in compiled_.parameters.items():
        arguments["parameter", name] = arguments["state", name] = value
        for array in compiled_.hyperparameters.solver.state:
            arguments[array, name] = np.zeros(value.shape)
    wide = {key: np.asarray(value, np.float64) for key, value in arguments.items()}
    return numpy_gn.run_module(parse_module(compiled_.ir("layout", function)), wide)


def _close(found: np.ndarray, wanted: np.ndarray, dtype: str, what: str, largest: float = 0.0) -> None:
    """`largest`: the largest magnitude of all gradients, which one that is zero but for rounding is compared with."""
    scale = max(float(np.max(np.abs(wanted), initial=0.0)), 0.01)
    if np.all(np.abs(wanted) <= 1e-9 * largest):  # a slope of zero, such as that of a bias of attention's keys
        scale = max(scale, largest)
    difference = float(np.max(np.abs(found - wanted.reshape(found.shape)), initial=0.0)) / scale
    assert difference <= BAR[dtype], f"{what}: {difference:.2e}"


def test_dropout_draws_the_cpu_targets_masks() -> None:
    specimen = next(specimen for specimen in ZOO if specimen.name == DROPOUT)
    ours, host = specimen.compile(target="sm_90", emulate=True), specimen.compile(target="cpu")
    x, t = specimen.data(host)
    wanted = host.gradients(x, t)
    assert np.any(wanted["input"] == 0)
    for name, gradient in ours.gradients(x, t).items():
        np.testing.assert_array_equal(gradient == 0, wanted[name] == 0)
        _close(gradient, wanted[name], "float32", name)
    for _ in range(3):
        assert ours.train_step(x, t) == pytest.approx(host.train_step(x, t), rel=1e-6)


@pytest.mark.few
@_specimens(COMPARED, IN_TURN[1])
def test_predictions_and_gradients(specimen: Specimen) -> None:
    network = specimen.compile(target="sm_90", emulate=True)
    x, t = specimen.data(network)
    wanted = _expected(network, "predict", x, t)
    _close(network.predict(x), wanted["output", "y"], specimen.dtype, "y")
    wanted = _expected(network, "gradients", x, t)
    largest = max(float(np.max(np.abs(each))) for (kind, _), each in wanted.items() if kind == "gradient")
    for name, gradient in network.gradients(x, t).items():
        _close(gradient, wanted["gradient", name], specimen.dtype, name, largest)


@_specimens([each for each in COMPARED if each.training], IN_TURN[0])
def test_a_training_step(specimen: Specimen) -> None:
    network = specimen.compile(target="sm_90", emulate=True)
    x, t = specimen.data(network)
    wanted = _expected(network, "train_step", x, t)
    loss = network.train_step(x, t)
    assert loss == pytest.approx(float(wanted["loss", "loss"]), rel=BAR[specimen.dtype])
    for name, value in network.parameters.items():
        for kind in ("parameter", "state"):
            if (kind, name) in wanted:
                _close(value, wanted[kind, name], specimen.dtype, name)


@pytest.mark.full(like="targets/cuda/test_zoo.py::test_a_training_step")
def test_training_steps_of_the_demo_match_the_cpu_target() -> None:
    specimen = Specimen("demo", demo, batch=4)
    ours, host = specimen.compile(target="sm_90", emulate=True), specimen.compile(target="cpu")
    for seed in range(3):
        x, t = specimen.data(host, seed)
        assert ours.train_step(x, t) == pytest.approx(host.train_step(x, t), rel=1e-5)
    for name, value in host.parameters.items():
        _close(ours.parameters[name], value, "float32", name)


def test_the_same_bits_every_run() -> None:
    specimen = next(specimen for specimen in ZOO if specimen.name == "normalizations")
    runs = []
    for _ in range(2):
        network = specimen.compile(target="sm_90", emulate=True)
        x, t = specimen.data(network)
        network.train_step(x, t)
        runs.append({name: np.array(value) for name, value in network.parameters.items()})
    for name, value in runs[0].items():
        np.testing.assert_array_equal(value, runs[1][name])


SHARED = {"partial_sums"}
"""Launches that several ops share, named for themselves."""


def _kernels(target: str) -> dict[Schedule, bool]:
    """Every kernel that the zoo needs on one architecture, and whether it touches a float64 buffer."""
    found: dict[Schedule, bool] = {}
    for program in programs(machine(target)):
        for call in program.calls:
            buffers = [program.buffers[index] for index in call.arguments]
            wide = any(b.dtype == "float64" and b.kind != "hyperparameters" for b in buffers)
            schedule = program.kernels[call.kernel]
            found[schedule] = found.get(schedule, False) or wide
    return found


def test_the_zoo_reaches_every_op() -> None:
    found = {schedule.op for schedule in _kernels("sm_90")}
    assert found > SHARED
    assert found - SHARED | ALWAYS_FUSED | OVER_RANKS == set(PLANS)


@WITH_CUDA
@pytest.mark.full(like="kernels/cuda/test_assembly.py::test_kernels_assemble_clean")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_assembles_clean(architecture: str, seed: int) -> None:
    """The kernels are dealt to the architectures: each meets all of them in a few runs."""
    kernels = _kernels(architecture)
    schedules = sorted(kernels, key=lambda schedule: str(schedule.key))
    schedules = dealt(schedules, ARCHITECTURES.index(architecture), len(ARCHITECTURES), seed)
    for schedule, source in zip(schedules, compiled(schedules), strict=True):
        check_kernel(source, kernels[schedule])
