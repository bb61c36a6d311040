"""Compiles many kernels at once: this process and worker processes take paths from one queue.

Numba's compiler holds a lock, so processes, not threads, share the work. A worker imports a module and calls its
`compile_source(path)`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from gncodegen.environment import environment
from gncodegen.errors import CompileError

_START = """
import sys
root, module = sys.argv[1:]
sys.path[:0] = [] if root in sys.path else [root]
from gncodegen.targets.workers import serve
serve(module)
"""


def command(module: str) -> list[str]:
    """The command of a worker: it finds this package where it lies, and no module in the user's folder."""
    return [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2]), module]


def compile_missing(paths: Iterable[Path], suffix: str, module: str) -> int:
    """Compiles every source that has no file with `suffix` beside it; returns how many there were.

    Args:
        paths: source files.
        suffix: of the last file that `compile_source` writes beside a source.
        module: full name of the module with `compile_source`.

    Raises:
        CompileError: some did not compile; one text for all.
    """
    found = dict.fromkeys(path for path in paths if not path.with_suffix(suffix).exists())
    # The longest first, so that no process is left with one of them at the end.
    missing = deque(sorted(found, key=lambda path: path.stat().st_size, reverse=True))
    count = len(missing)
    if not count:
        return 0
    from gncodegen.targets.cpu.threads import cores  # noqa: PLC0415  imported where it is needed

    workers = min(environment().compile_workers or cores(), max(1, count // 2)) - 1
    failures: list[str] = []
    arguments = (missing, failures, module)
    threads = [threading.Thread(target=_drive_worker, args=arguments, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    compile_source = import_module(module).compile_source
    while True:
        try:
            path = missing.popleft()
        except IndexError:
            break
        compile_source(path)
    for thread in threads:
        thread.join()
    if failures:
        raise CompileError("\n".join(failures))
    return count


def _drive_worker(missing: deque[Path], failures: list[str], module: str) -> None:
    """Feeds one worker process from the shared queue, one path at a time."""
    with subprocess.Popen(command(module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline().strip() != "ready":
            return
        while True:
            try:
                path = missing.popleft()
            except IndexError:
                return
            print(path, file=process.stdin, flush=True)
            answer = process.stdout.readline().strip()
            if answer != "done":
                failures.append(answer.replace("\\n", "\n") or f"the compile worker died on {path}")
                return


def serve(module: str) -> None:
    """A worker: paths on stdin, "done" or an error text per line on stdout."""
    # Imported before the first path arrives, so that no path waits for it.
    compiler = import_module(module)
    compiler.prepare()

    print("ready", flush=True)
    for line in sys.stdin:
        try:
            compiler.compile_source(Path(line.strip()))
            print("done", flush=True)
        except CompileError as error:
            print(str(error).replace("\n", "\\n"), flush=True)
