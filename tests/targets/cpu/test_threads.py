"""Threads: as many as a container pays for, and other libraries keep theirs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import control_groups

from gncodegen.targets.cpu.openmp import TBB, is_library
from gncodegen.targets.cpu.threads import quota

V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "100000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 0),
        ("0::/\n", {}, 0),
        ("0::/a.slice/b\n", {"a.slice/cpu.max": "250000 100000\n", "a.slice/b/cpu.max": "max 100000\n"}, 3),
        ("0::/a.slice/b\n", {"a.slice/cpu.max": "800000 100000\n", "a.slice/b/cpu.max": "20000 100000\n"}, 1),
        ("0::/docker/outside\n", {"cpu.max": "200000 100000\n"}, 2),
        ("7:memory:/x\n4:cpu,cpuacct:/\n", {f"cpu/{V1[0]}": "100000\n", f"cpu/{V1[1]}": "50000\n"}, 2),
        ("4:cpuacct,cpu:/job\n", {f"cpu/job/{V1[0]}": "50000\n", f"cpu/job/{V1[1]}": "100000\n"}, 1),
        ("4:cpu:/docker/f00\n", {f"cpu/{V1[0]}": "150000\n", f"cpu/{V1[1]}": "100000\n"}, 2),
        ("4:cpu:/\n", {f"cpu/{V1[0]}": "-1\n", f"cpu/{V1[1]}": "100000\n"}, 0),
        ("3:cpuset:/\n0::/\n", {"cpu/cpu.max": "100000 100000\n", f"cpuset/{V1[0]}": "100000\n"}, 0),
        ("nonsense\n", {"cpu.max": "100000 100000\n"}, 0),
    ],
)
def test_quotas_of_control_groups(tmp_path, groups, files, cores):
    assert quota.__wrapped__(control_groups.write(tmp_path, groups, files)) == cores


def test_no_control_groups(tmp_path):
    assert quota.__wrapped__(tmp_path) == 0


SCRIPT = """
import ctypes, os
import numba
from numba.np.ufunc import omppool  # fails where there is no OpenMP

openmp = ctypes.CDLL(omppool.__file__)
openmp.omp_set_num_threads(3)
before = dict(os.environ)
import numpy as np
import gncodegen as gnc

layers = [gnc.ImageInputLayer((32, 32, 8), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
net = gnc.compile(layers, batch_size=64)
y = net.predict(np.ones((64, 32, 32, 8), np.float32))
most = numba.config.NUMBA_NUM_THREADS
print(openmp.omp_get_max_threads(), most - numba.get_num_threads(), dict(os.environ) == before)
"""


@pytest.mark.parametrize("threads", ["0", "1"])
def test_other_libraries_keep_their_threads_and_the_environment_stays(threads):
    pytest.importorskip("numba.np.ufunc.omppool", reason="Numba has no OpenMP here")
    environment = os.environ | {"GNCODEGEN_THREADS": threads}
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["3", "0", "True"], done.stderr


WARM = """
import ctypes, os, sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

folder = Path(find_spec("numba").submodule_search_locations[0]) / "np" / "ufunc"
openmp = ctypes.CDLL(PathFinder.find_spec("omppool", [str(folder)]).origin)
openmp.omp_set_num_threads(3)
before = dict(os.environ)
import numpy as np
import gncodegen as gnc

layers = [gnc.ImageInputLayer((32, 32, 8), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
net = gnc.compile(layers, batch_size=64)
x = np.random.default_rng(0).standard_normal((64, 32, 32, 8)).astype(np.float32)
y = net.predict(x)
loaded = sorted({"numba", "jinja2", "xdsl", "numpy.ma", "statistics"} & set(sys.modules))
print(openmp.omp_get_max_threads(), dict(os.environ) == before, *loaded)

import numba

@numba.njit(parallel=True)
def total(values):
    result = 0.0
    for i in numba.prange(len(values)):
        result += values[i]
    return result

print(total(np.ones(1000)), numba.config.NUMBA_NUM_THREADS - numba.get_num_threads(), np.array_equal(net.predict(x), y))
"""


def run_warm(**settings):
    """What `WARM` prints, of its second run: words of each line."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("NUMBA_")} | settings
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        environment.pop(name, None)
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WARM], env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_a_warm_start_runs_on_all_threads_without_numba_and_leaves_numba_its_own():
    pytest.importorskip("numba.np.ufunc.omppool", reason="Numba has no OpenMP here")
    if is_library(TBB):
        pytest.skip("Numba takes its threads from TBB here")
    assert run_warm() == [["3", "True"], ["1000.0", "0", "True"]]


@pytest.mark.full(
    like="targets/cpu/test_threads.py::test_a_warm_start_runs_on_all_threads_without_numba_and_leaves_numba_its_own"
)
def test_numba_starts_its_threads_where_it_is_set_to_something():
    pytest.importorskip("numba.np.ufunc.omppool", reason="Numba has no OpenMP here")
    assert run_warm(NUMBA_NUM_THREADS="1") == [["3", "True", "numba"], ["1000.0", "0", "True"]]
