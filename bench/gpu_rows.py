"""The rows of bench/gpu.py: what each section does on the GPU, one function a row, in the process of that section."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from math import prod
from typing import Any

import numpy as np

from bench.gpu_bundle import Bundle, Entry
from bench.gpu_peers import Call, Peer, Torch, interleaved, made, read_clocks, said
from gncodegen.errors import TargetError
from gncodegen.kernels.hyperparameters import COUNT, slot
from gncodegen.kernels.loss_scale import INITIAL, LOSS_SCALE
from gncodegen.kernels.solvers import STATE_ARRAYS
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.device_executor import DeviceArena, DeviceExecutor, DeviceHyperparameters
from gncodegen.targets.cuda.device import cuda_python as cuda
from gncodegen.targets.cuda.device.gpu import Gpu
from gncodegen.targets.device import DeviceLaunch, Work

TOLERANCE = {"float16": 2e-2, "float32": 2e-4, "float64": 1e-9}
"""Largest difference from the CPU target, relative to the largest magnitude of the array or 0.01."""

PACKAGES = ("numba", "numba-cuda", "cuda-core", "cuda-bindings", "torch", "cupy-cuda13x", "numpy")

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A row to come: its name, and what makes it."""

    name: str
    make: Callable[[], Row]


def checked(found: float, bar: float) -> Row:
    """A row of a comparison."""
    return {"difference": found, "bar": bar, "passed": bool(found <= bar)}


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, relative to the largest magnitude of what is wanted or 0.01; infinity where a value is none."""
    scale = float(np.max(np.abs(wanted), initial=0.01))  # some gradients vanish but for rounding
    worst = float(np.max(np.abs(found.astype(np.float64).reshape(wanted.shape) - wanted), initial=0.0)) / scale
    return worst if np.isfinite(worst) else float("inf")


class Session:
    """Programs of a bundle on the GPU.

    Args:
        bundle: of its architecture.
        short: at most two sets of arrays, and few repeats: to see that the lines run.
        peers: whether PyTorch is timed beside.
    """

    def __init__(self, bundle: Bundle, short: bool, peers: bool) -> None:
        self.bundle, self.short, self.peers = bundle, short, peers
        self.gpu = Gpu()

    def cases(self, section: str) -> list[Case]:
        """The rows of a section."""
        return list(SECTIONS[section].cases(self))

    # ---- running -----------------------------------------------------------------------------------------------------

    def kernels(self, entry: Entry) -> dict[str, Any]:
        """The loaded kernels of an entry."""
        program = entry.program
        return {name: self.gpu.load(entry.sources[name], schedule) for name, schedule in program.kernels.items()}

    def executor(self, entry: Entry, values: dict[str, np.ndarray]) -> tuple[Any, dict[str, int]]:
        """An executor of a Program whose parameters start at `values`, and where they lie."""
        program = entry.program
        kinds = ("parameter", "state", LOSS_SCALE, *STATE_ARRAYS)
        lasting = {k: i for k, i in program.arguments.items() if k[0] in kinds}
        allocation = self.gpu.allocate({" ".join(key): program.buffers[i].bytes for key, i in lasting.items()})
        bound: dict[Any, int] = {}
        for key, index in lasting.items():
            buffer, address = program.buffers[index], allocation.addresses[" ".join(key)]
            start = np.zeros(buffer.shape) if key[0] in STATE_ARRAYS else np.array(INITIAL)
            if key[0] in ("parameter", "state"):
                start = values[f"initial {key[1]}"]
            self.gpu.upload(address, np.ascontiguousarray(start, buffer.dtype).reshape(buffer.shape))
            bound[key] = address
        numbers = values.get("hyperparameters hyperparameters", np.zeros(COUNT)).copy()
        hyperparameters = DeviceHyperparameters(self.gpu, numbers)
        bound["hyperparameters", "hyperparameters"] = hyperparameters.address
        kernels, arena = self.kernels(entry), DeviceArena(self.gpu)
        executor = DeviceExecutor(program, kernels, self.gpu, arena, bound, hyperparameters)
        executor.kept_alive, executor.numbers = allocation, numbers
        return executor, {f"trained {key[1]}": bound[key] for key in lasting if key[0] in ("parameter", "state")}

    def on_gpu(self, array: np.ndarray) -> DeviceArray:
        """A copy there."""
        there = DeviceArray.empty(self.gpu, array.shape, array.dtype)
        self.gpu.upload(there.address, np.ascontiguousarray(array))
        return there

    def rotated(self, entry: Entry, copies: int) -> Call:
        """An op's launches on `copies` sets of arrays in turn, as one graph."""
        program, kernels, launches = entry.program, self.kernels(entry), []
        generator = np.random.default_rng(0)
        content = {
            i: (np.abs(generator.standard_normal(buffer.shape, np.float32)) + 0.5).astype(buffer.dtype)
            for i, buffer in enumerate(program.buffers) if buffer.kind == "input"
        }  # fmt: skip
        sizes = {str(i): max(b.bytes, 1) for i, b in enumerate(program.buffers) if b.kind != "view"}
        whole = self.gpu.allocate({f"{turn} {i}": size for turn in range(copies) for i, size in sizes.items()})
        for turn in range(copies):
            for i, values in content.items():
                self.gpu.upload(whole.addresses[f"{turn} {i}"], values)
            for call in program.calls:
                addresses = tuple(whole.addresses[f"{turn} {program.root(i)}"] for i in call.arguments)
                facts = call.first, call.numbers, call.kernel
                launches.append(DeviceLaunch(kernels[call.kernel], call.grid, addresses, *facts))
        work = self.gpu.prepare(Work((), tuple(launches), ()))
        return partial(_keeping, work, whole)

    def copied(self, nbytes: int, copies: int) -> Call:
        """Copies that read and write `nbytes` together, on `copies` pairs of arrays in turn, as one graph."""
        half = max(nbytes // 2, 1)
        whole = self.gpu.allocate({str(i): half for i in range(2 * copies)})
        builder = self.gpu.device.create_graph_builder()
        builder.begin_building()
        for turn in range(copies):
            source, target = whole.addresses[str(2 * turn)], whole.addresses[str(2 * turn + 1)]
            cuda.call("cuMemcpyDtoDAsync", target, source, half, builder.stream.handle)
        graph = builder.end_building().complete()

        def run() -> None:
            with self.gpu.ordered() as stream:
                graph.launch(stream)

        return partial(_keeping, run, whole)

    def beside(self, wanted: Callable[[Torch], Iterable[Peer]], tf32: bool = False) -> tuple[dict[str, Call], Row]:
        """PyTorch's calls, if it is wanted and here, and what those said that failed."""
        try:
            return made(wanted(Torch(tf32)), synchronize) if self.peers else ({}, {})
        except ImportError:
            return {}, {}
        except Exception as error:
            return {}, {"PyTorch": said(error, 120)}

    def copies(self, nbytes: int) -> int:
        """How many sets of arrays of that size are more than the L2 holds."""
        return min(1 + 3 * self.gpu.l2 // (2 * nbytes), 2 if self.short else 1 << 20)

    def timed(self, calls: dict[str, Call], copies: int = 1) -> tuple[dict[str, float], dict[str, str]]:
        """Milliseconds of each call for one set of arrays, and the clocks meanwhile."""
        few = {"rounds": 1, "least": 0.0, "before": 1} if self.short else {}  # the second run is captured
        times, clocks = interleaved(calls, synchronize, **few)
        return {name: value / copies for name, value in times.items()}, clocks


def synchronize() -> None:
    """Waits for the GPU."""
    cuda.call("cuCtxSynchronize")


def _keeping(call: Call, owner: Any) -> object:
    """A call, whose memory `owner` keeps."""
    return call()


# ---- sections --------------------------------------------------------------------------------------------------------


def first(session: Session) -> Iterator[Case]:
    """The machine, one kernel, one norm of each tier and one tile of tensor cores, against float64."""
    yield Case("machine", partial(_machine, session))
    for entry in session.bundle.entries("first"):

        def make(entry: Entry = entry) -> Row:
            values = session.bundle.arrays(entry.name)
            executor, _ = session.executor(entry, values)
            executor.run({("input", name): array for name, array in values.items() if name.startswith("operand")})
            found = executor.result(("output", "result0"))
            return checked(difference(found, values["result0"]), entry.facts["bar"])

        yield Case(entry.name, make)


def _machine(session: Session) -> Row:
    gpu, bundle = session.gpu, session.bundle
    if gpu.architecture != bundle.architecture:
        raise TargetError(
            f"the bundle is for {bundle.architecture}, and {gpu.name} is of {gpu.architecture}; allowed: one for it; "
            f"run `python bench/gpu.py --prepare {gpu.architecture}` where the compiler is"
        )
    found: Row = {"gpu": gpu.name, "architecture": gpu.architecture, "multiprocessors": gpu.processors, "L2": gpu.l2}
    found["driver"] = int(cuda.call("cuDriverGetVersion"))
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found | read_clocks()


def ops(session: Session) -> Iterator[Case]:
    """Every op in the networks that reach it: the largest difference of a function from the CPU target."""
    for entry in session.bundle.entries("network"):
        yield Case(entry.name, partial(_function, session, entry))


def _function(session: Session, entry: Entry) -> Row:
    values = session.bundle.arrays(entry.facts["specimen"])
    executor, trained = session.executor(entry, values)
    inputs = _inputs(entry, values)
    bar = TOLERANCE[entry.facts["dtype"]]
    if entry.facts["function"] == "train_step":
        return checked(_trained(session, executor, trained, inputs, values, entry.facts["steps"]), bar)
    executor.run(inputs)
    prefix, arguments = f"{entry.facts['function']}: ", entry.program.arguments
    wanted = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    keys = {name: tuple(name.split(" ", 1)) for name in wanted}
    return checked(max(difference(executor.result(keys[k]), wanted[k]) for k in wanted if keys[k] in arguments), bar)


def _inputs(entry: Entry, values: dict[str, np.ndarray]) -> dict[Any, np.ndarray]:
    keys = (("input", "x"), ("target", "t"))
    return {key: values[" ".join(key)] for key in keys if key in entry.program.arguments}


def _trained(session: Session, executor: Any, trained: dict[str, int], inputs: Any, values: Any, steps: int) -> float:
    losses = []
    for _ in range(steps):
        executor.run(inputs)
        losses.append(float(executor.result(("loss", "loss"))))
        executor.numbers[slot("iteration")] += 1
    worst = difference(np.array(losses), values["losses"])
    for name, address in trained.items():
        array = np.empty_like(values[name])
        session.gpu.download(address, array)
        worst = max(worst, difference(array, values[name]))
    return worst


def steps(session: Session) -> Iterator[Case]:
    """A whole training step, its arrays on the GPU: ours, and PyTorch's eager and as a graph."""
    name = session.bundle.used
    entry = session.bundle.entry(f"{name}: train_step")
    assert entry is not None

    def make() -> Row:
        values = session.bundle.arrays(name)
        executor, _ = session.executor(entry, values)
        inputs = {key: session.on_gpu(array) for key, array in _inputs(entry, values).items()}
        beside, failed = session.beside(lambda torch: torch.train_steps(8)) if name == "demo" else ({}, {})
        times, clocks = session.timed({"ms": partial(executor.run, inputs), **beside})
        return times | failed | clocks

    yield Case(f"{name}: a step", make)


def norms(session: Session) -> Iterator[Case]:
    """GN+ReLU forward and backward beside a copy of the floor's bytes, and PyTorch's."""
    for entry in session.bundle.entries("group_norm"):

        def make(entry: Entry = entry) -> Row:
            facts = entry.facts
            backward = facts["direction"] == "backward"
            tensor = 4 * prod(facts["shape"])
            floor = tensor * (3 if backward else 2)
            copies = session.copies(floor)
            calls = {"ms": session.rotated(entry, copies), "copy": session.copied(floor, copies)}
            shape = (tuple(facts["shape"]), facts["groups"], backward, copies)
            beside, failed = session.beside(lambda torch: torch.group_norms(*shape))
            times, clocks = session.timed(calls | beside, copies)
            rate = {"of copy": times["copy"] / times["ms"], "GB/s": floor / times["ms"] / 1e6}
            return {"MB": tensor / 1e6, **rate, **times, **failed, "sets": copies, **clocks}

        yield Case(entry.name, make)


def convolutions(session: Session) -> Iterator[Case]:
    """Convolution in three directions beside cuDNN's at equal precision."""
    for entry in session.bundle.entries("convolution"):

        def make(entry: Entry = entry) -> Row:
            facts = entry.facts
            shape = (tuple(facts["shape"]), facts["filters"], facts["window"], facts["stride"], facts["direction"])
            copies = session.copies(entry.bytes)
            beside, failed = session.beside(lambda torch: torch.convolutions(*shape, copies), facts["math"] == "tf32")
            times, clocks = session.timed({"ms": session.rotated(entry, copies), **beside}, copies)
            return {"TFLOP/s": entry.flops / times["ms"] / 1e9, **times, **failed, "sets": copies, **clocks}

        yield Case(entry.name, make)


def interop(session: Session) -> Iterator[Case]:
    """A network that is compiled and trained there, and arrays and streams of other libraries."""
    from bench.gpu_interop import Interop

    yield from Interop(session).cases()


@dataclass(frozen=True)
class Section:
    """What a section does, and how many seconds it and one of its rows may take."""

    cases: Callable[[Session], Iterator[Case]]
    seconds: int
    row: int


SECTIONS = {
    "first": Section(first, 60, 30),
    "ops": Section(ops, 150, 30),
    "interop": Section(interop, 60, 40),
    "steps": Section(steps, 60, 60),
    "norms": Section(norms, 180, 60),
    "convolutions": Section(convolutions, 120, 30),
}
"""In their order: what a later one builds on comes first."""
