"""Many threads, many networks: one run at a time where they share memory, each with its own results."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

import gncodegen as gnc


def layers(width=8):
    return [
        gnc.ImageInputLayer((8, 8, 3), normalization="none"),
        gnc.Convolution2dLayer(3, width, padding="same", name="conv"),
        gnc.GroupNormalizationLayer(4, name="gn"),
        gnc.ReluLayer(),
        gnc.FullyConnectedLayer(3, name="fc"),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def drawn(count):
    rng = np.random.default_rng(count)
    return rng.normal(size=(count, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, count)


def together(functions):
    """The results of functions that start at the same moment, a thread each."""
    barrier = Barrier(len(functions))

    def started(function):
        barrier.wait()
        return function()

    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result() for future in [pool.submit(started, function) for function in functions]]


def test_predictions_beside_growing_batches():
    net, (x, _) = gnc.compile(layers(), batch_size=8), drawn(8)
    expected = net.predict(x)
    batches = [drawn(count) for count in (9, 33, 120, 400)]

    def predict():
        return [net.predict(x) for _ in range(100)]

    def grow():
        return [net.gradients(*batch)["conv.weights"] for batch in batches]

    *predictions, first, second = together([predict] * 3 + [grow] * 2)
    for result in chain(*predictions):
        np.testing.assert_array_equal(result, expected)
    for batch, *got in zip(batches, first, second, strict=True):
        wanted = net.gradients(*batch)["conv.weights"]
        for gradient in got:
            np.testing.assert_array_equal(gradient, wanted)


def test_networks_are_compiled_and_loaded_in_threads(tmp_path):
    widths = (8, 12, 16)
    x, _ = drawn(5)
    expected = {}
    for width in widths:
        net = gnc.compile(layers(width), batch_size=4)
        net.save(tmp_path / str(width))
        expected[width] = net.predict(x)
    for _ in range(3):
        makers = [lambda w=w: gnc.compile(layers(w), batch_size=4).predict(x) for w in widths]
        makers += [lambda w=w: gnc.load(tmp_path / str(w)).predict(x) for w in widths]
        for width, result in zip(widths * 2, together(makers), strict=True):
            np.testing.assert_array_equal(result, expected[width])


def test_ten_networks_in_ten_threads():
    nets, (x, _) = [gnc.compile(layers(), batch_size=4, seed=seed) for seed in range(10)], drawn(7)
    expected = [net.predict(x) for net in nets]
    results = together([lambda n=net: [n.predict(x) for _ in range(30)] for net in nets])
    for wanted, got in zip(expected, results, strict=True):
        for result in got:
            np.testing.assert_array_equal(result, wanted)


WORKQUEUE = """
import warnings; warnings.simplefilter("ignore")
import sys; sys.path[:0] = sys.argv[1:]
from test_threads import *
nets, (x, _) = [gnc.compile(layers(width), batch_size=64) for width in (64, 72)], drawn(640)
expected = [net.predict(x) for net in nets]
for wanted, got in zip(expected, together([lambda n=net: [n.predict(x) for _ in range(20)] for net in nets])):
    assert all((result == wanted).all() for result in got)
from numba import threading_layer
print(threading_layer())
"""


@pytest.mark.full(like="runtime/test_threads.py::test_networks_are_compiled_and_loaded_in_threads")
def test_two_networks_on_the_workqueue_layer():
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    here = Path(__file__).resolve()
    command = [sys.executable, "-c", WORKQUEUE, str(here.parent), str(here.parents[2])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "workqueue"), done.stderr[-2000:]


@pytest.mark.parametrize("through", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("solver", ["sgdm", "adam"])
def test_a_copy_goes_on_as_the_network_would(through, solver):
    options = gnc.training_options(solver, initial_learn_rate=0.02)
    net, (x, t) = gnc.compile(layers(), batch_size=8, options=options, precise=True), drawn(8)
    for _ in range(3):
        net.train_step(x, t)
    other = through(net)
    assert other.options == net.options
    for _ in range(3):
        assert other.train_step(x, t) == net.train_step(x, t)
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    net.train_step(x, t)
    assert (other.predict(x) != net.predict(x)).any(), "a copy has values of its own"


def test_a_trained_network_predicts_in_other_processes():
    x, t = drawn(16)
    options = gnc.training_options("sgdm", max_epochs=1, mini_batch_size=8, verbose=False, seed=0)
    net, _ = gnc.train_network(x, t, layers(), options)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        (scores,), (labels,) = list(pool.map(net.predict, [x])), list(pool.map(net.classify, [x]))
    np.testing.assert_array_equal(scores, net.predict(x))
    np.testing.assert_array_equal(labels[0], net.classify(x)[0])
