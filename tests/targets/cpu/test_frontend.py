"""Kernels by hand: the Python that they may use, what is refused, and Numba's own functions in the same process."""

from __future__ import annotations

import ctypes
import json
import subprocess

import numpy as np
import pytest
from numba import njit

from gncodegen.cache import files
from gncodegen.errors import CompileError
from gncodegen.targets.cpu import compile as compiler
from gncodegen.targets.cpu import objects
from gncodegen.targets.workers import command

IMPORTS = "from gncodegen.targets.cpu.intrinsics import device, float64, load, pointer, reduce_add, splat, store\n"


def run(path, body, tile, *arrays):
    """Compiles a kernel and runs one tile of it on the arrays."""
    files.write(path, (IMPORTS + body).encode())
    compiler.compile_source(path)
    (kernel,) = objects.link([path])
    argv = np.array([array.ctypes.data for array in arrays], np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(kernel.address)(tile, argv.ctypes.data)


def test_device_functions_loops_and_tuples(tmp_path):
    body = """
STEPS = (1, 3)


@device
def distance(a, b):
    if a > b:
        return a - b
    return b - a


def kernel(tile, argv):
    x, y = pointer(argv, 0, float64), pointer(argv, 1, float64)
    pair = distance(tile, 10), -tile // 4
    for i in range(0, min(pair[0], 6), STEPS[1] - 1):
        value = load(x, i, 2)
        value = reduce_add(value * splat(float64(i), 2))
        y[i] = max(value, 3.0)
    y[1] = pair[1] % 5
"""
    x, y = np.arange(1.0, 9.0), np.zeros(8)
    run(tmp_path / "device_functions.py", body, 3, x, y)
    assert y.tolist() == [3.0, -1 % 5, 14.0, 0.0, 44.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("nothing(tile)", "nothing"),
        ("print(tile)", "print"),
        ("tile = {}", "tile"),
        ("load(pointer(argv, 0, float64), 0, tile)", "lanes"),
        ("tile = tile + 'text'", "No implementation"),
        ("store(tile)", "positional"),
        ("tile = (", "never closed"),
    ],
)
def test_what_is_refused_names_the_file_and_the_line(tmp_path, statement, cause):
    body = f"\n\ndef kernel(tile, argv):\n    tile += 1\n    {statement}\n    tile += 1\n"
    with pytest.raises(
        CompileError, match=rf"by_hand\.py:{(IMPORTS + body).count(chr(10)) - 1} does not compile"
    ) as caught:
        run(tmp_path / "by_hand.py", body, 0)
    assert "Failed in" not in str(caught.value)
    assert cause in str(caught.value)


def test_the_c_library_is_all_that_a_kernel_may_call(tmp_path):
    with pytest.raises(CompileError, match="at run time"):
        run(
            tmp_path / "by_hand.py",
            "import math\n\n\ndef kernel(tile, argv):\n    pointer(argv, 0, float64)[0] = math.gamma(tile)\n",
            0,
        )


def test_a_worker_reads_nothing_in_the_users_folder(tmp_path):
    (tmp_path / "math.py").write_text("raise RuntimeError('the wrong math')", encoding="utf-8")
    path = tmp_path / "in_a_worker.py"
    body = "\n\ndef kernel(tile, argv):\n    pointer(argv, 0, float64)[tile] = 1.0\n"
    files.write(path, (IMPORTS + body).encode())
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command("gncodegen.targets.cpu.compile"), cwd=tmp_path, **pipes) as process:
        said, _ = process.communicate(json.dumps([str(path), ".o", False]) + "\n", timeout=60)
    assert said.splitlines() == ["ready", '["done", ""]']
    assert path.with_suffix(".o").exists()


def test_functions_of_numba_stay_as_they_are(tmp_path):
    """`max` of a kernel is compiled for the kernels' target, that of njit for Numba's own, whichever comes first."""

    def largest(a, b):
        return max(a, b), (a, b)[1]

    body = (
        "\n\ndef kernel(tile, argv):\n    y = pointer(argv, 0, float64)\n    y[0] = max(y[0], 7.0 * tile) + (1, 2)[1]\n"
    )
    y = np.zeros(1)
    assert njit(largest)(2.0, 3.0) == (3.0, 3.0)
    run(tmp_path / "after_numba.py", body, 1, y)
    assert y[0] == 9.0
    assert njit(lambda a, b: max(b, a))(5.0, 4.0) == 5.0
    run(tmp_path / "after_both.py", body, 2, y)
    assert y[0] == 16.0
    assert njit(largest)(6.0, 4.0) == (6.0, 4.0)
