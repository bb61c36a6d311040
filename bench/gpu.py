"""The CUDA target on a GPU: correctness against the CPU target, then timings against PyTorch, as a table and JSON.

python bench/gpu.py [--bundle FOLDER] [--prepare sm_90] [--emulate] [--skip-peers] [--seconds 420] [--output FILE]

`--prepare` makes the bundle on a machine that has the compiler; the folder then goes to the GPU machine, which needs
NumPy, cuda.core and, for the peers, PyTorch. Without a bundle one is made first. `--emulate` checks the correctness
part of the script in the PTX emulator, without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]
os.environ.setdefault("GNCODEGEN_CACHE_DIR", str(ROOT / "bench" / "gpu_bundle" / "cache"))

import numpy as np  # noqa: E402

from bench.gpu_bundle import Bundle, Entry, prepare  # noqa: E402
from bench.gpu_peers import Torch, milliseconds  # noqa: E402
from gncodegen.errors import GncodegenError  # noqa: E402
from gncodegen.kernels.hyperparameters import slot  # noqa: E402
from gncodegen.kernels.solvers import STATE_ARRAYS  # noqa: E402

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}
"""Largest difference from the CPU target, relative to the largest magnitude of the array or 0.01."""


class Session:
    """Programs of a bundle on one device."""

    def __init__(self, device: Any, bundle: Bundle) -> None:
        self.device, self.bundle = device, bundle

    def kernels(self, entry: Entry) -> dict[str, Any]:
        """The loaded kernels of an entry."""
        program = entry.program
        return {name: self.device.load(entry.sources[name], schedule) for name, schedule in program.kernels.items()}

    def executor(self, entry: Entry, values: dict[str, np.ndarray]) -> tuple[Any, dict[str, int]]:
        """An executor of a network's program whose parameters start at `values`, and where they lie."""
        from gncodegen.runtime.device_executor import DeviceArena, DeviceExecutor, DeviceHyperparameters

        program = entry.program
        lasting = {k: i for k, i in program.arguments.items() if k[0] in ("parameter", "state", *STATE_ARRAYS)}
        allocation = self.device.allocate({" ".join(key): program.buffers[i].bytes for key, i in lasting.items()})
        bound: dict[Any, int] = {}
        for key, index in lasting.items():
            buffer, address = program.buffers[index], allocation.addresses[" ".join(key)]
            start = np.zeros(buffer.shape) if key[0] in STATE_ARRAYS else values[f"initial {key[1]}"]
            self.device.upload(address, np.ascontiguousarray(start, buffer.dtype).reshape(buffer.shape))
            bound[key] = address
        hyperparameters = DeviceHyperparameters(self.device, values["hyperparameters hyperparameters"].copy())
        bound["hyperparameters", "hyperparameters"] = hyperparameters.address
        executor = DeviceExecutor(
            program, self.kernels(entry), self.device, DeviceArena(self.device), bound, hyperparameters
        )
        executor.kept_alive = allocation
        executor.numbers = hyperparameters._values
        return executor, {f"trained {key[1]}": bound[key] for key in lasting if key[0] not in STATE_ARRAYS}

    def repeated(self, entry: Entry, copies: int) -> Callable[[], None]:
        """An op's launches on `copies` sets of random arrays in turn, as one piece of prepared work."""
        from gncodegen.targets.device import DeviceLaunch, Work

        program, kernels, launches = entry.program, self.kernels(entry), []
        generator = np.random.default_rng(0)
        self.owners = []
        for _ in range(copies):
            sizes = {str(i): max(b.bytes, 1) for i, b in enumerate(program.buffers) if b.kind != "view"}
            allocation = self.device.allocate(sizes)
            self.owners.append(allocation)
            for i, buffer in enumerate(program.buffers):
                if buffer.kind == "input":
                    values = generator.standard_normal(buffer.shape, np.float32).astype(buffer.dtype)
                    self.device.upload(allocation.addresses[str(i)], np.abs(values) + 0.5)
            for call in program.calls:
                addresses = tuple(allocation.addresses[str(program.root(i))] for i in call.arguments)
                launches.append(DeviceLaunch(kernels[call.kernel], call.grid, addresses, call.first, call.kernel))
        return self.device.prepare(Work((), tuple(launches), ()))


# ---- correctness -------------------------------------------------------------------------------------------------


