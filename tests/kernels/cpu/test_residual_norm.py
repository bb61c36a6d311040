"""Group normalization with a residual: against the oracle, the slopes of a loss, and the kernels it replaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference as ref
from support.sets import few

from gncodegen.kernels.catalog import plan
from gncodegen.kernels.cpu import norm_tiling
from gncodegen.kernels.schedule import Machine, Problem, Tensor

Execute = Callable[..., Any]

CASES = [
    # (shape, groups, phases, dtype, activation, alpha): vectors full, odd channels with a tail, one group, many parts
    ((2, 8, 8, 32), 8, "whole", "float32", "relu", 0.0),
    pytest.param((2, 8, 8, 32), 8, "split", "float64", "leaky-relu", 0.1, marks=pytest.mark.full),
    ((3, 5, 7, 20), 4, "whole", "float64", "relu", 0.0),
    pytest.param((2, 11, 13, 3), 3, "whole", "float32", "leaky-relu", 0.1, marks=pytest.mark.full),
    ((2, 11, 13, 3), 3, "split", "float32", "relu", 0.0),
    ((5, 12), 3, "whole", "float32", "leaky-relu", -0.3),
    ((1, 97, 101, 32), 8, "split", "float32", "relu", 0.0),
    pytest.param((2, 9, 9, 7), 1, "whole", "float32", "", 0.0, marks=pytest.mark.full),
]


def arrays(shape: tuple[int, ...], dtype: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {"x": rng.standard_normal(shape) * 2 + 5, "dy": rng.standard_normal(shape), "r": rng.standard_normal(shape)}
    found |= {name: rng.standard_normal(shape[-1]) for name in ("scale", "offset")}
    return {name: array.astype(dtype) for name, array in found.items()}


def attributes(groups: int, activation: str = "relu", alpha: float = 0.0, **more: object) -> dict[str, object]:
    return {"groups": groups, "epsilon": 1e-5, "activation": activation, "alpha": alpha, "residual": True, **more}


def forward(execute: Execute, a: dict[str, np.ndarray], options: dict[str, object], **more: object) -> Any:
    x = a["x"]
    rows = x.size // x.shape[-1] if options.get("reduced") == "channel" else len(x)
    results = [(x.shape, str(x.dtype)), ((rows, options["groups"], 3), str(x.dtype))]
    return execute("group_norm", [x, a["scale"], a["offset"], a["r"]], results, options, **more)


def backward(
    execute: Execute, a: dict[str, np.ndarray], statistics: np.ndarray, options: dict[str, object], **more: object
) -> Any:
    operands = [a["x"], a["dy"], a["scale"], a["offset"], statistics, a["r"]]
    results = [(array.shape, str(array.dtype)) for array in (a["x"], a["scale"], a["offset"], a["r"])]
    return execute("group_norm_gradient", operands, results, options, **more)


def split(monkeypatch: pytest.MonkeyPatch, phases: str) -> None:
    monkeypatch.setattr(norm_tiling, "_wave", lambda *_: 0 if phases == "whole" else 1)


@pytest.mark.parametrize(("shape", "groups", "phases", "dtype", "activation", "alpha"), few(CASES, 2))
def test_against_the_oracle(execute: Execute, monkeypatch, shape, groups, phases, dtype, activation, alpha):
    split(monkeypatch, phases)
    a, options = arrays(shape, dtype), attributes(groups, activation, alpha)
    wide = {name: array.astype(np.float64) for name, array in a.items()}
    normal, back = ref.group_norm(wide["x"], wide["scale"], wide["offset"], groups=groups, epsilon=1e-5)
    v = normal + wide["r"]
    slope = np.where(v > 0, 1, {"": 1, "relu": 0}.get(activation, alpha))
    tolerance = 4e-6 if dtype == "float32" else 1e-12
    y, statistics = forward(execute, a, options)
    assert np.abs(y - v * slope).max() < tolerance
    dx, dscale, doffset, dr = backward(execute, a, statistics, options)
    expected = [*back(wide["dy"] * slope), wide["dy"] * slope]
    for found, right in zip((dx, dscale, doffset, dr), expected, strict=True):
        assert np.abs(found - right).max() < tolerance * 25 * max(1, np.abs(right).max())
    assert np.abs(dr - expected[3]).max() <= 1e-7


@pytest.mark.parametrize(("activation", "alpha"), [("relu", 0.0), ("leaky-relu", -0.3)])
def test_gradients_are_slopes(execute: Execute, activation, alpha):
    a, options = arrays((2, 5, 3, 6), "float64"), attributes(3, activation, alpha)
    _, statistics = forward(execute, a, options)
    gradients = dict(zip(("x", "scale", "offset", "r"), backward(execute, a, statistics, options), strict=True))
    for name, gradient in gradients.items():

        def loss(changed: np.ndarray, name: str = name) -> float:
            return float((forward(execute, {**a, name: changed}, options)[0] * a["dy"]).sum())

        assert ref.directional_error(loss, a[name], gradient) < 1e-6, name


@pytest.mark.parametrize(
    ("shape", "activation", "alpha"),
    few([((2, 61, 53, 24), "relu", 0.0), ((3, 5, 7, 20), "leaky-relu", 0.1), ((3, 5, 7, 20), "", 0.0)], 1),
)
def test_the_bits_of_the_ops_it_fuses(execute: Execute, monkeypatch, shape, activation, alpha):
    """Norm, addition, activation and their gradients, one op each; whole and split phases alike."""
    a, fused, plain = arrays(shape, "float32"), attributes(4, activation, alpha), {"groups": 4, "epsilon": 1e-5}
    out = (shape, "float32")
    parameters = [((shape[-1],), "float32")] * 2
    given = [a["x"], a["scale"], a["offset"]]
    normal, statistics = execute("group_norm", given, [out, ((shape[0], 4, 3), "float32")], plain)
    (v,) = execute("add", [normal, a["r"]], [out])
    y, g, named = v, a["dy"], {"function": activation, "alpha": alpha}
    if activation:
        (y,) = execute("activation", [v], [out], named)
        (g,) = execute("activation_gradient", [v, a["dy"]], [out], {**named, "from": "input"})
    operands = [a["x"], g, a["scale"], a["offset"], statistics]
    expected = [y, statistics, *execute("group_norm_gradient", operands, [out, *parameters], plain), g]
    for phases in ("whole", "split"):
        split(monkeypatch, phases)
        found = [*forward(execute, a, fused), *backward(execute, a, statistics, fused)]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=phases)


@pytest.mark.parametrize("phases", ["whole", "split"])
def test_every_place_it_may_write(execute: Execute, monkeypatch, phases):
    """Each result in the memory of each operand that the plan offers, alone and two at once."""
    split(monkeypatch, phases)
    a, options = arrays((2, 11, 13, 20), "float32"), attributes(4)
    y, statistics = forward(execute, a, options)
    for operand in (0, 3):
        np.testing.assert_array_equal(forward(execute, a, options, in_place={0: operand})[0], y)
    expected = backward(execute, a, statistics, options)
    for places in ({0: 0}, {0: 1}, {3: 1}, {3: 5}, {0: 0, 3: 1}, {0: 1, 3: 5}, {0: 0, 3: 5}):
        for one, other in zip(backward(execute, a, statistics, options, in_place=places), expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=str(places))


def test_one_group_per_position(execute: Execute):
    a, options = arrays((2, 3, 4, 8), "float32"), attributes(2, reduced="channel")
    wide = {name: array.astype(np.float64) for name, array in a.items()}
    normal, back = ref.group_norm(wide["x"].reshape(-1, 8), wide["scale"], wide["offset"], groups=2, epsilon=1e-5)
    v = normal.reshape(a["x"].shape) + wide["r"]
    y, statistics = forward(execute, a, options)
    np.testing.assert_allclose(y, np.maximum(v, 0), atol=4e-6)
    dx, *_, dr = backward(execute, a, statistics, options)
    g = wide["dy"] * (v > 0)
    np.testing.assert_array_equal(dr, g)
    np.testing.assert_allclose(dx, back(g.reshape(normal.shape))[0].reshape(dx.shape), atol=2e-5)


def test_nan_and_infinity_pass_as_through_the_ops_it_fuses(execute: Execute):
    a = arrays((1, 4, 4, 8), "float32")
    a["r"][0, 0, 0, :3] = np.nan, np.inf, -np.inf
    y, statistics = forward(execute, a, attributes(8))
    assert np.isnan(y[0, 0, 0, 0])
    assert y[0, 0, 0, 1] == np.inf
    assert y[0, 0, 0, 2] == 0
    a["dy"][0, 0, 0, 2] = np.inf
    *_, dr = backward(execute, a, statistics, attributes(8))
    np.testing.assert_array_equal(dr[0, 0, 0, :3], [*a["dy"][0, 0, 0, :2], 0], "a closed relu lets no infinity through")


@pytest.mark.parametrize(("l3", "phases"), [(64 << 20, "whole"), (1 << 20, "split")])
def test_memory_floor(l3, phases):
    """Forward 2 reads and 1 write, backward 3 reads and 2 writes; split, what must be read again on top."""
    machine = Machine(cores=2, l2=1 << 20, l3=l3)
    x, vector, statistics = Tensor((32, 56, 56, 64), "float32"), Tensor((64,), "float32"), Tensor((32, 8, 3), "float32")
    options = attributes(8)
    chosen = plan(Problem("group_norm", (x, vector, vector, x), (x, statistics), options, machine))
    again = phases == "split"
    assert sum(launch.bytes for launch in chosen.launches) == (3 + again) * x.bytes
    assert len(chosen.launches) == (96 if again else 1), "three for each observation, whose parts share the work"
    problem = Problem(
        "group_norm_gradient", (x, x, vector, vector, statistics, x), (x, vector, vector, x), options, machine
    )
    chosen = plan(problem)
    assert sum(launch.bytes for launch in chosen.launches[:-1]) == (5 + 2 * again) * x.bytes
    assert len(chosen.launches) == (97 if again else 2)


def test_schedules_without_a_residual_know_nothing_of_it():
    x, vector, statistics = Tensor((4, 14, 14, 16), "float32"), Tensor((16,), "float32"), Tensor((4, 4, 3), "float32")
    options = attributes(4) | {"residual": False}
    for problem in (
        Problem("group_norm", (x, vector, vector), (x, statistics), options, Machine()),
        Problem("group_norm_gradient", (x, x, vector, vector, statistics), (x, vector, vector), options, Machine()),
    ):
        absent = {name: value for name, value in problem.attributes.items() if name != "residual"}
        bare = Problem(problem.op, problem.operands, problem.results, absent, problem.machine)
        assert plan(problem) == plan(bare)
        assert not any("residual" in name for launch in plan(problem).launches for name in launch.schedule.constants)
