"""Kernels for one number of observations do any other with the bits of kernels for that one, and none is made anew."""

from __future__ import annotations

import re

import numpy as np
import pytest
from support.execution import executor, modelled, problem_of
from support.targets import machine

from gncodegen.kernels import catalog

TARGET, CORES = "sm_90", 4
WINDOW = {"stride": (1, 1), "dilation": (1, 1), "padding": (1, 1, 1, 1), "groups": 1, "bias": True}


def arrays(n):
    """Op → operands, results, attributes, for n observations of shapes whose best kernels change with n."""
    x, dy = (np.random.default_rng(seed).standard_normal((n, 12, 12, 8)).astype(np.float32) for seed in range(2))
    v = np.linspace(0.5, 1.5, 8, dtype=np.float32)
    flat, out = x.reshape(n, -1), dy[:, :5, :8].reshape(n, -1)
    return {
        "convolution_weight_gradient": ((x, dy), [((3, 3, 8, 8), "float32"), ((8,), "float32")], WINDOW),
        "grouped_convolution_weight_gradient": (
            (x, dy), [((3, 3, 1, 8), "float32"), ((8,), "float32")], WINDOW | {"groups": 8}
        ),
        "fully_connected_weight_gradient": (
            (flat, out), [((out.shape[1], flat.shape[1]), "float32"), ((out.shape[1],), "float32")], {"bias": True}
        ),
        "bias_gradient": ((dy,), [((8,), "float32")], {}),
        **norms("group_norm", x, dy, n, 4, "spatial-channel"),
        **norms("wide_group_norm", *(a[:, 0, :3].repeat(576, 2) for a in (x, dy)), n, 1, "spatial-channel"),
        **norms("batch_norm", x, dy, 1, 8, "batch-spatial"),
        **norms("flat_batch_norm", x[:, 0, :, :6].copy(), dy[:, 0, :, :6].copy(), 1, 6, "batch-spatial"),
        "channel_normalize_gradient": (
            (x, dy, v, v, v, v), [(x.shape, "float32"), ((8,), "float32"), ((8,), "float32")],
            {"epsilon": 1e-5, "activation": "relu"},
        ),
    }  # fmt: skip


def norms(name, x, dy, observations, groups, reduced):
    """A normalization and its gradient."""
    c = x.shape[-1]
    v, statistics = np.linspace(0.5, 1.5, c, dtype=np.float32), np.full((observations, groups, 3), 0.5, np.float32)
    given = {"groups": groups, "epsilon": 1e-5, "activation": "relu", "alpha": 0.0, "reduced": reduced}
    y, parameter = (x.shape, "float32"), ((c,), "float32")
    return {
        name: ((x, v, v), [y, (statistics.shape, "float32")], given),
        f"{name}_gradient": ((x, dy, v, v, statistics), [y, parameter, parameter], given),
    }


def op_of(name):
    """The op that a name begins with another word of."""
    return re.sub("^(grouped|wide|flat)_", "", name).replace("batch_norm", "group_norm")


OPS = tuple(arrays(1))


def planned(name, n, batch):
    operands, results, attributes = arrays(n)[name]
    given = [(a.shape, str(a.dtype)) for a in operands]
    problem = problem_of(op_of(name), given, results, attributes, machine(TARGET, cores=CORES))
    return catalog.plan(modelled(problem, batch))


def kernels(plan):
    return {launch.schedule for launch in plan.launches} | set(plan.others)


@pytest.mark.parametrize("name", OPS)
def test_no_number_needs_another_kernel(name):
    """But for batch norm, whose blocks wait for each other in another way where there are many."""
    for batch in (7, 64, 100):
        known = kernels(planned(name, batch, batch))
        for n in (1, 2, 3, 7, 16, 33, 64, 100, 1000):
            if n <= batch or "batch_norm" not in name:
                assert kernels(planned(name, n, batch)) <= known, (batch, n)


@pytest.mark.few
@pytest.mark.parametrize(("name", "n"), [(name, n) for n in (7, 1, 33) for name in OPS])
def test_bits_depend_on_the_number_of_observations_alone(name, n):
    operands, results, attributes = arrays(n)[name]
    op, execute = op_of(name), executor(TARGET)
    expected = execute(op, operands, results, attributes, cores=CORES)
    for batch in (1, 40, 300):
        found = execute(op, operands, results, attributes, cores=CORES, batch=batch)
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=f"kernels for {batch}")
