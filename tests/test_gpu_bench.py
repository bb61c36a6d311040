"""bench/gpu.py without a GPU: its short form on the stub of the driver, and what becomes of rows that fail."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace

import pytest
from support.cuda_stub import library
from support.cuda_stub.libraries import lend_cupy, lend_torch

from bench import gpu
from bench.gpu_bundle import MOST_BYTES, SHORT, prepare
from bench.gpu_rows import SECTIONS, Session


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.full)], ids=["one network", "two"])
def bundle(tmp_path_factory, request):
    """The short form's, by default with the one network whose kernels other tests need, too."""
    if reason := library.missing():
        pytest.skip(reason)
    contents = replace(SHORT, specimens=SHORT.specimens[: request.param])
    return prepare(tmp_path_factory.mktemp("bundle"), "sm_90", contents)


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    """The script adds to it."""
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_the_short_form_on_the_stub(bundle, tmp_path):
    given = ["--short", "--rehearse", "--skip-peers", "--bundle", str(bundle.folder), "--out", str(tmp_path)]
    status = gpu.main(given)
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert status == 0, [row for row in rows if row.get("passed") is False]
    counts = Counter(row["section"] for row in rows)
    assert list(counts) == list(SECTIONS)
    compared = Counter(row["section"] for row in rows if row.get("passed"))
    assert compared == {"first": 5, "ops": len(bundle.entries("network")), "interop": 4}
    assert [row["kernels"] for row in rows if row["name"] == "compiled here"] == [0], "all were brought"
    assert all(row["ms"] > 0 for row in rows if row["section"] in ("steps", "norms", "convolutions"))
    tables = (tmp_path / "rows.md").read_text()
    assert all(f"## {section}\n" in tables for section in SECTIONS)


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_arrays_and_streams_of_other_libraries(bundle, stub, monkeypatch, name):
    if name == "torch":
        pytest.importorskip("torch", reason="torch is not installed")
    {"torch": lend_torch, "cupy": lend_cupy}[name](stub, monkeypatch)
    cases = Session(bundle, short=True, peers=True).cases("interop")
    rows = [case.make() for case in cases if case.name.endswith(f" of {name}")]
    assert [row.get("passed") for row in rows] == [True, True], rows


def test_a_bundle_is_small_and_holds_no_source(bundle):
    assert bundle.bytes < MOST_BYTES
    assert {path.suffix for path in (bundle.folder / "kernels").iterdir()} == {".cubin"}


def test_a_bundle_of_other_sources_is_refused(bundle, tmp_path, capsys):
    record = json.loads((bundle.folder / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**record, "digest": "other"}))
    assert gpu.main(["--bundle", str(tmp_path)]) == 101
    assert "other sources" in capsys.readouterr().err
    assert gpu.main(["--bundle", str(tmp_path / "nowhere")]) == 101
    assert "--prepare sm_90" in capsys.readouterr().err


SECTION = """
import json, os, sys, time
def say(**line): print(json.dumps(line), flush=True)
rows = ["good", "bad", "dies", "hangs", "last"]
for name in rows[int(sys.argv[-1]):]:
    say(begin=name)
    if name == "bad":
        say(name=name, passed=False, error="sticky")
        sys.exit(3)
    if name == "dies":
        print("aborted", file=sys.stderr, flush=True)
        os._exit(7)
    if name == "hangs":
        time.sleep(60)
    say(name=name, passed=True)
"""


def test_a_row_that_fails_costs_one_row():
    runner = gpu.Runner([sys.executable, "-c", SECTION], {})
    rows = list(runner.rows("any", seconds=60, row=3))
    assert [row["name"] for row in rows] == ["good", "bad", "dies", "hangs", "last"]
    assert [row["passed"] for row in rows] == [True, False, False, False, True]
    assert [row.get("error", "") for row in rows[2:4]] == ["ended with status 7: aborted", "said nothing for 3 s"]


def test_a_section_that_takes_too_long_is_stopped():
    runner = gpu.Runner([sys.executable, "-c", SECTION.replace('["good", ', '["hangs", "hangs", ')], {})
    rows = list(runner.rows("any", seconds=3, row=30))
    assert [row["name"] for row in rows] == ["hangs", "any"]
    assert "after 3 s" in rows[1]["error"]


def test_the_status_counts_rows_that_failed(tmp_path, capsys):
    results = gpu.Results(tmp_path)
    results.add("ops", {"name": "one", "passed": False, "error": "no"})
    results.add("ops", {"name": "two", "passed": True, "ms": 0.12345})
    results.end()
    assert results.failed == ["one"]
    assert "2 rows" in capsys.readouterr().out
    assert "| two | True |  | 0.1235 |" in (tmp_path / "rows.md").read_text()
