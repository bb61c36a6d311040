"""The Program: what is left of a function when the compiler is done; buffers in their places, calls in order, no IR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gncodegen.kernels.schedule import Order, Schedule, Tensor
from gncodegen.process.forks import kept

STEPS = ("train_step", "train_part", "train_last_part")
"""Functions that learn: a step; a part of a mini-batch, whose gradients are added up; its last part, which steps."""

SUMS = "gradient_sum"
"""Kind of the sums of gradients over the parts of a mini-batch, which stay from run to run."""

OUTPUT_KINDS = ("loss", "output", "activation", "gradient")
"""Kinds of argument that a call only writes; the caller supplies the arrays."""


@dataclass(frozen=True)
class Buffer:
    """One array of the program.

    Args:
        kind: "arena" (placed at `offset`), "constant" (placed in memory that keeps it from run to run), "view" (the
            memory of buffer `of`), or an argument: "input", "mask", "target", "parameter", "state",
            "hyperparameters", an array of a solver's state such as "velocity", or one of OUTPUT_KINDS.
        name: which array an argument is: "x", "t", "y", "loss", "conv_1.weights", "input" (gradient); "" elsewhere.
        shape: extents, row-major and dense.
        dtype: element type.
        offset: bytes from the start of its memory, a multiple of 64; for "arena" and "constant".
        of: index of the buffer seen; for "view".
        format: axis letters of an input, target or output, for example "BSSC"; "" elsewhere.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int = 0
    of: int = -1
    format: str = ""

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return Tensor(self.shape, self.dtype).bytes

    @property
    def is_argument(self) -> bool:
        """Whether the caller supplies the array."""
        return self.kind not in ("arena", "constant", "view")


@dataclass(frozen=True)
class Call:
    """One launch: a kernel over `grid` tiles.

    Args:
        kernel: key of `Program.kernels`.
        arguments: indices of buffers, one per slot of `argv`.
        writes: the slots it writes.
        grid: number of independent tiles.
        step: number of the gn op it comes from.
        layers: names of the layers it computes.
        bytes: tensor-sized bytes read and written, by design.
        flops: floating-point operations.
        first: number of the first tile.
        order, numbers: as in Launch.
    """

    kernel: str
    arguments: tuple[int, ...]
    writes: tuple[int, ...]
    grid: int
    step: int = 0
    layers: tuple[str, ...] = ()
    bytes: int = 0
    flops: int = 0
    first: int = 0
    order: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Reduction:
    """A bucket of buffers that are averaged over ranks while the calls behind go on.

    Args:
        begin: how many calls come before.
        buffers: indices of arena buffers that lie side by side.
    """

    begin: int
    buffers: tuple[int, ...]


@dataclass(frozen=True)
class Stop:
    """A place between two calls.

    Args:
        place: how many calls come before.
        begin: the reductions that begin there.
        finish: whether all that have begun must then be over.
    """

    place: int
    begin: tuple[Reduction, ...]
    finish: bool


