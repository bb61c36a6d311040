"""What bench/gpu.py runs: Programs and their cubins, made on any machine, with what they must give beside them.

A GPU machine that lacks the compiler (xDSL, NVVM) needs this folder, the checkout, NumPy and cuda.core alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from bench.zoo import ALWAYS_FUSED, IN_PARTS, OVER_RANKS, ZOO, Specimen, product
from gncodegen.errors import GncodegenError, TargetError
from gncodegen.kernels.program import Program
from gncodegen.kernels.schedule import Problem, Tensor
from gncodegen.kernels.store import Source
from gncodegen.targets.cuda.architectures import architecture
from gncodegen.targets.cuda.target import CudaTarget, intrinsics_digest

MOST_BYTES = 40 << 20
"""Of a bundle; a lent machine takes 64 MiB with the checkout."""

PACKAGES = "packages.zip"
"""The packages written in Python alone that gncodegen needs; the machine's own go before them."""

STEPS = {"demo": 20}
"""Training steps that are compared; 3 where nothing is said."""

NORMALIZED = (
    # (N, H, W, C, groups), the largest first: that is where the memory is the bound
    (64, 56, 56, 256, 32), (32, 112, 112, 64, 32), (4, 224, 224, 64, 32), (8, 56, 56, 256, 32), (8, 56, 56, 64, 32),
    (32, 28, 28, 64, 8), (1, 256, 256, 32, 32), (16, 7, 7, 512, 32), (2, 8, 8, 32, 8),
)  # fmt: skip
TIERS = {"resident": (2, 8, 8, 32, 8), "cluster": (1, 8, 8, 128, 1), "flags": (1, 16, 16, 256, 1)}
"""How the blocks of a norm work together, and the smallest shape for it on sm_90."""

CONVOLVED = (
    # (N, H, W, C, K, window, stride)
    (32, 56, 56, 64, 64, 3, 1), (32, 28, 28, 128, 128, 3, 1), (32, 14, 14, 256, 256, 3, 1), (32, 7, 7, 512, 512, 3, 1),
    (32, 56, 56, 64, 256, 1, 1), (32, 224, 224, 3, 64, 7, 2), (32, 56, 56, 128, 128, 3, 2),
)  # fmt: skip


@dataclass(frozen=True)
class Contents:
    """What goes into a bundle.

    Args:
        specimens: networks.
        used: the specimen of the zoo that the section "interop" compiles and trains.
        normalized, convolved: shapes to time.
        directions: of convolutions.
    """

    specimens: tuple[Specimen, ...] = ZOO
    used: str = "demo"
    normalized: tuple[tuple[int, ...], ...] = NORMALIZED
    convolved: tuple[tuple[int, ...], ...] = CONVOLVED
    directions: tuple[str, ...] = ("forward", "input gradient", "weight gradient")


SHORT = Contents(
    (next(each for each in ZOO if each.name == "dropout"), Specimen("one product of halves", product, dtype="float16")),
    "dropout", NORMALIZED[-1:], ((1, 4, 4, 8, 8, 1, 1),), ("forward",),
)  # fmt: skip
"""Enough to run every line of bench/gpu.py, and few kernels."""


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
    """A folder of Programs, cubins and expected arrays for one architecture.

    Raises:
        TargetError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._record: dict[str, Any] = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise TargetError(
                f"{folder} holds no bundle; allowed: one that was made for this GPU; run `python bench/gpu.py "
                "--prepare sm_90` where the compiler is"
            ) from error
        self.architecture: str = self._record["architecture"]
        self.used: str = self._record["used"]

    def check(self) -> None:
        """Compares the sources with those it was made from.

        Raises:
            TargetError: they are others.
        """
        if self._record["digest"] != digest():
            raise TargetError(
                f"{self.folder} was made from other sources of gncodegen; allowed: the checkout that it was made from; "
                f"run `python bench/gpu.py --prepare {self.architecture}` where the compiler is"
            )

    def entries(self, kind: str) -> list[Entry]:
        """All entries of a kind: "first", "network", "group_norm", "convolution"."""
        return [self._entry(given) for given in self._record["entries"] if given["facts"]["kind"] == kind]

    def entry(self, name: str) -> Entry | None:
        """The entry of that name."""
        return next((self._entry(given) for given in self._record["entries"] if given["name"] == name), None)

    def _entry(self, given: dict[str, Any]) -> Entry:
        sources = {name: Source(self.folder / "kernels" / file) for name, file in given["sources"].items()}
        return Entry(given["name"], Program.from_dict(given["program"]), sources, given["facts"])

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """The arrays kept for an entry or a specimen."""
        with np.load(self.folder / "arrays" / f"{name}.npz") as found:
            return dict(found)

    def lend_kernels(self) -> None:
        """Puts the cubins where the compiler of this process looks for them before it compiles."""
        from gncodegen.kernels.store import folder

        place = folder(CudaTarget(self.architecture).tag)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (self.folder / "kernels").iterdir():
            shutil.copy(path, place)

    @property
    def bytes(self) -> int:
        """Its size."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def digest() -> str:
    """Of the sources that Programs and kernels follow from."""
    from gncodegen.kernels.templates import template_digest
    from gncodegen.specification import sources_digest

    sources = sources_digest("layers", "kernels", "ir", "passes"), template_digest(), intrinsics_digest()
    return hashlib.sha256(" ".join(sources).encode()).hexdigest()


