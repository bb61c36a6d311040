"""Processes of a job: a command starts itself again under mpiexec, or others start them for mpiexec."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gncodegen.errors import OptionsError, TargetError

MOST_ON_A_CORE = 16
"""Ranks of a job on this machine; each holds the network, its data and a Python of its own."""


def mpiexec() -> str:
    """The path of mpiexec: that of this Python's environment, or the first on the path.

    Raises:
        TargetError: there is none, or Python does not know its own path, which it is to start.
    """
    if not sys.executable:
        raise TargetError(
            "this Python, which is part of another program, does not know its own path; allowed: a Python that mpiexec "
            'can start; start the ranks yourself, and train with execution_environment="parallel"'
        )
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise TargetError(
            "mpiexec is not here; allowed: an MPI installation on PATH, or its wheel; pip install 'gncodegen[mpi]'"
        )
    return found


def started() -> int:
    """How many processes mpiexec started this one among; 1 without it. MPI itself is not touched."""
    counts = (os.environ.get(name, "") for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
    return next((int(count) for count in counts if count.isdecimal()), 1)


def run(arguments: Sequence[str], ranks: int, cores: int) -> int:
    """Runs `gncodegen ARGUMENTS` in so many processes on this machine.

    Args:
        arguments: as typed.
        ranks: how many processes.
        cores: to share among them where GNCODEGEN_THREADS does not say how many threads each has.

    Returns:
        the exit code of mpiexec.

    Raises:
        OptionsError: no such number of processes can be.
        TargetError: there is no mpiexec.
    """
    if not 1 <= ranks <= cores * MOST_ON_A_CORE:
        raise OptionsError(
            f"--ranks {ranks}; allowed: 1 to {cores * MOST_ON_A_CORE}, {MOST_ON_A_CORE} for each core; write --ranks 2"
        )
    threads = os.environ.get("GNCODEGEN_THREADS") or str(max(1, cores // ranks))
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-m", "gncodegen", *arguments]
    job = subprocess.Popen(command, env={**os.environ, "GNCODEGEN_THREADS": threads})
    # Ctrl-C reaches the whole job, which ends after its iteration; this process waits for it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return job.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def launch(hosts: Sequence[str], ranks: int, command: Sequence[str], start: Callable[[int, list[str]], object]) -> int:
    """Runs a command in so many processes on other machines, reached by an engine of the caller's.

    MPICH's mpiexec says what each machine is to run; those processes then start the ranks there and connect to it.

    Args:
        hosts: the addresses of what `start` reaches; each machine is taken once.
        ranks: how many processes; neighbours share a machine.
        command: to run in each.
        start: begins a command at the host of this number, and does not wait for its end.

    Returns:
        the exit code of mpiexec.

    Raises:
        TargetError: there is no mpiexec, or it is not MPICH's.
    """
    machines = list(dict.fromkeys(hosts))
    each = -(-ranks // len(machines))
    given = ["-launcher", "manual", "-hosts", ",".join(machines), "-ppn", str(each), "-n", str(ranks), *command]
    program = mpiexec()
    job = subprocess.Popen([program, *given], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    place = 0
    for line in job.stdout:
        if line.startswith("HYDRA_LAUNCH: "):
            start(hosts.index(machines[place]), shlex.split(line)[1:])
            place += 1
        elif not line.startswith("HYDRA_LAUNCH_END"):
            print(line, end="", flush=True)
    if not place:
        raise TargetError(f"{program} starts nothing on other machines; allowed: MPICH's; pip install mpich")
    return job.wait()
