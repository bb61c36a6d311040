"""Networks in bfloat16 and float16, on the CPU and in the emulator: the oracle rounds where the product stores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
from support.comparison import randomize
from support.sets import diagonal, few
from support.targets import EMULATED, machine

import gncodegen as gnc
from gncodegen.compiled import Compiled
from gncodegen.inspection import MemoryPlan
from gncodegen.kernels.loss_scale import LOSS_SCALE, RULE
from gncodegen.layers.network import Network
from gncodegen.passes.lower import lower

DTYPES, ON = ("bfloat16", "float16"), ("cpu", EMULATED)
KEY = f"{LOSS_SCALE}/{LOSS_SCALE}"


def layers() -> list[Any]:
    return [
        gnc.ImageInputLayer((6, 6, 3), normalization="none"),
        gnc.Convolution2dLayer(3, 8, padding="same", name="conv"),
        gnc.GroupNormalizationLayer(4, name="gn"),
        gnc.ReluLayer(name="relu"),
        gnc.FullyConnectedLayer(5, name="fc"),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def network(dtype: str, target: str = "cpu", batch: int = 4, **choices: Any) -> Compiled:
    if target != "cpu":
        pytest.importorskip("numba_cuda")
    where = {} if target == "cpu" else {"target": target, "emulate": True}
    compiled = gnc.compile(layers(), batch_size=batch, dtype=dtype, seed=0, **where, **choices)
    randomize(compiled)
    return compiled


def twin(compiled: Compiled, dtype: str) -> ref.ReferenceNetwork:
    """The same in float64, rounded where the network stores: logits stay as they are, and so do probabilities."""

    def of_logits(z: Any, *parameters: Any) -> Any:
        y, backward = ref.fully_connected(z, *parameters)

        def back(dz: Any) -> tuple[Any, ...]:
            dx, *gradients = backward(ref.rounded(dz, dtype))
            return ref.rounded(dx, dtype), *gradients

        return y, back

    def convolution(x: Any, weights: Any, bias: Any) -> Any:
        operation = ref.stored(ref.convolution, dtype)
        return operation(ref.rounded(x, dtype), weights, bias, padding="same")

    nodes = [
        ref.Node("conv", convolution, ("weights", "bias")),
        ref.Node("gn", ref.stored(ref.group_norm, dtype), ("scale", "offset"), options={"groups": 4}),
        ref.Node("relu", ref.stored(ref.relu, dtype)),
        ref.Node("fc", of_logits, ("weights", "bias")),
        ref.Node("softmax", ref.softmax),
    ]
    return ref.ReferenceNetwork(nodes, compiled.parameters)


def data(batch: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.normal(size=(batch, 6, 6, 3)).astype(np.float32), random.integers(0, 5, batch)


def assert_close(found: Any, wanted: Any, dtype: str, steps: float, what: str = "") -> None:
    """Within so many roundings of the largest: where float32 and float64 round to neighbours, errors are of one."""
    wanted = np.asarray(wanted).reshape(np.shape(found))
    bound = steps * ref.STEP[dtype] * np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound, err_msg=what)


@pytest.mark.full(like="networks/test_half.py::test_slices_and_restarts_keep_the_bits")
@pytest.mark.parametrize(("dtype", "target"), diagonal(DTYPES, ON))
def test_network_rounds_where_it_stores(dtype: str, target: str) -> None:
    compiled, (x, t) = network(dtype, target), data()
    reference, hot = twin(compiled, dtype), np.eye(5)[t]
    wanted = reference.gradients(x, hot)
    if target == "cpu":  # in the emulator, the step says the same
        y = compiled.predict(x)
        assert y.dtype == np.float32
        assert_close(y, reference.predict(x), dtype, 2, "predict")
        for name, gradient in compiled.gradients(x, t).items():
            assert gradient.dtype == np.float32
            assert_close(gradient, wanted[name], dtype, 4, name)
    before = dict(compiled.parameters)
    compiled.hyperparameters.update({"learn_rate": 0.01, "l2_regularization": 0.0})
    assert compiled.train_step(x, t) == pytest.approx(reference.loss(x, hot), rel=4 * ref.STEP[dtype])
    for name, value in before.items():
        step = (value - compiled.parameters[name]) / 0.01
        assert_close(step, wanted[name], dtype, 4 + 2.0**-24 * np.abs(value).max() / ref.STEP[dtype], name)


@pytest.mark.parametrize("dtype", few(DTYPES, 1))
def test_slices_and_restarts_keep_the_bits(dtype: str, tmp_path: Path) -> None:
    compiled, (x, t) = network(dtype), data()
    whole = compiled.predict(x)
    for n in range(4):
        np.testing.assert_array_equal(compiled.predict(x[n : n + 1]), whole[n : n + 1])
    compiled.train_step(x, t)
    compiled.save(tmp_path)
    again = gnc.load(tmp_path)
    for _ in range(2):
        assert compiled.train_step(x, t) == again.train_step(x, t)
    for name, value in compiled.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", ON)
def test_activations_take_half_the_bytes(dtype: str, target: str) -> None:
    """What lives from the forward to the backward pass, pools and their gradients included; no kernel is compiled."""
    pooled = layers()
    pooled[4:4] = [gnc.MaxPooling2dLayer(2, stride=2), gnc.AveragePooling2dLayer(1)]

    def kept(kind: str) -> list[Any]:
        _, program = lower(Network.build(pooled), "train_step", batch_size=4, dtype=kind, machine=machine(target))
        return [block for block in MemoryPlan.of(program).blocks if block.shape == (4, 6, 6, 8)]

    half, whole = kept(dtype), kept("float32")
    assert {block.dtype for block in half} == {dtype}
    assert 2 * sum(block.bytes for block in half) == sum(block.bytes for block in whole) > 0


def with_scale(compiled: Compiled, scale: float, steps: float) -> Compiled:
    """The same network with another state of its loss scale."""
    state = compiled.state
    assert KEY in state.solver
    return Compiled.of_state(replace(state, solver={**state.solver, KEY: np.array([scale, steps], np.float32)}))


@pytest.mark.full(like="networks/test_half.py::test_slices_and_restarts_keep_the_bits")
@pytest.mark.parametrize("target", ON)
@pytest.mark.parametrize("clip", ["none", pytest.param("global-l2norm", marks=pytest.mark.full)])
def test_loss_scale_halves_and_doubles(target: str, clip: str) -> None:
    options = gnc.training_options(gradient_threshold_method="global-l2norm", gradient_threshold=1e6)
    x, t = data()
    compiled = network("float16", target, **({} if clip == "none" else {"options": options}))
    assert tuple(compiled.state.solver[KEY]) == (2.0**16, 0.0)
    # 2²⁰·(y − t)/4 is beyond 65504: the step is left out.
    compiled = with_scale(compiled, 2.0**20, 7.0)
    before = compiled.state
    loss = compiled.train_step(x, t)
    after = compiled.state
    assert np.isfinite(loss)
    assert tuple(after.solver[KEY]) == (2.0**19, 0.0)
    for name, value in before.values.items():
        np.testing.assert_array_equal(after.values[name], value)
    for name in before.solver.keys() - {KEY}:
        np.testing.assert_array_equal(after.solver[name], before.solver[name])
    compiled = with_scale(compiled, 2.0**10, float(RULE["growth_interval"]) - 1)
    compiled.train_step(x, t)
    assert tuple(compiled.state.solver[KEY]) == (2.0**11, 0.0)
    compiled.train_step(x, t)
    assert tuple(compiled.state.solver[KEY]) == (2.0**11, 1.0)
    assert any((compiled.parameters[name] != value).any() for name, value in before.values.items())


def test_scale_is_of_the_gradient_alone() -> None:
    """Steps from the same parameters differ by what rounds, whatever the scale."""
    x, t = data()
    steps: list[dict[str, np.ndarray]] = []
    for scale in (1.0, 2.0**12):
        compiled = with_scale(network("float16"), scale, 0.0)
        compiled.train_step(x, t)
        steps.append(dict(compiled.parameters))
    for name, value in steps[0].items():
        assert_close(steps[1][name], value, "float16", 1, name)


def test_bfloat16_keeps_no_scale() -> None:
    assert KEY not in network("bfloat16").state.solver
