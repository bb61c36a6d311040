"""The CUDA target in the few minutes that a GPU is at hand: whether it runs, whether it is right, how fast it is.

    python bench/gpu.py --prepare sm_90     where the compiler is: makes the bundle bench/gpu_bundle
    python bench/gpu.py                     where the GPU is, with the checkout and the bundle
    python bench/gpu.py --short --rehearse  anywhere: every line of it on the stub of the driver in tests/support

The GPU machine needs Python 3.11 or later, NumPy, Jinja2, Numba, cuda.core and, for peers and interop, PyTorch and
CuPy; nothing is compiled there that the bundle has. Each section is a process with a time limit. Rows are printed, and
written to `rows.jsonl` in the folder --out, as they come, and as tables to `rows.md` at the end. A row that fails costs
that row: its process is started again at the next. The exit status is the number of rows that failed, at most 100.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NEXT = 3
"""The exit status of a section's process that wants to be started again at the next row."""

Row = dict[str, Any]


# ---- a section's process ---------------------------------------------------------------------------------------------


def work(given: argparse.Namespace) -> int:
    """Makes the rows of one section, each announced before it begins; ends at the first that fails."""
    from bench.gpu_bundle import Bundle
    from bench.gpu_peers import said
    from bench.gpu_rows import Session

    session = Session(Bundle(given.bundle), given.short, not given.skip_peers)
    for case in session.cases(given.section)[given.skip :]:
        _say({"begin": case.name})
        try:
            if given.only in case.name:
                _say({"name": case.name, **case.make()})
        except Exception as error:
            _say({"name": case.name, "passed": False, "error": said(error, 600)})
            return NEXT  # after an error of the GPU nothing in this process works
    return 0


def _say(line: Row) -> None:
    print(json.dumps(line), flush=True)


# ---- the process that starts them ------------------------------------------------------------------------------------


@dataclass
class Runner:
    """Starts a section's processes.

    Args:
        command: of one; `--section NAME --skip ROWS` come behind it.
        environment: its variables.
    """

    command: Sequence[str]
    environment: dict[str, str]

    def rows(self, section: str, seconds: float, row: float) -> Iterator[Row]:
        """The rows of a section, of which each may take `row` and all `seconds`."""
        skip, end = 0, monotonic() + seconds
        while True:
            begun, status = 0, 0
            for line in self._lines([*self.command, "--section", section, "--skip", str(skip)], row, end):
                if "begin" in line:
                    begun += 1
                elif "status" in line:
                    status = line["status"]
                else:
                    yield line
            skip += begun
            if status == 0:
                return
            if not begun or monotonic() > end:
                if monotonic() > end:
                    yield {"name": section, "passed": False, "error": f"was stopped after {seconds:.0f} s"}
                return

    def _lines(self, command: list[str], row: float, end: float) -> Iterator[Row]:
        """What a process says, then its exit status; a process that says nothing for too long is ended."""
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment
        )
        said: queue.Queue[str | None] = queue.Queue()
        errors: list[str | None] = []
        takers = ((process.stdout, said.put), (process.stderr, errors.append))
        readers = [threading.Thread(target=_read, args=taker) for taker in takers]
        for reader in readers:
            reader.start()
        at, why = "", ""
        try:
            while (text := said.get(timeout=max(min(row, end - monotonic()), 0.1))) is not None:
                line = json.loads(text)
                at = line.get("begin", "")
                yield line
        except queue.Empty:
            why = f"said nothing for {row:.0f} s"
        finally:
            if why or sys.exc_info()[0] is not None:
                process.kill()
            for reader in readers:
                reader.join()
            status = process.wait()
        if status not in (0, NEXT):
            why = why or f"ended with status {status}: {_end(errors)}"
            yield {"name": at or "its process", "passed": False, "error": why}
        yield {"status": status}


def _read(stream: Any, take: Any) -> None:
    for text in stream:
        take(text)
    take(None)


def _end(lines: list[str | None]) -> str:
    """The end of what a process wrote, in one line."""
    return " ".join("".join(filter(None, lines)).split())[-400:]


# ---- results ---------------------------------------------------------------------------------------------------------


