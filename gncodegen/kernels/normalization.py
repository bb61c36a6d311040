"""Plans of the normalization kernels: how an observation is walked, and which launches share the work.

An observation is ROWS rows of C channels. Vectors run across channels; where C is not a multiple of the vector length,
several rows make one step, so that every vector is full. The tree of sums depends on one observation's shape only, so a
batch slice keeps its bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd, lcm, prod

from gncodegen.errors import CompileError
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Schedule, Tensor

CHUNK = 16
"""Steps summed in the storage type before float64 takes over.

Longer float32 sums of squares are biased where a large mean has quantised the data: squares are 0 or 1 modulo 4 of the
last place, so that rounding them always cuts.
"""

PART_BYTES = 128 << 10
"""About how much of an observation one part holds: enough work for a tile, and it stays in L2."""

WIDEST_STEP = 1 << 14
"""Values of one step whose statistics fit the stack of a tile."""

FUSED_ACTIVATIONS = ("", "relu", "leaky-relu")


@dataclass(frozen=True)
class Walk:
    """How observations are cut: the constants that the templates name."""

    observations: int
    rows: int
    channels: int
    groups: int
    blocks: int
    repeat: int
    steps: int
    tail: int
    parts: int
    part_steps: int
    per_tile: int

    @property
    def block_channels(self) -> int:
        """Channels of one block; always whole groups."""
        return self.channels // self.blocks

    @property
    def width(self) -> int:
        """Values of one step of one block."""
        return self.block_channels * self.repeat

    def shape(self, problem: Problem) -> dict[str, Constant]:
        """The constants of the problem."""
        return {
            "rows": self.rows,
            "channels": self.channels,
            "groups": self.groups,
            "group_channels": self.channels // self.groups,
            "count": float(self.rows * self.channels // self.groups),
            **_epilogue(problem),
        }

    def tiles(self, phase: str, vector: int) -> dict[str, Constant]:
        """The constants of the blocking."""
        tiles: dict[str, Constant] = {
            "phase": phase,
            "vector": vector,
            "blocks": self.blocks,
            "block_channels": self.block_channels,
            "block_groups": self.groups // self.blocks,
            "repeat": self.repeat,
            "width": self.width,
            "stride": self.channels * self.repeat,
            "steps": self.steps,
            "tail": self.tail,
            "parts": self.parts,
            "part_steps": self.part_steps,
            "chunk": CHUNK,
            "apply_steps": max(1, 2048 // self.width),
            "per_tile": self.per_tile,
        }
        if self.per_tile > 1:
            tiles["observations"] = self.observations
        return tiles


def _epilogue(problem: Problem) -> dict[str, Constant]:
    """Epsilon and the fused activation.

    Raises:
        CompileError: the activation's mask cannot be recomputed from x.
    """
    activation = str(problem.attributes.get("activation", ""))
    if activation not in FUSED_ACTIVATIONS:
        raise CompileError(f"{problem.op} cannot fuse {activation!r}; allowed: {FUSED_ACTIVATIONS}")
    epsilon, alpha = (problem.attributes.get(name, 0.0) for name in ("epsilon", "alpha"))
    assert isinstance(epsilon, (int, float))
    assert isinstance(alpha, (int, float))
    return {"epsilon": float(epsilon), "activation": activation, "alpha": float(alpha)}


def view(problem: Problem) -> tuple[int, int, int, int]:
    """(observations, rows, channels, groups) of x under the attribute `reduced`."""
    shape, groups = problem.operands[0].shape, int(problem.attributes["groups"])  # pyright: ignore[reportArgumentType]
    channels, positions = shape[-1], prod(shape[1:-1])
    reduced = problem.attributes.get("reduced", "spatial-channel")
    if reduced == "channel":
        return shape[0] * positions, 1, channels, groups
    if reduced == "batch-spatial":
        return 1, shape[0] * positions, channels, groups
    return shape[0], positions, channels, groups


def walk(problem: Problem, machine: Machine) -> Walk:
    """Cut the observations: channel blocks that fit half of L2, full vectors, parts of a fixed size."""
    observations, rows, channels, groups = view(problem)
    dtype = problem.operands[0].dtype
    item, lanes = ITEM_SIZE[dtype], machine.lanes(dtype)
    blocks = _blocks(rows, channels, groups, item, lanes, machine)
    repeat = 1
    if blocks == 1:
        repeat = lanes // gcd(channels, lanes)
        while channels * repeat < 4 * lanes and rows >= 16 * repeat:
            repeat *= 2
        if rows < repeat:
            repeat = 1
    if channels // blocks * repeat > WIDEST_STEP:
        raise CompileError(
            f"{problem.op}: {channels // groups} channels in a group; allowed: at most {WIDEST_STEP}; use more groups"
        )
    steps = rows // repeat
    tail = (rows - steps * repeat) * channels
    step_bytes = channels // blocks * repeat * item
    part_steps = max(CHUNK, PART_BYTES // step_bytes // CHUNK * CHUNK)
    parts = max(1, -(-steps // part_steps))
    slab = rows * channels // blocks * item
    per_tile = max(1, (32 << 10) // slab) if blocks == 1 else 1
    return Walk(observations, rows, channels, groups, blocks, repeat, steps, tail, parts, part_steps, per_tile)


def _blocks(rows: int, channels: int, groups: int, item: int, lanes: int, machine: Machine) -> int:
    """Channel blocks of whole groups, vectors and cache lines; the fewest that fit half of L2, else the most."""
    unit = lcm(channels // groups, lanes, 64 // item)
    if channels % unit:
        return 1
    allowed = [n for n in range(1, channels // unit + 1) if channels // unit % n == 0]
    fitting = [n for n in allowed if rows * (channels // n) * item <= machine.l2 // 2]
    return min(fitting) if fitting else 1


def _whole(cut: Walk, item: int, machine: Machine) -> bool:
    """Whether one tile does a whole block: there are blocks enough for the cores, or the observation is small."""
    slab = cut.rows * cut.block_channels * item
    enough = cut.observations * cut.blocks >= 4 * machine.cores
    return cut.parts == 1 or (enough and slab * machine.cores <= machine.l3 // 2)


def _schedule(problem: Problem, cut: Walk, template: str, phase: str, **more: Constant) -> Schedule:
    dtype = problem.operands[0].dtype
    tiles = {**cut.tiles(phase, problem.machine.lanes(dtype)), **more}
    return Schedule(problem.op, template, "cpu", dtype, shape=cut.shape(problem), tiles=tiles)


def _group_norm(problem: Problem) -> Plan:
    """y, statistics from x, scale, offset[, r]: x read and y written once where a block stays in cache.

    Where it does not, x is read once more. A residual r is read once.
    """
    x = problem.operands[0]
    cut = walk(problem, problem.machine)
    grid = -(-cut.observations // cut.per_tile) * cut.blocks
    main = ("operand0", "operand1", "operand2", "result0", "result1")
    whole = _whole(cut, ITEM_SIZE[x.dtype], problem.machine)
    slots = main if whole else (*main, "workspace0")
    more: dict[str, Constant] = {}
    if residual := bool(problem.attributes.get("residual", False)):
        more["residual_slot"] = len(slots)
        slots = (*slots, "operand3")
    in_place = ((0, 0), (0, 3)) if residual else ((0, 0),)
    moved, flops = (2 + residual) * x.bytes, residual * x.count
    if whole:
        schedule = _schedule(problem, cut, "group_norm", "whole", **more)
        launch = Launch(schedule, slots, grid, writes=(3, 4), bytes=moved, flops=8 * x.count + flops)
        return Plan((launch,), in_place=in_place)
    grid = cut.observations * cut.blocks * cut.parts
    statistics = _schedule(problem, cut, "group_norm", "statistics")
    apply = _schedule(problem, cut, "group_norm", "apply", **more)
    first = Launch(statistics, ("operand0", "workspace0"), grid, writes=(1,), bytes=x.bytes, flops=5 * x.count)
    second = Launch(apply, slots, grid, writes=(3, 4), bytes=moved, flops=3 * x.count + flops)
    return Plan((first, second), workspaces=(Tensor((grid, 2, cut.width), "float64"),), in_place=in_place)


def _group_norm_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset[, dr] from x, dy, scale, offset, statistics[, r]: each once where a block stays in cache.

    Where it does not, x and the masked dy (dr, if there is a residual) are read once more.
    """
    x = problem.operands[0]
    cut = walk(problem, problem.machine)
    inputs = tuple(f"operand{i}" for i in range(5))
    residual = bool(problem.attributes.get("residual", False))
    # What is touched before an element is met again: x and dy, and with a residual r and dr.
    whole = _whole(cut, (4 if residual else 2) * ITEM_SIZE[x.dtype], problem.machine)
    rows = -(-cut.observations // cut.per_tile) if whole else cut.observations
    partial = Tensor((rows, 2, cut.channels), "float64")
    add = _added(problem, partial)
    # Every element of dy and r is read before dr, and every one of x and dy before dx, is written there.
    in_place = ((0, 0), (0, 1), (3, 1), (3, 5)) if residual else ((0, 1),)
    moved, flops = (2 if residual else 0) * x.bytes, residual * x.count
    if whole:
        slots = (*inputs, "workspace0", "result0")
        more = _residual_slots(slots) if residual else {}
        schedule = _schedule(problem, cut, "group_norm_gradient", "whole", dx_slot=6, **more)
        launch = Launch(
            schedule, (*slots, "operand5", "result3") if residual else slots, rows * cut.blocks,
            writes=(5, 6, 8) if residual else (5, 6), bytes=3 * x.bytes + moved, flops=14 * x.count + flops,
        )  # fmt: skip
        return Plan((launch, add), workspaces=(partial,), in_place=in_place)
    grid = cut.observations * cut.blocks * cut.parts
    slots = (*inputs, "workspace1")
    more = _residual_slots(slots) if residual else {}
    sums = _schedule(problem, cut, "group_norm_gradient", "sums", dx_slot=0, **more)
    first = Launch(
        sums, (*slots, "operand5", "result3") if residual else slots, grid,
        writes=(5, 7) if residual else (5,), bytes=2 * x.bytes + moved, flops=7 * x.count + flops,
    )  # fmt: skip
    if residual:  # dr is dy masked, so that what follows is the gradient of a norm alone
        problem = replace(problem, attributes={**problem.attributes, "activation": "", "alpha": 0.0})
        slots = ("operand0", "result3", *slots[2:])
    apply = _schedule(problem, cut, "group_norm_gradient", "apply", dx_slot=7)
    slots = (*slots, "workspace0", "result0")
    second = Launch(apply, slots, grid, writes=(6, 7), bytes=3 * x.bytes, flops=7 * x.count)
    return Plan((first, second, add), workspaces=(partial, Tensor((grid, 2, cut.width), "float64")), in_place=in_place)


def _residual_slots(slots: tuple[str, ...]) -> dict[str, Constant]:
    """The places of r and dr behind the other arguments."""
    return {"residual_slot": len(slots), "dr_slot": len(slots) + 1}


def _added(problem: Problem, partial: Tensor) -> Launch:
    """Adds the rows of `partial`, workspace 0, in order to dscale and doffset."""
    rows, _, channels = partial.shape
    block = min(channels, 64)
    shape: dict[str, Constant] = {"rows": rows, "channels": channels}
    dtype = problem.operands[0].dtype
    schedule = Schedule(problem.op, "group_norm_parameters", "cpu", dtype, shape=shape, tiles={"block": block})
    slots = ("workspace0", "result1", "result2")
    return Launch(schedule, slots, -(-channels // block), writes=(1, 2), bytes=partial.bytes)


def _channel_normalize_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset from x, dy, mean, variance, scale, offset."""
    x = problem.operands[0]
    channels = x.shape[-1]
    rows = x.count // channels
    block = max(CHUNK, PART_BYTES // (channels * ITEM_SIZE[x.dtype]))
    partial = Tensor((-(-rows // block), 2, channels), "float64")
    schedule = Schedule(
        problem.op,
        "channel_normalize_gradient",
        "cpu",
        x.dtype,
        shape={"rows": rows, "channels": channels, **_epilogue(problem)},
        tiles={"vector": problem.machine.lanes(x.dtype), "block": block, "chunk": CHUNK},
    )
    slots = (*(f"operand{i}" for i in range(6)), "workspace0", "result0")
    main = Launch(schedule, slots, partial.shape[0], writes=(6, 7), bytes=3 * x.bytes, flops=6 * x.count)
    return Plan((main, _added(problem, partial)), workspaces=(partial,), in_place=((0, 1),))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "group_norm": _group_norm,
    "group_norm_gradient": _group_norm_gradient,
    "channel_normalize_gradient": _channel_normalize_gradient,
}