class _Writer:
    def __init__(self, folder: Path, architecture: str, math: tuple[str, ...]) -> None:
        self.folder = folder
        self.targets = {name: CudaTarget(architecture, math=name) for name in math}
        self.entries: list[dict[str, Any]] = []
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("kernels", "arrays"):
            (folder / part).mkdir(mode=0o700, parents=True)

    def add(self, name: str, program: Program, facts: Mapping[str, Any], math: str = "float32") -> None:
        target = self.targets[math]
        files = target.write(program.schedules)
        target.compile(files)
        for file in files:
            shutil.copy(file.beside(".cubin"), self.folder / "kernels")
        sources = {kernel: file.path.name for kernel, file in zip(program.kernels, files, strict=False)}
        self.entries.append({"name": name, "program": program.to_dict(), "sources": sources, "facts": dict(facts)})

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        np.savez_compressed(self.folder / "arrays" / f"{name}.npz", **arrays)


def prepare(folder: Path, architecture: str, contents: Contents | None = None) -> Bundle:
    """Makes a bundle; needs the whole compiler, but no GPU.

    Args:
        folder: where; what was there before goes.
        architecture: for example "sm_90".
        contents: None = everything.

    Raises:
        GncodegenError: it would not fit a lent machine.
    """
    contents = contents or Contents()
    math = ("float32",) if architecture == "sm_75" else ("float32", "tf32")
    writer = _Writer(folder, architecture, math)
    _first(writer)
    _networks(writer, contents)
    _group_norms(writer, contents.normalized)
    _convolutions(writer, contents)
    with ZipFile(folder / PACKAGES, "w", ZIP_DEFLATED) as archive:
        for found in _pure("gncodegen"):
            for file in found.files or ():
                if file.suffix == ".py" or ".dist-info" in str(file):
                    archive.write(str(found.locate_file(file)), str(file))
    record = {"architecture": architecture, "digest": digest(), "used": contents.used, "entries": writer.entries}
    (folder / "bundle.json").write_text(json.dumps(record), encoding="utf-8")
    bundle = Bundle(folder)
    if bundle.bytes > MOST_BYTES:
        raise GncodegenError(f"the bundle has {bundle.bytes:,} bytes; allowed: {MOST_BYTES:,}; leave shapes out")
    return bundle


def _pure(name: str, found: dict[str, Distribution | None] | None = None) -> Iterable[Distribution]:
    """The installed packages that a package needs, if they are Python alone."""
    from packaging.requirements import Requirement

    found = {} if found is None else found
    for line in distribution(name).requires or ():
        wanted = Requirement(line)
        if wanted.name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            found[wanted.name] = each = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        if "Root-Is-Purelib: true" not in (each.read_text("WHEEL") or ""):
            found[wanted.name] = None  # what is compiled needs a wheel for that machine
        _pure(wanted.name, found)
    return [each for each in found.values() if each is not None]


def _first(writer: _Writer) -> None:
    """One kernel that copies, one norm of each tier, one product on tensor cores; what they must give is float64's."""
    from gncodegen.kernels.single import program

    generator, machine = np.random.default_rng(0), writer.targets["float32"].machine

    def keep(name: str, problem: Problem, operands: list[np.ndarray], result: np.ndarray, bar: float) -> None:
        math = problem.machine.math
        writer.add(name, program(problem), {"kind": "first", "bar": bar}, math)
        writer.save(name, {f"operand{i}": each for i, each in enumerate(operands)} | {"result0": result})

    x = generator.standard_normal((4, 3, 3, 4), np.float32)
    tensor = Tensor(x.shape, "float32")
    relu = {"function": "relu", "alpha": 0.0}
    keep("first kernel", Problem("activation", (tensor,), (tensor,), relu, machine), [x], np.maximum(x, 0), 0.0)
    for kind, shape in TIERS.items():
        if kind == "cluster" and architecture(machine.target).capability < (9, 0):
            continue
        problem, _ = _norms(shape, machine)
        n, c, groups = shape[0], shape[3], shape[4]
        x = generator.standard_normal(shape[:4], np.float32) + 3
        scale, offset = generator.standard_normal((2, c), np.float32)
        g = x.astype(np.float64).reshape(n, -1, groups, c // groups)
        normal = (g - g.mean((1, 3), keepdims=True)) / np.sqrt(g.var((1, 3), keepdims=True) + 1e-5)
        y = np.maximum(normal.reshape(x.shape) * scale + offset, 0)
        keep(f"first norm, {kind}", problem, [x, scale, offset], y, 5e-6)
    if "tf32" in writer.targets:
        x, weights = generator.standard_normal((8, 96), np.float32), generator.standard_normal((24, 96), np.float32)
        tensors = [Tensor(each, "float32") for each in (x.shape, weights.shape, (8, 24))]
        problem = Problem("fully_connected", tuple(tensors[:2]), (tensors[2],), {}, writer.targets["tf32"].machine)
        keep("first tile of tensor cores", problem, [x, weights], x.astype(np.float64) @ weights.T, 2e-3)


def _norms(shape: tuple[int, ...], machine: Any) -> tuple[Problem, Problem]:
    """GN+ReLU forward and backward; a shape is N, H, W, C, groups."""
    n, h, w, c, groups = shape
    x, vector, statistics = Tensor((n, h, w, c), "float32"), Tensor((c,), "float32"), Tensor((n, groups, 3), "float32")
    attributes = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0}
    return (
        Problem("group_norm", (x, vector, vector), (x, statistics), attributes, machine),
        Problem("group_norm_gradient", (x, x, vector, vector, statistics), (x, vector, vector), attributes, machine),
    )


