"""Plans of the update kernels: what a training step does to parameters, velocities and running statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.cpu.elementwise import slots, traffic
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Schedule, Tensor

CHUNK = 16384
"""Elements of a parameter that one tile updates; partial sums of squares are of such chunks."""


def _chunks(parameters: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The number of chunks of each parameter."""
    return tuple(-(-parameter.count // CHUNK) for parameter in parameters)


def _schedule(
    problem: Problem, template: str, parameters: tuple[Tensor, ...], shape: Mapping[str, Constant]
) -> Schedule:
    dtype = parameters[0].dtype
    sizes: dict[str, Constant] = {"sizes": tuple(parameter.count for parameter in parameters)}
    tiles: dict[str, Constant] = {"chunk": CHUNK, "vector": problem.machine.lanes(dtype)}
    return Schedule(problem.op, template, "cpu", dtype, shape={**sizes, **shape}, tiles=tiles)


def _sgdm_update(problem: Problem) -> Plan:
    """G ← g + l2·l2_factor·p; clip g; v ← momentum·v − learn_rate·factor·g; p ← p + v, all parameters in one launch.

    Operands p1…, g1…, v1… and, for a norm clip, norms; results p1…, v1….
    """
    count = len(problem.results) // 2
    parameters = problem.results[:count]
    shape: dict[str, Constant] = {
        "learn_rate_factors": problem.numbers("learn_rate_factors", (1.0,) * count),
        "l2_factors": problem.numbers("l2_factors", (1.0,) * count),
        "clip": problem.text("clip") or "none",
    }
    arguments = (*slots(problem), "hyperparameters")
    operands = len(problem.operands)
    launch = Launch(
        _schedule(problem, "sgdm_update", parameters, shape),
        arguments,
        grid=sum(_chunks(parameters)),
        writes=tuple(range(operands, operands + 2 * count)),
        bytes=traffic(problem),
        flops=6 * sum(parameter.count for parameter in parameters),
    )
    in_place = tuple((i, i) for i in range(count)) + tuple((count + i, 2 * count + i) for i in range(count))
    return Plan((launch,), in_place=in_place)


def _gradient_norms(problem: Problem) -> Plan:
    """Norms (P,) = ‖g + l2·l2_factor·p‖ of every parameter; operands p1…, g1…."""
    count = len(problem.operands) // 2
    parameters = problem.operands[:count]
    total = sum(_chunks(parameters))
    shape: dict[str, Constant] = {"l2_factors": problem.numbers("l2_factors", (1.0,) * count)}
    operands = slots(problem)[:-1]
    squares = Launch(
        _schedule(problem, "gradient_squares", parameters, shape),
        (*operands, "workspace0", "hyperparameters"),
        grid=total,
        writes=(2 * count,),
        bytes=traffic(problem),
        flops=4 * sum(parameter.count for parameter in parameters),
    )
    roots = Schedule(problem.op, "gradient_norms", "cpu", "float64", shape={"chunks": _chunks(parameters)})
    norms = Launch(roots, ("workspace0", "result0"), 1, writes=(1,), bytes=8 * (total + count), flops=total)
    return Plan((squares, norms), workspaces=(Tensor((total,), "float64"),))


def _update_statistics(problem: Problem) -> Plan:
    """New = decay·batch + (1 − decay)·old, for the mean and the variance that `statistics` hold; both in place."""
    statistics, mean, _ = problem.operands
    mean_decay, variance_decay = problem.numbers("decays", (1.0, 1.0))
    shape: dict[str, Constant] = {
        "channels": mean.count,
        "mean_decay": mean_decay,
        "variance_decay": variance_decay,
        "epsilon": problem.number("epsilon"),
        "statistics_dtype": statistics.dtype,
    }
    schedule = Schedule(problem.op, "update_statistics", "cpu", mean.dtype, shape=shape)
    launch = Launch(schedule, slots(problem), 1, writes=(3, 4), bytes=traffic(problem), flops=9 * mean.count)
    return Plan((launch,), in_place=((0, 1), (1, 2)))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "sgdm_update": _sgdm_update,
    "gradient_norms": _gradient_norms,
    "update_statistics": _update_statistics,
}
