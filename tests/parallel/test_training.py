"""Several ranks train as one process does with the same mini-batches, and all of them return the same network."""

from __future__ import annotations

import mmap
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.rank_trainings import ALIKE, CASES, X, Y, layers, options, result
from support.ranks import ROOT, needs_mpi, run, start

import gncodegen as gnc
from gncodegen.cli import main
from gncodegen.train.checkpoint import checkpoints

RUNS = {2: (*CASES, "again", "one rank"), 3: ("plain", "own streams", "again")}
"""Ranks → what they train, in one run of mpiexec."""

SAME = ("plain", "again", "one bucket")
"""What has the same bits."""


@pytest.fixture(scope="module")
def unbroken() -> dict[str, dict[str, np.ndarray]]:
    """What one process makes of the cases in which it makes the same."""
    return {name: result(*CASES[name]("auto")) for name in ALIKE}


def _trained(ranks: int, folders: pytest.TempPathFactory) -> Path:
    folder = folders.mktemp("ranks")
    code = "import sys; from support.rank_trainings import on_all_ranks; on_all_ranks(*sys.argv[1:])"
    run(ranks, code, folder, *RUNS[ranks])
    return folder


@pytest.fixture(scope="module")
def on_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(2, tmp_path_factory)


@pytest.fixture(scope="module")
def on_3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _trained(3, tmp_path_factory)


@pytest.fixture(params=list(RUNS))
def trained(request: pytest.FixtureRequest) -> tuple[int, Path]:
    return request.param, request.getfixturevalue(f"on_{request.param}")


@needs_mpi
class TestTrainings:
    def test_as_one_process(self, trained: tuple[int, Path], unbroken: dict[str, dict[str, np.ndarray]]) -> None:
        ranks, folder = trained
        for name in (each for each in RUNS[ranks] if each in ALIKE):
            wanted, found = unbroken[name], np.load(folder / f"{name} 0.npz")
            assert wanted.keys() == set(found.files)
            tolerance = 1e-6 if "synchronized" in name else 1e-5
            for key, value in wanted.items():
                np.testing.assert_allclose(found[key], value, tolerance, tolerance, err_msg=f"{name}: {key}")

    def test_all_ranks_have_the_same_bits(self, trained: tuple[int, Path]) -> None:
        ranks, folder = trained
        for name in RUNS[ranks]:
            first, *others = (np.load(folder / f"{name} {rank}.npz") for rank in range(ranks))
            for other in others:
                for key in first.files:
                    np.testing.assert_array_equal(other[key], first[key], err_msg=f"{name}: {key}")

    def test_the_same_bits_again_and_for_every_bucket_size(self, trained: tuple[int, Path]) -> None:
        ranks, folder = trained
        plain, *others = (np.load(folder / f"{name} 0.npz") for name in SAME if name in RUNS[ranks])
        for other in others:
            for key in plain.files:
                np.testing.assert_array_equal(other[key], plain[key], err_msg=key)

    def test_one_rank_has_the_bits_of_a_process_without_ranks(
        self, on_2: Path, unbroken: dict[str, dict[str, np.ndarray]]
    ) -> None:
        found = np.load(on_2 / "one rank 0.npz")
        for key, value in unbroken["plain"].items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)

    def test_population_statistics_are_of_all_observations(self, on_2: Path) -> None:
        found = np.load(on_2 / "batch norm 0.npz")
        names = [name.removeprefix("parameter ") for name in found.files if name.startswith("parameter ")]
        net = gnc.compile(layers(gnc.BatchNormalizationLayer()), training=False, batch_size=22)
        for name in names:
            net.parameters[name] = found[f"parameter {name}"]
        before = net.activations(X, "conv_1").astype(np.float64)
        np.testing.assert_allclose(found["parameter batchnorm_1.trained_mean"], before.mean((0, 1, 2)), atol=1e-6)
        np.testing.assert_allclose(found["parameter batchnorm_1.trained_variance"], before.var((0, 1, 2)), rtol=1e-5)


READING = """
    import ctypes, sys
    import numpy as np
    import gncodegen as gnc
    from mpi4py import MPI

    rank, (path, columns, normalization) = MPI.COMM_WORLD.Get_rank(), sys.argv[1:]
    x = np.memmap(path, np.float32, "r").reshape(-1, int(columns))
    own = {number for number in range(len(x)) if number % 4 // 2 == rank}  # a half of each mini-batch
    if normalization != "none":
        own |= set(range(len(x) // 2 * rank, len(x) // 2 * (rank + 1)))  # and a half of all, for the statistics
    for number in set(range(len(x))) - own:
        assert not ctypes.CDLL(None).mprotect(ctypes.c_void_p(x[number].ctypes.data), x.strides[0], 0)
    layers = [
        gnc.FeatureInputLayer(x.shape[1], normalization=normalization), gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]
    options = gnc.training_options(
        "sgdm", mini_batch_size=4, max_epochs=1, shuffle="never", verbose=False, execution_environment="parallel"
    )
    gnc.train_network(x, np.arange(len(x)) % 2, layers, options)
    sys.stdout.write(f"rank {rank} read {len(own)}\\n")
"""


