"""What bench/gpu.py runs: Programs and their cubins, made on any machine, with the CPU target's results beside them.

A GPU machine that holds no compiler (no xDSL, no Numba) needs this folder, NumPy and cuda.core alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.store import Source

SUFFIXES = (".py", ".cubin", ".json", ".ptx")
STEPS = {"demo": 20}
"""Training steps that are compared; 3 where nothing is said."""

NORMALIZED = (
    # (N, H, W, C, groups)
    (2, 8, 8, 32, 8), (8, 56, 56, 64, 32), (8, 56, 56, 256, 32), (32, 28, 28, 64, 8), (16, 7, 7, 512, 32),
    (1, 256, 256, 32, 32), (4, 224, 224, 64, 32), (32, 112, 112, 64, 32), (64, 56, 56, 256, 32),
)  # fmt: skip
CONVOLVED = (
    # (N, H, W, C, K, window, stride)
    (32, 56, 56, 64, 64, 3, 1), (32, 28, 28, 128, 128, 3, 1), (32, 14, 14, 256, 256, 3, 1), (32, 7, 7, 512, 512, 3, 1),
    (32, 56, 56, 64, 256, 1, 1), (32, 224, 224, 3, 64, 7, 2), (32, 56, 56, 128, 128, 3, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One Program of the bundle.

    Args:
        name: unique.
        program: what to run.
        sources: its kernels by name.
        facts: what the case was made from.
    """

    name: str
    program: Program
    sources: Mapping[str, Source]
    facts: Mapping[str, Any]

    @property
    def bytes(self) -> int:
        """Bytes its calls move, by design."""
        return sum(call.bytes for call in self.program.calls)

    @property
    def flops(self) -> int:
        """Its floating-point operations."""
        return sum(call.flops for call in self.program.calls)


class Bundle:
    """A folder of Programs, cubins and expected arrays for one architecture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._record: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        self.architecture: str = self._record["architecture"]

    def entries(self, kind: str) -> Iterator[Entry]:
        """All entries of a kind: "network", "group_norm", "convolution"."""
        for given in self._record["entries"]:
            if given["facts"]["kind"] == kind:
                yield self.entry(given)

    def entry(self, given: dict[str, Any]) -> Entry:
        """One entry of the record."""
        sources = {name: Source(self.folder / "kernels" / file) for name, file in given["sources"].items()}
        return Entry(given["name"], Program.from_dict(given["program"]), sources, given["facts"])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays kept for an entry or a specimen."""
        with np.load(self.folder / "arrays" / f"{name}.npz") as found:
            return dict(found)


