"""Kernels of one template whose constants differ share what Numba makes of them, and stay what they were."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest
from support.sets import dealt
from support.zoo import programs

from gncodegen.cache import files
from gncodegen.errors import CompileError
from gncodegen.kernels import store
from gncodegen.kernels.store import execute
from gncodegen.targets.cpu import compile as compiler
from gncodegen.targets.cpu import frontend, specialisation
from gncodegen.targets.cpu.host import machine

SOURCE = """
from gncodegen.targets.cpu.intrinsics import float32, load, local, pointer, store

COUNT = {count}
STEP = {step}
LANES = {lanes}
SCRATCH = COUNT * LANES


def kernel(tile, argv):
    x, y = pointer(argv, 0, float32), pointer(argv, 1, float32)
    kept = local(SCRATCH, float32)
    for i in range(COUNT):
        store(kept, i * LANES, load(x, tile * STEP + i * LANES, LANES))
    for i in range(COUNT):
        store(y, tile * STEP - {shift} + i * LANES, load(kept, i * LANES, LANES))
"""


def source(folder, **numbers):
    """A generated file, named by its content as those of a template are."""
    text = SOURCE.format(**({"count": 5, "step": -40, "lanes": 8, "shift": 3} | numbers))
    path = folder / f"copy_{specialisation._digest([text])}.py"
    files.write(path, text.encode())
    return path


def instructions(module, machine):
    """The assembly without names."""
    lines = machine.emit_assembly(module).splitlines()
    return [
        re.sub(r"\S*(kernel|_ZN)\S*", "name", line) for line in lines if not re.match(r"\s*\.(file|size|type)", line)
    ]


def shared(path):
    text, kernel, parameters = specialisation.lowered(path)
    return instructions(*compiler._optimised(llvm.parse_assembly(text), kernel, parameters, compiler.symbol(path)))


def alone(path):
    return instructions(*compiler.optimised(execute(path).kernel, compiler.symbol(path)))


@pytest.fixture
def lowerings(monkeypatch):
    """The kernels that go through Numba."""
    seen = []
    lower = frontend.lower
    monkeypatch.setattr(frontend, "lower", lambda function, **rest: seen.append(function) or lower(function, **rest))
    return seen


@pytest.mark.parametrize(
    ("numbers", "times"),
    [
        ({"count": 7, "step": 1_000}, 1),  # operands, and how much is kept
        ({"lanes": 16}, 2),  # decides a type
        ({"shift": 4}, 2),  # no constant of the file
        ({"count": (1 << 62) - 1, "lanes": 4}, 2),
    ],
)
def test_other_constants_of_the_same_code(tmp_path, lowerings, numbers, times):
    first, second = source(tmp_path), source(tmp_path, **numbers)
    assert shared(first) == alone(first)
    lowerings.clear()
    found = shared(second)
    assert len(lowerings) + 1 == times
    assert found == alone(second) != alone(first)


def test_a_constant_that_became_a_float_is_other_code(tmp_path):
    shared(source(tmp_path))
    with pytest.raises(Exception, match="count must be a constant"):
        shared(source(tmp_path, count=5.0))


def test_a_file_by_hand_shares_with_none(tmp_path, lowerings):
    path = source(tmp_path)
    shared(path)
    for name in ("k.py", "kernel.py"):
        files.write(path.with_name(name), files.read(path))
        assert shared(path.with_name(name)) == alone(path)
    assert len(lowerings) == 3 + 2


def test_an_error_names_the_constants_own_value(tmp_path):
    path = source(tmp_path, step="undefined(9)")
    with pytest.raises(CompileError, match="undefined"):
        compiler.compile_source(path)


@pytest.mark.full(like="targets/cpu/test_specialisation.py::test_other_constants_of_the_same_code")
def test_kernels_of_the_zoo_are_what_they_are_alone(tmp_path, seed, monkeypatch):
    monkeypatch.setattr(store, "folder", lambda tag: tmp_path)
    schedules = {each: None for program in programs(machine()) for each in program.kernels.values()}
    paths = [store.write(each, "").path for each in dealt(list(schedules), 0, 30, seed)]
    assert [path.name for path in paths if shared(path) != alone(path)] == []
