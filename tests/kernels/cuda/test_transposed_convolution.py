"""Transposed convolution on CUDA: the op with its epilogue against the oracle, and a network in the emulator."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from support.cuda_kernels import ARCHITECTURES, check_static, machine, problem_of

import gncodegen as gnc
from gncodegen.kernels.catalog import plan

SMALL = machine("sm_80", cores=2)
CASES = {
    "2x2, stride 2": ((2, 4, 5, 16), (2, 2, 8, 16), (2, 2), [(0, 0), (0, 0)], "float32"),
    "odd, cropped": ((2, 5, 4, 5), (3, 2, 7, 5), (2, 1), [(1, 0), (0, 1)], "float32"),
    "stride over window": ((1, 3, 4, 3), (1, 2, 1, 3), (3, 2), [(0, 0), (0, 0)], "float64"),
    "long sum": ((1, 3, 3, 160), (3, 3, 9, 160), (1, 1), [(1, 1), (1, 1)], "float32"),
}
"""x, weights, stride, cropping, dtype."""


def attributes(stride, cropping, extents, **more):
    padding = tuple(side for pair in cropping for side in pair)
    return {"extents": extents, "stride": stride, "dilation": (1, 1), "padding": padding, **more}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bias_and_relu_in_its_epilogue(execute, case):
    size, window, stride, cropping, dtype = case
    random = np.random.default_rng(0)
    x, weights, bias = (random.standard_normal(shape).astype(dtype) for shape in (size, window, window[2:3]))
    wanted, _ = reference.transposed_convolution(x, weights, bias, stride=stride, cropping=cropping)
    given = attributes(stride, cropping, wanted.shape[1:3], activation="relu", alpha=0.0)
    (got,) = execute("transposed_convolution", [x, weights, bias], [(wanted.shape, dtype)], given, on=SMALL)
    tolerance = {"float32": 2e-6, "float64": 1e-14}[dtype]
    assert np.abs(got - np.maximum(wanted, 0)).max() <= tolerance * np.abs(wanted).max()


SHAPES = [(4, 8, 8, 32), (2, 2, 16, 32), (16,)]
"""x, weights, bias."""


@pytest.mark.parametrize("target", ARCHITECTURES)
def test_assembles_clean(target):
    given = attributes((2, 2), [(0, 0), (0, 0)], (16, 16), activation="relu", alpha=0.0)
    operands, result = ([(shape, "float32") for shape in shapes] for shapes in (SHAPES, [(4, 16, 16, 16)]))
    problem = problem_of("transposed_convolution", operands, result, given, machine(target))
    check_static(problem, plan(problem))


def test_a_network_in_the_emulator_matches_the_cpu():
    layers = [
        gnc.ImageInputLayer((4, 4, 3), normalization="none"),
        gnc.Convolution2dLayer(3, 8, stride=2, padding="same"),
        gnc.GroupNormalizationLayer(2),
        gnc.ReluLayer(),
        gnc.TransposedConvolution2dLayer(2, 4, stride=2),
        gnc.LeakyReluLayer(0.1),
        gnc.TransposedConvolution2dLayer(3, 2, cropping=(1, 0, 2, 1)),
        gnc.RegressionLayer(),
    ]
    host, ours = (
        gnc.compile(layers, batch_size=2, seed=3, **where) for where in ({}, {"target": "sm_90", "emulate": True})
    )
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 4, 4, 3)).astype(np.float32)
    t = random.standard_normal(host.predict(x).shape).astype(np.float32)
    np.testing.assert_allclose(ours.predict(x), host.predict(x), atol=1e-5)
    wanted = host.gradients(x, t)
    for name, gradient in ours.gradients(x, t).items():
        np.testing.assert_allclose(gradient, wanted[name], atol=2e-5 * np.abs(wanted[name]).max(), err_msg=name)
    for _ in range(2):
        assert ours.train_step(x, t) == pytest.approx(host.train_step(x, t), rel=1e-5)
