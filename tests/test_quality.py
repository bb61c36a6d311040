"""The rules of the house, held by its tools: style, floors, types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_LINES = 400


def run(*command):
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_ruff():
    run("ruff", "check", ".")


def test_ruff_format():
    run("ruff", "format", "--check", "gncodegen", "tests", "bench")


def test_import_floors():
    command = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    result = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.full(like="test_quality.py::test_import_floors")
def test_types():
    run("pyright", "--project", "pyproject.toml", "--pythonpath", sys.executable)


@pytest.mark.parametrize("folder", ["gncodegen", "templates", "tests", "bench"])
def test_files_stay_short(folder):
    paths = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.jinja")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
