"""Predictions of a file in blocks: what was done before a run ended is not done again, and ranks share the rest."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rank_trainings import layers
from support.ranks import ROOT, needs_mpi

import gncodegen as gnc
from gncodegen.cli import main
from gncodegen.cli.bulk import predict_file
from gncodegen.errors import ArrayError, OptionsError

X = np.arange(10 * 3, dtype=np.float32).reshape(10, 3)


class Doubling:
    """A network that gives up after some observations."""

    def __init__(self, most: int = 100) -> None:
        self.left, self.seen = most, list[float]()

    def predict(self, x: Any) -> Any:
        self.left -= len(x)
        if self.left < 0:
            raise KeyboardInterrupt
        self.seen += list(x[:, 0])
        return 2 * x[:, :2]


class Wide(Doubling):
    """One with 12 kB of outputs for an observation."""

    def predict(self, x: Any) -> Any:
        return np.repeat(super().predict(x), 1500, axis=1)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    np.save(tmp_path / "x.npy", X)
    return str(tmp_path / "x.npy"), str(tmp_path / "y.npy")


def test_a_run_goes_on_where_one_was_ended(files: tuple[str, str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict_file(Doubling(most=8), *files, block=3)
    assert not Path(files[1]).exists()
    net = Doubling()
    assert predict_file(net, *files, block=3) == (4, 2)
    assert net.seen == [0, 18, 21, 24, 27]  # the first tells the shape
    np.testing.assert_array_equal(np.load(files[1]), 2 * X[:, :2])
    assert sorted(path.name for path in Path(files[1]).parent.iterdir()) == ["x.npy", "y.npy"]


@pytest.mark.parametrize("other", [{"identity": "other"}, {"block": 4}])
def test_what_another_run_has_done_is_not_taken(files: tuple[str, str], other: dict[str, Any]) -> None:
    given = {"identity": "one", "block": 3}
    with pytest.raises(KeyboardInterrupt):
        predict_file(Doubling(most=8), *files, **given)
    assert predict_file(Doubling(), *files, **given | other)[1] == 0
    np.testing.assert_array_equal(np.load(files[1]), 2 * X[:, :2])


def test_what_cannot_be_is_refused(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionsError, match=r"no/y\.npy' cannot be written: No such file or directory"):
        predict_file(Doubling(), files[0], str(Path(files[0]).parent / "no" / "y.npy"))
    with pytest.raises(ArrayError, match=r"allowed with --ranks: a \.npy file"):
        predict_file(Doubling(), files[1], files[1])
    assert main(["run", "net", files[0], "--ranks", "2"]) == 2
    assert "--ranks 2 without --output" in capsys.readouterr().err


def test_a_disk_that_fills_up_is_told_and_what_did_not_fit_is_done_again(
    files: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # Python takes a .pyc that it wrote in part for done
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    class Filling(Wide):
        def predict(self, x: Any) -> Any:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]) if self.seen else before)
            return super().predict(x)

    try:
        with pytest.raises(OptionsError, match=r"--output .*y\.npy' cannot be written: .*; allowed: "):
            predict_file(Filling(), *files, block=3)  # the second block of 36 kB fits in part
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert predict_file(Wide(), *files, block=3) == (4, 1)
    np.testing.assert_array_equal(np.load(files[1]), np.repeat(2 * X[:, :2], 1500, axis=1))


@pytest.mark.full(like="cli/test_bulk.py::test_a_run_goes_on_where_one_was_ended")
@needs_mpi
def test_ranks_write_what_one_process_does(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(70_000, 4, 4, 2)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    net = gnc.compile(layers(), training=False, batch_size=22)
    net.save(tmp_path / "net")
    command = [sys.executable, "-m", "gncodegen", "run", "net", "x.npy", "--output", "y.npy", "--ranks", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    assert done.stdout == "Written to y.npy: 3 blocks, 0 of them by a run before.\n"
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), net.predict(x))
