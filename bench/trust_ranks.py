"""The attack of bench/trust.py on trainings over ranks: kill -9 of a drawn rank at a drawn moment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import numpy as np
from support.ranks import start  # what the tests use

from gncodegen.train.checkpoint import checkpoints

SECONDS = 10.0
"""Within which mpiexec has told of the killed rank and ended the others."""

TRAINING = """
    import os, sys
    from pathlib import Path
    from mpi4py import MPI
    from support.rank_trainings import *

    folder = Path(sys.argv[1])
    rank = MPI.COMM_WORLD.Get_rank()
    if rank == 0:
        folder.mkdir(exist_ok=True)
    (folder.parent / f"{folder.name} rank {rank}").write_text(str(os.getpid()))
    MPI.COMM_WORLD.Barrier()
    chosen = options("parallel", max_epochs=20, checkpoint_path=folder, checkpoint_frequency_unit="iteration")
    found = result(*gnc.train_network(X, Y, layers(), chosen, resume=folder))
    if rank == 0:
        np.savez(folder.with_suffix(".npz"), **found)
"""
"""60 iterations, each with a checkpoint; goes on with those that are there."""


def _begin(ranks: int, folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A job whose processes are there, and their numbers."""
    job = start(ranks, TRAINING, folder)
    known = [folder.with_name(f"{folder.name} rank {rank}") for rank in range(ranks)]
    while not all(path.exists() and path.read_text() for path in known):
        time.sleep(0.01)
    pids = [int(path.read_text()) for path in known]
    for path in known:
        path.unlink()
    return job, pids


def _train(ranks: int, folder: Path) -> tuple[dict[str, np.ndarray], float]:
    """To the end; and its seconds."""
    job, _ = _begin(ranks, folder)
    began = time.monotonic()
    _, err = job.communicate(timeout=120)
    if job.returncode:
        raise RuntimeError(err)
    with np.load(folder.with_suffix(".npz")) as found:
        return {name: found[name] for name in found.files}, time.monotonic() - began


def _alike(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray], tolerance: float) -> bool:
    return all(np.allclose(found[name], wanted[name], tolerance, tolerance, equal_nan=True) for name in wanted)


def _running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def killed_ranks(cases: int, seed: int, place: Path) -> dict[str, int]:
    """A case is a training over 2 ranks, one of them killed, then resumed over as many (same bits) or 1 or 3 (1e-5)."""
    draw, wrong, hangs, killed_so_far = random.Random(seed), 0, 0, 0
    unbroken, seconds = _train(2, place / "unbroken")
    for number in count():
        if killed_so_far == cases:
            break
        folder = place / f"killed {number}"
        job, pids = _begin(2, folder)
        time.sleep(draw.uniform(0, seconds))
        if job.poll() is not None:
            continue  # the training was over; another one
        killed_so_far += 1
        os.kill(draw.choice(pids), signal.SIGKILL)
        killed = time.monotonic()
        try:
            out, err = job.communicate(timeout=SECONDS)
            told = "signal 9" in out + err
            told_after = time.monotonic() - killed
        except subprocess.TimeoutExpired:
            job.kill()
            told, told_after, hangs = False, SECONDS, hangs + 1
        last = [path.name for path in checkpoints(folder)[-1:]]
        ranks = draw.choice((1, 2, 2, 3))
        right = _alike(_train(ranks, folder)[0], unbroken, 0.0 if ranks == 2 else 1e-5)
        left = [pid for pid in pids if _running(pid)]
        print(
            f"killed-ranks: after {last}, told {told} in {told_after:.1f} s, resumed on {ranks}: {right}, left {left}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        wrong += not (told and right and not left)
    return {"cases": cases, "wrong": wrong, "hangs": hangs}
