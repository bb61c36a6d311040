"""docs/new-layer.md is followed in a copy of the package: the layer trains, on the CPU and in the emulator."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gncodegen
from gncodegen.kernels.templates import template_folder

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "new-layer.md"

TRIAL = """
import numpy as np
import gncodegen as gnc

layers = [gnc.FeatureInputLayer(3), gnc.ScalingLayer(-2.5), gnc.FullyConnectedLayer(2), gnc.RegressionLayer()]
x, t = np.random.default_rng(0).normal(size=(7, 3)), np.zeros((7, 2))
for target in ({}, {"target": "sm_90", "emulate": True}):
    compiled = gnc.compile(layers, batch_size=7, **target)
    weights = compiled.parameters["fc_1.weights"].astype(float)
    expected = -2.5 * x @ weights.T
    np.testing.assert_allclose(compiled.predict(x), expected, rtol=1e-5, atol=1e-6)
    found = compiled.gradients(x, t)["input"]
    np.testing.assert_allclose(found, -2.5 * expected @ weights / 7, rtol=1e-5, atol=1e-6)
    assert compiled.train_step(x, t) > compiled.train_step(x, t)
try:
    gnc.ScalingLayer(float("inf"))
except gnc.LayerError as error:
    print(error)
"""


def files_of(page: str) -> dict[str, str]:
    """The files that a page shows, by the name in the first line of each block."""
    blocks = re.findall(r"```python\n# (\S+?)(?:, a new line)?\n(.*?)```", page, flags=re.DOTALL)
    return dict(blocks)


def insert(path: Path, before: str, text: str) -> None:
    """Puts text in front of the first place where `before` stands."""
    content = path.read_text(encoding="utf-8")
    assert before in content, f"{path} has no {before!r}"
    path.write_text(content.replace(before, text + before, 1), encoding="utf-8")


@pytest.mark.full(like="targets/test_registry.py::test_its_options_are_those_of_its_row")
def test_the_recipe_of_a_layer(tmp_path: Path) -> None:
    shutil.copytree(
        Path(gncodegen.__file__).parent, tmp_path / "gncodegen", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(template_folder(), tmp_path / "templates", dirs_exist_ok=True)
    package = tmp_path / "gncodegen"
    files = files_of(PAGE.read_text(encoding="utf-8"))
    insert(package / "__init__.pyi", "from .layers.tensors", files.pop("gncodegen/__init__.pyi"))
    cpu = files["gncodegen/kernels/cpu/scaling.py"]
    files["gncodegen/kernels/cuda/scaling.py"] = cpu.replace("kernels.cpu", "kernels.cuda")
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    dialect = package / "ir" / "gn" / "__init__.py"
    insert(dialect, "from gncodegen.ir.gn.transposed", "from gncodegen.ir.gn.scaling import Scale\n")
    insert(dialect, "        *PARAMETRIC,\n", "        Scale,\n")
    for target in ("cpu", "cuda"):
        catalog = package / "kernels" / target / "__init__.py"
        insert(catalog, "    update,\n", "    scaling,\n")
        insert(catalog, "    **update.PLANS,\n", "    **scaling.PLANS,\n")
    (tmp_path / "trial.py").write_text(TRIAL, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "trial.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "factor = inf; allowed: a finite number" in done.stdout


def test_every_file_that_the_recipes_name_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8") + (ROOT / "ARCHITECTURE.md").read_text(
        encoding="utf-8"
    )
    named = set(re.findall(r"`((?:gncodegen|templates|tests|docs)/[\w/.-]+)`", text))
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert named
    assert not missing
