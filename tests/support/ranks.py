"""Python code run by several ranks under mpiexec."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

from gncodegen.errors import TargetError
from gncodegen.parallel.launching import mpiexec

ROOT = Path(__file__).parents[2]


def _missing() -> str:
    """Why there are no ranks here; "" = there are."""
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed: pip install 'gncodegen[mpi]'"
    try:
        mpiexec()
    except TargetError as error:
        return str(error)
    return ""


needs_mpi = pytest.mark.skipif(bool(_missing()), reason=_missing() or "MPI is here")


def start(ranks: int, code: str, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Starts `python -c CODE ARGUMENTS` in so many ranks of one thread."""
    command = [mpiexec(), "-n", str(ranks), sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    given = {**os.environ, "GNCODEGEN_THREADS": "1", "PYTHONPATH": path, **environment}
    return subprocess.Popen(
        command, env=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def run(ranks: int, code: str, *arguments: object, expected: int | None = 0, **environment: str) -> tuple[str, str]:
    """What they print: stdout and stderr; `expected` is the exit code, None = any but 0."""
    job = start(ranks, code, *arguments, **environment)
    out, err = job.communicate(timeout=100)
    assert (job.returncode == expected) if expected is not None else job.returncode, f"{out}\n{err}"
    return out, err
