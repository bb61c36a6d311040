"""Faults planted in generated kernels are caught, and told with kernel, source line and thread."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.cuda_kernels import compiled
from support.execution import problem_of
from support.targets import machine

from gncodegen.cache import files
from gncodegen.errors import EmulationFault
from gncodegen.kernels import catalog
from gncodegen.kernels.store import Source

ROWS, CHANNELS, GROUPS = 784, 8, 4
X = ((2, ROWS, CHANNELS), "float32")
NORM = ("group_norm", [X, ((CHANNELS,), "float32"), ((CHANNELS,), "float32")], [X, ((2, GROUPS, 3), "float32")])
ATTRIBUTES = {"groups": GROUPS, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}


def _run(tmp_path, edit):
    """Edits the source of group normalization's kernel with `edit(text)`, compiles it and runs it in the emulator."""
    from gncodegen.emulator import DeviceMemory
    from gncodegen.targets.cuda.compile import compile_source
    from gncodegen.targets.cuda.emulated import arguments_of, launch_emulated

    problem = problem_of(*NORM, ATTRIBUTES, machine(cores=2))
    launch = catalog.plan(problem).launches[0]
    text = compiled([launch.schedule])[0].text
    changed = edit(text)
    assert changed != text, "the fault was not planted"
    source = Source(tmp_path / "group_norm_edited.py")
    files.write(source.path, changed.encode())
    compile_source(source.path)
    memory, addresses = DeviceMemory(), list[int]()
    for name, tensor in zip(("x", "scale", "offset"), problem.operands, strict=True):
        addresses.append(memory.allocate(tensor.bytes, name))
        memory.write(addresses[-1], np.random.default_rng(0).normal(size=tensor.shape).astype(np.float32))
    for name, tensor in zip(("y", "statistics"), problem.results, strict=True):
        addresses.append(memory.allocate(tensor.bytes, name))
    launch_emulated(source, launch.schedule, launch.grid, arguments_of(addresses, 0), memory)
    return problem, memory, addresses


def _without(text, number):
    """The text without its `number`th barrier."""
    places = [found.span() for found in re.finditer(r"^ *barrier\(\)\n", text, re.MULTILINE)]
    begin, end = places[number]
    return text[:begin] + text[end:]


def test_the_kernel_as_generated_has_no_fault(tmp_path):
    problem, memory, addresses = _run(tmp_path, lambda text: text + "# edited\n")
    y = memory.read(addresses[3], problem.results[0].shape, np.float32)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("number", [0, -1])
def test_a_missing_barrier_is_a_fault(tmp_path, number):
    with pytest.raises(EmulationFault) as caught:
        _run(tmp_path, lambda text: _without(text, number))
    fault = caught.value
    assert re.search("uninitialised|race", str(fault)), str(fault)
    assert "group_norm_edited" in str(fault.kernel)
    assert fault.line > 0
    assert fault.thread >= 0


def test_an_index_beyond_the_end_is_a_fault(tmp_path):
    with pytest.raises(EmulationFault, match=r"of y .* out of bounds") as caught:
        _run(
            tmp_path,
            lambda text: re.sub(r"offset\(pointer\(y, DTYPE\), begin\)", "offset(pointer(y, DTYPE), begin + 4)", text),
        )
    lines = (tmp_path / "group_norm_edited.py").read_text().splitlines()
    assert "pointer(y" in lines[caught.value.line - 1], "the fault names the line of the store"


def test_a_misaligned_access_is_a_fault(tmp_path):
    with pytest.raises(EmulationFault, match="align"):
        _run(tmp_path, lambda text: text.replace("load_panel(offset(x, begin)", "load_panel(offset(x, begin + 1)"))


def test_a_barrier_that_some_threads_skip_is_a_fault(tmp_path):
    def skip(text):
        return re.sub(r"^( *)barrier\(\)\n", r"\1if thread < 32:\n\1    barrier()\n", text, count=1, flags=re.MULTILINE)

    with pytest.raises(EmulationFault, match="barrier"):
        _run(tmp_path, skip)
