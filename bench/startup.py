"""Seconds of a process from its first line to its first result: with an empty cache, and with a full one.

    python bench/startup.py [--rounds 5] [--no-save]

"import", "compile" and "first" are the import of gncodegen and NumPy, `gnc.compile` and the first call. Python's own
start is left out. Budgets: 5 s for the small network's step from nothing, 12 s for ResNet-20-GN's, 0.35 s warm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from record import save

FUNCTIONS = ("predict", "train_step")
PARTS = ("import", "compile", "first")


ONCE = """
import sys
from time import perf_counter

name, function = sys.argv[1:]
begin = perf_counter()
import gncodegen as gnc
import numpy

imported = perf_counter() - begin
import nets

net, step = getattr(nets, name), function == "train_step"
x, t = net.data()
begin = perf_counter()
compiled = gnc.compile(net.layers(), training=step, batch_size=net.batch)
middle = perf_counter()
compiled.train_step(x, t) if step else compiled.predict(x)
print([imported, middle - begin, perf_counter() - middle])
"""
"""What a process does that is measured: nothing else is imported before."""


def started(name: str, function: str, folder: str) -> list[float]:
    """The seconds of each part, in a process with this cache."""
    paths = os.pathsep.join([str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    environment = {**os.environ, "GNCODEGEN_CACHE_DIR": folder, "PYTHONPATH": paths}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", ONCE, name, function]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(said)


def main() -> None:
    """Prints a row for each network and function, and keeps them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="starts with a full cache")
    parser.add_argument("--no-save", action="store_true", help="do not write bench/results/<cpu>/startup.json")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("network", "function", "cold", "warm", *PARTS, sep="\t")
    for name in ("SMALL", "RESNET20"):
        for function in FUNCTIONS:
            with tempfile.TemporaryDirectory(prefix="startup-") as folder:
                cold = sum(started(name, function, folder))
                warm = [started(name, function, folder) for _ in range(given.rounds)]
            parts = {part: median(column) for part, column in zip(PARTS, zip(*warm, strict=True), strict=True)}
            row = {"network": name, "function": function, "cold": cold, "warm": median(map(sum, warm)), **parts}
            print(*(f"{each:.3g}" if isinstance(each, float) else each for each in row.values()), sep="\t", flush=True)
            rows.append(row)
    if not given.no_save:
        save("startup", rows)


if __name__ == "__main__":
    main()
