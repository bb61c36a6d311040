"""`import gncodegen` is light, and every public name is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import gncodegen


def in_a_new_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_loads_nothing_heavy():
    heavy = ("numba", "llvmlite", "xdsl", "jinja2", "rich", "numpy")
    code = f"import sys, gncodegen; print([name for name in {heavy} if name in sys.modules])"
    assert in_a_new_process(code) == "[]"


def test_describing_a_network_loads_no_compiler():
    code = (
        "import sys, gncodegen as g; g.GroupNormalizationLayer(4); g.training_options('sgdm'); g.LayerGraph();"
        "print([name for name in ('numba', 'llvmlite', 'xdsl', 'jinja2', 'rich') if name in sys.modules])"
    )
    assert in_a_new_process(code) == "[]"


def test_import_takes_at_most_a_third_of_a_second():
    code = "import time; t = time.perf_counter(); import gncodegen; print(time.perf_counter() - t)"
    assert min(float(in_a_new_process(code)) for _ in range(3)) <= 0.3


@pytest.mark.parametrize("name", gncodegen.__all__)
def test_public_names_load(name):
    assert getattr(gncodegen, name) is not None


def test_every_layer_is_public():
    from gncodegen import layers

    assert {name for name in layers.__all__ if name.endswith("Layer")} <= set(gncodegen.__all__)
    assert set(gncodegen.__all__) <= set(dir(gncodegen))


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'zzz'"):
        gncodegen.zzz  # noqa: B018
