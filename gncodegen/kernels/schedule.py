"""What a kernel is asked to do and how it will do it: Problem in, Plan of Launches with Schedules out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from gncodegen.errors import CompileError
from gncodegen.process.forks import kept

Constant = int | float | bool | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """The facts of a target that schedules depend on.

    Args:
        target: its name, such as "cpu" or "sm_90".
        family: whose plans (kernels/<family>) and templates (templates/<family>) it uses: "cpu" or "cuda".
        vector_bytes: width of a vector register in bytes.
        vector_registers: how many there are.
        l1, l2, l3: cache sizes in bytes, per core for l1 and l2; on a GPU l1 is the shared memory that one block may
            use, l2 is shared by all, and l3 is 0.
        cores: how many tiles can run at once, or the multiprocessors of a GPU; results never depend on a CPU's.
        threads: resident threads of one multiprocessor; 0 on a CPU.
        math: how matrix products multiply on a GPU: "float32", or on tensor cores "tf32" or "bf16".
        precise: a CPU's Winograd convolutions do patches of 2 × 2 outputs only, for less rounding error and less speed.
    """

    target: str = "cpu"
    family: str = "cpu"
    vector_bytes: int = 32
    vector_registers: int = 16
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    cores: int = 1
    threads: int = 0
    math: str = "float32"
    precise: bool = False

    def lanes(self, dtype: str, extent: int | None = None) -> int:
        """Elements of `dtype` in one vector: of all that a register holds, or as few as hold `extent` values.

        At least 32 bytes where registers are wider: half a register costs as much as less of it. Registers of a CPU
        hold what values compute in, the vectors of a GPU are accesses to what is stored.
        """
        width, size = self.vector_bytes, ITEM_SIZE[computed_in(dtype) if self.family == "cpu" else dtype]
        while extent is not None and width > NARROWEST and width >= 2 * extent * size:
            width //= 2
        return width // size


NARROWEST = 32
"""Bytes of a vector that costs no more than narrower ones; wider ones take two cycles on some CPUs."""

ITEM_SIZE = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "uint8": 1}
"""Bytes per element."""

COMPUTED_IN = {"float16": "float32", "bfloat16": "float32"}
"""The type that values of a storage type compute in, where it is another; templates name it `real`."""

ENOUGH_TILES = 16
"""Tiles that keep the cores of a large machine busy; below it a launch is split further."""

STACK_BYTES = 4 << 20
"""Most that a kernel of the CPU may keep on its thread's stack: half of what threads have."""


def computed_in(dtype: str) -> str:
    """The type that values of a storage type compute in."""
    return COMPUTED_IN.get(dtype, dtype)


