"""The command line: what shows, compares, edits and times what was compiled."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cli.test_main import file, run

from gncodegen.passes.pipeline import STAGES
from gncodegen.process import trace

__all__ = ["file"]


def test_diff_and_one_layer(file, capsys):
    assert run("diff", "dce", "fuse", "--file", file) == 0
    out = capsys.readouterr().out
    assert any(line.startswith("-") and "gn.activation(" in line for line in out.splitlines())
    assert any(line.startswith("+") and "gn.group_norm(" in line for line in out.splitlines())
    assert run("inspect", "fuse", "--file", file, "--layer", "gn") == 0
    out = capsys.readouterr().out
    assert "%gn.scale" in out
    assert "gn.group_norm(" in out
    assert "gn.fully_connected(" not in out
    assert run("inspect", "fuse", "--file", file, "--layer", "gnn") == 2
    assert "there is no layer 'gnn'; write 'gn'" in capsys.readouterr().err


def test_run_ir(file, tmp_path, capsys):
    run("inspect", "gn", "--file", file, "--function", "predict", "--batch-size", 2)
    (tmp_path / "net.mlir").write_text(capsys.readouterr().out, encoding="utf-8")
    values = {"gn.scale": np.ones(6), "gn.offset": np.zeros(6), "fc.weights": np.ones((3, 6)), "fc.bias": np.zeros(3)}
    np.savez(tmp_path / "x.npz", x=np.ones((2, 6)), **values)
    assert run("run", "--ir", tmp_path / "net.mlir", tmp_path / "x.npz", "--json") == 0
    assert np.allclose(json.loads(capsys.readouterr().out)["y"], 1 / 3)
    assert run("run", tmp_path / "x.npz") == 2
    assert "allowed: one of them" in capsys.readouterr().err


def test_opt_lists_passes_and_plans_for_this_machine(file, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run("opt", "--help")
    out = capsys.readouterr().out
    assert re.search(r"^  gradients: \S", out, re.MULTILINE)
    assert "solver='sgdm'" in out
    assert max(map(len, out.splitlines())) <= 80
    run("inspect", "gn", "--file", file, "--function", "predict")
    (tmp_path / "net.mlir").write_text(capsys.readouterr().out, encoding="utf-8")
    run("inspect", "select", "--file", file, "--function", "predict")
    wanted = capsys.readouterr().out
    passes = ",".join(STAGES[1 : STAGES.index("select") + 1])
    assert run("opt", tmp_path / "net.mlir", "-p", passes) == 0
    assert capsys.readouterr().out == wanted


def test_a_schedule_in_words(file, capsys):
    run("inspect", "fully_connected_1", "--file", file, "--level", "explanation")
    prose, numbers = capsys.readouterr().out.splitlines()
    assert prose.startswith("Matrix product with a transposed factor: c[m, n] = ")
    assert "with vectors along k. Both factors are read in the order they lie in." in prose
    assert re.search(r"^Columns 3, depth 6, .*, lanes \d+, tile rows \d+, ", numbers)


@pytest.mark.full(like="cli/test_looking.py::test_edit")
def test_debug_tells_more_at_each_level(file, capsys, monkeypatch):
    texts = []
    for level in range(4):
        monkeypatch.setattr(trace, "environment", lambda level=level: SimpleNamespace(debug=level))
        assert run("inspect", "memory", "--file", file) == 0
        texts.append(capsys.readouterr().err)
    command = [sys.executable, "-m", "gncodegen", "inspect", "memory", "--file", file]
    environment = os.environ | {"GNCODEGEN_DEBUG": "4"}
    texts.append(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stderr)
    assert texts[0] == ""
    assert "Program(train_step: " in texts[1]
    assert "pass fuse: " in texts[2]
    assert re.search(r"plan group_norm of .*\n  taken: group_norm_\w+, \d+ tiles", texts[3])
    for less, more in itertools.pairwise(texts):
        assert len(more.splitlines()) >= len(less.splitlines())


def test_edit_in_a_folder_that_is_not_there_or_holds_a_wrong_kernel(file, tmp_path):
    folder = tmp_path / "new" / "folder"
    environment = os.environ | {"GNCODEGEN_OVERRIDE": str(folder)}
    for name in ("group_norm_1", "update_1"):
        command = [sys.executable, "-m", "gncodegen", "edit", name, "--file", file]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        path = Path(found.stdout.strip())
        assert path.parent == folder
        path.write_text("def kernel(tile, argv):\n    pass\n")


def test_edit(file, tmp_path, capsys):
    assert run("edit", "group_norm_1", "--file", file, "--override", tmp_path / "edited") == 0
    captured = capsys.readouterr()
    path = Path(captured.out.strip())
    assert path.parent == tmp_path / "edited"
    assert "GNCODEGEN_OVERRIDE=" in captured.err
    path.write_text(f"{path.read_text()}\n# mine\n")
    assert run("inspect", "group_norm_1", "--file", file, "--override", tmp_path / "edited") == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("# mine\n")
    assert "edited: " in captured.err
    assert run("edit", "group_norms_1", "--file", file, "--override", tmp_path / "edited") == 2
    assert "allowed: a kernel; write 'group_norm_1'" in capsys.readouterr().err
