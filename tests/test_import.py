"""`import gncodegen` is light, and every public name is there."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from zipfile import ZipFile

import pytest

import gncodegen
from gncodegen import layers
from gncodegen.layers.base import Layer


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


def test_public_names_are_those_of_the_stub():
    stub = ast.parse(Path(gncodegen.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    names = [(alias.name, alias.asname) for node in imports for alias in node.names]
    assert all(name == shown for name, shown in names)  # `as` makes a name public for type checkers
    assert sorted(name for name, _ in names) == sorted(gncodegen.__all__)
    assert set(gncodegen.__all__) <= set(dir(gncodegen))


def test_every_layer_is_public():
    for module in iter_modules(layers.__path__, "gncodegen.layers."):
        import_module(module.name)
    known, found = set(), [Layer]
    while found:
        known.add(layer := found.pop())
        found += [kind for kind in layer.__subclasses__() if kind.__module__.startswith("gncodegen.layers.")]
    concrete = {layer for layer in known if not known & set(layer.__subclasses__())}
    assert {layer.__name__ for layer in concrete} <= set(gncodegen.__all__)
    assert len(concrete) >= 27


def test_an_archive_is_refused(tmp_path):
    package = Path(gncodegen.__file__).parent
    with ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name in ("__init__.py", "errors.py"):
            archive.write(package / name, f"gncodegen/{name}")
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'archive.zip')!r})\ntry: import gncodegen\n"
    said = in_a_new_process(code + "except RuntimeError as error: print(type(error).__name__, error)")
    assert said.startswith("TargetError ")
    assert "lies in an archive, from which no templates and sources are read; allowed: gncodegen in a folder" in said


def test_unknown_names():
    with pytest.raises(AttributeError, match="gncodegen attribute zzz"):
        gncodegen.zzz  # noqa: B018
