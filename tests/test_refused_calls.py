"""Every call of the public interface, given something of another kind: one family of errors, which say the cure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.sets import in_full

import gncodegen as gnc

LAYERS = [
    gnc.FeatureInputLayer(3),
    gnc.GroupNormalizationLayer(3, name="gn"),
    gnc.FullyConnectedLayer(2, name="fc"),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(),
]
X, T = np.eye(4, 3, dtype=np.float32), np.array([0, 1, 0, 1])
OPTIONS = gnc.training_options("sgdm", max_epochs=1, mini_batch_size=4, verbose=False, seed=0)

NO_PATHS = [None, b"folder", "", "\0", 1, True, [], ["x"], {}, np.zeros(3), 1j, float]
NO_NAMES = [
    None,
    b"gn",
    7,
    1.5,
    [],
    ["gn"],
    {"gn": 1},
    set(),
    (),
    np.array(["gn"]),
    np.zeros((2, 2)),
    object(),
    "nobody",
]
NO_FORMATS = [b"BC", 7, 0, 1.5, True, [], ["B", "C"], {"B": 1}, np.array([]), np.array(["BC"]), np.zeros((2, 2)), "XY"]
NO_LAYERS = [None, 1, "relu", b"relu", {}, {"a": 1}, [None], [[]], np.zeros(2), object(), gnc.ReluLayer]
NO_ARRAYS = [None, "text", b"text", {"a": 1}, set(), object(), [[1], [1, 2]], [None], 1j, np.array(["a"]), len]
NO_COUNTS = [None, "2", 1.5, 0, -1, True, float("nan"), [], np.zeros(2), 1j, object()]


@pytest.fixture(scope="module")
def compiled():
    return gnc.compile(LAYERS, batch_size=4, seed=0)


@pytest.fixture(scope="module")
def net(compiled):
    return gnc.train_network(X, T, LAYERS, OPTIONS)[0]


def graph():
    return gnc.LayerGraph(LAYERS)


CALLS = {
    "load": (NO_PATHS, lambda c, n, v: gnc.load(v)),
    "save": (NO_PATHS, lambda c, n, v: n.save(v)),
    "compiled.save": (NO_PATHS, lambda c, n, v: c.save(v)),
    "restore": (NO_PATHS, lambda c, n, v: c.restore(v)),
    "export": (NO_PATHS, lambda c, n, v: c.export(v)),
    "resume": (NO_PATHS[1:], lambda c, n, v: gnc.train_network(X, T, LAYERS, OPTIONS, resume=v)),
    "checkpoint_path": (NO_PATHS[1:], lambda c, n, v: gnc.training_options("sgdm", checkpoint_path=v)),
    "activations": (NO_NAMES, lambda c, n, v: n.activations(X, v)),
    "ir": (NO_NAMES, lambda c, n, v: c.ir(v)),
    "ir of a layer": (NO_NAMES, lambda c, n, v: c.ir("gn", layer=v)),
    "graph[]": (NO_NAMES, lambda c, n, v: graph()[v]),
    "connect from": (NO_NAMES, lambda c, n, v: graph().connect(v, "fc")),
    "connect to": (NO_NAMES, lambda c, n, v: graph().connect("gn", v)),
    "disconnect": (NO_NAMES, lambda c, n, v: graph().disconnect("gn", v)),
    "remove": (NO_NAMES, lambda c, n, v: graph().remove(v)),
    "replace": (NO_NAMES, lambda c, n, v: graph().replace(v, [gnc.ReluLayer()])),
    "factor of a layer": (NO_NAMES, lambda c, n, v: gnc.get_learn_rate_factor(n, v, "scale")),
    "factor of a parameter": (NO_NAMES, lambda c, n, v: gnc.set_l2_factor(graph(), "gn", v, 0)),
    "factor": ([None, "x", -1, 1j, [], float("nan")], lambda c, n, v: gnc.set_l2_factor(LAYERS[1], "scale", v)),
    "factors of": (NO_LAYERS[:5], lambda c, n, v: gnc.set_l2_factor(v, "scale", 0)),
    "predict in": (NO_FORMATS, lambda c, n, v: n.predict(X, data_format=v)),
    "loss in": (NO_FORMATS, lambda c, n, v: c.loss(X, T, v)),
    "train in": (NO_FORMATS, lambda c, n, v: gnc.train_network(X, T, LAYERS, OPTIONS, data_format=v)),
    "compile": (NO_LAYERS, lambda c, n, v: gnc.compile(v)),
    "train": (NO_LAYERS, lambda c, n, v: gnc.train_network(X, T, v, OPTIONS)),
    "add": (NO_LAYERS, lambda c, n, v: graph().add(v)),
    "append": (NO_LAYERS, lambda c, n, v: gnc.LayerGraph(LAYERS[:3]).append(v)),
    "replace by": (NO_LAYERS, lambda c, n, v: graph().replace("gn", v)),
    "predict": (NO_ARRAYS, lambda c, n, v: n.predict(v)),
    "classify": (NO_ARRAYS, lambda c, n, v: n.classify(v)),
    "loss": (NO_ARRAYS, lambda c, n, v: c.loss(v, T)),
    "targets": (NO_ARRAYS, lambda c, n, v: c.loss(X, v)),
    "profile": (NO_ARRAYS[1:], lambda c, n, v: c.profile(X, v)),
    "cotangents": (NO_ARRAYS, lambda c, n, v: c.vjp(X, v)),
    "gradients to": ([7, "text", [X], X], lambda c, n, v: c.gradients(X, T, out=v)),
    "training data": (NO_ARRAYS, lambda c, n, v: gnc.train_network(v, T, LAYERS, OPTIONS)),
    "labels": ([7, object(), [None] * 4, [1j] * 4], lambda c, n, v: gnc.train_network(X, v, LAYERS, OPTIONS)),
    "options": ([None, 7, "sgdm", {}], lambda c, n, v: gnc.train_network(X, T, LAYERS, v)),
    "validation": (
        [7, "text", X, [[1], 2]],
        lambda c, n, v: gnc.train_network(X, T, LAYERS, replace(OPTIONS, validation_data=v)),
    ),
    "parameters": (NO_ARRAYS, lambda c, n, v: c.parameters.__setitem__("gn.scale", v)),
    "parts": (NO_COUNTS, lambda c, n, v: c.train_step(X, T, parts=v)),
    "mini_batch_size": (NO_COUNTS, lambda c, n, v: gnc.training_options("sgdm", mini_batch_size=v)),
    "batch_size": (NO_COUNTS, lambda c, n, v: gnc.compile(LAYERS, batch_size=v)),
    "opset": (NO_COUNTS, lambda c, n, v: c.export("net.onnx", opset=v)),
    "solver": ([None, 7, [], {}, "sgd", np.zeros(2)], lambda c, n, v: gnc.training_options(v)),
}  # fmt: skip
"""What is wrong → values, and a call that takes one, of a compiled and of a trained network."""


@pytest.mark.parametrize("name", ["load", "activations", "predict in", "replace by", "parts", *in_full(sorted(CALLS))])
def test_what_is_of_another_kind_is_refused(name, compiled, net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, call = CALLS[name]
    for value in values:
        with pytest.raises(gnc.GncodegenError) as caught:
            call(compiled, net, value)
        assert ";" in str(caught.value), value  # what was given; what is allowed; the cure
    assert not list(tmp_path.iterdir())


def test_home_folders_are_paths(net, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    net.save("~/kept")
    np.testing.assert_array_equal(gnc.load("~/kept").predict(X), net.predict(X))
    assert (tmp_path / "kept").is_dir()
