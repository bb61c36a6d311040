"""The attacks of bench/trust.py: each does some cases in this process and its children, and counts what went wrong."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen import environment, loading, saving
from gncodegen.cache import cleaning, disk, files, folder, locks
from gncodegen.errors import GncodegenError

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from support import mutations  # noqa: E402  what the tests use
from support.drawn_cases import judge  # noqa: E402  what the tests use
from support.hangs import Watch  # noqa: E402  what the tests use
from support.states import damage, killed_at, state  # noqa: E402  what the tests use
from trust_ranks import killed_ranks  # noqa: E402  beside it
from trust_trainings import interrupted_trainings, killed_trainings  # noqa: E402  beside it

KILLS = 4
"""Processes that are killed on one cache, before one finishes on it."""

LARGER = 40
"""Of so many cases one has the larger network."""

CASES_A_NETWORK = 50
"""Batches through each drawn network."""

COUNTS = ("cases", "wrong", "crashes", "hangs")

Counts = dict[str, Any]
"""COUNTS → how many, and "failures" → what there was, with its seed; what is missing is none."""

Run = Callable[[int, int, Path], Counts]


@dataclass(frozen=True)
class Attack:
    """A row of the table.

    Args:
        name: short.
        cases: of the long form.
        part: cases that one process does.
        seconds_a_part: of CPU that one process may take.
        run: (cases, seed, an empty folder) → counts.
        own_cache: an empty one for each part; False = kernels that earlier parts compiled are there.
    """

    name: str
    cases: int
    part: int
    seconds_a_part: float
    run: Run
    own_cache: bool = True


def network(width: int = 8, training: bool = True, seed: int = 0) -> Any:
    """A small network with a group norm, compiled."""
    layers = [
        gnc.ImageInputLayer((6, 6, 2), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer(),
        gnc.FullyConnectedLayer(width), gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ]  # fmt: skip
    return gnc.compile(layers, batch_size=4, training=training, seed=seed)


def images(count: int = 8) -> Any:
    """Observations."""
    return np.random.default_rng(count).normal(size=(count, 6, 6, 2)).astype(np.float32)


def prediction(number: int = 1) -> Any:
    """What a network predicts that is compiled for it: of two kernels, so that many cases have time.

    Args:
        number: of the case; every LARGER-th has a network of eleven kernels, whose compilation starts workers.
    """
    if number % LARGER == 0:
        return network().predict(images())
    layers = [gnc.FeatureInputLayer(4, normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
    net = gnc.compile([*layers, gnc.SoftmaxLayer()], batch_size=4, training=False)
    return net.predict(images()[:, 0, :2].reshape(-1, 4))


def expected_of(cases: int) -> dict[int, Any]:
    """What `prediction` should give in each case, from this process."""
    kinds = {number: prediction(number) for number in range(min(2, cases))}
    return {number: kinds[min(number % LARGER, 1)] for number in range(cases)}


def use_cache(place: Path) -> None:
    """From now on this process, a child of the attack's, has another cache."""
    os.environ["GNCODEGEN_CACHE_DIR"] = str(place)
    for known in (environment.environment, folder.root, folder.private, folder.check, folder._instead):  # pyright: ignore[reportPrivateUsage]
        known.cache_clear()


def child(work: Callable[[], bool]) -> int:
    """Starts a child that does some work and ends with 0 where it was right."""
    pid = os.fork()
    if pid:
        return pid
    warnings.simplefilter("ignore")
    try:
        os._exit(0 if work() else 2)
    except BaseException:
        traceback.print_exc()
        os._exit(3)


def ended(pid: int, killed: bool = False) -> Counts:
    """Counts of one child; `killed`: SIGKILL ended it on purpose."""
    watch = Watch(pid, family=os.getpid())
    while not watch.hangs():
        for _ in range(100):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                code = os.waitstatus_to_exitcode(status)
                right = code == 0 or (killed and code == -signal.SIGKILL)
                return {"cases": 1, "wrong": int(code == 2), "crashes": int(not right and code != 2)}
            time.sleep(0.005)
    os.kill(pid, signal.SIGABRT)  # faulthandler says where it hangs
    os.waitpid(pid, 0)
    return {"cases": 1, "hangs": 1}


def added(*counts: Counts) -> Counts:
    """The sum, with nothing missing."""
    failures = [failure for each in counts for failure in each.get("failures", [])]
    return {key: sum(each.get(key, 0) for each in counts) for key in COUNTS} | {"failures": failures}


# ---- one process, many networks --------------------------------------------------------------------------------------


