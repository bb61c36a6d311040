"""Plans of the update kernels: what a training step does to parameters, a solver's state and running statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.launches import slots, traffic
from gncodegen.kernels.loss_scale import RULE, STATE
from gncodegen.kernels.schedule import Constant, Launch, Plan, Problem, Schedule, Tensor
from gncodegen.kernels.update_problem import UpdateProblem, norm_constants, statistics_constants

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
    return problem.schedule(template, dtype, shape={**sizes, **shape}, tiles=tiles)


def _update(problem: Problem) -> Plan:
    """One step of a solver, all parameters in one launch."""
    update = UpdateProblem(problem)
    parameters, count = update.parameters, update.count
    elements = sum(parameter.count for parameter in parameters)
    launch = Launch(
        _schedule(problem, "update", parameters, update.shape()),
        update.arguments(range(count)),
        grid=sum(_chunks(parameters)),
        writes=update.writes(count),
        bytes=update.bytes(elements),
        flops=update.solver.flops * elements,
    )
    return Plan((launch,), in_place=update.in_place)


def _gradient_norms(problem: Problem) -> Plan:
    """Norms (P,) = ‖g + l2·l2_factor·p‖ of every parameter; operands p1…, g1…."""
    count = len(problem.operands) // 2
    parameters = problem.operands[:count]
    total = sum(_chunks(parameters))
    l2_factors = problem.numbers("l2_factors", (1.0,) * count)
    shape: dict[str, Constant] = {"l2_factors": l2_factors, **norm_constants(problem)}
    operands = slots(problem)[:-1]
    squares = Launch(
        _schedule(problem, "gradient_squares", parameters, shape),
        (*operands, "workspace0", "hyperparameters"),
        grid=total,
        writes=(len(operands),),
        bytes=traffic(problem),
        flops=4 * sum(parameter.count for parameter in parameters),
    )
    roots = problem.schedule("gradient_norms", "float64", shape={"chunks": _chunks(parameters)})
    norms = Launch(roots, ("workspace0", "result0"), 1, writes=(1,), bytes=8 * (total + count), flops=total)
    return Plan((squares, norms), workspaces=(Tensor((total,), "float64"),))


def _update_loss_scale(problem: Problem) -> Plan:
    """The scale of the next step's loss, from the norms of this one's gradients; in place."""
    shape: dict[str, Constant] = {"norms": problem.operands[0].count, **RULE}
    schedule = problem.schedule("update_loss_scale", STATE.dtype, shape=shape)
    return Plan((Launch(schedule, slots(problem), 1, writes=(2,), bytes=traffic(problem)),), in_place=((0, 1),))


def _accumulate(problem: Problem) -> Plan:
    """Sums of gradients plus the share of a part's, all parameters in one launch; operands s1…, g1…."""
    count = len(problem.results)
    sums, elements = problem.results, sum(each.count for each in problem.results)
    launch = Launch(
        _schedule(problem, "accumulate", sums, {}),
        (*slots(problem), "hyperparameters"),
        grid=sum(_chunks(sums)),
        writes=tuple(range(2 * count, 3 * count)),
        bytes=traffic(problem),
        flops=2 * elements,
    )
    return Plan((launch,), in_place=tuple((i, i) for i in range(count)))


def _update_statistics(problem: Problem) -> Plan:
    """New = decay·batch + (1 − decay)·old, for the mean and the variance that `statistics` hold; both in place."""
    mean, shape, count = problem.operands[1], statistics_constants(problem), len(problem.operands)
    schedule = problem.schedule("update_statistics", mean.dtype, shape=shape)
    writes, flops = (count, count + 1), 9 * mean.count
    launch = Launch(schedule, slots(problem), 1, writes=writes, bytes=traffic(problem), flops=flops)
    return Plan((launch,), in_place=((0, 1), (1, 2)))


PLANS: Mapping[str, Callable[[Problem], Plan]] = {
    "update": _update,
    "gradient_norms": _gradient_norms,
    "update_loss_scale": _update_loss_scale,
    "accumulate": _accumulate,
    "update_statistics": _update_statistics,
}
