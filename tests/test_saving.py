"""Saving: the folder holds the old state or the new one, whole, whatever happens meanwhile."""

from __future__ import annotations

import os
import resource
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from support.states import killed_at, state

import gncodegen as gnc
from gncodegen import loading, saving
from gncodegen.cache import disk, locks

FOREIGN = "notes.txt"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a saved state, and a file of the user's."""
    saving.write(state(1.0), tmp_path / "net")
    (tmp_path / "net" / FOREIGN).write_text("mine")
    return tmp_path / "net"


def fill(folder: Path) -> set[float]:
    """What the arrays of a saved state are filled with, and a third of its steps."""
    found = loading.read(folder, {})
    arrays = (*found.values.values(), *found.solver.values())
    return {float(number) for array in arrays for number in np.unique(array)} | {found.steps / 3}


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.full)])
def test_a_kill_at_any_line_leaves_one_of_both(folder: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(disk.os, "fsync", lambda handle: None)  # takes most of the time, and a kill loses no writes
    before, line, seen = contents(folder), 1, set()
    new = state(2.0, steps=6)
    while killed_at(line, lambda: saving.write(new, folder), saving, disk, locks):
        now = fill(folder)
        assert now in ({1.0}, {2.0}), f"killed at line {line}: {now}"
        seen |= now
        saving.write(state(1.0), folder)
        assert contents(folder) == before, "what was left is gone after the next"
        line += step
    assert line > 40
    assert seen == {1.0, 2.0}
    assert fill(folder) == {2.0}


@pytest.fixture
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """With files that may not grow: Python takes a .pyc that it wrote in part for done."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


@pytest.mark.usefixtures("no_bytecode")
def test_what_cannot_be_written_leaves_the_old_state_and_nothing_else(folder: Path) -> None:
    before, limits = contents(folder), resource.getrlimit(resource.RLIMIT_FSIZE)
    sizes = [len(content) - 1 for name, content in before.items() if name != FOREIGN]
    for size in (0, *sizes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (min(size, max(sizes)), limits[1]))
        try:
            for place in (folder, folder.parent / "fresh"):
                with pytest.raises(gnc.SaveError, match="cannot be written: File too large; allowed: a place with"):
                    saving.write(state(2.0), place)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert contents(folder) == before
        assert not (folder.parent / "fresh").exists()


def test_places_that_cannot_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (folder / FOREIGN, folder / FOREIGN / "below", Path("/dev/null/net"), folder / ("x" * 300)):
        with pytest.raises(gnc.SaveError, match=r"cannot be written: .*; allowed: a place"):
            saving.write(state(), place)
    before = contents(folder)

    def refuse(*arguments: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(disk.os, "open", refuse)
    with pytest.raises(gnc.SaveError, match="cannot be written: Read-only file system"):
        saving.write(state(2.0), folder)
    monkeypatch.undo()
    assert contents(folder) == before


@pytest.mark.usefixtures("no_bytecode")
def test_a_file_holds_the_old_content_or_the_new(tmp_path: Path) -> None:
    path, limits = tmp_path / "y.npy", resource.getrlimit(resource.RLIMIT_FSIZE)
    saving.write_file(path, b"old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, limits[1]))
    try:
        with pytest.raises(gnc.SaveError, match=r"File too large; .*what was there before is as it"):
            saving.write_file(path, b"much longer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == {"y.npy": b"old"}
    with pytest.raises(gnc.SaveError, match="Is a directory"):
        saving.write_file(tmp_path, b"new")


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    saving.write_file(tmp_path / "pipe", b"new")
    assert os.read(reading, 9) == b"new"
    os.close(reading)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_files_have_the_modes_of_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        saving.write(state(), tmp_path / "net")
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "net").iterdir()}
    assert modes == {0o666 & ~umask}


def test_names_that_look_like_others(tmp_path: Path) -> None:
    names = ["a", "a/in", "velocity:a", "velocity/a", "a.weights", "in"]
    layers = [gnc.FeatureInputLayer(2, normalization="none"), *(gnc.FullyConnectedLayer(2, name=n) for n in names)]
    saved = state(layers=[*layers, gnc.RegressionLayer()])
    for number, value in enumerate(saved.values.values()):
        value[...] = number
    saving.write(saved, tmp_path)
    found = loading.read(tmp_path, {})
    assert [layer.name for layer in found.network.layers] == [layer.name for layer in saved.network.layers]
    assert found.network.connections == saved.network.connections
    assert found.network.graph.connections == saved.network.connections
    for name, value in saved.values.items():
        np.testing.assert_array_equal(found.values[name], value, err_msg=name)


def test_saves_at_the_same_time(folder: Path) -> None:
    children = []
    for number in range(1, 5):
        pid = os.fork()
        if pid == 0:
            for _ in range(10):
                saving.write(state(float(number), steps=3 * number), folder)
            os._exit(0)
        children.append(pid)
    for _ in range(60):
        assert len(fill(folder)) == 1
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
    assert len(contents(folder)) == 4


def test_a_state_comes_back(tmp_path: Path) -> None:
    saved = state(solver="adam")
    saving.write(saved, tmp_path / "\n ü")
    found = loading.read(tmp_path / "\n ü", {"batch_size": 9})
    assert (found.steps, found.hyperparameters) == (saved.steps, saved.hyperparameters)
    assert found.options.batch_size == 9
    assert found.solver.keys() == saved.solver.keys()