def correctness(session: Session, only: str = "") -> Iterator[dict[str, Any]]:
    """One row per network and function: the largest difference from the CPU target."""
    for entry in session.bundle.entries("network"):
        if only and only not in entry.name:
            continue
        values = session.bundle.arrays(entry.facts["specimen"])
        executor, trained = session.executor(entry, values)
        inputs = {
            key: values[" ".join(key)] for key in (("input", "x"), ("target", "t")) if key in entry.program.arguments
        }
        if entry.facts["function"] == "train_step":
            worst = _trained(session, executor, trained, inputs, values, entry.facts["steps"])
        else:
            executor.run(inputs)
            prefix = f"{entry.facts['function']}: "
            wanted = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            found = {name: executor.result(tuple(name.split(" ", 1))) for name in wanted
                     if tuple(name.split(" ", 1)) in entry.program.arguments}  # fmt: skip
            worst = max(_difference(found[name], wanted[name]) for name in found)
        dtype = str(values["input x"].dtype)
        yield {"name": entry.name, "difference": worst, "bar": TOLERANCE[dtype], "passed": worst <= TOLERANCE[dtype]}


def _trained(session: Session, executor: Any, trained: dict[str, int], inputs: Any, values: Any, steps: int) -> float:
    losses = []
    for _ in range(steps):
        executor.run(inputs)
        losses.append(float(executor.result(("loss", "loss"))))
        executor.numbers[slot("iteration")] += 1
    worst = _difference(np.array(losses), values["losses"])
    for name, address in trained.items():
        array = np.empty_like(values[name])
        session.device.download(address, array)
        worst = max(worst, _difference(array, values[name]))
    return worst


def _difference(found: np.ndarray, wanted: np.ndarray) -> float:
    scale = float(np.max(np.abs(wanted), initial=0.01))  # some gradients vanish but for rounding
    difference = float(np.max(np.abs(found.astype(np.float64).reshape(wanted.shape) - wanted), initial=0.0)) / scale
    return difference if np.isfinite(difference) else float("inf")


# ---- timings -----------------------------------------------------------------------------------------------------


def copy_bandwidth(peer: Torch) -> float:
    """Bytes per second read and written by a device copy of 512 MiB."""
    size = 512 << 20
    return 2 * size / (milliseconds(peer.copy(size), peer.synchronize) * 1e-3)


