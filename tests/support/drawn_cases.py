"""Cases of drawn networks: batches through the product in float64 and through the oracle, compared."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import reference as ref

import gncodegen as gnc
from support.comparison import assert_near, randomize
from support.drawn_layers import dropped
from support.drawn_networks import DrawnNetwork, drawn

COUNTS = (1, 2, 3, 7, 13)
"""Observations of a batch."""

SPREADS = ((1.0, 0.0), (1.0, 3.0), (0.01, 0.0), (30.0, 0.0))
"""(scale, mean) of what flows in."""

TOLERANCE = 1e-10
FLOOR = 1e-2
SHARE = 1e-3
"""Of the largest gradient: what smaller ones are compared with, too."""

NUDGE = 2e-15
"""Where so small a change of the input, relative to it, moves the oracle itself by the tolerance, nothing is judged."""


@dataclass
class Case:
    """A batch through a network with its parameters.

    Args:
        twin: the oracle, with these parameters.
        x: by the names of the input layers: arrays (N, …), or the one input's list of sequences.
        t: targets.
    """

    twin: ref.ReferenceNetwork
    x: dict[str, Any]
    t: Any

    @property
    def asked(self) -> Any:
        """What the product reads."""
        return self.x if len(self.x) > 1 else next(iter(self.x.values()))

    @property
    def given(self) -> Any:
        """What the oracle reads."""
        return {f"input/{name}": each for name, each in self.x.items()} if len(self.x) > 1 else self.asked


def judge(seed: int, cases: int) -> int:
    """Compiles one drawn network in float64 and compares cases of it with the oracle.

    A case is a batch of a drawn size, scale and mean with drawn parameters: prediction, loss and every gradient; in
    the last one a step of the solver, too.

    Returns:
        How many cases were judged: not those at a kink or a jump, where the oracle does not agree with itself.

    Raises:
        AssertionError: a result is off, named with its case.
    """
    draw = random.Random(seed)
    network = drawn(draw)
    compiled, loss, classes = _compiled(network, draw)
    nodes, shortest = _nodes(network, compiled), _shortest(network)
    counts = [0, compiled.options.batch_size, *draw.sample(COUNTS, 2)]
    judged = 0
    for number in range(cases):
        count, (scale, mean) = draw.choice(counts), draw.choice(SPREADS)
        if number == cases - 1 or network.masked:
            count = max(count, 1)
        numbers = np.random.default_rng([seed, number])
        randomize(compiled, seed + number)
        twin = (ref.ReferenceSequences if network.masked else ref.ReferenceNetwork)(
            nodes, dict(compiled.parameters), loss=loss, optimizer=_solver(compiled)
        )
        shapes = {name: (count, *network.sizes[name].shape) for name in network.inputs}
        x = {name: numbers.standard_normal(shape) * scale + mean for name, shape in shapes.items()}
        if network.masked:
            x = {name: [a[: numbers.integers(shortest, len(a) + 1)] for a in each] for name, each in x.items()}
        case = Case(twin, x, None)
        try:
            if count:
                case.t = _targets(case, classes, numbers)
                compare(results(compiled, case.asked, case.t), results(twin, case.given, case.t))
                if number == cases - 1 and not network.masked:
                    compare_step(compiled, case)
            else:
                expected = (0, *network.sizes[network.tip].shape)
                assert np.shape(compiled.predict(case.asked)) == expected, "the shape of no results"
        except AssertionError as error:
            if count and not steady(case):
                continue
            text = f"case {number}, {count} observations of scale {scale}, mean {mean}: {error}"
            raise AssertionError(text) from error
        judged += 1
    return judged


def _compiled(network: DrawnNetwork, draw: random.Random) -> tuple[Any, Any, int]:
    """The network with an output layer, compiled; its loss; and of a classification the number of classes."""
    size, classes = network.sizes[network.tip], 0
    if size.format == "C" and size.channels > 1 and draw.random() < 0.3:
        classes = size.channels
        network.graph.append([gnc.SoftmaxLayer(name="scores"), gnc.ClassificationLayer(name="end")])
        network.nodes.append(ref.Node("scores", ref.softmax, (), (network.tip,)))
    else:
        network.graph.append([gnc.RegressionLayer(name="end")])
    batch, seed = draw.choice(COUNTS), draw.randrange(1 << 31)
    compiled = gnc.compile(network.graph, batch_size=batch, training=True, dtype="float64", seed=seed)
    return compiled, ref.cross_entropy if classes else ref.half_squared_error, classes


def _nodes(network: DrawnNetwork, compiled: Any) -> list[ref.Node]:
    """The twin's operations; those of dropout know which stream they have: that of their place in the network."""
    names = [node.name for node in compiled.network.nodes if node.layer.kind == "dropout"]
    present = {"seed": int(compiled.hyperparameters["seed"]), "iteration": compiled.hyperparameters.iteration}
    return [
        replace(node, options={**node.options, "index": names.index(node.name), **present})
        if node.operation is dropped
        else node
        for node in network.nodes
    ]


