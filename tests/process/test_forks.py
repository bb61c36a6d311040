"""Forked children: they predict, train and compile on one thread, with the right bits, whatever other threads did."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from gncodegen.process import forks

TESTS = Path(__file__).resolve().parents[1]

START = """
import copy, faulthandler, os, sys, threading, warnings
sys.path[:0] = sys.argv[1:]
from multiprocessing import get_context
import numpy as np
import gncodegen as gnc
from runtime.test_threads import drawn, layers
faulthandler.dump_traceback_later(100, exit=True)

def child(work):
    pid = os.fork()
    if pid:
        return pid
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            work()
        assert ["forked" in str(each.message) for each in seen].count(True) == 1, seen
    except BaseException:
        faulthandler.dump_traceback()
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)

def ended(*pids):
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)

net, (x, t) = gnc.compile(layers(64), batch_size=64), drawn(640)
expected = net.predict(x)
"""

POOL = """
def right(part):
    warnings.simplefilter("ignore")
    return bool((net.predict(x[:part]) == expected[:part]).all())

with get_context("fork").Pool(2) as pool:
    assert all(pool.map(right, [64, 640, 7] * 2))
    results = pool.map(net.predict, [x[:64], x])  # the network itself goes there, pickled
assert (results[1] == expected).all() and (results[0] == expected[:64]).all()
"""

TRAIN = """
def train():
    twin = copy.deepcopy(net)
    for step in range(3):
        assert net.train_step(x[:64], t[:64]) == twin.train_step(x[:64], t[:64])
    assert (net.predict(x) == twin.predict(x)).all()

def train_and_fork():
    train()
    ended(child(train))

ended(child(train_and_fork))
assert (net.predict(x) == expected).all()
"""

BUSY = """
trained, twin = (gnc.compile(layers(), batch_size=8) for _ in range(2))
trained.train_step(x[:8], t[:8])
twin.train_step(x[:8], t[:8])
stop = threading.Event()

def repeat(work):
    while not stop.wait(0.005):
        work()

new = iter(range(68, 10_000, 4))
works = [lambda: net.predict(x[:64]), lambda: trained.train_step(x[:8], t[:8]), lambda: net.gradients(x[:9], t[:9])]
works += [lambda: gnc.compile(layers(next(new)), batch_size=4)] if int(os.environ["COMPILES"]) else []
threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
for thread in threads:
    thread.start()

def whole():
    assert (net.predict(x) == expected).all()
    while twin.hyperparameters.steps < trained.hyperparameters.steps:
        twin.train_step(x[:8], t[:8])
    assert (trained.predict(x[:64]) == twin.predict(x[:64])).all(), "a step is done whole or not at all"
    assert (gnc.compile(layers(64), batch_size=64).predict(x) == expected).all()

for _ in range(int(os.environ["CHILDREN"])):
    ended(child(whole))
stop.set()
"""


def run(script, **environment):
    command = [sys.executable, "-c", START + script, str(TESTS), str(TESTS.parent)]
    own = {**os.environ, "NUMBA_NUM_THREADS": "2", "GNCODEGEN_THREADS": "2", "GNCODEGEN_COMPILE_WORKERS": "1"}
    done = subprocess.run(
        command,
        env=own | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("layer", ["default", pytest.param("workqueue", marks=pytest.mark.full)])
def test_children_run_on_one_thread(layer):
    run(POOL + TRAIN, NUMBA_THREADING_LAYER=layer)


@pytest.mark.full(like="process/test_forks.py::test_children_run_on_one_thread")
@pytest.mark.parametrize(("children", "compiles"), [(3, 0), pytest.param(4, 1, marks=pytest.mark.full)])
def test_a_fork_while_other_threads_are_busy(children, compiles):
    run(BUSY, CHILDREN=str(children), COMPILES=str(compiles))


def test_a_fork_waits_for_locks_of_other_threads():
    outer, inner = forks.lock(forks.Rank.LOWERING), forks.lock(forks.Rank.RUN)
    outer.acquire()
    forked: list[int] = []

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if outer.acquire(blocking=False) and inner.acquire(blocking=False) else 1)
        forked.append(os.waitpid(pid, 0)[1])

    thread = Thread(target=fork)
    thread.start()
    thread.join(0.2)
    assert not forked
    outer.release()
    thread.join(30)
    assert forked == [0]
    with outer, inner:
        pass


def test_a_fork_waits_for_locks_that_are_made_while_it_waits():
    early, late = forks.lock(forks.Rank.LOWERING), []
    early.acquire()
    forked: list[int] = []

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0 if late[0].acquire(blocking=False) else 1)
        forked.append(os.waitpid(pid, 0)[1])

    thread = Thread(target=fork)
    thread.start()
    thread.join(0.2)
    late.append(forks.lock(forks.Rank.CALL))
    with late[0]:
        early.release()
        thread.join(0.2)
        assert not forked
    thread.join(30)
    assert forked == [0]


def test_what_is_kept_of_an_object_holds_no_lock_in_a_child():
    inside, go = Event(), Event()

    class Slow:
        @forks.kept
        def value(self):
            inside.set()
            go.wait(30)
            return 1

    thread = Thread(target=lambda: Slow().value)
    thread.start()
    inside.wait(30)
    pid = os.fork()
    if pid == 0:
        go.set()
        os._exit(0 if Slow().value == 1 else 1)
    go.set()
    thread.join(30)
    assert os.waitpid(pid, 0)[1] == 0