def _networks(writer: _Writer, contents: Contents) -> None:
    reached: set[str] = set()
    for specimen in contents.specimens:
        host = specimen.compile(target="cpu")
        device = specimen.compile(target=writer.targets["float32"].machine.target)
        x, t = specimen.data(host)
        for function in specimen.functions:
            program = device.lowered(function, specimen.batch).program
            reached |= {schedule.op for schedule in program.kernels.values()}
            facts = {"kind": "network", "function": function, "specimen": specimen.name, "dtype": specimen.dtype}
            facts["steps"] = STEPS.get(specimen.name, 3) if function == "train_step" else 1
            writer.add(f"{specimen.name}: {function}", program, facts)
        arrays = _expected(host, x, t, STEPS.get(specimen.name, 3))
        if specimen.name == contents.used:
            arrays["training loss"] = specimen.train("cpu").training_loss
        writer.save(specimen.name, arrays)
    from gncodegen.kernels.cuda import PLANS

    missed = set(PLANS) - reached - ALWAYS_FUSED - IN_PARTS - OVER_RANKS
    assert contents.specimens != ZOO or not missed, f"bench/zoo.py reaches no {', '.join(sorted(missed))}"


def _expected(host: Any, x: np.ndarray, t: np.ndarray, steps: int) -> dict[str, np.ndarray]:
    """Inputs, initial values and the CPU target's results of one specimen, by "kind name"."""
    boundary = host._conversion
    found = {" ".join(key): rows.part(0, len(x)) for key, rows in boundary.inward((x,), "").items()}
    found["target t"] = boundary.targets(t, len(x), {})
    found |= {f"initial {name}": np.array(value) for name, value in host.parameters.items()}
    found["hyperparameters hyperparameters"] = host.hyperparameters.array.copy()
    found["predict: output y"] = host.predict(x)
    found |= {f"gradients: gradient {name}": value for name, value in host.gradients(x, t).items()}
    if not host.options.training:
        return found
    found["losses"] = np.array([host.train_step(x, t) for _ in range(steps)])
    found |= {f"trained {name}": np.array(value) for name, value in host.parameters.items()}
    return found


def _group_norms(writer: _Writer, shapes: Iterable[tuple[int, ...]]) -> None:
    from gncodegen.kernels.single import program

    for shape in shapes:
        *extents, groups = shape
        problems = _norms(shape, writer.targets["float32"].machine)
        for direction, problem in zip(("forward", "backward"), problems, strict=True):
            facts = {"kind": "group_norm", "direction": direction, "shape": extents, "groups": groups}
            name = f"GN+ReLU {direction} {'×'.join(map(str, extents))}, {groups} groups"
            writer.add(name, program(problem), facts)


def _convolutions(writer: _Writer, contents: Contents) -> None:
    from gncodegen.kernels.single import program

    for n, h, w, c, k, window, stride in contents.convolved:
        pad = window // 2
        out = [(extent + 2 * pad - window) // stride + 1 for extent in (h, w)]
        x, y = Tensor((n, h, w, c), "float32"), Tensor((n, *out, k), "float32")
        weights = Tensor((window, window, c, k), "float32")
        attributes = {"stride": (stride,) * 2, "dilation": (1, 1), "padding": (pad,) * 4, "groups": 1}
        shaped = {"forward": ("convolution", (x, weights), (y,)),
                  "input gradient": ("convolution_input_gradient", (y, weights), (x,)),
                  "weight gradient": ("convolution_weight_gradient", (x, y), (weights,))}  # fmt: skip
        for math, target in writer.targets.items():
            for direction in contents.directions:
                op, operands, results = shaped[direction]
                more = {"input_shape": x.shape} if direction == "input gradient" else {"weights_shape": weights.shape}
                given = attributes | ({} if direction == "forward" else more)
                facts = {"kind": "convolution", "direction": direction, "shape": (n, h, w, c), "filters": k,
                         "window": window, "stride": stride, "math": math}  # fmt: skip
                name = f"conv {direction} {n}×{h}×{w}×{c}→{k}, {window}×{window}/{stride}, {math}"
                writer.add(name, program(Problem(op, operands, results, given, target.machine)), facts, math)
