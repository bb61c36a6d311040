"""Threads: as many as a container pays for, and other libraries keep theirs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import control_groups

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
