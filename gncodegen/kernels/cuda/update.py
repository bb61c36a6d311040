"""CUDA plans of the update kernels: all parameters in one launch, or as few as their buffers' addresses allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gncodegen.kernels.cuda.elementwise import THREADS, UNROLL
from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.loss_scale import RULE, STATE
from gncodegen.kernels.schedule import ITEM_SIZE, Constant, Launch, Plan, Problem, Schedule, Tensor
from gncodegen.kernels.update_problem import UpdateProblem, norm_constants, norm_slots, statistics_constants

MOST_ADDRESSES = 500
"""Buffers of one launch: parameters of a kernel may take 4 KB."""


@dataclass(frozen=True)
class Share:
    """The parameters of one launch: numbers `begin` to `end` - 1, in chunks of `chunk` elements, a block each."""

    begin: int
    end: int
    chunk: int
    sizes: tuple[int, ...]

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunks of each parameter."""
        return tuple(-(-size // self.chunk) for size in self.sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Number of each parameter's first block, and of the block after the last."""
        starts = [0]
        for count in self.chunks:
            starts.append(starts[-1] + count)
        return tuple(starts)


def _shares(parameters: tuple[Tensor, ...], lanes: int, arrays: int) -> list[Share]:
    """The launches over all parameters, each with `arrays` buffers per parameter."""
    most = (MOST_ADDRESSES - 3) // arrays
    chunk = THREADS * UNROLL * lanes
    sizes = tuple(parameter.count for parameter in parameters)
    begins = range(0, len(sizes), most)
    return [Share(begin, min(begin + most, len(sizes)), chunk, sizes[begin : begin + most]) for begin in begins]


def _schedule(problem: Problem, template: str, share: Share, dtype: str, shape: Mapping[str, Constant]) -> Schedule:
    constants: dict[str, Constant] = {"sizes": share.sizes, "starts": share.starts, **shape}
    lanes = problem.machine.lanes(dtype)
    tiles: dict[str, Constant] = {"threads": THREADS, "chunk": share.chunk, "lanes": lanes, "unroll": UNROLL}
    return problem.schedule(template, dtype, shape=constants, tiles=tiles)


def _update(problem: Problem) -> Plan:
    """One step of a solver on all parameters."""
    update = UpdateProblem(problem)
    parameters, dtype = update.parameters, update.parameters[0].dtype
    # Frozen parameters count in no norm.
    moving = tuple(int(rate != 0) for rate in update.learn_rate_factors) if update.clip == "global-l2norm" else ()
    launches: list[Launch] = []
    for share in _shares(parameters, problem.machine.lanes(dtype), 3 + 2 * update.arrays):
        shape = update.shape(share.begin, share.end) | {"begin": share.begin, "moving": moving}
        elements = sum(share.sizes)
        launches.append(
            Launch(
                _schedule(problem, "update", share, dtype, shape),
                update.arguments(range(share.begin, share.end)),
                grid=share.starts[-1],
                writes=update.writes(share.end - share.begin),
                bytes=update.bytes(elements),
                flops=update.solver.flops * elements,
            )
        )
    return Plan(tuple(launches), in_place=update.in_place)


def _gradient_norms(problem: Problem) -> Plan:
    """Norms (P,) = ‖g + l2·l2_factor·p‖ of every parameter; operands p1…, g1….

    A chunk's sum of squares is of values over their largest magnitude, so that float32 neither overflows nor vanishes.
    """
    count = len(problem.operands) // 2
    parameters, dtype = problem.operands[:count], problem.operands[0].dtype
    decays = problem.numbers("l2_factors", (1.0,) * count)
    launches: list[Launch] = []
    first, chunks = 0, list[int]()
    for share in _shares(parameters, problem.machine.lanes(dtype), 2):
        numbers = range(share.begin, share.end)
        shape: dict[str, Constant] = {"l2_factors": decays[share.begin : share.end], "first_chunk": first}
        shape |= norm_constants(problem)
        arguments = tuple(f"operand{array * count + i}" for array in range(2) for i in numbers)
        elements = sum(share.sizes)
        launches.append(
            Launch(
                _schedule(problem, "gradient_squares", share, dtype, shape),
                (*arguments, *norm_slots(problem), "workspace0", "hyperparameters"),
                grid=share.starts[-1],
                writes=(2 * len(numbers) + len(norm_slots(problem)),),
                bytes=2 * elements * ITEM_SIZE[dtype],
                flops=5 * elements,
            )
        )
        first += share.starts[-1]
        chunks += share.chunks
    starts = tuple(sum(chunks[:i]) for i in range(count + 1))
    constants: dict[str, Constant] = {"starts": starts}
    roots = problem.schedule("gradient_norms", dtype, shape=constants, tiles={"threads": 32})
    parts = Tensor((first, 2), dtype)
    launches.append(Launch(roots, ("workspace0", "result0"), count, (1,), bytes=parts.bytes + 8 * count, flops=first))
    return Plan(tuple(launches), workspaces=(parts,))


def _update_loss_scale(problem: Problem) -> Plan:
    """The scale of the next step's loss, from the norms of this one's gradients; in place."""
    shape: dict[str, Constant] = {"norms": problem.operands[0].count, **RULE}
    schedule = problem.schedule("update_loss_scale", STATE.dtype, shape=shape, tiles={"threads": 32})
    return Plan((Launch(schedule, slots(problem), 1, writes=(2,), bytes=traffic(problem)),), in_place=((0, 1),))


def _accumulate(problem: Problem) -> Plan:
    """Sums of gradients plus the share of a part's; operands s1…, g1…."""
    count, dtype = len(problem.results), problem.results[0].dtype
    launches: list[Launch] = []
    for share in _shares(problem.results, problem.machine.lanes(dtype), 3):
        numbers, elements = range(share.begin, share.end), sum(share.sizes)
        operands = (f"operand{array * count + i}" for array in range(2) for i in numbers)
        arguments = (*operands, *(f"result{i}" for i in numbers), "hyperparameters")
        launches.append(
            Launch(
                _schedule(problem, "accumulate", share, dtype, {}),
                arguments,
                grid=share.starts[-1],
                writes=tuple(range(2 * len(numbers), 3 * len(numbers))),
                bytes=3 * elements * ITEM_SIZE[dtype],
                flops=2 * elements,
            )
        )
    return Plan(tuple(launches), in_place=tuple((i, i) for i in range(count)))


def _update_statistics(problem: Problem) -> Plan:
    """New = decay·batch + (1 − decay)·old, for the mean and the variance that `statistics` hold; both in place."""
    mean, shape, count = problem.operands[1], statistics_constants(problem), len(problem.operands)
    grid, writes = -(-mean.count // THREADS), (count, count + 1)
    schedule = problem.schedule("update_statistics", mean.dtype, shape=shape, tiles={"threads": THREADS})
    launch = Launch(schedule, slots(problem), grid, writes, bytes=traffic(problem), flops=9 * mean.count)
    return Plan((launch,), in_place=((0, 1), (1, 2)))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "update": _update,
    "gradient_norms": _gradient_norms,
    "update_loss_scale": _update_loss_scale,
    "accumulate": _accumulate,
    "update_statistics": _update_statistics,
}
