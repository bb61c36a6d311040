"""Where the time of a network goes."""

from __future__ import annotations

import gc
import itertools
import json
import time

import numpy as np
import pytest
from cli.test_main import NETWORK

import gncodegen as gnc
from gncodegen import compiler
from gncodegen.errors import SaveError, TargetError
from gncodegen.parallel.averaging import Averaging
from gncodegen.report import profile as profiling
from gncodegen.report.drawn import drawn
from gncodegen.report.roofline import Roofline

END = [gnc.SoftmaxLayer(), gnc.ClassificationLayer()]


@pytest.fixture(scope="module")
def compiled():
    names: dict = {}
    exec(NETWORK, names)
    return gnc.compile(names["layers"], batch_size=4)


@pytest.fixture(scope="module")
def profile(compiled):
    return compiled.profile(*drawn(compiled))


def test_every_call_has_its_time(compiled, profile):
    program = compiled.program
    assert [call.name for call in profile.calls] == [call.kernel for call in program.calls[program.hoisted :]]
    assert 0 < sum(call.seconds for call in profile.calls) <= profile.watched
    assert profile.kernels[0].seconds == max(cost.seconds for cost in profile.kernels)
    for costs in (profile.kernels, profile.layers):
        assert sum(cost.seconds for cost in costs) == pytest.approx(sum(call.seconds for call in profile.calls))
    assert {cost.name for cost in profile.layers} >= {"gn + relu", "fc"}


def test_the_network_learns_nothing(compiled):
    before = compiled.state
    compiled.profile(*drawn(compiled))
    after = compiled.state
    for name, value in before.values.items():
        np.testing.assert_array_equal(value, after.values[name])
    for name, value in before.solver.items():
        np.testing.assert_array_equal(value, after.solver[name])
    assert before.steps == after.steps


def test_prediction(compiled):
    profile = compiled.profile(np.ones((2, 6), np.float32))
    assert (profile.function, profile.batch_size) == ("predict", 2)


def test_tables_and_data(profile):
    assert max(map(len, profile.table.text(80).splitlines())) <= 80
    assert "GFLOP/s" in str(profile)
    data = json.loads(json.dumps(profile.to_dict()))
    assert data["kernels"][0]["bandwidth"] >= 0
    assert "<table>" in profile._repr_html_()


def test_trace(profile, tmp_path):
    profile.write_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    bars = [event for event in events if event["ph"] == "X" and event["cat"] == "kernel"]
    assert [bar["name"] for bar in bars] == [call.name for call in profile.calls]
    for one, next_one in itertools.pairwise(bars):
        assert next_one["ts"] == pytest.approx(one["ts"] + one["dur"])
    with pytest.raises(SaveError, match="cannot be written"):
        profile.write_trace(tmp_path / "none" / "trace.json")


class _Slow:
    """The first of two ranks; the other one comes late."""

    rank, ranks, timeout = 0, 2, 1.0

    def allreduce(self, buffer):
        time.sleep(0.005)

    def end(self, error):
        raise error


def test_averages_over_ranks_have_a_track_of_their_own(monkeypatch):
    monkeypatch.setattr(profiling, "BUDGET", 0)
    layers = [gnc.FeatureInputLayer(8), *[gnc.FullyConnectedLayer(8) for _ in range(3)], *END]
    compiled = compiler.compiled(
        layers, {"batch_size": 4}, gnc.training_options("sgdm", bucket_size=257), Averaging(_Slow())
    )
    profile = compiled.profile(*drawn(compiled))
    calls, averages = (
        [e for e in profile.trace()["traceEvents"] if e.get("cat") == kind] for kind in ("kernel", "average")
    )
    assert [bar["args"]["bytes"] for bar in averages] == [288, 288, 288]
    assert [bar["args"]["layers"] for bar in averages] == [["fc_3"], ["fc_2"], ["fc_1"]]
    assert all(bar["dur"] >= 5000 for bar in averages)
    for one, next_one in itertools.pairwise(averages):
        assert next_one["ts"] >= one["ts"] + one["dur"] - 2500, "they are made one after the other"
    update = next(bar for bar in calls if "update" in bar["name"])
    assert update["ts"] >= averages[-1]["ts"] + averages[-1]["dur"] - 2500, "who reads an average waits for it"
    assert profile.hidden < 0.5, "these calls take microseconds"
    assert "averages over ranks take" in profile.summary


def test_roofline_between_sizes():
    roofline = Roofline(1, ((100, 10.0), (10_000, 2.0)), 50.0)
    assert roofline.bandwidth(10) == 10
    assert roofline.bandwidth(1000) == pytest.approx(6)
    assert roofline.seconds(100, 0) == 10
    assert roofline.seconds(0, 100) == 2


@pytest.mark.parametrize("emulate", [False, True])
def test_what_has_no_clock_is_refused(emulate):
    net = gnc.compile([gnc.FeatureInputLayer(2), gnc.ReluLayer()], "sm_80", batch_size=1, emulate=emulate)
    with pytest.raises(TargetError, match="'sm_80' runs on no machine whose time counts; allowed: 'cpu', or 'cuda'"):
        net.profile(np.ones((1, 2)))


def test_a_gpu_is_timed_by_events(stub, tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "BUDGET", 0)
    layers = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]
    net = gnc.compile(layers, "cuda", batch_size=4)
    profile = net.profile(np.ones((3, 3, 3, 4), np.float32))
    assert [call.name for call in profile.calls] == [call.kernel for call in net.program.calls]
    assert [call.seconds for call in profile.calls] == [pytest.approx(1e-3)] * 2, "the stub's clock counts kernels"
    assert stub.count("cuGraphLaunch") == profile.rounds, "what nobody watches is a graph"
    assert profile.table.rows[0][-1] == "unknown"
    assert json.loads(json.dumps(profile.to_dict()))["roofline"] is None
    profile.write_trace(tmp_path / "trace.json")
    net.report(tmp_path / "report.html")
    assert "the roofline is unknown" in (tmp_path / "report.html").read_text()


def test_what_a_profile_takes_of_a_gpu_is_given_back_at_once(stub, monkeypatch):
    """Not when garbage is collected: a GPU's memory may be full before that."""
    monkeypatch.setattr(profiling, "BUDGET", 0)
    layers = [gnc.ImageInputLayer((3, 3, 4), normalization="none"), gnc.ReluLayer(), gnc.MaxPooling2dLayer(2)]
    net, x = gnc.compile(layers, "cuda", batch_size=4), np.ones((4, 3, 3, 4), np.float32)
    net.predict(x)
    stub.streams.finish_all()
    gc.collect()
    held = stub.memory.bytes_held, len(stub.memory.pinned)
    gc.disable()
    try:
        net.profile(x)
        stub.streams.finish_all()
        assert (stub.memory.bytes_held, len(stub.memory.pinned)) == held
    finally:
        gc.enable()
