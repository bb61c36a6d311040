"""tune=True: every candidate gives the same bits; the measured choice is taken, remembered and read again."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from support.sets import few

import gncodegen as gnc
from gncodegen import programs, tuning
from gncodegen.allocation import aligned
from gncodegen.cache import files
from gncodegen.errors import CompileError, OptionsError
from gncodegen.kernels import catalog
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.single import program
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.runtime.executor import Arena, Executor
from gncodegen.runtime.timing import medians
from gncodegen.specification import Specification
from gncodegen.targets.cpu import host
from gncodegen.targets.cpu.target import CpuTarget

# Small caches, so that small arrays are cut into waves and written past them.
MACHINE = replace(host.machine(), l3=1 << 20, cores=2)


def window(op, extents, channels, filters, size, *, batch=4, stride=1, machine=MACHINE):
    pad = size // 2
    outs = tuple((n + 2 * pad - size) // stride + 1 for n in extents)
    x, y = Tensor((batch, *extents, channels), "float32"), Tensor((batch, *outs, filters), "float32")
    weights = Tensor((size, size, channels, filters), "float32")
    attributes = {"stride": (stride,) * 2, "dilation": (1, 1), "padding": (pad,) * 4, "groups": 1}
    if op == "convolution":
        return Problem(op, (x, weights), (y,), attributes, machine)
    if op == "convolution_weight_gradient":
        results = (weights, Tensor((filters,), "float32"))
        return Problem(op, (x, y), results, attributes | {"bias": True}, machine)
    return Problem(op, (y, weights), (x,), attributes | {"input_shape": x.shape}, machine)


def norm(op, residual):
    x, vector = Tensor((4, 40, 40, 32), "float32"), Tensor((32,), "float32")
    statistics, rest = Tensor((4, 8, 3), "float32"), (x,) * residual
    attributes = {"groups": 8, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0, "residual": residual}
    if op == "group_norm":
        return Problem(op, (x, vector, vector, *rest), (x, statistics), attributes, MACHINE)
    return Problem(op, (x, x, vector, vector, statistics, *rest), (x, vector, vector, *rest), attributes, MACHINE)


PROBLEMS = {
    "direct": window("convolution", (13, 11), 3, 20, 5),
    "pointwise": window("convolution", (9, 7), 24, 24, 1),
    "strided-gradient": window("convolution_input_gradient", (9, 8), 8, 24, 3, stride=2),
    "winograd": window("convolution", (9, 11), 16, 24, 3),
    "heavy-winograd": window("convolution_input_gradient", (6, 8), 180, 184, 3),
    "weights": window("convolution_weight_gradient", (13, 11), 3, 20, 5, batch=7),
    "winograd-weights": window("convolution_weight_gradient", (13, 17), 72, 40, 3, batch=9),
    "norm": norm("group_norm", False),
    "norm-gradient": norm("group_norm_gradient", False),
    "residual-norm-gradient": norm("group_norm_gradient", True),
}


def results(problem, plan):
    """What one plan computes from drawn arrays."""
    target, single, random = CpuTarget(), program(problem, plan), np.random.default_rng(0)
    sources = target.write(single.kernels.values())
    target.compile(sources)
    executor = Executor(single, dict(zip(single.kernels, target.link(sources), strict=True)), Arena(), {})
    arrays = {}
    for key, index in executor.free.items():
        buffer = single.buffers[index]
        values = random.standard_normal(buffer.shape) if key[0] == "input" else np.full(buffer.shape, np.nan)
        arrays[key] = aligned(buffer.shape, buffer.dtype)
        arrays[key][...] = values
    executor.run(arrays)
    return [array for (kind, _), array in arrays.items() if kind == "output"]


@pytest.mark.few
@pytest.mark.parametrize("problem", few(list(PROBLEMS.values()), 5), ids=PROBLEMS)
def test_every_candidate_gives_the_same_bits(problem):
    first, *others = catalog.candidates(problem)
    assert others
    assert len({repr(plan) for plan in (first, *others)}) == 1 + len(others)
    assert catalog.plan(problem) == first
    expected = results(problem, first)
    for number, plan in enumerate(others, 1):
        assert catalog.plan(problem, number) == plan
        for got, wanted in zip(results(problem, plan), expected, strict=True):
            assert np.isfinite(wanted).all()
            np.testing.assert_array_equal(got, wanted)


def test_a_candidate_that_does_not_exist():
    with pytest.raises(CompileError, match=r"candidate 9; allowed: 0 … \d; leave the choice out"):
        catalog.plan(PROBLEMS["direct"], 9)
    pooled = Problem(
        "bias", (Tensor((2, 3), "float32"), Tensor((3,), "float32")), (Tensor((2, 3), "float32"),), {}, MACHINE
    )
    assert len(catalog.candidates(pooled)) == 1


LAYERS = [
    gnc.ImageInputLayer((9, 11, 3), normalization="none"),
    gnc.Convolution2dLayer(3, 16, padding="same", name="conv"),
    gnc.GroupNormalizationLayer(4, name="gn"),
    gnc.FullyConnectedLayer(2, name="fc"),
    gnc.RegressionLayer(),
]


class Scripted:
    """Stands in for the clock: the candidate of this number takes `share` of the time of the others."""

    def __init__(self, number=1, share=0.5):
        self.number, self.share, self.asked = number, share, []

    def __call__(self, backend, bound, cases):
        for problem, plans in cases:
            self.asked.append(problem.op)
            yield [1e-3 * (self.share if index == self.number else 1) for index in range(len(plans))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache for choices and Programs; the kernels' own stays."""
    for module in (tuning, programs):
        monkeypatch.setattr(module, "root", lambda: tmp_path)
    return tmp_path


