"""Several ranks train as one process does with the same mini-batches, and all of them return the same network."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.rank_trainings import CASES, X, Y, layers, options, result
from support.ranks import ROOT, needs_mpi, run, start

import gncodegen as gnc
from gncodegen.errors import OptionsError
from gncodegen.train.checkpoint import checkpoints

ON_RANKS = "import sys; from support.rank_trainings import on_all_ranks; on_all_ranks(sys.argv[1]"


@pytest.fixture(scope="module", params=[2, 3])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("ranks")
    run(request.param, f"{ON_RANKS})", folder)
    return request.param, folder


@needs_mpi
class TestTrainings:
    def test_as_one_process(self, trained: tuple[int, Path]) -> None:
        _, folder = trained
        for name in ("plain", "one bucket", "stream", "own streams"):
            wanted, found = result(*CASES[name]("auto")), np.load(folder / f"{name} 0.npz")
            assert wanted.keys() == set(found.files)
            for key, value in wanted.items():
                np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{name}: {key}")

    def test_all_ranks_have_the_same_bits(self, trained: tuple[int, Path]) -> None:
        ranks, folder = trained
        for name in CASES:
            first, *others = (np.load(folder / f"{name} {rank}.npz") for rank in range(ranks))
            for other in others:
                for key in first.files:
                    np.testing.assert_array_equal(other[key], first[key], err_msg=f"{name}: {key}")

    def test_the_same_bits_again_and_for_every_bucket_size(self, trained: tuple[int, Path]) -> None:
        _, folder = trained
        plain, again, one = (np.load(folder / f"{name} 0.npz") for name in ("plain", "again", "one bucket"))
        for key in plain.files:
            np.testing.assert_array_equal(again[key], plain[key], err_msg=key)
            np.testing.assert_array_equal(one[key], plain[key], err_msg=key)

    def test_population_statistics_are_of_all_observations(self, trained: tuple[int, Path]) -> None:
        _, folder = trained
        found = np.load(folder / "batch norm 0.npz")
        names = [name.removeprefix("parameter ") for name in found.files if name.startswith("parameter ")]
        net = gnc.compile(layers(gnc.BatchNormalizationLayer()), training=False, batch_size=22)
        for name in names:
            net.parameters[name] = found[f"parameter {name}"]
        before = net.activations(X, "conv_1").astype(np.float64)
        np.testing.assert_allclose(found["parameter batchnorm_1.trained_mean"], before.mean((0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(found["parameter batchnorm_1.trained_variance"], before.var((0, 1, 2)), rtol=1e-5)


@needs_mpi
def test_one_rank_has_the_bits_of_a_process_without_ranks(tmp_path: Path) -> None:
    run(1, f"{ON_RANKS}, 'plain')", tmp_path)
    found = np.load(tmp_path / "plain 0.npz")
    for key, value in result(*CASES["plain"]("auto")).items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_one_process_takes_other_environments_at_their_word() -> None:
    with pytest.raises(OptionsError, match=r"multi-gpu.*under mpiexec"):
        options("multi-gpu")


FAULTY = """
    import os, signal, sys, time
    import numpy as np
    import gncodegen as gnc
    from mpi4py import MPI
    from support.rank_trainings import X, Y, layers, options

    fault, folder = sys.argv[1:]
    rank = MPI.COMM_WORLD.Get_rank()

    def data(epoch, rank, ranks):
        for number, start in enumerate(range(0, 21, 7)):
            if fault == "has no data" and rank == 1 and (epoch, number) == (2, 2):
                raise ValueError("the file ends here")
            if fault == "waits":
                time.sleep(0.02)
            x = X[start : start + 7][rank::ranks].copy()
            if fault == "has a NaN" and rank == 1 and (epoch, number) == (2, 1):
                x[0, 0, 0, 0] = np.nan
            yield x, Y[start : start + 7][rank::ranks]

    def rate(epoch, iteration):
        if rank == 1 and iteration == 5:
            if fault == "raises":
                raise ValueError("no rate today")
            if fault == "stalls":
                time.sleep(60)
            if fault == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
        return 0.05

    chosen = options(
        "parallel", learn_rate_schedule=rate, max_epochs=500 if fault == "waits" else 3, checkpoint_path=folder,
        validation_data=None, checkpoint_frequency_unit="iteration", rank_timeout=1 if fault == "stalls" else 60,
        verbose=fault == "waits", verbose_frequency=1,
    )
    net, info = gnc.train_network(data, None, layers(), chosen)
    sys.stdout.write(f"{rank} {info.stop_reason} {len(info.training_loss)}\\n")
"""


def _goes_on(folder: Path, last: int) -> None:
    """The last checkpoint is of that iteration, and one process takes it up."""
    assert checkpoints(folder)[-1].name == f"checkpoint_{last:08d}"
    chosen = options("auto", checkpoint_path=folder, validation_data=None, learn_rate_schedule=lambda *_: 0.05)

    def data(epoch: int):
        return [(X[start : start + 7], Y[start : start + 7]) for start in range(0, 21, 7)]

    _, info = gnc.train_network(data, None, layers(), chosen, resume=folder)
    assert len(info.training_loss) == 9
    assert np.isfinite(info.training_loss).all()


@needs_mpi
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("has no data", "rank 1 failed with ValueError: the file ends here"),
        ("raises", "rank 1 of 2 ends the job:"),
        ("stalls", "rank 0 waited 1 s for rank 1"),
        ("is killed", "signal 9"),
    ],
)
def test_a_faulty_rank_ends_the_job_and_one_process_goes_on(tmp_path: Path, fault: str, message: str) -> None:
    out, err = run(2, FAULTY, fault, tmp_path, expected=None)
    assert message in out + err
    _goes_on(tmp_path, 4)


@needs_mpi
def test_a_nan_on_one_rank_stops_all_in_the_same_iteration(tmp_path: Path) -> None:
    out, _ = run(2, FAULTY, "has a NaN", tmp_path)
    assert sorted(out.splitlines()) == [f"{rank} training-loss-is-nan 5" for rank in range(2)]


@needs_mpi
def test_an_interrupted_job_ends_after_an_iteration(tmp_path: Path) -> None:
    job = start(2, FAULTY, "waits", tmp_path)
    assert job.stdout is not None
    while not re.match(r"\| +\d+ \| +5 \|", job.stdout.readline()):
        assert job.poll() is None
    job.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, _ = job.communicate(timeout=30)
    assert time.monotonic() - began < 20
    ends = [line.split() for line in out.splitlines() if "interrupted" in line and line[0].isdigit()]
    assert len(ends) == 2
    assert ends[0][2] == ends[1][2]
    assert checkpoints(tmp_path)[-1].name == f"checkpoint_{int(ends[0][2]):08d}"


@needs_mpi
def test_the_command_line_starts_ranks(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from support.rank_trainings import X as x, Y as y, layers, options\n"
        'layers, options = layers(), options("auto", verbose=True, verbose_frequency=100)\n',
        encoding="utf-8",
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-m", "gncodegen", "train", "net.py", "--output", "out", "--ranks", "2"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stderr
    assert done.stdout.count("Saved in out.") == done.stdout.count("Training finished") == 1
    net, wanted = gnc.load(tmp_path / "out"), CASES["plain"]("auto")[0]
    for name, value in wanted.compiled.parameters.items():
        np.testing.assert_allclose(net.compiled.parameters[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    refused = subprocess.run(
        [*command[:-1], "0"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert refused.returncode == 2
    assert "--ranks 0; allowed: 1 or more; write --ranks 2" in refused.stderr
