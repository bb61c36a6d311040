"""CUDA plans of the normalization kernels: which threads hold which part of a group, and where sums are joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from gncodegen.errors import CompileError
from gncodegen.kernels.cuda.normalization_slab import Slab, cuts
from gncodegen.kernels.elementwise import number, text
from gncodegen.kernels.normalization import FUSED_ACTIVATIONS, view
from gncodegen.kernels.render import COMPUTED_IN
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Machine, Plan, Problem, Schedule, Tensor

PARAMETER_THREADS = 1024
"""Threads of a block that adds up the partial sums of 32 columns."""


def _score(cut: Slab, item: int, machine: Machine) -> float:
    """How well a cut uses the machine, 1 = as fast as memory; a product of estimates."""
    width = cut.block_channels * item
    sectors = 1.0 if cut.flat or width >= 128 else 0.97 if width >= 64 else 0.9 if width >= 32 else width / 64
    access = 1.0 if cut.lanes * item == machine.vector_bytes else 0.9 if cut.lanes * item >= 8 else 0.8
    load = cut.grid / machine.cores
    fill = load / -(-cut.grid // machine.cores) if load < 16 else 1.0
    together = min(cut.blocks_per_processor, machine.threads // cut.threads, max(1, -(-cut.grid // machine.cores)))
    # While one block waits at its barriers, the others keep memory busy.
    overlap = (0.8, 0.9, 0.96, 1.0)[min(together, 4) - 1]
    useful = cut.rows * cut.channels / (cut.parts * cut.blocks * cut.slab_threads * cut.steps * cut.lanes)
    sums = 1.0 if cut.direct else 0.97
    return sectors * access * fill * overlap * useful**0.25 * sums


def _resident(problem: Problem, held: int) -> Slab | None:
    """The best cut whose slabs each fit the registers of one block."""
    observations, rows, channels, groups = view(problem)
    item, machine = ITEM_SIZE[problem.operands[0].dtype], problem.machine
    found = list(cuts(observations, rows, channels, groups, item, held, machine, 1))
    return max(found, key=lambda cut: (_score(cut, item, machine), -cut.threads), default=None)


def _constants(problem: Problem, cut: Slab) -> dict[str, Constant]:
    """What the templates name besides the blocking.

    Raises:
        CompileError: the activation's mask cannot be recomputed from x.
    """
    activation = text(problem, "activation")
    if activation not in FUSED_ACTIVATIONS:
        raise CompileError(f"{problem.op} cannot fuse {activation!r}; allowed: {FUSED_ACTIVATIONS}")
    first = 1 if problem.op == "group_norm" else 2
    return {
        **cut.shape(),
        "epsilon": number(problem, "epsilon"),
        "activation": activation,
        "alpha": number(problem, "alpha"),
        "residual": bool(problem.attributes.get("residual", False)),
        "scale_dtype": problem.operands[first].dtype,
        "offset_dtype": problem.operands[first + 1].dtype,
    }


def _schedule(problem: Problem, cut: Slab, template: str, phase: str, **more: Constant) -> Schedule:
    dtype = problem.operands[0].dtype
    shape = _constants(problem, cut)
    unit, largest = (2.0**512, 1e300) if dtype == "float64" else (2.0**64, 1e30)
    tiles: dict[str, Constant] = {"phase": phase, **cut.tiles(), "unit": unit, "largest": largest, **more}
    for name in ("scale", "offset"):
        item = ITEM_SIZE[str(shape[f"{name}_dtype"])]
        tiles[f"{name}_access"] = min(cut.lanes, problem.machine.vector_bytes // item)
    return Schedule(problem.op, template, problem.machine.target, dtype, shape=shape, tiles=tiles)


def _registers(problem: Problem) -> int:
    """32-bit registers of one value."""
    return 2 if problem.operands[0].dtype == "float64" else 1


def _too_large(problem: Problem) -> CompileError:
    shape = problem.operands[0].shape
    return CompileError(f"{problem.op}: no schedule for {shape} in {problem.attributes.get('groups')} groups")


def _group_norm(problem: Problem) -> Plan:
    """y, statistics from x, scale, offset[, r]: x is read once."""
    x = problem.operands[0]
    residual = bool(problem.attributes.get("residual", False))
    cut = _resident(problem, _registers(problem))
    if cut is None:
        raise _too_large(problem)
    inputs = tuple(f"operand{i}" for i in range(4 if residual else 3))
    launch = Launch(
        _schedule(problem, cut, "group_norm", "whole"), (*inputs, "result0", "result1"), cut.grid,
        writes=(len(inputs), len(inputs) + 1), bytes=(3 if residual else 2) * x.bytes, flops=(9 + residual) * x.count,
    )  # fmt: skip
    return Plan((launch,))


def _group_norm_gradient(problem: Problem) -> Plan:
    """dx, dscale, doffset[, dr] from x, dy, scale, offset, statistics[, r]: x and dy are read once."""
    x = problem.operands[0]
    residual = bool(problem.attributes.get("residual", False))
    cut = _resident(problem, (3 if residual else 2) * _registers(problem))
    if cut is None:
        raise _too_large(problem)
    inputs = tuple(f"operand{i}" for i in range(6 if residual else 5))
    outputs = ("workspace0", "result0", "result3") if residual else ("workspace0", "result0")
    launch = Launch(
        _schedule(problem, cut, "group_norm_gradient", "whole"), (*inputs, *outputs), cut.grid,
        writes=tuple(range(len(inputs), len(inputs) + len(outputs))), bytes=(5 if residual else 3) * x.bytes,
        flops=(14 + residual) * x.count,
    )  # fmt: skip
    partial = _partial(problem, cut.observations * cut.parts, cut.channels)
    return Plan((launch, _added(problem, partial)), workspaces=(partial,))


def _partial(problem: Problem, rows: int, channels: int) -> Tensor:
    """Sums of g·x̂ and of g per channel, one row for each part of the sums."""
    dtype = problem.operands[0].dtype
    return Tensor((rows, 2, channels), COMPUTED_IN.get(dtype, dtype))


def _added(problem: Problem, partial: Tensor) -> Launch:
    """Adds the rows of `partial`, workspace 0, in a fixed tree to dscale and doffset."""
    rows, _, channels = partial.shape
    steps = min(16, -(-rows // (PARAMETER_THREADS // 32)))
    schedule = Schedule(
        problem.op, "group_norm_parameters", problem.machine.target, partial.dtype,
        shape={"rows": rows, "channels": channels, "parameter_dtype": problem.results[1].dtype},
        tiles={"threads": PARAMETER_THREADS, "warps": 32, "steps": steps, "halves": (16, 8, 4, 2, 1)},
    )  # fmt: skip
    slots = ("workspace0", "result1", "result2")
    return Launch(schedule, slots, -(-2 * channels // 32), writes=(1, 2), bytes=partial.bytes, flops=partial.count)


def rows_of(problem: Problem) -> int:
    """Rows of channels of x."""
    return prod(problem.operands[0].shape[:-1])


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "group_norm": _group_norm,
    "group_norm_gradient": _group_norm_gradient,
}
"""Op → its plan."""