class Results:
    """Rows as they come, on the screen and in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sections = folder, dict[str, list[Row]]()
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "rows.jsonl").open("w", encoding="utf-8")

    def add(self, section: str, row: Row) -> None:
        """Prints and writes a row."""
        self.sections.setdefault(section, []).append(row)
        self._file.write(json.dumps({"section": section, **row}, ensure_ascii=False) + "\n")
        self._file.flush()
        print(f"{section}: " + ", ".join(_cell(row[key], f"{key} ") for key in row), flush=True)

    @property
    def failed(self) -> list[str]:
        """Names of rows that failed."""
        return [row["name"] for rows in self.sections.values() for row in rows if row.get("passed") is False]

    def end(self) -> None:
        """Writes the tables, and prints how many failed."""
        self._file.close()
        tables = (f"## {section}\n\n{table(rows)}\n" for section, rows in self.sections.items())
        (self.folder / "rows.md").write_text("\n".join(tables), encoding="utf-8")
        count = sum(map(len, self.sections.values()))
        print(f"{count} rows in {self.folder}, {len(self.failed)} failed{': ' if self.failed else ''}", end="")
        print(", ".join(self.failed))


def table(rows: list[Row]) -> str:
    """Rows as a markdown table; columns in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(_cell(row.get(c, "")) for c in columns) + " |" for row in rows)])


def _cell(value: Any, label: str = "") -> str:
    return label + (f"{value:.4g}" if isinstance(value, float) else str(value))


# ---- the command -----------------------------------------------------------------------------------------------------


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "bench" / "gpu_bundle", help="folder of the bundle")
    parser.add_argument("--prepare", metavar="SM", help="make the bundle for an architecture and stop")
    parser.add_argument("--out", type=Path, help="folder of the results (default $OUT, else bench/results/gpu)")
    parser.add_argument("--short", action="store_true", help="a few rows of each kind, hardly timed")
    parser.add_argument("--rehearse", action="store_true", help="on the stub of the driver, without a GPU")
    parser.add_argument("--sections", default="", help="some of them, between commas")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--skip-peers", action="store_true", help="no PyTorch, no CuPy")
    parser.add_argument("--seconds", type=float, default=540, help="start no section after this long")
    for name, kind, start in (("--section", str, ""), ("--skip", int, 0), ("--stub", Path, None)):
        parser.add_argument(name, type=kind, default=start, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    given = parsed(arguments)
    sys.path.insert(0, str(ROOT))
    sys.path.append(str(given.bundle / "packages.zip"))
    from gncodegen.errors import GncodegenError

    try:
        if given.section:
            with _stub(given.stub) if given.stub else nullcontext():
                return work(given)
        return _prepare(given) if given.prepare else run(given)
    except GncodegenError as error:
        print(error, file=sys.stderr)
        return 101


def _stub(kernels: Path) -> AbstractContextManager[Any]:
    """The stub of the driver; the kernels' PTX lies in that cache folder."""
    sys.path.append(str(ROOT / "tests"))
    from support.cuda_stub.library import running

    return running(kernels)


def _prepare(given: argparse.Namespace) -> int:
    from bench.gpu_bundle import SHORT, prepare

    bundle = prepare(given.bundle, given.prepare, SHORT if given.short else None)
    print(f"{given.bundle}: {bundle.bytes:,} bytes, for {bundle.architecture}")
    return 0


def run(given: argparse.Namespace) -> int:
    """Runs the sections; returns how many rows failed."""
    from bench.gpu_bundle import Bundle
    from bench.gpu_rows import SECTIONS
    from gncodegen.environment import environment

    Bundle(given.bundle).check()
    results = Results(given.out or Path(os.environ.get("OUT") or ROOT / "bench" / "results" / "gpu"))
    began, chosen = monotonic(), given.sections.split(",") if given.sections else list(SECTIONS)
    with TemporaryDirectory() as cache:
        variables = {**os.environ, "GNCODEGEN_CACHE_DIR": cache}
        command = [sys.executable, str(Path(__file__).resolve())]
        if given.rehearse:
            command += ["--stub", str(environment().cache_dir)]
        command += ["--bundle", str(given.bundle), "--only", given.only]
        command += [name for name in ("--short", "--skip-peers") if getattr(given, name[2:].replace("-", "_"))]
        runner = Runner(command, variables)
        for name in chosen:
            left = given.seconds - (monotonic() - began)
            if left < 0:
                results.add(name, {"name": name, "left out": f"after {given.seconds:.0f} s"})
                continue
            for row in runner.rows(name, min(SECTIONS[name].seconds, max(left, 30)), SECTIONS[name].row):
                results.add(name, row)
            if name == "first" and "machine" in results.failed:
                break
    results.end()
    return min(len(results.failed), 100)


if __name__ == "__main__":
    sys.exit(main())
