"""Plans of ops that treat every element alike, for every target: each brings its own launch over elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gncodegen.kernels.activations import activation
from gncodegen.kernels.epilogue import fused
from gncodegen.kernels.schedule import Constant, Plan, Problem

Flat = Callable[..., Plan]
"""(problem, template, shape, flops of an element, in place, *more arguments) → one launch over all elements."""


def plans(flat: Flat) -> Mapping[str, Callable[[Problem], Plan]]:
    """Op → its plan, with a target's launch over elements."""
    return {
        "activation": lambda problem: _activation(problem, flat),
        "activation_gradient": lambda problem: _activation_gradient(problem, flat),
        "add": lambda problem: _add(problem, flat),
        "cast": lambda problem: _cast(problem, flat),
        "dropout": lambda problem: _dropout(problem, flat),
        "half_squared_error_gradient": lambda problem: _half_squared_error_gradient(problem, flat),
    }


def _function(problem: Problem) -> dict[str, Constant]:
    """The constants of an activation that is an op of its own, or of its gradient."""
    name = activation(problem.text("function")).name
    return {"activation": name, "alpha": problem.number("alpha"), "beta": problem.number("beta")}


def _activation(problem: Problem, flat: Flat) -> Plan:
    """Y = f(x)."""
    row, shape = activation(problem.text("function")), _function(problem)
    return flat(problem, "activation", shape, row.flops, ((0, 0),))


def _activation_gradient(problem: Problem, flat: Flat) -> Plan:
    """Dx = f′ · dy, with f′ from the activation's input or output."""
    row, shape = activation(problem.text("function")), _function(problem)
    shape |= {"source": problem.text("from")}
    return flat(problem, "activation_gradient", shape, row.flops + 2, ((0, 1), (0, 0)))


def _add(problem: Problem, flat: Flat) -> Plan:
    """Y = f(x1 + … + xN)."""
    inputs, constants = len(problem.operands), fused(problem)
    flops = inputs - 1 + activation(str(constants["activation"])).flops
    in_place = tuple((0, i) for i in range(inputs))
    return flat(problem, "add", {"inputs": inputs, **constants}, flops, in_place)


def _cast(problem: Problem, flat: Flat) -> Plan:
    """Y = x, times the loss scale where there is one, in another storage type."""
    scaled = len(problem.operands) > 1
    return flat(problem, "cast", {"source_dtype": problem.operands[0].dtype, "scaled": scaled}, 1, ())


def _dropout_constants(problem: Problem) -> dict[str, Constant]:
    """The constants of dropout: its stream's number, the least bits that keep an element, and a kept one's factor."""
    probability = problem.number("probability")
    return {
        "index": problem.integer("index"),
        "threshold": round(probability * 2**32),
        "scale": 1.0 / (1.0 - probability) if probability < 1 else 0.0,
    }


def _dropout(problem: Problem, flat: Flat) -> Plan:
    """Y = x / (1 − p) where the stream of (seed, iteration, index) keeps the element, else x · 0."""
    return flat(problem, "dropout", _dropout_constants(problem), 4, ((0, 0),), "hyperparameters")


def _half_squared_error_gradient(problem: Problem, flat: Flat) -> Plan:
    """Dy = (y − t) / N."""
    batch = problem.operands[0].shape[0]
    return flat(problem, "half_squared_error_gradient", {}, 2, ((0, 0), (0, 1)), numbers={"batch": batch})
