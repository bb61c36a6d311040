"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from support.onnx_models import small_model

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks_of(page: Path) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_tour_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = blocks_of(README)
    assert len(blocks) >= 2
    onnx.save(small_model(), "model.onnx")
    names = {"images": np.zeros((3, 3, 4, 4), np.float32)}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    out = capsys.readouterr().out
    assert "no issues" in out
    assert "gn.group_norm" in out
    assert "peak" in out
    assert names["y"].shape == (3, 5)
    assert (names["labels"] == names["data"].y_test).mean() > 0.9


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = README.parent / "docs" / "tutorial.md"
    names = {}
    for block in blocks_of(page):
        exec(compile(block, str(page), "exec"), names)
    out = capsys.readouterr().out
    assert "16 channels do not split into 5 groups" in out
    assert "whose outputs are no probabilities" in out
    assert names["analysis"].issues == ()
    assert (names["labels"] == names["data"].y_test).mean() > 0.9
    assert names["step"].loss(names["batch"], names["targets"]) > 0
    assert out.count("no issues") == 3


def test_commands_in_the_readme_exist():
    from gncodegen.cli import main

    text = README.read_text(encoding="utf-8")
    for command in set(re.findall(r"`?gncodegen (\w+)", text)) & {"demo", "inspect", "opt", "train", "compile", "run"}:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
