"""The wheel, and an editable checkout, carry all they need."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

USE = """
import numpy as np
import gncodegen as gnc
from gncodegen.data import digits
from gncodegen.kernels.templates import template_folder

layers = [gnc.ImageInputLayer((4, 4, 2), normalization="none"), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
x = np.arange(64, dtype=np.float32).reshape(2, 4, 4, 2)
y = gnc.compile(layers, batch_size=2).predict(x)
assert y.shape == x.shape and abs(float(y[0, -1, -1, 0]) - 1.6269) < 1e-3, y
assert digits()[0].shape == (1797, 8, 8, 1)
print(gnc.__file__)
print(template_folder())
"""


def python(code, *, path, cwd, cache):
    environment = os.environ | {"PYTHONPATH": os.fspath(path), "GNCODEGEN_CACHE_DIR": os.fspath(cache)}
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return [Path(line) for line in result.stdout.split()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_works_in_another_folder(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    package, templates = python(USE, path=site, cwd=tmp_path, cache=tmp_path / "cache")
    assert package == site / "gncodegen" / "__init__.py"
    assert templates == site / "gncodegen" / "templates"


def test_what_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "templates").rglob("*.*")}
    assert {f"gncodegen/{name}" for name in templates} <= names
    assert {"gncodegen/data/digits.npz", "gncodegen/data/ATTRIBUTION.md"} <= names
    assert {"gncodegen/__init__.pyi", "gncodegen/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_the_checkout_finds_its_templates(tmp_path):
    package, templates = python(USE, path=ROOT, cwd=tmp_path, cache=tmp_path / "cache")
    assert package == ROOT / "gncodegen" / "__init__.py"
    assert templates == ROOT / "templates"


@pytest.mark.full(like="test_packaging.py::test_the_wheel_works_in_another_folder")
def test_an_editable_install_finds_its_templates(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet", "--target",
               str(tmp_path / "site"), "--editable", str(ROOT)]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    # A .pth file works in site folders only, which PYTHONPATH does not make; it goes first, before an installed copy.
    code = f"import site, sys; known = len(sys.path); site.addsitedir({str(tmp_path / 'site')!r})\n"
    code += f"sys.path[:] = sys.path[known:] + sys.path[:known]\n{USE}"
    package, templates = python(code, path="", cwd=tmp_path, cache=tmp_path / "cache")
    assert package == ROOT / "gncodegen" / "__init__.py"
    assert templates == ROOT / "templates"