def _shortest(network: DrawnNetwork) -> int:
    """The fewest steps that every window of a masked network has room for."""
    size = network.sizes[network.inputs[0]]
    if not network.masked:
        return 0
    parameters = gnc.Network.build(network.graph).initial_values(np.random.default_rng(0))
    twin = ref.ReferenceNetwork(network.nodes, parameters)
    for steps in range(1, size.shape[0]):
        try:
            values, _ = twin.run(np.zeros((1, steps, *size.shape[1:])), training=False)
        except ValueError:
            continue
        if all(value.size for value in values.values()):
            return steps
    return size.shape[0]


def _solver(compiled: Any) -> ref.Solver:
    """The oracle of the default solver, without state."""
    learned = {name: each for name, each in compiled.network.parameters.items() if each.learnable}
    rates = {name: each.learn_rate_factor for name, each in learned.items()}
    return ref.Sgdm(learn_rate_factors=rates, l2_factors={name: each.l2_factor for name, each in learned.items()})


def _targets(case: Case, classes: int, numbers: np.random.Generator) -> Any:
    """One-hot rows, or responses of the shapes of the prediction."""
    y = case.twin.predict(case.given)
    if classes:
        return np.eye(classes)[numbers.integers(0, classes, len(y))]
    if isinstance(y, list):
        return [numbers.standard_normal(each.shape) for each in y]
    return numbers.standard_normal(y.shape)


def results(network: Any, x: Any, t: Any) -> dict[str, Any]:
    """Prediction, loss and every gradient, of the product or the oracle."""
    return {"predict": network.predict(x), "loss": network.loss(x, t), **network.gradients(x, t)}


def compare(found: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    """All results are near those of the oracle; of small gradients the share of the largest one counts."""
    assert set(found) == set(right)
    largest = max(float(np.abs(each).max(initial=0)) for name in right if "." in name or "input" in name
                  for each in _arrays(right[name]))  # fmt: skip
    for name, value in right.items():
        floor = FLOOR if name in ("predict", "loss") else max(FLOOR, SHARE * largest)
        actuals = found[name] if isinstance(value, list) else [found[name]]  # results without time are one array
        for actual, expected in zip(actuals, _arrays(value), strict=True):
            assert_near(actual, expected, TOLERANCE, name, floor)


def compare_step(compiled: Any, case: Case) -> None:
    """A step of the solver gives the loss and the parameters of the oracle's."""
    twin = copy(case.twin)
    largest = max(float(np.abs(each).max(initial=0)) for each in twin.gradients(case.given, case.t).values())
    loss, expected = compiled.train_step(case.asked, case.t), twin.train_step(case.given, case.t)
    assert_near(loss, expected, TOLERANCE, "loss of a step")
    floor = max(FLOOR, SHARE * twin.optimizer.rate * largest)
    for name, value in twin.parameters.items():
        assert_near(compiled.parameters[name], value, TOLERANCE, f"{name} after a step", floor)


def _arrays(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def steady(case: Case) -> bool:
    """Whether the oracle gives finite numbers, and the same ones for inputs that are a NUDGE away."""

    def nudged(nudge: int) -> dict[str, Any]:
        draw = np.random.default_rng(nudge)

        def near(x: Any) -> Any:
            if isinstance(x, list):
                return [near(each) for each in x]
            return x * (1 + draw.uniform(-NUDGE, NUDGE, x.shape) * bool(nudge))

        moved = {name: near(each) for name, each in case.x.items()}
        return results(case.twin, Case(case.twin, moved, case.t).given, case.t)

    with np.errstate(all="ignore"):
        first = nudged(0)
        largest = max(float(np.abs(a).max(initial=0)) for value in first.values() for a in _arrays(value))
        try:
            for nudge in (1, 2, 3):
                for name, value in nudged(nudge).items():
                    for a, b in zip(_arrays(value), _arrays(first[name]), strict=True):
                        assert_near(a, b, TOLERANCE / 10, name, SHARE * largest)
        except AssertionError:
            return False
    return all(np.isfinite(a).all() for value in first.values() for a in _arrays(value))