def specification(batch_size=4, tune=True):
    network = Network.build(LAYERS)
    return Specification(network, "predict", CompileOptions(batch_size=batch_size, tune=tune), MACHINE)


def choose(measure, tag="cpu-a", **changes):
    backend = SimpleNamespace(target=SimpleNamespace(tag=tag))
    return tuning.tuned(specification(**changes), backend, None, measure).choices


def test_the_fastest_is_chosen_and_remembered(folder):
    measure, again = Scripted(), Scripted(2)
    choices = choose(measure)
    assert "convolution" in measure.asked
    assert choices
    assert all(choice.endswith(":1") for choice in choices)
    assert choose(again) == choices
    assert not again.asked
    # Another CPU, another shape, another number of cores: each is measured for itself.
    assert choose(again, tag="cpu-b") != choices
    count = len(again.asked)
    choose(again, batch_size=5)
    assert len(again.asked) > count
    assert len(list((folder / "tuned" / "cpu-a").iterdir())) == len(measure.asked) + len(again.asked) - count


def test_keys():
    problem = PROBLEMS["direct"]
    others = [
        window("convolution", (13, 12), 3, 20, 5),
        replace(problem, machine=replace(MACHINE, cores=3)),
        replace(problem, attributes={**problem.attributes, "activation": "relu"}),
    ]
    paths = {tuning.record_path(each, "cpu-a") for each in (problem, *others)}
    paths |= {tuning.record_path(problem, "cpu-b")}
    assert len(paths) == 5
    assert tuning.record_path(window("convolution", (13, 11), 3, 20, 5), "cpu-a") in paths


def test_noise_decides_nothing(folder):
    assert choose(Scripted(share=0.99)) == ()


@pytest.mark.parametrize("unsealed", [True, False])
@pytest.mark.parametrize("damage", ["", "{", "[]", '{"choice": 99}', '{"choice": -1}', '{"choice": true}', '{"x": 1}'])
def test_a_damaged_record_is_measured_again(folder, damage, unsealed):
    choices = choose(Scripted())
    for path in (folder / "tuned" / "cpu-a").iterdir():
        (path.write_bytes if unsealed else partial(files.write, path))(damage.encode())
    again = Scripted()
    assert choose(again) == choices
    assert again.asked
    assert choose(Scripted(2)) == choices