def copies_for(nbytes: int, l2: int) -> int:
    """How many sets of arrays pass twice the L2 cache, at most 16."""
    return max(1, min(16, -(-2 * l2 // max(nbytes, 1))))


def group_norms(
    session: Session, peer: Torch | None, l2: int, bandwidth: float, left: Callable[[], float]
) -> Iterator[dict[str, Any]]:
    """GN+ReLU forward and backward: time, share of copy bandwidth at the floor's bytes, PyTorch's times."""
    for entry in session.bundle.entries("group_norm"):
        if left() < 0:
            return
        facts = entry.facts
        tensor = 4 * int(np.prod(facts["shape"]))
        floor = tensor * (2 if facts["direction"] == "forward" else 3)
        copies = copies_for(floor, l2)
        ours = milliseconds(session.repeated(entry, copies), session.device.synchronize) / copies
        row = {
            "name": entry.name,
            "ms": ours,
            "of copy bandwidth": floor / (ours * 1e-3) / bandwidth,
            "MB": tensor / 1e6,
        }
        if peer is not None:
            backward = facts["direction"] == "backward"
            for name, call in peer.group_norms(tuple(facts["shape"]), facts["groups"], backward, copies):
                if "compiled" not in name or left() > 60:
                    row[name] = milliseconds(call, peer.synchronize) / copies
        yield row


def convolutions(session: Session, tf32: bool, left: Callable[[], float], peers: bool) -> Iterator[dict[str, Any]]:
    """Convolution in three directions: TFLOP/s and cuDNN's."""
    peer = Torch(tf32) if peers else None
    for entry in session.bundle.entries("convolution"):
        facts = entry.facts
        if (facts["math"] == "tf32") != tf32 or left() < 0:
            continue
        ours = milliseconds(session.repeated(entry, 1), session.device.synchronize)
        row = {"name": entry.name, "ms": ours, "TFLOP/s": entry.flops / ours / 1e9}
        if peer is not None:
            shape = (tuple(facts["shape"]), facts["filters"], facts["window"], facts["stride"], facts["direction"])
            for name, call in peer.convolutions(*shape):
                row[name] = milliseconds(call, peer.synchronize)
        yield row


def train_steps(session: Session, peer: Torch | None) -> Iterator[dict[str, Any]]:
    """A whole step of the demo network: ours on fixed device addresses, PyTorch's eager and graphed."""
    entry = next(e for e in session.bundle.entries("network") if e.name == "demo: train_step")
    values = session.bundle.arrays("demo")
    executor, _ = session.executor(entry, values)
    inputs = {("input", "x"): values["input x"], ("target", "t"): values["target t"]}
    row = {
        "name": "demo, batch 8: train step",
        "ms": milliseconds(lambda: executor.run(inputs), session.device.synchronize),
    }
    if peer is not None:
        for name, call in peer.train_steps(8):
            row[name] = milliseconds(call, peer.synchronize)
    yield row


# ---- report ------------------------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a markdown table; columns in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        lines.append("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of Python and the packages that matter."""
    found = {"python": platform.python_version()}
    for package in ("gncodegen", "numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=ROOT / "bench" / "gpu_bundle", help="folder of the bundle")
    parser.add_argument("--prepare", metavar="SM", help="make the bundle for an architecture and stop")
    parser.add_argument("--emulate", action="store_true", help="check correctness in the emulator and stop")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--skip-peers", action="store_true", help="no PyTorch")
    parser.add_argument("--seconds", type=float, default=420, help="stop starting timings after this long")
    parser.add_argument("--output", type=Path, default=None, help="where the JSON goes")
    given = parser.parse_args()
    if given.prepare:
        print(f"prepared {sum(1 for _ in prepare(given.bundle, given.prepare)._record['entries'])} programs")
        return 0
    try:
        return _run(given)
    except GncodegenError as error:
        print(error, file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    began = perf_counter()
    device, facts = _device(given.emulate)
    if not (given.bundle / "bundle.json").exists():
        prepare(given.bundle, facts["architecture"])
    bundle = Bundle(given.bundle)
    session = Session(device, bundle)
    results: dict[str, Any] = {"device": facts, "versions": versions(), "bundle": bundle.architecture}
    results["correctness"] = _shown("Correctness", correctness(session, given.only))
    failed = [row["name"] for row in results["correctness"] if not row["passed"]]
    if not given.emulate:
        results |= _timed(session, facts, given, lambda: given.seconds - (perf_counter() - began))
    text = json.dumps(results, indent=1)
    output = given.output or ROOT / "bench" / "results" / f"gpu-{facts['name'].lower().replace(' ', '-')}.json"
    if not given.emulate:
        output.write_text(text, encoding="utf-8")
    print(f"\n{len(results['correctness']) - len(failed)} correct, {len(failed)} not: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _timed(
    session: Session, facts: dict[str, Any], given: argparse.Namespace, left: Callable[[], float]
) -> dict[str, Any]:
    peer = None if given.skip_peers else Torch()
    bandwidth = copy_bandwidth(peer) if peer else 0.0
    print(f"\ncopy bandwidth {bandwidth / 1e9:.0f} GB/s")
    return {
        "copy bandwidth": bandwidth,
        "train step": _shown("Train step", train_steps(session, peer)),
        "group norm": _shown("Group normalization", group_norms(session, peer, facts["l2"], bandwidth or 1.0, left)),
        "float32": _shown("Convolution, float32", convolutions(session, False, left, peer is not None)),
        "tf32": _shown("Convolution, tf32", convolutions(session, True, left, peer is not None)),
    }


def _shown(title: str, rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, after printing them as a table; a row that fails is a row that says so."""
    found: list[dict[str, Any]] = []
    try:
        found.extend(rows)
    except Exception as error:  # one broken part must not cost the others
        found.append({"name": f"{title} stopped: {type(error).__name__}: {error}", "passed": False})
    print(f"\n## {title}\n\n{table(found)}", flush=True)
    return found


def _device(emulate: bool) -> tuple[Any, dict[str, Any]]:
    if emulate:
        from gncodegen.targets.cuda.device.emulated import EmulatedDevice

        return EmulatedDevice(), {"name": "emulator", "architecture": "sm_90", "l2": 0}
    from gncodegen.targets.cuda.device.gpu import Gpu

    device = Gpu()
    return device, {
        "name": device.name,
        "architecture": device.architecture,
        "processors": device.processors,
        "l2": device.l2,
    }


if __name__ == "__main__":
    sys.exit(main())
