"""Ctrl-C and other signals: a step is done whole or not at all, whenever they arrive."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.process.signals import Uninterrupted
from gncodegen.targets import workers

LAYERS = [
    gnc.ImageInputLayer((8, 8, 3), normalization="none"),
    gnc.Convolution2dLayer(3, 16, padding="same", name="conv"),
    gnc.GroupNormalizationLayer(4, name="gn"),
    gnc.ReluLayer(),
    gnc.DropoutLayer(0.3),
    gnc.FullyConnectedLayer(3, name="fc"),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(),
]


def drawn(count=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 8, 8, 3)).astype(np.float32), rng.integers(0, 3, count)


class InterruptionError(Exception):
    pass


@pytest.fixture
def alarm():
    """`alarm(seconds)` raises InterruptionError after so long."""

    def raise_it(number, frame):
        raise InterruptionError

    before = signal.signal(signal.SIGALRM, raise_it)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("solver", ["sgdm", "adam"])
def test_interrupted_steps_are_done_whole_or_not_at_all(alarm, solver):
    x, t = drawn()
    options = gnc.training_options(solver, initial_learn_rate=0.05)
    net, twin = (gnc.compile(LAYERS, batch_size=8, options=options) for _ in range(2))
    for compiled in (net, twin):
        compiled.train_step(x, t)
        compiled.predict(x)
    draw, interrupted = random.Random(1), 0
    for _ in range(60):
        try:
            alarm(draw.uniform(1e-6, 4e-4))
            for _ in range(100):
                net.train_step(x, t)
        except InterruptionError:
            interrupted += 1
        alarm(0)
        while twin.hyperparameters.steps < net.hyperparameters.steps:
            twin.train_step(x, t)
        # The twin, never interrupted, has done as many steps: values, dropout and solver are the same, to the bit.
        np.testing.assert_array_equal(net.predict(x), twin.predict(x))
        for name, value in twin.parameters.items():
            np.testing.assert_array_equal(net.parameters[name], value)
    assert interrupted > 40
    assert net.hyperparameters["iteration"] == net.hyperparameters.steps


def work(seen):
    with Uninterrupted():
        signal.raise_signal(signal.SIGUSR1)
        seen.append("work")
        with Uninterrupted():
            signal.raise_signal(signal.SIGUSR1)
        seen.append("more")


def test_signals_wait_and_then_come():
    seen = []

    def handler(number, frame):
        seen.append(number)
        raise InterruptionError

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(InterruptionError):
            work(seen)
        assert seen == ["work", "more", signal.SIGUSR1]
        assert signal.getsignal(signal.SIGUSR1) is handler
        thread = Thread(target=lambda: Uninterrupted().__enter__())
        thread.start()
        thread.join()
        assert signal.getsignal(signal.SIGUSR1) is handler
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_compilation_is_not_cut_off(tmp_path):
    seen = []

    def handler(number, frame):
        raise InterruptionError

    def compile_source(path):
        signal.raise_signal(signal.SIGUSR1)
        seen.append(path)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(InterruptionError):
            workers.compile_once(tmp_path / "a.py", ".o", compile_source, wait=True)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [tmp_path / "a.py"]


AGAIN = """
import os, random, signal, sys, threading
sys.path[:0] = sys.argv[2:]
draw = random.Random(int(sys.argv[1]))
from process.test_signals import LAYERS, drawn, gnc  # and NumPy, which does not come back from half an import

def once():
    return gnc.compile(LAYERS, batch_size=8, training=False).predict(drawn()[0]).tobytes().hex()

for _ in range(5):
    timer = threading.Timer(draw.uniform(0, 3), os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        once()
        timer.join()
    except KeyboardInterrupt:
        pass
print(once())
"""


@pytest.mark.full(like="process/test_signals.py::test_a_compilation_is_not_cut_off")
@pytest.mark.parametrize("seed", range(2))
def test_a_second_try_in_the_same_process_works(tmp_path, seed):
    tests = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", AGAIN, str(seed), str(tests), str(tests.parent)]
    environment = os.environ | {"GNCODEGEN_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    expected = gnc.compile(LAYERS, batch_size=8, training=False).predict(drawn()[0]).tobytes().hex()
    assert done.stdout.strip() == expected, done.stderr[-3000:]
