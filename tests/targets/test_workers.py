"""Compile workers: this process and others share one queue of sources, and one text tells all that failed."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gncodegen import environment as module
from gncodegen.cache import files, locks
from gncodegen.errors import CompileError
from gncodegen.targets import workers
from gncodegen.targets.cpu import compile as compiler

SOURCE = """
from gncodegen.targets.cpu.intrinsics import float64, pointer

def kernel(tile, argv):
    pointer(argv, 0, float64)[tile] = {value}
"""


@pytest.fixture(autouse=True)
def _two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(module.environment(), compile_workers=2)
    monkeypatch.setattr(workers, "environment", lambda: settings)
    monkeypatch.setattr(workers._Queue, "here", 0)  # whatever other tests had this process compile


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The worker processes that were started."""
    found: list[object] = []
    drive = workers._drive_worker

    def seen(*arguments: object) -> None:
        found.append(arguments)
        drive(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(workers, "_drive_worker", seen)
    return found


def sources(folder: Path, values: list[str]) -> list[Path]:
    paths = [folder / f"source_{number}.py" for number in range(len(values))]
    for path, value in zip(paths, values, strict=True):
        files.write(path, SOURCE.format(value=value).encode())
    return paths


def test_two_processes_compile_what_is_missing(tmp_path: Path, started: list[object]) -> None:
    paths = sources(tmp_path, [f"{number}.0" for number in range(5)])
    compiler.compile_source(paths[0])
    assert compiler.compile_missing([*paths, *paths]) == 4
    assert len(started) == 1
    assert all(path.with_suffix(".o").exists() for path in paths)
    assert compiler.compile_missing(paths) == 0


def test_what_failed_is_told_with_its_file(tmp_path: Path, started: list[object]) -> None:
    with pytest.raises(CompileError, match=r"(?s)source_\d\.py:\d+ does not compile.*no_such_name"):
        compiler.compile_missing(sources(tmp_path, ["no_such_name"] * 4))
    assert len(started) == 1


def test_a_process_that_compiled_much_leaves_the_rest_to_workers(
    tmp_path: Path, started: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers._Queue, "here", workers.MOST_HERE)
    (path,) = sources(tmp_path, ["1.0"])
    assert compiler.compile_missing([path]) == 1
    assert len(started) == 1
    assert workers._Queue.here == workers.MOST_HERE, "nothing was compiled here"


def test_a_worker_waits_for_another_process_where_it_is_asked_to(tmp_path: Path) -> None:
    (path,) = sources(tmp_path, ["1.0"])
    with subprocess.Popen(
        workers.command("gncodegen.targets.cpu.compile"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        with locks.held(path, wait=True):
            print(json.dumps([str(path), ".o", False]), file=process.stdin, flush=True)
            assert json.loads(process.stdout.readline()) == ["busy", ""]
            print(json.dumps([str(path), ".o", True]), file=process.stdin, flush=True)
            assert not select.select([process.stdout], [], [], 0.3)[0], "it does not wait"
        assert json.loads(process.stdout.readline()) == ["done", ""]
        process.stdin.close()
    assert path.with_suffix(".o").exists()


def test_a_worker_whose_parent_is_gone_ends_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "nothing_to_compile.py").write_text("def prepare(): pass\n")
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run(
        workers.command("nothing_to_compile"), stdin=subprocess.DEVNULL, stdout=written, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True, check=False,
    )  # fmt: skip
    os.close(written)
    assert (done.returncode, done.stderr) == (0, "")


ARCHITECTURES = """
import gc, resource
from pathlib import Path

import numpy as np

import gncodegen as gnc
from gncodegen.targets import workers

workers.MOST_HERE = 3
for number in range(1, 25):
    x = np.ones((2, number, 5, 3), np.float32)
    net = gnc.compile([gnc.ImageInputLayer(x.shape[1:], normalization="none"), gnc.TanhLayer()], batch_size=2)
    net.predict(x)
    del net
    if number in (6, 24):
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        print(pages * resource.getpagesize() / 2**20)
"""


@pytest.mark.full(like="targets/test_workers.py::test_a_process_that_compiled_much_leaves_the_rest_to_workers")
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_many_architectures_leave_no_memory_behind(tmp_path: Path) -> None:
    environment = os.environ | {"GNCODEGEN_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-c", ARCHITECTURES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    early, late = map(float, done.stdout.split())
    assert late - early < 8, "megabytes; each architecture left 8 behind"