class _Writer:
    def __init__(self, folder: Path, architecture: str, math: tuple[str, ...]) -> None:
        from gncodegen.targets.cuda.target import CudaTarget

        self.folder = folder
        self.targets = {name: CudaTarget(architecture, math=name) for name in math}
        self.entries: list[dict[str, Any]] = []
        for part in ("kernels", "arrays"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def add(self, name: str, program: Program, facts: Mapping[str, Any], math: str = "float32") -> None:
        target = self.targets[math]
        files = target.write(program.kernels.values())
        target.compile(files)
        for file in files:
            for suffix in SUFFIXES:
                shutil.copy(file.beside(suffix), self.folder / "kernels")
        sources = {kernel: file.path.name for kernel, file in zip(program.kernels, files, strict=True)}
        self.entries.append({"name": name, "program": program.to_dict(), "sources": sources, "facts": dict(facts)})

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        np.savez_compressed(self.folder / "arrays" / f"{name}.npz", **arrays)


def prepare(folder: Path, architecture: str, *, networks: bool = True, shapes: int = 99) -> Bundle:
    """Makes a bundle; needs the whole compiler, but no GPU.

    Args:
        folder: where.
        architecture: for example "sm_90".
        networks: whether the zoo is part of it.
        shapes: how many shapes of each kind.
    """
    math = ("float32",) if architecture == "sm_75" else ("float32", "tf32")
    writer = _Writer(folder, architecture, math)
    if networks:
        _networks(writer)
    _group_norms(writer, shapes)
    _convolutions(writer, shapes)
    record = {"architecture": architecture, "entries": writer.entries}
    (folder / "bundle.json").write_text(json.dumps(record), encoding="utf-8")
    return Bundle(folder)


def _networks(writer: _Writer) -> None:
    from bench.zoo import ALWAYS_FUSED, ZOO

    reached: set[str] = set()
    for specimen in ZOO:
        host = specimen.compile(target="cpu")
        device = specimen.compile(target=writer.targets["float32"].machine.target)
        x, t = specimen.data(host)
        for function in specimen.functions:
            program = device.lowered(function, specimen.batch).program
            reached |= {schedule.op for schedule in program.kernels.values()}
            facts = {"kind": "network", "function": function, "specimen": specimen.name}
            facts["steps"] = STEPS.get(specimen.name, 3) if function == "train_step" else 1
            writer.add(f"{specimen.name}: {function}", program, facts)
        writer.save(specimen.name, _expected(host, x, t, STEPS.get(specimen.name, 3)))
    from gncodegen.kernels.cuda import PLANS

    missed = set(PLANS) - reached - ALWAYS_FUSED
    assert not missed, f"bench/zoo.py reaches no {', '.join(sorted(missed))}"


def _expected(host: Any, x: np.ndarray, t: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Inputs, initial values and the CPU target's results of one specimen, by "kind name"."""
    boundary = host._conversion
    (rows,) = boundary.inward((x,), "").values()
    found = {"input x": rows.part(0, len(x), len(x)), "target t": boundary.targets(t, len(x))}
    found |= {f"initial {name}": np.array(value) for name, value in host.parameters.items()}
    found["hyperparameters hyperparameters"] = host.hyperparameters.array.copy()
    found["predict: output y"] = host.predict(x)
    found |= {f"gradients: gradient {name}": value for name, value in host.gradients(x, t).items()}
    if not host.options.training:
        return found
    found["losses"] = np.array([host.train_step(x, t) for _ in range(steps)])
    found |= {f"trained {name}": np.array(value) for name, value in host.parameters.items()}
    return found


def _group_norms(writer: _Writer, shapes: int) -> None:
    from gncodegen.kernels.single import program

    machine = writer.targets["float32"].machine
    for n, h, w, c, groups in NORMALIZED[:shapes]:
        x, vector, statistics = (
            Tensor((n, h, w, c), "float32"),
            Tensor((c,), "float32"),
            Tensor((n, groups, 3), "float32"),
        )
        attributes = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
        forward = Problem("group_norm", (x, vector, vector), (x, statistics), attributes, machine)
        backward = Problem(
            "group_norm_gradient", (x, x, vector, vector, statistics), (x, vector, vector), attributes, machine
        )
        for direction, problem in (("forward", forward), ("backward", backward)):
            facts = {"kind": "group_norm", "direction": direction, "shape": (n, h, w, c), "groups": groups}
            writer.add(f"GN+ReLU {direction} {n}×{h}×{w}×{c}, {groups} groups", program(problem), facts)


def _convolutions(writer: _Writer, shapes: int) -> None:
    from gncodegen.kernels.single import program

    for n, h, w, c, k, window, stride in CONVOLVED[:shapes]:
        pad = window // 2
        out = [(extent + 2 * pad - window) // stride + 1 for extent in (h, w)]
        x, y = Tensor((n, h, w, c), "float32"), Tensor((n, *out, k), "float32")
        weights = Tensor((window, window, c, k), "float32")
        attributes = {"stride": (stride,) * 2, "dilation": (1, 1), "padding": (pad,) * 4, "groups": 1}
        shaped = {"forward": ("convolution", (x, weights), (y,)),
                  "input gradient": ("convolution_input_gradient", (y, weights), (x,)),
                  "weight gradient": ("convolution_weight_gradient", (x, y), (weights,))}  # fmt: skip
        for math, target in writer.targets.items():
            for direction, (op, operands, results) in shaped.items():
                more = {"input_shape": x.shape} if direction == "input gradient" else {"weights_shape": weights.shape}
                given = attributes | ({} if direction == "forward" else more)
                facts = {"kind": "convolution", "direction": direction, "shape": (n, h, w, c), "filters": k,
                         "window": window, "stride": stride, "math": math}  # fmt: skip
                name = f"conv {direction} {n}×{h}×{w}×{c}→{k}, {window}×{window}/{stride}, {math}"
                writer.add(name, program(Problem(op, operands, results, given, target.machine)), facts, math)
