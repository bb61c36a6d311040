"""Environments a user may have: the lowest versions allowed, versions of cuda.core, and the newest Python at hand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from support.cuda_stub import library
from uv import find_uv_bin

from bench.gpu_bundle import SHORT, prepare

pytestmark = pytest.mark.full(like="test_packaging.py::test_the_wheel_works_in_another_folder")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TESTED_WITH = ("hypothesis", "pytest", "pytest-xdist", "scipy")
"""What the tests of PART import."""

PART = ("tests/layers", "tests/kernels/test_pooling.py", "tests/passes/test_pipeline.py")


ON_A_GPU = tuple(
    f"tests/targets/cuda/test_gpu{part}"
    for part in (
        ".py::TestDeviceArrays::test_are_read_where_they_are_and_results_stay_there",
        ".py::TestTraining::test_steps_on_host_arrays", ".py::TestLaunches", "_errors.py::TestMemory",
        "_streams.py::TestCallers", "_streams.py::TestExports",
    )
)  # fmt: skip
"""What meets all that cuda.core changed from version to version, on a stub of the driver."""


def output(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints, in an environment without this one's settings of Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


def interpreters() -> dict[tuple[int, int], str]:
    """Version → interpreter, of this process, on PATH and of pyenv; a shim of pyenv's that leads nowhere is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [*pyenv.glob("versions/*/bin/python3"), *(shutil.which(f"python3.{minor}") for minor in range(11, 20))]
    versions = {}
    for path in [*filter(None, found), sys.executable]:
        command = [path, "-c", "import sys; print(*sys.version_info[:2])"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        if not asked.returncode:
            major, minor = asked.stdout.split()
            versions[int(major), int(minor)] = str(path)
    return versions


def environment(folder: Path, python: str, *wanted: str) -> Path:
    """The folder of a new environment's commands, with the project and what else is wanted installed."""
    uv = find_uv_bin()
    output(uv, "venv", "--python", python, folder)
    output(uv, "pip", "install", "--python", folder, str(ROOT), *wanted)
    return folder / "bin"


def demo(commands: Path, tmp_path: Path) -> None:
    text = output(commands / "gncodegen", "demo", cwd=tmp_path, GNCODEGEN_CACHE_DIR=str(tmp_path / "cache"))
    assert re.search(r"Total \d", text), text


def test_the_lowest_versions_allowed(tmp_path):
    lowest = tuple(int(part) for part in PROJECT["requires-python"].removeprefix(">=").split("."))
    python = interpreters().get(lowest)
    if python is None:
        pytest.skip(f"Python {lowest[0]}.{lowest[1]}, the lowest allowed, is not here")
    extra = [line for line in PROJECT["optional-dependencies"]["test"] if re.split("[>=]", line)[0] in TESTED_WITH]
    assert len(extra) == len(TESTED_WITH)
    commands = environment(tmp_path / "venv", python, "--resolution", "lowest-direct", *extra)
    installed = dict(
        line.split("==")
        for line in output(find_uv_bin(), "pip", "freeze", "--python", commands.parent).splitlines()
        if "==" in line
    )
    for name, least in (re.split(">=|,", line)[:2] for line in PROJECT["dependencies"]):
        assert installed[name].startswith(least), f"{name} {installed[name]} was tried, {least} is allowed"
    demo(commands, tmp_path)
    part = ("-q", "-n0", "-pno:cacheprovider", *PART)
    output(commands / "python", "-m", "pytest", *part, GNCODEGEN_CACHE_DIR=str(tmp_path / "cache"))


def test_the_newest_python_at_hand(tmp_path):
    newest, python = max(interpreters().items())
    if newest <= sys.version_info[:2]:
        pytest.skip(f"no Python newer than {newest[0]}.{newest[1]}, which runs this test, is here")
    demo(environment(tmp_path / "venv", python), tmp_path)


def test_a_gpu_machine_without_the_compiler(tmp_path):
    """bench/gpu.py on the Python of the GPUs that are lent, with packages of CUDA 13.0, and neither xDSL nor NVVM."""
    python = interpreters().get((3, 12))
    if python is None:
        pytest.skip("Python 3.12 is not here")
    if reason := library.missing():
        pytest.skip(reason)
    bundle = prepare(tmp_path / "bundle", "sm_90", SHORT)
    uv, there = find_uv_bin(), tmp_path / "venv"
    output(uv, "venv", "--python", python, there)
    packages = ("cuda-bindings==13.0.*", "cuda-core", "jinja2", "numba", "numpy")
    output(uv, "pip", "install", "--python", there, *packages)
    packages = output(uv, "pip", "freeze", "--python", there)
    assert "xdsl" not in packages
    assert "numba-cuda" not in packages
    given = ("--short", "--rehearse", "--bundle", str(bundle.folder), "--out", str(tmp_path / "out"))
    rows = output(there / "bin" / "python", "bench/gpu.py", *given)
    assert "compiled here, kernels 0" in rows
    assert ", 0 failed" in rows


@pytest.mark.parametrize("wanted", ["==0.7.*", "==1.0.*", ""], ids=["0.7", "1.0", "newest"])
def test_versions_of_cuda_core(tmp_path, wanted):
    """This environment but for cuda.core."""
    output(find_uv_bin(), "pip", "install", "--target", tmp_path, "--no-deps", f"cuda-core{wanted}")
    python, here = sys.executable, version("cuda-core")
    found = output(python, "-c", "import cuda.core; print(cuda.core.__version__)", PYTHONPATH=str(tmp_path)).strip()
    if found == here:
        pytest.skip(f"the tests of this run have cuda-core {here}, too")
    output(python, "-m", "pytest", "-q", "-n0", "-pno:cacheprovider", *ON_A_GPU, PYTHONPATH=str(tmp_path))