@dataclass(frozen=True, repr=False)
class Program:
    """A function as a list of calls.

    Args:
        function: one of ir.build.FUNCTIONS, such as "predict" or "train_step".
        kernels: name → Schedule; names are made of op and number.
        buffers: all arrays; calls and views name them by index.
        calls: in order; each sees what the calls before it wrote.
        arena_bytes: size of the one arena all "arena" buffers lie in.
        constant_bytes: size of the memory of "constant" buffers.
        fused: what the compiler fused, one readable line each.
        reductions: in order.
        others: kernels that runs of other numbers of observations need.
    """

    function: str
    kernels: Mapping[str, Schedule]
    buffers: tuple[Buffer, ...]
    calls: tuple[Call, ...]
    arena_bytes: int
    constant_bytes: int = 0
    fused: tuple[str, ...] = ()
    reductions: tuple[Reduction, ...] = ()
    others: tuple[Schedule, ...] = ()

    def __repr__(self) -> str:
        counts = f"{len(self.kernels)} kernels, {len(self.calls)} calls, {len(self.buffers)} buffers"
        return f"Program({self.function}: {counts}, {self.arena_bytes:,} bytes of arena)"

    @property
    def schedules(self) -> tuple[Schedule, ...]:
        """Of its kernels, and of those that other numbers of observations need, in the order of their files."""
        return (*self.kernels.values(), *self.others)

    @kept
    def hoisted(self) -> int:
        """How many of the first calls lead to constants: they run again only when a parameter has changed."""
        written = ((i, self.buffers[call.arguments[slot]]) for i, call in enumerate(self.calls) for slot in call.writes)
        return max((i for i, buffer in written if buffer.kind == "constant"), default=-1) + 1

    @kept
    def batch_size(self) -> int:
        """Observations of a whole run."""
        return next((buffer.shape[0] for buffer in self.buffers if buffer.kind == "input" and buffer.shape), 1)

    @kept
    def in_order(self) -> bool:
        """Whether a run can be of fewer observations: each call that is not hoisted follows them."""
        return all(call.order for call in self.calls[self.hoisted :])

    def rows(self, count: int) -> int:
        """Rows of the arguments of a run in which the first `count` observations count; it touches no others."""
        return count if self.in_order else self.batch_size

    def grid(self, call: Call, count: int) -> int:
        """Tiles of a call for the first `count` observations."""
        if count == self.batch_size or not (call.order and self.in_order):
            return call.grid
        return Order(*call.order).grid(count, call.first, call.grid)

    def numbers(self, call: Call, count: int) -> tuple[int, ...]:
        """What the kernel of a call reads at run time for the first `count` observations."""
        if count == self.batch_size or not (call.order and self.in_order):
            return call.numbers
        return tuple(number * count // self.batch_size for number in call.numbers)

    @kept
    def stops(self) -> tuple[Stop, ...]:
        """Where a run stops between two calls because of reductions, in order."""
        begun = {self.root(index): each.begin for each in self.reductions for index in each.buffers}
        ends: dict[int, int] = {}
        for position, call in enumerate(self.calls):
            for root in map(self.root, call.arguments):
                if begun.get(root, len(self.calls)) <= position:
                    ends.setdefault(root, position)
        places = sorted({each.begin for each in self.reductions} | set(ends.values()))
        return tuple(
            Stop(place, tuple(each for each in self.reductions if each.begin == place), place in ends.values())
            for place in places
        )

    def extent(self, reduction: Reduction) -> tuple[int, int]:
        """Where a bucket begins and ends in the arena, with what lies between its buffers."""
        buffers = [self.buffers[self.root(index)] for index in reduction.buffers]
        return min(each.offset for each in buffers), max(each.offset + each.bytes for each in buffers)

    @kept
    def changes_parameters(self) -> bool:
        """Whether a call writes parameters or state."""
        return bool(self.changed)

    @kept
    def changed(self) -> frozenset[str]:
        """Names of the parameters and state that a call writes."""
        written = {self.root(call.arguments[slot]) for call in self.calls for slot in call.writes}
        buffers = (self.buffers[index] for index in written)
        return frozenset(buffer.name for buffer in buffers if buffer.kind in ("parameter", "state"))

    @kept
    def arguments(self) -> dict[tuple[str, str], int]:
        """(kind, name) → index of every buffer the caller supplies."""
        return {(b.kind, b.name): index for index, b in enumerate(self.buffers) if b.is_argument}

    def root(self, index: int) -> int:
        """The buffer whose memory buffer `index` uses: itself, or what its views lead to."""
        while self.buffers[index].kind == "view":
            index = self.buffers[index].of
        return index

    def layers_of(self, kernel: str) -> tuple[str, ...]:
        """The layers a kernel computes, each once, in order of its calls."""
        return tuple(dict.fromkeys(name for call in self.calls if call.kernel == kernel for name in call.layers))

    def lifetimes(self) -> dict[int, tuple[int, int]]:
        """Index of each arena buffer → (first, last) call that uses it."""
        lives: dict[int, tuple[int, int]] = {}
        for position, call in enumerate(self.calls):
            for index in map(self.root, call.arguments):
                if self.buffers[index].kind == "arena":
                    lives[index] = (lives.get(index, (position, 0))[0], position)
        return lives

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that json.dumps takes."""
        return {
            "function": self.function,
            "kernels": {name: asdict(schedule) for name, schedule in self.kernels.items()},
            "buffers": [asdict(buffer) for buffer in self.buffers],
            "calls": [asdict(call) for call in self.calls],
            "arena_bytes": self.arena_bytes,
            "constant_bytes": self.constant_bytes,
            "fused": list(self.fused),
            "reductions": [asdict(reduction) for reduction in self.reductions],
            "others": [asdict(schedule) for schedule in self.others],
        }

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Program:
        """The program of such a dictionary, also after json has turned its tuples into lists."""
        return Program(
            function=data["function"],
            kernels={name: _schedule(given) for name, given in data["kernels"].items()},
            buffers=tuple(Buffer(**_tuples(given)) for given in data["buffers"]),
            calls=tuple(Call(**_tuples(given)) for given in data["calls"]),
            arena_bytes=data["arena_bytes"],
            constant_bytes=data["constant_bytes"],
            fused=tuple(data["fused"]),
            reductions=tuple(Reduction(**_tuples(given)) for given in data["reductions"]),
            others=tuple(map(_schedule, data["others"])),
        )


def _schedule(given: Mapping[str, Any]) -> Schedule:
    fields: dict[str, Any] = {**_tuples(given), "shape": _tuples(given["shape"]), "tiles": _tuples(given["tiles"])}
    return Schedule(**fields)


def _tuples(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
