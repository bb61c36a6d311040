"""Numba CUDA kernels that are none of ours, in the emulator: the fixture, its document, numba-cuda's own examples."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.numba_examples import cases
from support.sets import few
from support.targets import WITH_CUDA

from gncodegen.errors import ArrayError
from gncodegen.targets.cuda.pytest_plugin import emulated  # noqa: F401  a fixture

pytestmark = WITH_CUDA

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "emulator.md"


def test_the_document_is_right(emulated, tmp_path):  # noqa: F811
    (text,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "document.py"
    path.write_text(text)
    found: dict = {}
    exec(compile(text, str(path), "exec"), found)
    for name in ("test_transposed", "test_doubled"):
        found[name](emulated)


def test_arguments_that_do_not_fit_are_refused(emulated):  # noqa: F811
    def nothing(x):
        pass

    with pytest.raises(ArrayError, match=r"x is not contiguous.*np\.ascontiguousarray\(x\)"):
        emulated(nothing)[1, 32](np.ones((4, 6)).T)
    with pytest.raises(ArrayError, match="x is of type list"):
        emulated(nothing)[1, 32]([1])


EXAMPLES = ("cpointer", "sessionize", "reduction", "vecadd", "matmul", "ufunc", "cpu_gpu_compat", "globals", "random",
            "montecarlo", "cg")  # fmt: skip
"""All but two: "ffi" links CUDA C++ and needs cffi, and "laplace" is "cg" with ten times the barriers."""


@pytest.mark.parametrize("name", few(EXAMPLES, 2))
def test_examples_of_numba_cuda(monkeypatch, name):
    pytest.importorskip("numba.cuda.tests")
    found = cases(monkeypatch, name)
    assert found
    for case in found:
        result = case.run()
        assert result is not None
        assert not result.errors + result.failures, (result.errors + result.failures)[0][1]
