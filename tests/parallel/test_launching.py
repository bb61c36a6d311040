"""Jobs: what is refused before a process is started, and those that are started by others than mpiexec's launcher."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.ranks import ROOT, needs_mpi

from gncodegen.errors import OptionsError, TargetError
from gncodegen.parallel import launching

EXAMPLES = {"dask_ranks.py": "distributed", "ray_ranks.py": "ray"}


@needs_mpi
def test_what_mpiexec_asks_for_is_started_by_the_caller(capfd: pytest.CaptureFixture[str]) -> None:
    code = "from mpi4py import MPI; print(f'rank {MPI.COMM_WORLD.Get_rank()} of {MPI.COMM_WORLD.Get_size()}')"
    started: dict[int, subprocess.Popen[bytes]] = {}

    def start(place: int, command: list[str]) -> None:
        started[place] = subprocess.Popen(command)

    assert not launching.launch(["127.0.0.1", "127.0.0.1", "127.0.0.2"], 2, [sys.executable, "-c", code], start)
    assert [started[place].wait() for place in (0, 2)] == [0, 0]
    # Two processes write to one place: their line ends may come later than both texts.
    assert sorted(re.findall(r"rank \d of \d", capfd.readouterr().out)) == ["rank 0 of 2", "rank 1 of 2"]


def test_another_mpiexec_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "mpiexec", lambda: "true")
    with pytest.raises(TargetError, match="true starts nothing on other machines; allowed: MPICH's"):
        launching.launch(["a"], 1, ["x"], lambda *_: None)


@needs_mpi
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_train_on_a_cluster_of_this_machine(tmp_path: Path, name: str) -> None:
    pytest.importorskip(EXAMPLES[name])
    (tmp_path / "train.py").write_text(
        "from support.rank_trainings import *\n"
        "net, info = gnc.train_network(X, Y, layers(), options('parallel', max_epochs=1))\n"
        "print(f'loss {info.training_loss[-1]:.6f}')\n",
        encoding="utf-8",
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "GNCODEGEN_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, ROOT / "examples" / name, "2", tmp_path / "train.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert not done.returncode, done.stderr
    first, second = (line for line in done.stdout.splitlines() if line.startswith("loss"))
    assert first == second


@pytest.mark.parametrize("ranks", [-3, 0, 33, 10**9])
def test_numbers_of_processes_that_no_machine_has(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching.subprocess, "Popen", None)
    with pytest.raises(OptionsError, match=f"--ranks {ranks}; allowed: 1 to 32, 16 for each core; write --ranks 2"):
        launching.run(["train"], ranks, cores=2)


def test_a_python_that_does_not_know_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(TargetError, match="does not know its own path; allowed: a Python that mpiexec can start"):
        launching.run(["train"], 2, cores=2)


@pytest.mark.parametrize(("said", "count"), [("3", 3), ("", 1), ("²", 1), ("-1", 1), ("x", 1)])
def test_what_mpiexec_says(said: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", said)
    monkeypatch.setenv("PMI_SIZE", "")
    assert launching.started() == count