def test_turns_and_medians():
    time, calls = [0.0], []

    def run(name, seconds):
        def call():
            calls.append(name)
            # The third turn of all is slow, as on a busy machine.
            time[0] += seconds * (50 if 6 <= len(calls) < 9 else 1)

        return call

    assert medians([run("a", 2e-3), run("b", 1e-3), run("c", 3e-3)], lambda: time[0]) == pytest.approx(
        [2e-3, 1e-3, 3e-3]
    )
    assert calls[:6] == ["a", "b", "c"] * 2
    assert calls[6:15] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert calls.count("a") == calls.count("b") == calls.count("c") >= 11


def test_a_tuned_network(folder, monkeypatch):
    measure = Scripted()
    monkeypatch.setattr(tuning, "seconds", measure)
    plain = gnc.compile(LAYERS, batch_size=4, training=False)
    assert not measure.asked
    assert not (folder / "tuned").exists()
    tuned = gnc.compile(LAYERS, batch_size=4, training=False, tune=True)
    assert measure.asked
    schedules = [net.kernels["convolution_1"].schedule.tiles for net in (plain, tuned)]
    assert schedules[0] != schedules[1]
    assert tuned.ir("select") != plain.ir("select")
    x = np.random.default_rng(0).standard_normal((7, 9, 11, 3)).astype(np.float32)
    np.testing.assert_array_equal(tuned.predict(x), plain.predict(x))
    # Without tune=True nothing that was measured is read; with it, nothing is measured twice.
    count = len(measure.asked)
    assert gnc.compile(LAYERS, batch_size=4, training=False).program == plain.program
    assert gnc.compile(LAYERS, batch_size=4, training=False, tune=True).program == tuned.program
    assert len(measure.asked) == count


def test_training_passes_them_on(folder, monkeypatch):
    measure = Scripted()
    monkeypatch.setattr(tuning, "seconds", measure)
    x = np.random.default_rng(0).standard_normal((8, 9, 11, 3)).astype(np.float32)
    options = gnc.training_options("sgdm", max_epochs=1, mini_batch_size=4, verbose=False, seed=0)
    y = np.zeros((8, 2), np.float32)
    (plain, _), (tuned, _) = (
        gnc.train_network(x, y, LAYERS, options, precise=tune, tune=tune) for tune in (False, True)
    )
    assert measure.asked
    assert tuned.compiled.options.precise
    assert all(name.startswith(("convolution", "group_norm")) for name in measure.asked)
    for name, value in plain.compiled.parameters.items():
        np.testing.assert_array_equal(tuned.compiled.parameters[name], value)


def test_precise_networks_stay_precise(tmp_path):
    layers = [gnc.ImageInputLayer((12, 12, 16), normalization="none"), gnc.Convolution2dLayer(3, 16, padding="same")]
    outputs = {}
    for precise in (False, True):
        compiled = gnc.compile(layers, batch_size=2, training=False, precise=precise)
        outputs[precise] = compiled.kernels["convolution_2"].schedule.tiles["output"]
    assert outputs == {False: 4, True: 2}
    compiled.save(tmp_path / "net")
    loaded = gnc.load(tmp_path / "net")
    assert loaded.options.precise
    assert loaded.kernels["convolution_2"].schedule.tiles["output"] == 2
    assert not gnc.load(tmp_path / "net", precise=False).options.precise


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"precise": True, "math": "tf32", "target": "sm_90"}, "precise = True with math = 'tf32'; allowed: math='fl"),
        ({"tune": True, "target": "sm_90"}, "tune = True with target 'sm_90'; allowed: target 'cpu'"),
        ({"tune": "yes"}, "tune = 'yes'; allowed: True or False; write tune=True"),
        ({"precise": 1}, "precise = 1; allowed: True or False"),
    ],
)
def test_refused(options, words):
    with pytest.raises(OptionsError, match=words):
        gnc.compile(LAYERS, **options)
