"""One program for any number of observations: what other numbers than the batch size cost, in time, files and memory.

python bench/observations.py [--net small] [--batch 64] [--rounds 20] [--save NAME]
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from nets import NETS, Net
from record import save

import gncodegen as gnc

COUNTS = (1, 7, 64, 1000)
"""Observations of predictions that are timed beside a program tuned for them."""

NEW = (3, 5, 11, 23, 47)
"""Numbers whose first call is timed."""

KEPT = 200
"""Results of one observation that are kept."""

MAPPED = 246_000_000
"""Bytes of the memory map, about."""

NORMALIZED = (5, 8, 10)
"""Images of 56² positions and 64 channels, 4 to 8 MB, whose group norm and relu are timed beside PyTorch's."""

TURN = 0.02
"""Seconds of calls of each program before the other's turn."""


def _seconds(call: Callable[..., object], *arguments: Any, least: float = 0) -> float:
    """Of one call, over as many as take `least` seconds."""
    begin, calls, passed = perf_counter(), 0, -1.0
    while passed < least:
        call(*arguments)
        calls, passed = calls + 1, perf_counter() - begin
    return passed / calls


def predictions(net: Net, batch: int, rounds: int) -> list[dict[str, Any]]:
    """A row per number: milliseconds of the program tuned for the batch and of one tuned for the number, in turn."""
    rows: list[dict[str, Any]] = []
    compiled = gnc.compile(net.layers(), training=False, batch_size=batch)
    for count in COUNTS:
        x = net.data(count)[0]
        tuned = gnc.compile(net.layers(), training=False, batch_size=count)
        times: dict[str, list[float]] = {"any": [], "tuned": []}
        turns = {"any": compiled, "tuned": tuned}
        for number in range(rounds):
            for name in sorted(turns, reverse=number % 2 > 0):
                times[name].append(_seconds(turns[name].predict, x, least=TURN))
        ratio = median(a / b for a, b in zip(times["any"], times["tuned"], strict=True))
        rows.append({"observations": count, "ratio": ratio} | {k: 1e3 * median(v) for k, v in times.items()})
    return rows


def normalizations(rounds: int) -> list[dict[str, Any]]:
    """A row per number of images: milliseconds of a group norm and a relu, and what PyTorch's better format takes."""
    import torch

    compiled = gnc.compile(
        [gnc.ImageInputLayer((56, 56, 64), normalization="none"), gnc.GroupNormalizationLayer(8), gnc.ReluLayer()],
        training=False, batch_size=NORMALIZED[-1],
    )  # fmt: skip
    module = torch.nn.Sequential(torch.nn.GroupNorm(8, 64), torch.nn.ReLU(inplace=True))
    rows: list[dict[str, Any]] = []
    for count in NORMALIZED:
        x = np.random.default_rng(0).standard_normal((count, 56, 56, 64), np.float32)
        images = torch.from_numpy(x).permute(0, 3, 1, 2)
        given = {"PyTorch NCHW": images.contiguous(), "PyTorch channels-last": images}
        times: dict[str, list[float]] = {name: [] for name in ("gncodegen", *given)}
        with torch.inference_mode():
            np.testing.assert_allclose(module(images).permute(0, 2, 3, 1).numpy(), compiled.predict(x), atol=1e-5)
            for _ in range(rounds):
                times["gncodegen"].append(_seconds(compiled.predict, x, least=TURN))
                for name, tensor in given.items():
                    times[name].append(_seconds(module, tensor, least=TURN))
        found = {name: 1e3 * median(each) for name, each in times.items()}
        best = min(found[name] for name in given)
        rows.append({"observations": count, "bytes": x.nbytes, "ratio": best / found["gncodegen"]} | found)
    return rows


def _files(compiled: gnc.Compiled) -> set[Path]:
    """The kernels of all functions that were asked for."""
    return {source.path for lowered in compiled._functions.known for source in lowered.sources.values()}


def _resident() -> int:
    """Bytes of memory of this process that no file backs."""
    found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found
    return int(found[1]) << 10


def first_calls(net: Net, batch: int) -> dict[str, Any]:
    """Milliseconds of the first call of new numbers, and how many kernels they add."""
    compiled = gnc.compile(net.layers(), batch_size=batch)
    x, labels = net.data(batch)
    compiled.predict(x)
    compiled.gradients(x, labels)
    compiled.train_step(x, labels)
    before = _files(compiled)
    found: dict[str, Any] = {}
    for name, counts in (("predict", NEW), ("gradients", (48,)), ("train_step", (48,))):
        call = getattr(compiled, name)
        given = [(x[:count],) if name == "predict" else (x[:count], labels[:count]) for count in counts]
        found[f"{name}: ms"] = 1e3 * median(_seconds(call, *each) for each in given)
    return found | {"new kernels": len(_files(compiled) - before)}


def kept_results(net: Net, batch: int) -> dict[str, Any]:
    """Bytes that the first layer's results of one image hold when many are kept."""
    compiled = gnc.compile(net.layers()[:2], training=False, batch_size=batch)
    x = net.data(1)[0]
    compiled.predict(x)
    before = _resident()
    results = [compiled.predict(x) for _ in range(KEPT)]
    return {"bytes of the results": sum(y.nbytes for y in results), "bytes held": _resident() - before}


def memory_map(net: Net, batch: int) -> dict[str, Any]:
    """Bytes that the prediction of a memory map of uint8 takes; what it is converted in stays for the next call."""
    compiled = gnc.compile(net.layers(), training=False, batch_size=batch)
    count = MAPPED // int(np.prod(net.size))
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(count * int(np.prod(net.size)))
        x = np.memmap(file.name, np.uint8, "r", shape=(count, *net.size))
        compiled.predict(x[:batch])
        before = _resident()
        y = compiled.predict(x)
        taken = _resident() - before
    return {"bytes of the map": x.nbytes, "bytes of the result": y.nbytes, "bytes taken": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="small", help="part of its name")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--save", default="")
    given = parser.parse_args()
    net = next(net for net in NETS if given.net in net.name)
    rows = predictions(net, given.batch, given.rounds)
    for row in rows:
        print("predict of {observations}: {any:.3f} ms, tuned {tuned:.3f} ms, {ratio:.2f} ×".format(**row))
    norms = normalizations(given.rounds)
    for row in norms:
        print("group norm and relu of {bytes:,} bytes: {gncodegen:.3f} ms, {ratio:.2f} × PyTorch".format(**row))
    results: dict[str, Any] = {"net": net.name, "batch": given.batch, "predict": rows, "normalizations": norms}
    for measure in (first_calls, kept_results, memory_map):
        found = measure(net, given.batch)
        results[measure.__name__] = found
        print(f"{measure.__name__}: " + ", ".join(f"{name} {value:,.4g}" for name, value in found.items()))
    if given.save:
        print(save(given.save, results))


if __name__ == "__main__":
    main()
