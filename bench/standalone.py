"""Exported Python files beside the networks that they were made of: the same bits; times of predictions and steps.

python bench/standalone.py [--only TEXT] [--batches 1,64] [--rounds 15]

Each contender is a process of its own, and they take turns. A ratio is the median over pairs of turns, each of which
saw the same machine.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import sleep
from typing import Any

import numpy as np
from networks import PAUSE
from record import save

WHO, KINDS = ("original", "exported"), ("predict", "step")

CONTENDER = """
import sys
from time import perf_counter

import numpy as np

if sys.argv[1] == "exported":
    sys.modules["gncodegen"] = None
    import net
else:
    import gncodegen
    net = gncodegen.load("saved")
with np.load("given.npz") as given:
    x, t = given["x"], given["t"]
calls = {"predict": lambda: net.predict(x), "step": lambda: net.train_step(x, t)}
for line in sys.stdin:
    if line == "bits\\n":
        print(net.predict(x).tobytes().hex(), *(net.train_step(x, t).hex() for _ in range(3)),
              net.predict(x).tobytes().hex(), flush=True)
        continue
    call, count, passed = calls[line.strip()], 0, 0.0
    call()
    began = perf_counter()
    while passed < 0.15:
        call()
        count, passed = count + 1, perf_counter() - began
    print(1e3 * passed / count, flush=True)
"""
"""A process that does what the lines of its input say: it tells its results' bits, or the milliseconds of a call."""


def told(process: subprocess.Popen[str], what: str) -> str:
    """What a contender answers."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def compared(folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Kind of call → milliseconds of both, and how many times those of the original the exported file takes."""
    command = [sys.executable, "-c", CONTENDER]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = {who: subprocess.Popen([*command, who], cwd=folder, **pipes) for who in WHO}
    try:
        bits = [told(process, "bits") for process in processes.values()]
        assert bits[0], "a contender ended"
        assert bits[0] == bits[1], "the exported file computes other bits"
        times: dict[str, dict[str, list[float]]] = {kind: {who: [] for who in WHO} for kind in KINDS}
        for number in range(rounds):
            for kind in KINDS:
                for who in WHO if number % 2 else WHO[::-1]:
                    sleep(PAUSE)
                    times[kind][who].append(float(told(processes[who], kind)))
    finally:
        for process in processes.values():
            process.communicate()
    return {
        kind: {
            "milliseconds": {who: median(of[who]) for who in WHO},
            "ratio": median(b / a for a, b in zip(of["original"], of["exported"], strict=True)),
        }
        for kind, of in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--batches", default="1,64", help="observations of a call (default 1,64)")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of turns (default 15)")
    parser.add_argument("--no-save", action="store_true", help="do not write bench/results/<cpu>/standalone.json")
    given = parser.parse_args()
    from nets import RESNET20, SMALL

    import gncodegen as gnc

    rows: list[dict[str, Any]] = []
    for net in (SMALL, RESNET20):
        for batch in map(int, given.batches.split(",") if given.only in net.name else ()):
            with tempfile.TemporaryDirectory(prefix="standalone-") as place:
                folder, (x, t) = Path(place), net.data(batch)
                compiled = gnc.compile(net.layers(), batch_size=batch)
                compiled.save(folder / "saved")
                compiled.export(folder / "net.py", training=True)
                np.savez(folder / "given.npz", x=x, t=t)
                found = compared(folder, given.rounds)
            for kind, row in found.items():
                rows.append({"net": net.name, "what": kind, "batch": batch, **row})
                shown = "  ".join(f"{who} {value:.4g} ms" for who, value in row["milliseconds"].items())
                print(f"{net.name:42} {kind:8} batch {batch:3}  {row['ratio']:.3f} × original  {shown}", flush=True)
    if not given.no_save:
        print(save("standalone", {"rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
