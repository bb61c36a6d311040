"""Compiles many kernels at once: this process and worker processes take paths from one queue.

Numba's compiler holds a lock, so processes, not threads, share the work. A worker imports a module and calls its
`compile_source(path)`; it reads a request and answers a word and a text, a JSON value per line each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from gncodegen.cache import files, locks
from gncodegen.cache.folder import is_private, log
from gncodegen.environment import environment
from gncodegen.errors import CompileError, GncodegenError
from gncodegen.process.signals import Uninterrupted, imported
from gncodegen.process.waiting import Waiting

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


MOST_HERE = 40
"""Kernels that one process compiles by itself: Numba keeps up to a megabyte of each, other processes give it back."""


@dataclass
class _Queue:
    """Sources to compile, the longest first, so that no process is left with one of them at the end.

    Args:
        paths: what is left; a path that another program's process compiles at the moment goes back to the end.
        suffix: of the last file that a compilation writes beside a source.
        module: full name of the module with `compile_source`.
        waiting: who is told of each that is done.
    """

    paths: deque[Path]
    suffix: str
    module: str
    waiting: Waiting
    failures: list[str] = field(default_factory=list[str])
    here: ClassVar[int] = 0  # kernels that this process has compiled

    def next(self) -> Path | None:
        """The next path, unless all are done."""
        try:
            return self.paths.popleft()
        except IndexError:
            return None


def compile_missing(paths: Iterable[Path], suffix: str, module: str) -> int:
    """Compiles every source that has no file with `suffix` beside it; returns how many there were.

    Args:
        paths: source files.
        suffix: of the last file that `compile_source` writes beside a source.
        module: full name of the module with `compile_source`.

    Raises:
        CompileError: some did not compile; one text for all.
    """
    found = [path for path in dict.fromkeys(paths) if files.read(path.with_suffix(suffix)) is None]
    if not found:
        return 0
    waiting = Waiting("compiling kernels", len(found))
    queue = _Queue(deque(sorted(found, key=_size, reverse=True)), suffix, module, waiting)
    helpers = _workers(found)
    waits = _Queue.here >= MOST_HERE and environment().compile_workers != 1
    threads = [threading.Thread(target=_drive_worker, args=(queue,), daemon=True) for _ in range(helpers + waits)]
    for thread in threads:
        thread.start()
    try:
        with waiting:
            compile_source = imported(module).compile_source
            if not waits:
                _compile_all(queue, compile_source)
            for thread in threads:
                thread.join()
            _compile_all(queue, compile_source)  # what a worker that died gave back
    finally:
        queue.paths.clear()  # interrupted: workers end after the kernel that they are at
    if queue.failures:
        raise CompileError("\n".join(queue.failures))
    return len(found)


def _workers(paths: list[Path]) -> int:
    """How many processes help this one: none where they could not write what this one reads, or cannot be started."""
    from gncodegen.targets.cpu.threads import cores  # noqa: PLC0415  imported where it is needed

    if not sys.executable or any(map(is_private, paths)):
        return 0
    return min(environment().compile_workers or cores(), max(1, len(paths) // 2)) - 1


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _compile_all(queue: _Queue, compile_source: Callable[[Path], None]) -> None:
    """Compiles what is in the queue; waits for other programs only where nothing else is left."""
    busy = 0
    while (path := queue.next()) is not None:
        if compile_once(path, queue.suffix, compile_source, wait=busy > len(queue.paths)):
            busy = 0
            _Queue.here += 1
            queue.waiting.advance()
        else:
            queue.paths.append(path)
            busy += 1


def compile_once(path: Path, suffix: str, compile_source: Callable[[Path], None], wait: bool) -> bool:
    """Compiles a source unless another process does, or has done; returns whether it is compiled.

    Args:
        path: of the source.
        suffix: of the last file that `compile_source` writes.
        compile_source: the compiler.
        wait: for another process that compiles it; False = return False then.
    """
    with locks.held(path, wait) as free:
        if not free:
            return False
        if files.read(path.with_suffix(suffix)) is None:
            with Uninterrupted():  # Numba does not come back to where it was cut off
                compile_source(path)
        return True


def _drive_worker(queue: _Queue) -> None:
    """Feeds one worker process from the shared queue, one path at a time; what it leaves undone goes back."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "encoding": "ascii"}
    path = None
    try:
        with subprocess.Popen(command(queue.module), **pipes) as process:
            assert process.stdin
            assert process.stdout
            if process.stdout.readline().strip() != "ready":
                return
            while (path := queue.next()) is not None:
                print(json.dumps([str(path), queue.suffix, False]), file=process.stdin, flush=True)
                word, text = json.loads(process.stdout.readline())
                if word == "failed":
                    queue.failures.append(text)
                if word == "busy":
                    queue.paths.append(path)
                    path = None
                    return  # another program's processes compile: this one, which can wait, does the rest
                path = None
                queue.waiting.advance()
    except (OSError, ValueError):  # it could not be started, or died
        log.info("a compile worker died; its work is done in this process")
    finally:
        if path is not None:
            queue.paths.append(path)


def serve(module: str) -> None:
    """A worker: requests on stdin, ["done" or "busy" or "failed", text] on stdout, one a line.

    A request is [path, suffix, whether to wait for another process that compiles it instead of answering "busy"].
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C here too; the parent knows what to do
    # Imported before the first path arrives, so that no path waits for it.
    compiler = import_module(module)
    compiler.prepare()

    _say("ready")
    for line in sys.stdin:
        path, suffix, wait = json.loads(line)
        try:
            done = compile_once(Path(path), suffix, compiler.compile_source, wait)
            answer = ("done" if done else "busy", "")
        except GncodegenError as error:
            answer = ("failed", str(error))
        _say(json.dumps(answer))


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # the parent is gone
        os._exit(0)
