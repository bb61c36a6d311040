"""What stands in the place of Numba's passes: loops, whole division and variables mean what they mean in Python."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from numba.core import ir
from numba.core.compiler import run_frontend
from numba.core.ssa import reconstruct_ssa
from targets.cpu.test_frontend import run

from gncodegen.targets.cpu.single_assignment import _Renaming

NUMBERS = (-7, -3, -1, 0, 1, 2, 5)


def test_whole_division_is_that_of_python(tmp_path):
    body = """

def kernel(tile, argv):
    x, y, result = pointer(argv, 0, float64), pointer(argv, 1, float64), pointer(argv, 2, float64)
    for i in range(tile):
        a, b = int(x[i]), int(y[i])
        result[4 * i] = a // b
        result[4 * i + 1] = a % b
        a //= 3
        b %= -3
        result[4 * i + 2] = a
        result[4 * i + 3] = b
"""
    x, y = np.array(list(itertools.product(NUMBERS, NUMBERS)), float).T.copy()
    result = np.full((len(x), 4), np.nan)
    run(tmp_path / "division.py", body, len(x), x, y, result)
    for a, b, found in zip(x.astype(int), y.astype(int), result, strict=True):
        assert found.tolist() == [a // b if b else 0, a % b if b else 0, a // 3, b % -3], (a, b)


def test_ranges_are_those_of_python(tmp_path):
    body = """

def kernel(tile, argv):
    x, result = pointer(argv, 0, float64), pointer(argv, 1, float64)
    for i in range(tile):
        start, stop, step = int(x[3 * i]), int(x[3 * i + 1]), int(x[3 * i + 2])
        total, last = 0, 100
        for j in range(start, stop, step):
            total, last = total * 3 + j, j
        for j in range(start, stop):
            total += j
            for k in range(j):
                total -= k
        for j in range(stop, start, -2):
            total += 5 * j
        result[2 * i] = total
        result[2 * i + 1] = last
"""
    x = np.array(list(itertools.product(NUMBERS, NUMBERS, NUMBERS)), float)
    result = np.full((len(x), 2), np.nan)
    run(tmp_path / "ranges.py", body, len(x), x, result)
    for (start, stop, step), found in zip(x.astype(int).tolist(), result, strict=True):
        total, last = 0, 100
        for j in range(start, stop, step) if step else ():
            total, last = total * 3 + j, j
        for j in range(start, stop):
            total += j - sum(range(j))
        total += 5 * sum(range(stop, start, -2))
        assert found.tolist() == [total, last], (start, stop, step)


def chosen(a, b):
    if a > b:
        a = b
    else:
        b = a + b
    return a - b


def nested(a, b):
    c = a
    for i in range(a):
        for j in range(b):
            if j > i:
                c = c + j
            else:
                a = c * b
        b = a
    return a + c


def ended(a, b):
    while a < b:
        a = a + b
        if a == c_of(a):
            break
        b = b - a
    else:
        b = a
    return a * b


def c_of(a):
    return a


def unset(a, b):
    for i in range(a):
        if i == b:
            found = i
    return found


def swapped(a, b):
    for i in range(b):
        a, b = b, a + i
    return a


@pytest.mark.parametrize("function", [chosen, nested, ended, unset, swapped])
def test_variables_and_phi_nodes_are_numbas(function):
    def text(blocks):
        return {
            label: sorted(re.sub(r", test_\w+.py:\d+", "", str(each)) for each in block.body)
            for label, block in blocks.items()
        }

    ours, numbas = run_frontend(function), reconstruct_ssa(run_frontend(function))
    _Renaming(ours.blocks).run()
    assert text(ours.blocks) == text(numbas.blocks)
    targets = [each.target.name for block in ours.blocks.values() for each in block.find_insts(ir.Assign)]
    assert len(targets) == len(set(targets)) > 5


def test_a_constant_is_read_once_in_a_block():
    def function(a):
        b = c_of(a) * 7 + c_of(a + 7)
        if b:
            b = c_of(b) + 7.0 + True + 1
        return b

    found = run_frontend(function)
    _Renaming(found.blocks).run()
    reads = [
        str(each.value) for block in found.blocks.values() for each in block.find_insts(ir.Assign)
        if isinstance(each.value, (ir.Global, ir.FreeVar, ir.Const))
    ]  # fmt: skip
    assert sum("c_of" in read for read in reads) == 2
    constants = ["const(bool, True)", "const(float, 7.0)", "const(int, 1)", "const(int, 7)"]
    assert sorted(read for read in reads if "const" in read) == constants