@dataclass(frozen=True)
class Tensor:
    """A dense, row-major array: extents and element type."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def count(self) -> int:
        """Number of elements."""
        product = 1
        for extent in self.shape:
            product *= extent
        return product

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return self.count * ITEM_SIZE[self.dtype]


@dataclass(frozen=True)
class Problem:
    """One gn op, without its IR: what goes in, what comes out, on which machine.

    Args:
        op: its name.
        operands, results: the arrays.
        attributes: of the op.
        machine: that kernels are for.
        model: the same op with the number of observations that kernels are specialised for; None = it is this one.
    """

    op: str
    operands: tuple[Tensor, ...]
    results: tuple[Tensor, ...]
    attributes: Mapping[str, Constant]
    machine: Machine
    model: Problem | None = None

    @property
    def modelled(self) -> Problem:
        """The problem whose kernels are to serve this one: constants of schedules follow from it."""
        return self.model or self

    @property
    def observations(self) -> int:
        """Of the batch, at least 1: what an Order counts by. The steps of a sequence are an axis of their own."""
        return max(1, self.operands[0].shape[0])

    @kept
    def digest(self) -> str:
        """A name for the problem: equal problems have equal ones, in every process."""
        facts = (self.op, self.operands, self.results, sorted(self.attributes.items()), self.machine)
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def schedule(
        self,
        template: str,
        dtype: str,
        shape: Mapping[str, Constant] | None = None,
        tiles: Mapping[str, Constant] | None = None,
        numbers: Iterable[str] = (),
    ) -> Schedule:
        """The Schedule of one of its kernels; the arguments are those of Schedule."""
        machine, given = self.machine, {"shape": shape or {}, "tiles": tiles or {}, "numbers": tuple(numbers)}
        return Schedule(self.op, template, machine.target, dtype, machine.family, **given)  # pyright: ignore[reportArgumentType]

    def text(self, name: str, default: str = "") -> str:
        """A text attribute, `default` where it is missing.

        Raises:
            CompileError: it is of another type; so do the other readers.
        """
        return self._read(name, default, str)

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes-or-no attribute."""
        return bool(self._read(name, default, int))

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number."""
        return self._read(name, default, int)

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a number."""
        return float(self._read(name, default, (int, float)))

    def integers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        return tuple(map(int, self._read(name, default, tuple)))

    def numbers(self, name: str, default: tuple[float, ...] = ()) -> tuple[float, ...]:
        """An attribute that is a list of numbers."""
        return tuple(map(float, self._read(name, default, tuple)))

    def texts(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """An attribute that is a list of texts."""
        return tuple(map(str, self._read(name, default, tuple)))

    def _read(self, name: str, default: Constant, allowed: type | tuple[type, ...]) -> Any:
        value = self.attributes.get(name, default)
        if not isinstance(value, allowed):
            raise CompileError(f"{self.op}: attribute {name!r} is {value!r}; allowed: values like {default!r}")
        return value


@dataclass(frozen=True)
class Schedule:
    """How one kernel does its work; equal schedules render to the same source file.

    Args:
        op: the gn op it serves, or what a launch that several ops share is called.
        template: stem of the template file in templates/<family>/.
        target, family: as in Machine.
        dtype: storage type of the activations.
        layout: storage order of the activations, for example "BSSC".
        shape: the problem's extents and options, by the names the template uses.
        tiles: the blocking choices, by the names the template uses. CUDA launches read `threads` (per block), and,
            where present, `blocks_per_processor` (a compiler hint that caps registers), `dynamic_shared` (bytes),
            `cluster` (blocks, or which of `numbers` says how many) and `cooperative` (all blocks are resident at
            once).
        numbers: what the kernel reads at run time because it depends on the number of observations, by the names that
            the template uses; Launch.numbers has the values. On a GPU they are its last parameters.
    """

    op: str
    template: str
    target: str
    dtype: str
    family: str = "cpu"
    layout: str = "channel-last"
    shape: Mapping[str, Constant] = field(default_factory=dict[str, Constant])
    tiles: Mapping[str, Constant] = field(default_factory=dict[str, Constant])
    numbers: tuple[str, ...] = ()

    @property
    def constants(self) -> dict[str, Constant]:
        """Everything the template may name, besides dtype."""
        return {**self.shape, **self.tiles}

    def cluster(self, numbers: Sequence[int] = ()) -> int:
        """Blocks of a cluster, under the values of `numbers` that a launch has; 1 = there are none."""
        blocks = self.tiles.get("cluster", 1)
        if isinstance(blocks, str):
            return int(dict(zip(self.numbers, numbers, strict=False)).get(blocks, 1))
        assert isinstance(blocks, int)
        return blocks

    @property
    def key(self) -> tuple[object, ...]:
        """Hashable identity."""
        shape, tiles = tuple(sorted(self.shape.items())), tuple(sorted(self.tiles.items()))
        return (self.op, self.template, self.target, self.dtype, self.family, self.layout, shape, tiles, self.numbers)

    def __hash__(self) -> int:
        return hash(self.key)


class Order(NamedTuple):
    """How the tiles of a launch follow the observations of a batch, so that a part of them does the first of those.

    `units` units of `tiles` neighbouring tiles each do `observations` observations, in order; all of that is gone
    through `repeats` times, such as for each block of filters. The last observation of a run may lie inside a unit: its
    kernel reads numbers that say where to stop. Where that makes less than ENOUGH_TILES units, and `observations` may
    be cut into as many as `cuts`, units are smaller and more; kernels of such launches compute `needed`, too.
    """

    observations: int = 1
    units: int = 1
    tiles: int = 1
    repeats: int = 1
    cuts: int = 0

    def needed(self, count: int) -> int:
        """Units that do the first `count` observations."""
        fewest = min(ENOUGH_TILES, -(-count * self.cuts // self.observations))
        return max(-(-count * self.units // self.observations), fewest)

    def grid(self, count: int, first: int, most: int) -> int:
        """Tiles of a launch that do the first `count` observations, of its `most` tiles from number `first` on."""
        return min(max(self.needed(count) * self.tiles * self.repeats - first, 0), most)


@dataclass(frozen=True)
class Launch:
    """One call of a kernel over a grid of tiles.

    Args:
        schedule: the kernel.
        arguments: what each slot of `argv` is: "operand0", "result0", "workspace0", … or "hyperparameters".
        grid: number of tiles; tiles are independent, so their order never changes the result.
        first: number of the first tile, where one op's tiles are spread over several launches.
        writes: the slots the kernel writes (results and workspaces); all others are only read.
        bytes: tensor-sized bytes read and written, by the design (for the report of predicted traffic).
        flops: floating-point operations.
        order: how tiles follow observations (see Order); () where they do not.
        numbers: values of Schedule.numbers; in a launch with an order, multiples of the observations.
    """

    schedule: Schedule
    arguments: tuple[str, ...]
    grid: int
    writes: tuple[int, ...]
    bytes: int = 0
    flops: int = 0
    first: int = 0
    order: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.order and not self.numbers and Order(*self.order).units % max(1, self.order[0]):
            raise CompileError(
                f"{self.schedule.template}: a unit holds several observations, of which a run may end at any; allowed: "
                "kernels that read where that is; give the launch numbers"
            )


@dataclass(frozen=True)
class Plan:
    """The launches that compute one gn op, in order.

    Args:
        launches: in order.
        workspaces: scratch buffers that live for this op only.
        in_place: pairs (result index, operand index) that may share memory when the operand dies here.
        others: kernels that no launch here needs, but those of other numbers of observations do.
    """

    launches: tuple[Launch, ...]
    workspaces: tuple[Tensor, ...] = ()
    in_place: tuple[tuple[int, int], ...] = ()
    others: tuple[Schedule, ...] = ()

    @property
    def without_order(self) -> Plan:
        """The plan for arrays whose first axis is not that of observations, or that have none."""
        return replace(self, launches=tuple(replace(launch, order=()) for launch in self.launches))


Plans = Plan | Iterator[Plan]
"""A plan, or candidates that all give the same bits, best first by the cost model."""
