"""Subgraphs that exporters write for one layer become that layer: same numbers, and how many layers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from support.onnx_models import interpreted

import gncodegen as gnc

F = np.float32
RNG = np.random.default_rng(0)


class Writer:
    """An ONNX graph, written as calls: `w.Mul(x, 2.0)` gives the name of the product."""

    def __init__(self) -> None:
        self.nodes, self.constants = [], []

    def __getattr__(self, operator):
        return lambda *inputs, **attributes: self.node(operator, inputs, attributes)

    def node(self, operator, inputs, attributes):
        names = [given if isinstance(given, str) else self.constant(given) for given in inputs]
        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [output], name=output, **attributes))
        return output

    def constant(self, value):
        name = f"c{len(self.constants)}"
        array = np.asarray(value, np.int64 if np.asarray(value).dtype.kind == "i" else F)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def model(self, result, shape, opset):
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, [None] * len(shape))]
        graph = helper.make_graph(self.nodes, "pattern", inputs, outputs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def per_channel(count, rank):
    return RNG.uniform(0.5, 2, (count, *[1] * (rank - 1)))


def standardized(w, x, axes, epsilon=1e-5, square="Pow"):
    centred = w.Sub(x, w.ReduceMean(x, axes=axes))
    squared = w.Pow(centred, 2.0) if square == "Pow" else w.Mul(centred, centred)
    return w.Div(centred, w.Sqrt(w.Add(w.ReduceMean(squared, axes=axes), epsilon)))


def torch_group_norm(w, scale=None, affine=True):
    grouped = w.Reshape("x", np.array([0, 4, -1]))
    ones = np.ones(4) if scale is None else scale
    norm = w.InstanceNormalization(grouped, ones, np.zeros(4), epsilon=1e-3)
    back = w.Reshape(norm, w.Shape("x"))
    return w.Add(w.Mul(back, per_channel(8, 3)), per_channel(8, 3)) if affine else back


def group_norm_by_reductions(w):
    back = w.Reshape(standardized(w, w.Reshape("x", np.array([0, 4, -1])), [2]), np.array([0, 8, 3, 5]))
    return w.Add(per_channel(8, 3), w.Mul(per_channel(8, 3), back))


def tanh_gelu(w):
    inner = w.Mul(w.Add("x", w.Mul(w.Pow("x", 3.0), 0.044715)), np.sqrt(2 / np.pi))
    return w.Mul(w.Mul("x", 0.5), w.Add(w.Tanh(inner), 1.0))


def clipped(w):
    return w.Clip(w.Add("x", 3.0), 0.0, 6.0)


PATTERNS = {
    "group norm": (torch_group_norm, gnc.GroupNormalizationLayer),
    "group norm, scale per group": (lambda w: torch_group_norm(w, [1, 2, 3, 4]), gnc.GroupNormalizationLayer),
    "group norm, plain": (lambda w: torch_group_norm(w, affine=False), gnc.GroupNormalizationLayer),
    "group norm by reductions": (group_norm_by_reductions, gnc.GroupNormalizationLayer),
    "layer norm": (
        lambda w: w.Add(w.Mul(standardized(w, "x", [-1]), RNG.uniform(1, 2, 5)), RNG.uniform(1, 2, 5)),
        gnc.LayerNormalizationLayer,
    ),
    "layer norm, plain": (lambda w: standardized(w, "x", [-1], square="Mul"), gnc.LayerNormalizationLayer),
    "layer norm over channels": (
        lambda w: w.Add(w.Mul(standardized(w, "x", [1]), per_channel(8, 3)), per_channel(8, 3)),
        gnc.LayerNormalizationLayer,
    ),
    "gelu": (lambda w: w.Mul(w.Mul("x", w.Add(w.Erf(w.Div("x", np.sqrt(2))), 1.0)), 0.5), gnc.GeluLayer),
    "gelu, in another order": (
        lambda w: w.Mul("x", w.Mul(0.5, w.Add(1.0, w.Erf(w.Mul("x", np.sqrt(0.5)))))),
        gnc.GeluLayer,
    ),
    "gelu by tanh": (tanh_gelu, gnc.GeluLayer),
    "hard swish by hard sigmoid": (lambda w: w.Mul("x", w.HardSigmoid("x", alpha=1 / 6)), gnc.HardSwishLayer),
    "hard swish by clip": (lambda w: w.Div(w.Mul("x", clipped(w)), 6.0), gnc.HardSwishLayer),
    "hard swish by clip, in another order": (lambda w: w.Mul(w.Div(clipped(w), 6.0), "x"), gnc.HardSwishLayer),
    "silu": (lambda w: w.Mul("x", w.Sigmoid("x")), gnc.SwishLayer),
    "mish": (lambda w: w.Mul("x", w.Tanh(w.Softplus("x"))), gnc.MishLayer),
    "expm1": (lambda w: w.Sub(w.Exp("x"), 1.0), gnc.UnaryLayer),
    "log1p": (lambda w: w.Log(w.Add(1.0, "x")), gnc.UnaryLayer),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_is_one_layer(name) -> None:
    write, kind = PATTERNS[name]
    writer = Writer()
    model = writer.model(write(writer), ["N", 8, 3, 5], 13)
    graph = gnc.from_onnx(model)
    computing = [layer for layer in graph if not isinstance(layer, MOVING)]
    assert [type(layer) for layer in computing] == [kind]
    x = RNG.standard_normal((2, 8, 3, 5)).astype(F)
    (got,) = interpreted(graph, {"x": x})
    np.testing.assert_allclose(got, ReferenceEvaluator(model).run(None, {"x": x})[0], rtol=1e-4, atol=2e-5)


MOVING = (gnc.TensorInputLayer, gnc.PermuteLayer, gnc.ReshapeLayer)

ALMOST = {
    "log1p of another number": lambda w: w.Log(w.Add(w.Abs("x"), 1.0005)),
    "another constant": lambda w: w.Mul("x", w.HardSigmoid("x", alpha=0.2)),
    "clip to 5": lambda w: w.Div(w.Mul("x", w.Clip(w.Add("x", 3.0), 0.0, 5.0)), 6.0),
    "another array": lambda w: w.Mul("x", w.Sigmoid(w.Neg("x"))),
    "offset per position": lambda w: w.Add(
        w.Mul(standardized(w, "x", [1]), per_channel(8, 3)), RNG.uniform(1, 2, (1, 3, 5))
    ),
    "variance over other axes": lambda w: w.Div(
        w.Sub("x", w.ReduceMean("x", axes=[1])),
        w.Sqrt(w.Add(w.ReduceMean(w.Pow(w.Sub("x", w.ReduceMean("x", axes=[1])), 2.0), axes=[2]), 1e-5)),
    ),
}


@pytest.mark.parametrize("name", ALMOST)
def test_what_is_almost_a_pattern_keeps_its_meaning(name) -> None:
    writer = Writer()
    model = writer.model(ALMOST[name](writer), ["N", 8, 3, 5], 13)
    graph = gnc.from_onnx(model)
    assert len([layer for layer in graph if not isinstance(layer, MOVING)]) > 1
    x = RNG.standard_normal((2, 8, 3, 5)).astype(F)
    (got,) = interpreted(graph, {"x": x})
    np.testing.assert_allclose(got, ReferenceEvaluator(model).run(None, {"x": x})[0], rtol=1e-4, atol=2e-5)
