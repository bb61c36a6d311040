"""Passes change how a network is computed, never what: in NumPy, all stages and the Program agree with the first IR."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from reference import directional_error
from support import numpy_gn
from support.networks import NETWORKS, arguments, features

from gncodegen.ir.build import FUNCTIONS, build_module
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Machine
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.options import CompileOptions
from gncodegen.passes.lower import lower
from gncodegen.passes.pipeline import pipeline, run

BATCH = 3


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "plan", numpy_gn.plan)


def copied(given: numpy_gn.Arrays) -> numpy_gn.Arrays:
    return {key: value.copy() for key, value in given.items()}


@pytest.mark.few
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_stage_computes_the_same(name: str, function: str) -> None:
    network = NETWORKS[name]()
    given = arguments(network, BATCH)
    module = build_module(network, function, batch_size=BATCH, dtype="float64")
    expected: numpy_gn.Arrays = {}
    for step in pipeline(CompileOptions(clip="global-l2norm")):
        if step.name == "select":
            break
        run(module, [step])
        if step.name in ("shapes",) and any(op.name == "gn.batch_norm" for op in module.walk()):
            continue  # only canonicalize gives batch normalization its meaning
        found = numpy_gn.run_module(module, given)
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-12, err_msg=f"{step.name}: {key}")
        expected |= found
    _, program = lower(network, function, batch_size=BATCH, dtype="float64", clip="global-l2norm")
    arrays = copied(given)
    outputs = numpy_gn.run_program(program, arrays)
    for key, value in expected.items():
        np.testing.assert_allclose(
            ({**arrays, **outputs})[key], value, rtol=1e-9, atol=1e-12, err_msg=f"program: {key}"
        )
    for key in arrays:
        if key not in expected:
            np.testing.assert_array_equal(arrays[key], given[key], err_msg=f"{key} must not change")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_slopes_of_the_loss(name: str, training: bool) -> None:
    network = NETWORKS[name]()
    given = arguments(network, BATCH)
    options = {"batch_size": BATCH, "dtype": "float64", "training": training}
    _, loss = lower(network, "loss", **options)
    _, gradients = lower(network, "gradients", **options)
    found = numpy_gn.run_program(gradients, copied(given))
    for (kind, key), gradient in found.items():
        if kind != "gradient":
            continue
        at = ("input", "x") if key == "input" else ("parameter", key)

        def value(array: np.ndarray, at: tuple[str, str] = at) -> float:
            return float(numpy_gn.run_program(loss, copied(given) | {at: array})["loss", "loss"])

        assert directional_error(value, given[at], gradient) < 1e-5, key
    assert {key for kind, key in found if kind == "gradient"} == {
        "input", *(name for name, parameter in network.parameters.items() if parameter.learnable),
    }  # fmt: skip


@pytest.mark.few
@pytest.mark.parametrize("clip", ["none", "l2norm", "global-l2norm", "absolute-value"])
@pytest.mark.parametrize(
    ("name", "solver"),
    [*((name, "sgdm") for name in NETWORKS), *(("features", solver) for solver in SOLVERS if solver != "sgdm")],
)
def test_train_step_is_the_solver_on_the_gradients(name: str, solver: str, clip: str) -> None:
    network = NETWORKS[name]()
    given = arguments(network, BATCH, solver=solver)
    gradients = numpy_gn.run_program(lower(network, "gradients", batch_size=BATCH, dtype="float64")[1], copied(given))
    arrays = copied(given)
    numpy_gn.run_program(
        lower(network, "train_step", batch_size=BATCH, dtype="float64", clip=clip, solver=solver)[1], arrays
    )
    learnable = {key: p for key, p in network.parameters.items() if p.learnable}
    arrays_of = SOLVERS[solver].state
    optimizer = ref.SOLVERS[solver](
        rate=0.1, l2=0.01, method="l2norm" if clip == "none" else clip, threshold=np.inf if clip == "none" else 0.5,
        learn_rate_factors={key: p.learn_rate_factor for key, p in learnable.items()},
        l2_factors={key: p.l2_factor for key, p in learnable.items()},
        state={key: tuple(given[array, key].copy() for array in arrays_of) for key in learnable},
    )  # fmt: skip
    updated = optimizer.step(
        {key: given["parameter", key] for key in learnable}, {key: gradients["gradient", key] for key in learnable}
    )
    for key in learnable:
        np.testing.assert_allclose(arrays["parameter", key], updated[key], rtol=1e-9, atol=1e-12, err_msg=key)
        for array, state in zip(arrays_of, optimizer.state[key], strict=True):
            np.testing.assert_allclose(arrays[array, key], state, rtol=1e-9, atol=1e-12, err_msg=key)


def test_frozen_parameters_are_no_part_of_a_train_step() -> None:
    stages, program = lower(features(), "train_step", batch_size=BATCH, dtype="float64")
    assert ("velocity", "fc_1.weights") not in program.arguments
    assert stages["dce"].count("gn.fully_connected_weight_gradient") == 2
    frozen = program.arguments["parameter", "fc_1.weights"]
    written = {program.root(call.arguments[slot]) for call in program.calls for slot in call.writes}
    assert frozen not in written


@pytest.mark.parametrize("data_format", ["BCSS", "SSCB", "CSBS"])
def test_arrays_come_and_go_in_the_format_asked_for(data_format: str) -> None:
    network = NETWORKS["residual"]()
    given = arguments(network, BATCH)
    options = {"batch_size": BATCH, "dtype": "float64", "activations": ("stem", "cat")}
    expected = numpy_gn.run_program(lower(network, "predict", **options)[1], copied(given))
    program = lower(network, "predict", **options, data_format=data_format)[1]
    letters = {"image": "BSSC", "features": "BC"}

    def turned(array: np.ndarray) -> np.ndarray:
        inner = letters["image" if array.ndim == 4 else "features"]
        spatial = iter(axis for axis, letter in enumerate(inner) if letter == "S")
        order = [next(spatial) if letter == "S" else inner.index(letter) for letter in data_format if letter in inner]
        return array.transpose(order)

    found = numpy_gn.run_program(program, copied(given) | {("input", "x"): turned(given["input", "x"])})
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], turned(value), rtol=1e-9, err_msg=str(key))
    assert program.buffers[program.arguments["input", "x"]].format == data_format
    assert program.function == "predict"


def test_gradients_of_the_input_come_in_its_format() -> None:
    network = NETWORKS["plain"]()
    given = arguments(network, BATCH)
    inner = numpy_gn.run_program(lower(network, "gradients", batch_size=BATCH, dtype="float64")[1], copied(given))
    program = lower(network, "gradients", batch_size=BATCH, dtype="float64", data_format="BCSS", machine=Machine())[1]
    x = given["input", "x"].transpose(0, 3, 1, 2)
    outer = numpy_gn.run_program(program, copied(given) | {("input", "x"): x})
    np.testing.assert_allclose(
        outer["gradient", "input"], inner["gradient", "input"].transpose(0, 3, 1, 2), rtol=1e-9, atol=1e-14
    )
