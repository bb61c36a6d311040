"""CUDA plans of the normalization kernels: which threads hold which part of a group, and where sums are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from gncodegen.kernels.activations import activation
from gncodegen.kernels.cuda.elementwise import by_columns
from gncodegen.kernels.cuda.normalization_panel import Panel
from gncodegen.kernels.cuda.normalization_tiers import Tier, choose_tier, shares
from gncodegen.kernels.epilogue import fused, norm_epilogue
from gncodegen.kernels.normalization import over_batch, view
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Order, Plan, Problem, Schedule, Tensor, computed_in

PARAMETERS = ("mean", "variance", "scale", "offset")
"""What channel normalization has one of per channel, in the order of its operands."""

WARPS, STEPS = 32, 8
"""Warps of a block that adds up the partial sums of 32 columns, and rows that each asks for at once."""


def _tier(problem: Problem, held: int) -> Tier:
    """The tier for the problem, of kernels for its model; `held` tensors stay on chip."""
    x, model = problem.operands[0], problem.modelled
    item, registers = ITEM_SIZE[x.dtype], 2 if x.dtype == "float64" else 1
    if not model.operands[0].count or model.operands[0].shape[1:] != x.shape[1:]:
        model = problem
    batch = model.operands[0].shape[0]
    tier = choose_tier(view(model), batch, item, held * registers, problem.machine, over_batch(problem))
    observations, rows, *_ = view(problem)
    return tier.of(observations, rows, problem.machine)


def _order(problem: Problem, panel: Panel, tiles: int = 0) -> Order:
    """How tiles follow observations: blocks of MEMBERS panels, or so many `tiles` of each panel."""
    observations = problem.observations
    return Order(1 if tiles else panel.members, max(1, panel.panels // observations), tiles or panel.parts)


def _constants(problem: Problem, panel: Panel) -> dict[str, Constant]:
    """What the templates name besides the blocking."""
    first = 1 if problem.op == "group_norm" else 2
    return {
        **panel.shape(),
        **norm_epilogue(problem),
        "residual": problem.flag("residual"),
        "scale_dtype": problem.operands[first].dtype,
        "offset_dtype": problem.operands[first + 1].dtype,
    }


def _schedule(problem: Problem, tier: Tier, template: str, phase: str, **more: Constant) -> Schedule:
    dtype = problem.operands[0].dtype
    shape = _constants(problem, tier.panel)
    unit, largest = (2.0**512, 1e300) if dtype == "float64" else (2.0**64, 1e30)
    tiles: dict[str, Constant] = {"phase": phase, "meeting": "", **tier.panel.tiles(), "unit": unit, "largest": largest}
    for name in ("scale", "offset"):
        item = ITEM_SIZE[str(shape[f"{name}_dtype"])]
        tiles[f"{name}_access"] = min(tier.panel.lanes, problem.machine.vector_bytes // item)
    if tier.panel.counted:
        tiles["spread"] = tier.kind != "resident"
    if phase == "spread":
        cluster = "parts" if tier.panel.counted else tier.panel.parts
        tiles["meeting"] = tier.kind
        tiles |= {"cluster": cluster} if tier.kind == "cluster" else {"cooperative": True}
    tiles |= more
    if tier.panel.wide and phase != "join":
        template = f"{template}_wide"
    return problem.schedule(template, dtype, shape=shape, tiles=tiles, numbers=tier.panel.numbers)


def _launches(problem: Problem, tier: Tier, pattern: Launch) -> list[Launch]:
    """One launch for each wave of panels, where each panel is PARTS tiles."""
    panel = tier.panel
    return [
        replace(
            pattern, grid=panels * panel.parts, first=first * panel.parts, order=_order(problem, panel),
            numbers=tuple(panel.numbers.values()),
            bytes=pattern.bytes * panels // panel.panels, flops=pattern.flops * panels // panel.panels,
        )
        for first, panels in tier.waves
    ]  # fmt: skip


def _flags(problem: Problem, tier: Tier, name: str) -> tuple[Launch, Tensor]:
    """The launch that clears the flags of a spread tier, and their memory."""
    count = tier.panel.grid
    tiles: dict[str, Constant] = {"threads": 256}
    schedule = problem.schedule("group_norm_flags", "uint32", tiles=tiles, numbers=("count",))
    order = Order(256, count // problem.observations)
    clear = Launch(schedule, (name,), -(-count // 256), (0,), bytes=4 * count, order=order, numbers=(count,))
    return clear, Tensor((count,), "int32")


def _interleaved(*rounds: list[Launch]) -> tuple[Launch, ...]:
    """The launches of the first wave, then those of the next."""
    return tuple(launch for wave in zip(*rounds, strict=True) for launch in wave)


def _moments(problem: Problem, tier: Tier, values: int) -> Tensor:
    """Memory for `values` numbers of each part of each group."""
    panel = tier.panel
    return Tensor((panel.panels, panel.parts, panel.groups // panel.blocks, values), _real(problem))


def _group_norm(problem: Problem) -> Plan:
    """y, statistics from x, scale, offset[, r]: x is read once, or twice where a group does not fit the chip."""
    x = problem.operands[0]
    residual = problem.flag("residual")
    tier = _tier(problem, 1)
    inputs = tuple(f"operand{i}" for i in range(4 if residual else 3))
    outputs = ("result0", "result1")
    again = 2 if tier.panel.wide else 0  # wide groups stay in memory: their mean, their squares and y are three passes
    moved, flops = (3 if residual else 2) * x.bytes, (9 + residual) * x.count
    slots, writes = (*inputs, *outputs), (len(inputs), len(inputs) + 1)
    if tier.kind == "resident":
        schedule = _schedule(problem, tier, "group_norm", "whole")
        launch = Launch(
            schedule, slots, tier.panel.grid, writes, moved + again * x.bytes, flops,
            order=_order(problem, tier.panel), numbers=tuple(tier.panel.numbers.values()),
        )  # fmt: skip
        return Plan((launch,))
    partials = _moments(problem, tier, 3)
    if tier.kind in ("cluster", "flags"):
        schedule = _schedule(problem, tier, "group_norm", "spread")
        more = ("workspace0",) if tier.kind == "cluster" else ("workspace0", "workspace1")
        written = (*writes, *range(len(slots), len(slots) + len(more)))
        launches = _launches(problem, tier, Launch(schedule, (*slots, *more), 0, written, moved, flops))
        if tier.kind == "cluster":
            return Plan(tuple(launches), workspaces=(partials,))
        clear, flags = _flags(problem, tier, "workspace1")
        return Plan((clear, *launches), workspaces=(partials, flags))
    schedule = _schedule(problem, tier, "group_norm", "statistics")
    first = Launch(schedule, ("operand0", "workspace0"), 0, (1,), (1 + again // 2) * x.bytes, 6 * x.count)
    apply = Launch(_schedule(problem, tier, "group_norm", "apply"), slots, 0, (len(inputs),), moved, 3 * x.count)
    schedule = _schedule(problem, tier, "group_norm_join", "join", **_join_tiles(tier))
    join = Launch(schedule, ("operand0", "workspace0", "result1"), 0, (2,))
    rounds = (_launches(problem, tier, first), _joins(problem, tier, join), _launches(problem, tier, apply))
    return Plan(_interleaved(*rounds), workspaces=(partials,))


def _join_tiles(tier: Tier) -> dict[str, Constant]:
    """A warp for each group of a panel, up to a block of 8."""
    groups = tier.panel.groups // tier.panel.blocks
    return {"threads": 32 * min(8, groups), "blocks_per_processor": 1}


def _joins(problem: Problem, tier: Tier, pattern: Launch) -> list[Launch]:
    """One launch for each wave, a tile for each panel."""
    order, numbers = _order(problem, tier.panel, 1), tuple(tier.panel.numbers.values())
    return [replace(pattern, grid=panels, first=first, order=order, numbers=numbers) for first, panels in tier.waves]


def _group_norm_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset[, dr] from x, dy, scale, offset, statistics[, r]: x and dy are read once, or twice."""
    x = problem.operands[0]
    residual = problem.flag("residual")
    tier = _tier(problem, 3 if residual else 2)
    panel = tier.panel
    partial = Tensor((panel.observations * panel.parts, 2, panel.channels), _real(problem))
    add = _added(problem, partial)
    inputs = tuple(f"operand{i}" for i in range(6 if residual else 5))
    outputs = ("result0", "result3") if residual else ("result0",)
    moved, flops = (5 if residual else 3) * x.bytes, (14 + residual) * x.count

    def launch(phase: str, slots: tuple[str, ...], bytes_: int, count: int, **more: Constant) -> Launch:
        schedule = _schedule(problem, tier, "group_norm_gradient", phase, **more)
        written = tuple(i for i, slot in enumerate(slots) if slot.startswith(("result", "workspace")))
        return Launch(schedule, slots, panel.grid, written, bytes_, count, numbers=tuple(panel.numbers.values()))

    if tier.kind == "resident":
        again = (3 if residual else 2) * x.bytes if panel.wide else 0  # wide groups are read for the sums, and for dx
        main = launch("whole", (*inputs, "workspace0", *outputs), moved + again, flops)
        return Plan((main, add), workspaces=(partial,))
    partials = _moments(problem, tier, 2)
    if tier.kind == "cluster":
        main = launch("spread", (*inputs, "workspace0", "workspace1", *outputs), moved, flops)
        return Plan((*_launches(problem, tier, main), add), workspaces=(partial, partials))
    if tier.kind == "flags":
        clear, flags = _flags(problem, tier, "workspace2")
        slots = (*inputs, "workspace0", "workspace1", "workspace2", *outputs)
        main = launch("spread", slots, moved, flops)
        return Plan((clear, *_launches(problem, tier, main), add), workspaces=(partial, partials, flags))
    slots = (*inputs, "workspace0", "workspace1", *outputs[1:])
    sums = launch("sums", slots, (4 if residual else 2) * x.bytes, flops // 2)
    joined = Tensor((panel.observations, panel.groups, 2), _real(problem))
    schedule = _schedule(problem, tier, "group_norm_gradient_join", "join", **_join_tiles(tier))
    join = Launch(schedule, ("workspace1", "workspace2"), 0, (1,))
    plain = problem
    if residual:  # dr is dy masked, so that what follows is the gradient of a norm alone
        plain = replace(problem, attributes={**problem.attributes, "activation": "", "residual": False})
    schedule = _schedule(plain, tier, "group_norm_gradient", "apply")
    slots = ("operand0", "result3" if residual else "operand1", *inputs[2:5], "workspace2", "result0")
    apply = Launch(schedule, slots, 0, (6,), 3 * x.bytes, flops // 2)
    rounds = (_launches(problem, tier, sums), _joins(problem, tier, join), _launches(problem, tier, apply))
    return Plan((*_interleaved(*rounds), add), workspaces=(partial, partials, joined))


def _real(problem: Problem) -> str:
    """The type of sums."""
    return computed_in(problem.operands[0].dtype)


def _added(problem: Problem, partial: Tensor) -> Launch:
    """Adds the rows of `partial`, workspace 0, in a fixed tree to dscale and doffset."""
    rows, _, channels = partial.shape
    schedule = problem.schedule(
        "group_norm_parameters",
        partial.dtype,
        shape={"channels": channels, "parameter_dtype": problem.results[1].dtype},
        tiles={"threads": 32 * WARPS, "warps": WARPS, "steps": STEPS},
        numbers=("rows",),
    )
    slots, grid = ("workspace0", "result1", "result2"), -(-2 * channels // 32)
    return Launch(schedule, slots, grid, (1, 2), partial.bytes, partial.count, numbers=(rows,))


def _parameter_types(problem: Problem, first: int) -> dict[str, Constant]:
    """The storage types of the operands that have one value per channel."""
    operands = problem.operands[first : first + len(PARAMETERS)]
    return {f"{name}_dtype": tensor.dtype for name, tensor in zip(PARAMETERS, operands, strict=True)}


def channel_normalize(problem: Problem) -> Plan:
    """Y = f((x - mean) · scale / sqrt(variance + epsilon) + offset), per channel."""
    constants = fused(problem)
    shape: dict[str, Constant] = {"epsilon": problem.number("epsilon"), **constants}
    shape |= _parameter_types(problem, 1)
    flops = 3 + activation(str(constants["activation"])).flops
    plan = by_columns(problem, "channel_normalize", problem.operands[0].shape[-1], shape, flops)
    return replace(plan, in_place=())


def _channel_normalize_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset from x, dy, mean, variance, scale, offset: x and dy are read once."""
    x, machine = problem.operands[0], problem.machine
    item, channels = ITEM_SIZE[x.dtype], x.shape[-1]
    held = 4 if x.dtype == "float64" else 2
    panel = shares(x.count // channels, x.shape[0], channels, item, held, machine)
    partial = Tensor((panel.parts, 2, channels), _real(problem))
    shape: dict[str, Constant] = {**panel.shape(), **norm_epilogue(problem), **_parameter_types(problem, 2)}
    tiles = panel.tiles() | {"spread": True}
    for name, tensor in zip(PARAMETERS, problem.operands[2:6], strict=True):
        tiles[f"{name}_access"] = min(panel.lanes, machine.vector_bytes // ITEM_SIZE[tensor.dtype])
    schedule = problem.schedule("channel_normalize_gradient", x.dtype, shape=shape, tiles=tiles, numbers=panel.numbers)
    slots, numbers = (*(f"operand{i}" for i in range(6)), "workspace0", "result0"), tuple(panel.numbers.values())
    main = Launch(schedule, slots, panel.grid, (6, 7), 3 * x.bytes, 6 * x.count, numbers=numbers)
    return Plan((main, _added(problem, partial)), workspaces=(partial,))


def _statistics_gradient(problem: Problem) -> Plan:
    """Dx from dx by fixed statistics, x, mean, variance, scale, the averages of dscale and doffset, and steps."""
    x, masked = problem.operands[1], len(problem.operands) > 7
    step_rows = prod(x.shape[2:-1]) if masked else 0
    shape: dict[str, Constant] = {"epsilon": problem.number("epsilon"), "step_rows": step_rows}
    shape["length"] = x.shape[1] * step_rows
    return by_columns(problem, "statistics_gradient", x.shape[-1], shape, 4, single=masked)


def _group_statistics(problem: Problem) -> Plan:
    """Statistics from x: those of a group norm whose scale and offset are numbers of x, and whose y nobody reads."""
    norm = _with_result(problem)
    plan = _group_norm(replace(norm, model=_with_result(problem.modelled)))
    y = f"workspace{len(plan.workspaces)}"
    places = {"operand1": "operand0", "operand2": "operand0", "result0": y, "result1": "result0"}
    launches = [replace(each, arguments=tuple(places.get(a, a) for a in each.arguments)) for each in plan.launches]
    return replace(plan, launches=tuple(launches), workspaces=(*plan.workspaces, norm.results[0]))


def _with_result(problem: Problem) -> Problem:
    """Statistics as the group norm that has them."""
    x = problem.operands[0]
    row = Tensor((x.shape[-1],), x.dtype)
    return replace(problem, op="group_norm", operands=(x, row, row), results=(x, *problem.results), model=None)


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "group_norm": _group_norm,
    "group_statistics": _group_statistics,
    "group_norm_gradient": _group_norm_gradient,
    "channel_normalize": channel_normalize,
    "channel_normalize_gradient": _channel_normalize_gradient,
    "statistics_gradient": _statistics_gradient,
}
"""Op → its plan."""