def threads(nets: int) -> Run:
    """A case is a prediction in one of 100 threads."""

    def attack(cases: int, seed: int, place: Path) -> Counts:
        known, x = [network(seed=number) for number in range(nets)], images(9)
        expected = [net.predict(x) for net in known]
        most = min(100, cases)
        barrier = threading.Barrier(most)

        def predict(number: int) -> int:
            barrier.wait()
            which = number % nets
            turns = range(cases // most)
            return sum(not np.array_equal(known[which].predict(x), expected[which]) for _ in turns)

        with ThreadPoolExecutor(most) as pool:
            wrong = sum(pool.map(predict, range(most)))
        return {"cases": most * (cases // most), "wrong": wrong}

    return attack


def forks(cases: int, seed: int, place: Path) -> Counts:
    """A case is a child that predicts, trains and compiles, forked while other threads predict and train."""
    net, trained, twin, x = network(), network(), network(), images()
    labels = [0, 1, 2, 0]
    for each in (trained, twin):
        each.train_step(x[:4], labels)
    expected, stop = net.predict(x), threading.Event()

    def repeat(work: Callable[[], object]) -> None:
        while not stop.wait(0.002):
            work()

    works = [lambda: net.predict(x), lambda: trained.train_step(x[:4], labels), lambda: network(9).predict(x)]
    busy = [threading.Thread(target=repeat, args=(work,)) for work in works]
    for thread in busy:
        thread.start()

    def catch_up() -> None:
        while twin.hyperparameters.steps < trained.hyperparameters.steps:
            twin.train_step(x[:4], labels)

    def right() -> bool:
        catch_up()
        same = np.array_equal(trained.predict(x), twin.predict(x))
        return same and np.array_equal(net.predict(x), expected) and np.array_equal(network().predict(x), expected)

    found: list[Counts] = []
    try:
        for _ in range(cases):
            catch_up()  # a child has the steps of meanwhile left
            found.append(ended(child(right)))
    finally:
        stop.set()
    return added(*found)


# ---- the cache -------------------------------------------------------------------------------------------------------


def many_processes(cases: int, seed: int, place: Path) -> Counts:
    """A case is a round of 8 processes that compile the same network on an empty cache."""
    expected, found = expected_of(cases), list[Counts]()
    for number in range(cases):
        cache = place / f"cache-{number}"

        def right(cache: Path = cache, number: int = number) -> bool:
            use_cache(cache)
            return np.array_equal(prediction(number), expected[number])

        each = added(*[ended(pid) for pid in [child(right) for _ in range(8)]])
        found.append(each | {"cases": 1})
        shutil.rmtree(cache, ignore_errors=True)
    return added(*found)


def damaged_files(cases: int, seed: int, place: Path) -> Counts:
    """A case is a cached file, cut, zeroed or changed at a drawn place, under a network that is then compiled."""
    draw, x, wrong = random.Random(seed), images(), 0
    expected = network().predict(x)
    for _ in range(cases):
        entries = [entry for entry in cleaning.entries() if not entry.kind.startswith("numba")]
        path = draw.choice([path for entry in entries for path in entry.paths if path.stat().st_size])
        content = path.read_bytes()
        at, way = draw.randrange(len(content)), draw.randrange(4)
        other = bytes([content[at] ^ (1 << draw.randrange(8))])
        path.write_bytes(
            [content[:at], bytes(len(content)), content[:at] + other + content[at + 1 :], content + content[at:]][way]
        )
        wrong += not np.array_equal(network().predict(x), expected)
        if files.read(path) is None:  # one that nobody asked for, such as LLVM IR
            path.unlink()
    return {"cases": cases, "wrong": wrong}


def kills_in_compilations(cases: int, seed: int, place: Path) -> Counts:
    """A case is a process killed while it compiles, and one that then finishes on its cache."""
    draw, expected, found, seconds = random.Random(seed), expected_of(cases), list[Counts](), 1.0
    for number in range(cases):
        kind = number // KILLS
        cache = place / f"cache-{kind}"  # some are killed on what others left

        def right(cache: Path = cache, kind: int = kind) -> bool:
            use_cache(cache)
            return np.array_equal(prediction(kind), expected[kind])

        pid = child(right)
        time.sleep(draw.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        found.append(ended(pid, killed=True) | {"cases": 0})
        if number % KILLS == KILLS - 1 or number == cases - 1:
            began = time.monotonic()
            found.append(ended(child(right)))
            seconds = max(0.2, time.monotonic() - began)
            shutil.rmtree(cache, ignore_errors=True)
    return added(*found) | {"cases": cases}


# ---- saved networks --------------------------------------------------------------------------------------------------


def kills_in_saves(cases: int, seed: int, place: Path) -> Counts:
    """A case is a save over another, killed at a drawn line, and then read: the old state or the new."""
    draw, wrong, crashes = random.Random(seed), 0, 0
    saving.write(state(1.0), place / "net")
    for _ in range(cases):
        fill = draw.choice([1.0, 2.0, 3.0])
        line = draw.randrange(1, 120)
        killed_at(line, lambda fill=fill: saving.write(state(fill), place / "net"), saving, disk, locks)
        try:
            found = loading.read(place / "net", {})
        except GncodegenError:
            crashes += 1
            continue
        numbers = {float(n) for a in (*found.values.values(), *found.solver.values()) for n in np.unique(a)}
        wrong += len(numbers) != 1
    return {"cases": cases, "wrong": wrong, "crashes": crashes}


def damaged_saves(cases: int, seed: int, place: Path) -> Counts:
    """A case is a saved folder with one drawn change: refused by the family of errors, or a whole network."""
    draw, wrong, crashes = random.Random(seed), 0, 0
    saving.write(state(), place / "net")
    for _ in range(cases):
        shutil.rmtree(place / "other", ignore_errors=True)
        shutil.copytree(place / "net", place / "other")
        damage(place / "other", draw)
        try:
            found = loading.read(place / "other", {})
            shapes = {name: parameter.shape for name, parameter in found.network.parameters.items()}
            wrong += {name: value.shape for name, value in found.values.items()} != shapes
        except GncodegenError:
            pass
        except Exception:
            traceback.print_exc()
            crashes += 1
    return {"cases": cases, "wrong": wrong, "crashes": crashes}


# ---- interruptions ---------------------------------------------------------------------------------------------------


def interrupted_compilations(cases: int, seed: int, place: Path) -> Counts:
    """A case is a Ctrl-C at a drawn moment of a compilation; then the network is right, in the same process.

    In every second case the process has to import Numba, too.
    """
    draw, expected_by, found = random.Random(seed), place / "expected.npy", list[Counts]()

    def timed() -> bool:
        began = time.monotonic()
        np.save(expected_by, prediction())
        (place / "seconds").write_text(str(time.monotonic() - began))
        return True

    def right(cache: Path, after: float) -> bool:
        use_cache(cache)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
        with suppress(KeyboardInterrupt):
            timer.start()
            prediction()
            timer.join()
        return np.array_equal(prediction(), np.load(expected_by))

    for number in range(cases):
        if number == cases // 2:
            prediction()
        if number in (0, cases // 2):
            use_cache(place / f"timed-{number}")
            found.append(ended(child(timed)) | {"cases": 0})  # in a child: until half-time this process loads nothing
        cache, seconds = place / f"cache-{number}", float((place / "seconds").read_text())
        found.append(ended(child(partial(right, cache, draw.uniform(0, seconds)))))
        shutil.rmtree(cache, ignore_errors=True)
    return added(*found)


def mutated(name: str) -> Run:
    """Mutated input of a reader: anything but a result or an error of the family is wrong."""

    def run(cases: int, seed: int, folder: Path) -> Counts:
        gc.set_threshold(50_000, 20, 50)  # parsers make many small objects and little garbage: a quarter of the time
        ends, findings = mutations.run(mutations.ATTACKS[name], cases, seed)
        failures = [f"seed {number}: {finding}" for finding, number in findings.items()]
        return {"cases": cases, "wrong": cases - ends["accepted"] - ends["refused"], "failures": failures}

    return run


def drawn_networks(cases: int, seed: int, folder: Path) -> Counts:
    """A case is a batch through a drawn network, of which each has CASES_A_NETWORK, against the float64 oracle."""
    os.environ["GNCODEGEN_COMPILE_WORKERS"] = "1"  # to start one takes as long as to compile a network's kernels
    environment.environment.cache_clear()
    judged, failures = 0, list[str]()
    for first in range(0, cases, CASES_A_NETWORK):
        try:
            judged += judge(seed + first, min(CASES_A_NETWORK, cases - first))
        except Exception as error:
            failures.append(f"seed {seed + first}: {type(error).__name__}: {error}"[:1000])
            judged += 1
    return {"cases": judged, "wrong": len(failures), "failures": failures}


ATTACKS = (
    Attack("threads-1", 10_000, 10_000, 600, threads(1)),
    Attack("threads-10", 10_000, 10_000, 600, threads(10)),
    Attack("forks", 200, 40, 1800, forks),
    Attack("processes", 200, 40, 1800, many_processes),
    Attack("damaged-cache", 2_000, 100, 1800, damaged_files),
    Attack("killed-compilations", 200, 40, 1800, kills_in_compilations),
    Attack("interrupted-compilations", 240, 20, 1800, interrupted_compilations),
    Attack("killed-saves", 2_000, 200, 900, kills_in_saves),
    Attack("damaged-saves", 100_000, 5_000, 1800, damaged_saves),
    Attack("killed-ranks", 20, 5, 900, killed_ranks),
    Attack("killed-trainings", 20, 10, 900, killed_trainings),
    Attack("interrupted-trainings", 20, 10, 900, interrupted_trainings),
    Attack("mutated-ir", 100_000, 4_000, 1800, mutated("ir")),
    Attack("drawn-networks", 100_000, 250, 3600, drawn_networks, own_cache=False),
    Attack("mutated-onnx", 100_000, 10_000, 1800, mutated("onnx")),
)
faulthandler.enable()
logging.disable()
