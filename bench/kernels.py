"""Single kernels on the CPU against PyTorch, torch.compile and JAX, in turn in one process: medians, ratios, floors.

python bench/kernels.py [--only TEXT] [--rounds 15] [--peers eager,compiled,jax] [--threads 2]

A case is one op in one direction at one shape. The floor is the time of copying the bytes that must move, between as
many distinct tensors as the op touches; convolutions show GFLOP/s instead. Packing weights is part of our
time. Every contender runs once untimed before it is timed.
"""

from __future__ import annotations

import argparse
import os
from statistics import geometric_mean, median
from time import perf_counter
from typing import Any

from kernel_cases import Call, Case, cases
from record import save


def timed(calls: dict[str, Call], rounds: int, least: float = 0.004) -> dict[str, float]:
    """Median seconds of one call each; in every round each contender runs once, for at least `least` seconds."""
    counts: dict[str, int] = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        began = perf_counter()
        call()
        counts[name] = max(1, int(least / max(perf_counter() - began, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # what the other contenders left in the caches is not this one's fault
            began = perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((perf_counter() - began) / counts[name])
    return {name: median(values) for name, values in times.items()}


def _floor(nbytes: int, copies: float, tensors: int) -> Call:
    """Copies between distinct tensors, as many as the op touches: what must move, and what caches can keep of it."""
    import torch

    kept = [torch.randn(nbytes // 4) for _ in range(tensors)]
    moves = [(kept[2 * i % tensors], kept[(2 * i + 1) % tensors]) for i in range(int(copies))]
    if copies % 1:
        rest = int(len(kept[0]) * (copies % 1))
        moves.append((kept[-1][:rest], kept[0][:rest]))
    return lambda: [target.copy_(source) for source, target in moves]


def measure(case: Case, rounds: int, peers: set[str]) -> dict[str, Any]:
    """One row: milliseconds of each contender, our ratio to the best peer, and to the floor or GFLOP/s."""
    calls = {"gncodegen": case.ours()}
    if "eager" in peers:
        calls |= {"NCHW": case.torch(False), "channels-last": case.torch(True)}
    if "compiled" in peers and case.compiled:
        calls["compiled"] = case.compiled()
    if "jax" in peers and case.jax:
        calls["JAX"] = case.jax()
    if case.copies:
        calls["floor"] = _floor(case.bytes, case.copies, case.tensors)
    times = timed(calls, rounds)
    best = min((t for name, t in times.items() if name not in ("gncodegen", "floor")), default=0.0)
    row: dict[str, Any] = {"name": case.name, "kind": case.kind} | {k: 1e3 * t for k, t in times.items()}
    row["best peer / ours"] = best / times["gncodegen"]
    if case.copies:
        row["ours / floor"] = times["gncodegen"] / times["floor"]
        row["MB"] = case.bytes / 1e6
    if case.flops:
        row["GFLOP/s"] = case.flops / times["gncodegen"] / 1e9
    return row


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Geometric means and worst cases per kind."""
    lines = [
        "| kind | best peer / ours, geomean | worst | ours / floor over 1 MB, geomean | worst |",
        "|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        ratios = [row["best peer / ours"] for row in rows if row["kind"] == kind]
        floors = [row["ours / floor"] for row in rows if row["kind"] == kind and row.get("MB", 0) > 1] or [float("nan")]
        means = geometric_mean(ratios), min(ratios), geometric_mean(floors), max(floors)
        lines.append(f"| {kind} | " + " | ".join(f"{value:.2f}" for value in means) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=15, help="measured rounds (default 15)")
    parser.add_argument("--peers", default="eager,compiled,jax", help="which (default eager,compiled,jax)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every contender")
    parser.add_argument("--no-save", action="store_true", help="do not write bench/results/<cpu>/kernels.json")
    given = parser.parse_args()
    os.environ["GNCODEGEN_THREADS"] = str(given.threads)
    import torch

    torch.set_num_threads(given.threads)
    peers, rows = set(given.peers.split(",")), []
    for case in cases():
        if given.only in case.name:
            row = measure(case, given.rounds, peers)
            rows.append(row)
            shown = (f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float))
            print(f"{case.name:62} {'  '.join(shown)}", flush=True)
    print("\n".join(["", *summary(rows)]))
    if not given.no_save:
        print(save("kernels", {"threads": given.threads, "rounds": given.rounds, "rows": rows}))


if __name__ == "__main__":
    main()
