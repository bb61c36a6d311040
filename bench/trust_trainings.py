"""The attacks of bench/trust.py on trainings of one process: kill -9 and Ctrl-C at drawn moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np

from gncodegen.train.checkpoint import checkpoints

SECONDS = 10.0
"""Within which a training ends after a Ctrl-C."""

TRAINING = """
    import sys
    from pathlib import Path
    sys.path[:0] = sys.argv[2:]
    from train.test_checkpoint import train

    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    folder.with_suffix(".ready").touch()
    net, info = train(folder, folder, max_epochs=20, checkpoint_frequency_unit="iteration")
    import numpy as np
    np.savez(folder.with_suffix(".npz"), loss=info.training_loss, **net.compiled.parameters)
"""
"""60 iterations of adam with dropout and a batch norm, each with a checkpoint; goes on with those that are there."""


def _begin(folder: Path) -> subprocess.Popen[str]:
    """A process that has imported the package."""
    tests = Path(__file__).resolve().parents[1] / "tests"
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(folder), str(tests), str(tests.parent)]
    job = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ready = folder.with_suffix(".ready")
    while not ready.exists() and job.poll() is None:
        time.sleep(0.01)
    ready.unlink(missing_ok=True)
    return job


def _train(folder: Path) -> tuple[dict[str, np.ndarray], float]:
    """To the end; and its seconds."""
    job, began = _begin(folder), time.monotonic()
    _, err = job.communicate(timeout=300)
    if job.returncode:
        raise RuntimeError(err)
    with np.load(folder.with_suffix(".npz")) as found:
        return {name: found[name] for name in found.files}, time.monotonic() - began


def _ended(name: str, number: int) -> Callable[[int, int, Path], dict[str, int]]:
    """A case is a training that a signal ends at a drawn moment, then resumed to the bits of an unbroken one."""

    def run(cases: int, seed: int, place: Path) -> dict[str, int]:
        draw, wrong, hangs, done = random.Random(seed), 0, 0, 0
        _train(place / "warm")  # compiles what there is to compile
        unbroken, seconds = _train(place / "unbroken")
        for attempt in count():
            if done == cases:
                break
            folder = place / f"{name} {attempt}"
            job = _begin(folder)
            time.sleep(draw.uniform(0, seconds))
            if job.poll() is not None:
                continue  # the training was over; another one
            done += 1
            os.kill(job.pid, number)
            try:
                job.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                job.kill()
                hangs += 1
            last = [path.name for path in checkpoints(folder)[-1:]]
            found, _ = _train(folder)
            right = all(np.array_equal(found[key], value) for key, value in unbroken.items())
            print(f"{name}: ended with {job.returncode} after {last}, resumed: {right}", file=sys.stderr, flush=True)
            wrong += not right
        return {"cases": cases, "wrong": wrong, "hangs": hangs}

    return run


killed_trainings = _ended("killed-trainings", signal.SIGKILL)
interrupted_trainings = _ended("interrupted-trainings", signal.SIGINT)
