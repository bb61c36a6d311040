"""Loading: a folder is complete, named, shaped and finite where it must be, or it is refused with one sentence."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save
from support.states import damage, state

import gncodegen as gnc
from gncodegen import compiler, loading, saving
from gncodegen.errors import GncodegenError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saving.write(state(), tmp_path / "net")
    return tmp_path / "net"


def rewrite(folder: Path, **changes: Any) -> None:
    """Changes entries of the record; a nested one is named "hyperparameters__seed"."""
    record = json.loads((folder / saving.RECORD).read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        holder = record
        for key in outer:
            holder = holder[key]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    (folder / saving.RECORD).write_text(json.dumps(record))


def change_arrays(folder: Path, part: str, changes: dict[str, Any], rename: bool = True) -> None:
    """Changes arrays of a saved folder, with a name that fits the content."""
    record = json.loads((folder / saving.RECORD).read_text())
    index = saving.PARTS.index(part)
    path = folder / record["files"][index]
    arrays = load(path.read_bytes()) | changes
    content = save({name: value for name, value in arrays.items() if value is not None})
    path.write_bytes(content)
    if rename:
        name = saving.part_name(part, content)
        path.rename(folder / name)
        record["files"][index] = name
        (folder / saving.RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hyperparameters": 5}, "hyperparameters = 5, which is no dict"),
        ({"hyperparameters__momentum": None}, "hyperparameters lack momentum"),
        ({"hyperparameters__rate": 1.0}, "no hyperparameter 'rate'; there are learn_rate"),
        (
            {"hyperparameters__learn_rate": float("nan")},
            "hyperparameter learn_rate = nan; allowed: a finite number ≥ 0",
        ),
        ({"hyperparameters__learn_rate": float("inf")}, "hyperparameter learn_rate = inf; allowed: a finite number"),
        ({"hyperparameters__learn_rate": "0.1"}, "hyperparameter learn_rate = '0.1'; allowed: a finite number"),
        ({"hyperparameters__momentum": 7}, "hyperparameter momentum = 7; allowed: a number from 0 to 1"),
        ({"hyperparameters__seed": 10**400}, "hyperparameter seed = 1000.*; allowed: an int, 0 or more"),
        ({"hyperparameters__seed": True}, "hyperparameter seed = True; allowed: an int, 0 or more"),
        ({"steps": -1}, "steps = -1, which is out of range"),
        ({"steps": "3"}, "steps = 3, which is no int"),
        ({"trained": 1}, "trained = 1, which is no bool"),
        ({"files": ["../arrays.safetensors", "solver"]}, "files = .*, which are not those of arrays and solver"),
        ({"files": None}, "files = None, which is no list"),
        ({"network__inputs": []}, "8 layers, 0 lists of inputs"),
        ({"network__inputs": [["x"]] * 8}, "there is no layer 'x'"),
        ({"network__inputs": [[]] * 8}, "'conv' has 1 inputs, of which 0 are fed"),
        ({"network__outputs": 7}, "holds no saved network: TypeError"),
        ({"options__batch_size": 0}, "batch_size = 0; allowed: a positive int"),
        ({"options__speed": 1}, "holds no saved network: TypeError.*'speed'"),
        ({"layers": [5]}, "network.json has layers, which no save writes"),
        ({"options": None}, "options = None, which is no dict"),
    ],
)
def test_records_that_are_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(GncodegenError, match=said):
        loading.read(folder, {})


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("arrays", {"conv.weights": None}, r"lacks conv.weights"),
        ("arrays", {"fc.weights": np.ones((3, 145), "f4")}, r"has fc.weights \(3, 145\) of F32, not \(3, 144\)"),
        ("arrays", {"fc.weights": np.ones((3, 144), "i4")}, r"fc.weights \(3, 144\) of I32, not .* of F16, F32"),
        ("arrays", {"velocity/conv.weights": np.ones(2, "f4")}, "velocity/conv.weights .*, not nothing of that name"),
        ("arrays", {"fc.epsilon": np.ones(2, "f4")}, "fc.epsilon .* not nothing of that name"),
        ("arrays", {"imageinput.mean": np.ones(2, "i4")}, r"imageinput.mean \(2,\) of I32, not \(2,\) of F16, F32"),
        ("solver", {"velocity/conv.weights": None}, "lacks velocity/conv.weights"),
        ("solver", {"velocity/fc.bias": np.ones((1, 3), "f4")}, r"velocity/fc.bias \(1, 3\) of F32, not \(3,\)"),
        ("solver", {"speed/fc.bias": np.ones(3, "f4")}, "speed/fc.bias .* not nothing of that name"),
    ],
)  # fmt: skip
def test_arrays_that_are_refused(folder: Path, part: str, changes: dict[str, Any], said: str) -> None:
    change_arrays(folder, part, changes)
    with pytest.raises(gnc.NetworkError, match=f"holds no saved network: {part}-.*{said}"):
        loading.read(folder, {})


def test_statistics_of_another_shape_are_refused(folder: Path) -> None:
    change_arrays(folder, "arrays", {"imageinput.mean": np.ones((7, 7, 2), "f4")})
    with pytest.raises(
        gnc.LayerError, match=r'mean has shape \(7, 7, 2\); allowed: \(2,\) for "channel" or \(6, 6, 2\)'
    ):
        loading.read(folder, {})


ADDED = {"num_inputs": 1, "constant": np.ones((1, 6, 1)), "constant_learn_rate_factor": 1}
FLAT = gnc.ImageInputLayer((6, 6, 2), normalization="none")
SHAPED = {
    "mean of each element": gnc.ImageInputLayer((6, 6, 2), mean=np.ones((6, 6, 2))),
    "one mean": gnc.ImageInputLayer((6, 6, 2), mean=3.0),
    "not used": gnc.ImageInputLayer((6, 6, 2), normalization="none", mean=3.0),
    "matrix": [FLAT, gnc.MatrixProductLayer(constant=np.ones((2, 5)))],
    "learned": [
        FLAT,
        gnc.ElementwiseLayer("add", num_inputs=1, constant=np.ones((1, 6, 1)), constant_learn_rate_factor=1),
    ],
}


@pytest.mark.parametrize("kind", SHAPED)
def test_arrays_that_give_layers_their_shapes_are_read_first(tmp_path: Path, kind: str) -> None:
    layers = SHAPED[kind] if isinstance(SHAPED[kind], list) else [SHAPED[kind]]
    saved = state(layers=[*layers, gnc.FullyConnectedLayer(3), gnc.RegressionLayer()])
    saving.write(saved, tmp_path / "net")
    loaded = loading.read(tmp_path / "net", {})
    assert loaded.network.layers == saved.network.with_values(dict(saved.values)).layers
    assert {name: each.shape for name, each in loaded.values.items()} == {
        name: each.shape for name, each in saved.network.parameters.items()
    }
    assert loaded.solver.keys() == saved.solver.keys()
    compiler._remember(SimpleNamespace(network=saved.network, options=saved.options))
    shapes = {name: each.shape for name, each in compiler.last(training=False).network.parameters.items()}
    assert shapes == {name: each.shape for name, each in saved.network.parameters.items()}


def test_arrays_that_were_changed_are_refused(folder: Path) -> None:
    change_arrays(folder, "arrays", {"conv.weights": np.full((3, 3, 2, 4), np.nan, "f4")}, rename=False)
    with pytest.raises(gnc.NetworkError, match=r"was changed since it was written; allowed: a folder that save wrote"):
        loading.read(folder, {})


@pytest.mark.parametrize("name", [saving.RECORD, "arrays", "solver"])
@pytest.mark.parametrize("kind", ["fifo", "folder", "gone", "huge"])
def test_what_is_no_file_is_refused_at_once(folder: Path, name: str, kind: str) -> None:
    path = next(path for path in folder.iterdir() if path.name.startswith(name))
    content = path.read_bytes()
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":  # a hole of a terabyte behind what was there
        path.write_bytes(content)
        os.truncate(path, 1 << 40)
    with pytest.raises(
        gnc.NetworkError, match=rf"{re.escape(str(folder))} holds no saved network: .*; allowed: a folder"
    ):
        loading.read(folder, {})


def test_sizes_are_checked_before_memory_is_asked_for(tmp_path: Path) -> None:
    layers = [gnc.FeatureInputLayer(2, normalization="none"), gnc.FullyConnectedLayer(3), gnc.RegressionLayer()]
    saving.write(state(layers=layers), tmp_path)
    record = json.loads((tmp_path / saving.RECORD).read_text())
    record["network"]["layers"][1]["outputs"] = 1 << 40
    (tmp_path / saving.RECORD).write_text(json.dumps(record))
    with pytest.raises(gnc.NetworkError, match=r"fc_1.bias \(3,\) of F32, not \(1099511627776,\)"):
        loading.read(tmp_path, {})


def test_deep_json(folder: Path) -> None:
    for text in ("[" * 100_000, '{"a":' * 100_000, "nul", "\xff", "[]", "7"):
        (folder / saving.RECORD).write_text(text, encoding="latin-1")
        with pytest.raises(gnc.NetworkError, match="holds no saved network"):
            loading.read(folder, {})


def test_options_of_the_caller_are_named(folder: Path) -> None:
    with pytest.raises(gnc.OptionsError, match=r"batchsize: no such option; allowed: .*; write batch_size=…"):
        gnc.load(folder, batchsize=1)
    with pytest.raises(gnc.OptionsError, match="batch_size = 0; allowed: a positive int"):
        gnc.load(folder, batch_size=0)
    with pytest.raises(gnc.ArrayError, match="data_format = 'XYZ'; allowed"):
        gnc.load(folder, data_format="XYZ")


@pytest.mark.parametrize("count", [200, pytest.param(5000, marks=pytest.mark.full)])
def test_drawn_damage_is_refused_or_harmless(folder: Path, tmp_path: Path, count: int) -> None:
    draw, refused = random.Random(count), 0
    for number in range(count):
        other = tmp_path / "other"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(folder, other)
        damage(other, draw)
        try:
            found = loading.read(other, {})
        except GncodegenError:
            refused += 1
        else:
            shapes = {name: parameter.shape for name, parameter in found.network.parameters.items()}
            assert {name: value.shape for name, value in found.values.items()} == shapes, number
    assert count / 2 < refused < count