@needs_mpi
@pytest.mark.skipif(sys.platform == "win32", reason="no memory can be taken away here")
@pytest.mark.parametrize(
    ("normalization", "read"), [("none", 8), pytest.param("zerocenter", 12, marks=pytest.mark.full)]
)
def test_a_rank_reads_its_share_of_a_memory_mapped_file_only(tmp_path: Path, normalization: str, read: int) -> None:
    """Other observations lie in pages that it may not read: one that does is killed."""
    np.ones((16, mmap.PAGESIZE // 4), np.float32).tofile(tmp_path / "x")
    out, _ = run(2, READING, tmp_path / "x", mmap.PAGESIZE // 4, normalization)
    assert sorted(out.splitlines()) == [f"rank {rank} read {read}" for rank in range(2)]


FAULTY = """
    import os, signal, sys, time
    from pathlib import Path
    import numpy as np
    import gncodegen as gnc
    from mpi4py import MPI
    from support.rank_trainings import X, Y, layers, options

    rank = MPI.COMM_WORLD.Get_rank()

    def train(fault, folder):
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
            "parallel", learn_rate_schedule=rate, max_epochs=500 if fault == "waits" else 3, validation_data=None,
            checkpoint_path=folder, checkpoint_frequency_unit="iteration", rank_timeout=1 if fault == "stalls" else 60,
            verbose=fault == "waits", verbose_frequency=1,
        )
        return gnc.train_network(data, None, layers(), chosen)[1]

    for fault in sys.argv[2:]:
        try:
            info = train(fault, Path(sys.argv[1]) / fault)
            sys.stdout.write(f"{rank} {info.stop_reason} {len(info.training_loss)}\\n")
        except (ValueError, gnc.GncodegenError) as error:
            sys.stdout.write(f"{rank} {error}\\n")
"""


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """The losses of a training without faults."""
    return _resumed(None).training_loss


def _resumed(folder: Path | None) -> gnc.TrainingInfo:
    """One process takes up the last checkpoint, or trains from the beginning."""
    chosen = options("auto", checkpoint_path=folder, validation_data=None, learn_rate_schedule=lambda *_: 0.05)

    def data(epoch: int) -> Any:
        return [(X[start : start + 7], Y[start : start + 7]) for start in range(0, 21, 7)]

    return gnc.train_network(data, None, layers(), chosen, resume=folder)[1]


def _goes_on(folder: Path, last: int, whole: np.ndarray) -> None:
    """The last checkpoint is of that iteration, and with it one process goes on to what it has without a fault."""
    assert checkpoints(folder)[-1].name == f"checkpoint_{last:08d}"
    np.testing.assert_allclose(_resumed(folder).training_loss, whole, rtol=1e-5)


@pytest.mark.few
@needs_mpi
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raises", "rank 1 of 2 ends the job:"),
        ("stalls", "rank 0 waited 1 s for rank 1"),
        ("is killed", "signal 9"),
    ],
)
def test_a_faulty_rank_ends_the_job_and_one_process_goes_on(
    tmp_path: Path, whole: np.ndarray, fault: str, message: str
) -> None:
    out, err = run(2, FAULTY, tmp_path, fault, expected=None)
    assert message in out + err
    _goes_on(tmp_path / fault, 4, whole)


@needs_mpi
def test_what_is_wrong_with_one_rank_s_data_all_are_told(tmp_path: Path, whole: np.ndarray) -> None:
    out, _ = run(2, FAULTY, tmp_path, "has no data", "has a NaN")
    told = "rank 1 failed with ValueError: the file ends here; this is rank 0"
    nan = [f"{rank} training-loss-is-nan 5" for rank in range(2)]
    assert sorted(out.splitlines()) == sorted([f"0 {told}", "1 the file ends here", *nan])
    _goes_on(tmp_path / "has no data", 4, whole)  # a stream is one batch ahead, to know the last


@needs_mpi
def test_an_error_of_the_script_itself_ends_the_job() -> None:
    code = """
        import time
        from gncodegen.parallel.mpi import communicator

        if communicator(60).Get_rank() == 1:
            raise ValueError("not of a training")
        time.sleep(60)
    """
    _, err = run(2, code, expected=None)
    assert "ValueError: not of a training\nrank 1 of 2 ended with this error and ends the job" in err


@needs_mpi
def test_a_rank_that_never_begins_is_not_waited_for_without_a_limit() -> None:
    code = """
        import os, time
        from gncodegen.parallel.mpi import communicator

        communicator(0.5) if os.environ["PMI_RANK"] == "0" else time.sleep(60)
    """
    _, err = run(2, code, expected=None)
    assert "Timeout (0:00:00.5" in err
    assert "_waits_for_all_ranks_to_begin" in err


@needs_mpi
def test_an_interrupted_job_ends_after_an_iteration(tmp_path: Path) -> None:
    job = start(2, FAULTY, tmp_path, "waits")
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
    assert checkpoints(tmp_path / "waits")[-1].name == f"checkpoint_{int(ends[0][2]):08d}"


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


def test_no_ranks_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "net.py", "--output", "out", "--ranks", "0"]) == 2
    assert "--ranks 0; allowed: 1 to " in capsys.readouterr().err
