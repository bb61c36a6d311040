"""Functions in ONNX models: a model's own, and those by which operators outside the table are defined."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from support.onnx_models import interpreted

import gncodegen as gnc
from gncodegen.errors import NetworkError


def model(nodes, shape, opset, constants=(), functions=()):
    """A model of one input x and one output y."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants],
    )
    own = {each.domain for each in functions}
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in own)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)


def function(name, inputs, outputs, nodes, domains=("",)):
    imports = [helper.make_opsetid(domain, 1 if domain else 17) for domain in domains]
    return helper.make_function("own", name, inputs, outputs, nodes, imports)


def x_of(shape):
    return np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)


def check(made, shape):
    x = x_of(shape)
    (wanted,) = ReferenceEvaluator(made).run(None, {"x": x})
    (found,) = interpreted(gnc.from_onnx(made), {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_models_own_functions_are_what_they_compute():
    twice = function(
        "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["c"]), helper.make_node("Relu", ["c"], ["b"])]
    )
    dense = function(
        "Dense",
        ["a", "w", "v"],
        ["b"],
        [
            helper.make_node("Gemm", ["a", "w", "v"], ["c"]),
            helper.make_node("Twice", ["c"], ["b"], domain="own"),
        ],
        ("", "own"),
    )
    draw = np.random.default_rng(1)
    shapes = {"m": (3, 3), "v": (3,), "n": (3, 3), "z": (3,)}
    constants = [(name, draw.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("Dense", ["x", "m", "v"], ["h"], domain="own"),
        helper.make_node("Dense", ["h", "n", "z"], ["y"], domain="own"),
    ]
    made = model(nodes, (3,), 17, constants, [twice, dense])
    assert [layer.kind for layer in gnc.from_onnx(made)][1:] == ["fc", "addition", "relu"] * 2
    check(made, (3,))


@pytest.mark.parametrize(
    ("operator", "opset", "attributes", "shape", "constants"),
    [
        ("RMSNormalization", 23, {"axis": -1}, (4, 8), [("s", np.linspace(1, 2, 8, dtype=np.float32))]),
        ("MeanVarianceNormalization", 13, {"axes": [2, 3]}, (4, 3, 5), []),
    ],
)
def test_operators_outside_the_table_are_what_their_definitions_say(operator, opset, attributes, shape, constants):
    node = helper.make_node(operator, ["x", *(name for name, _ in constants)], ["y"], **attributes)
    check(model([node], shape, opset, constants), shape)


def test_attributes_that_a_node_leaves_out_are_those_of_the_definition():
    made = model([helper.make_node("MeanVarianceNormalization", ["x"], ["y"])], (3, 2, 4), 13)  # axes 0, 2, 3
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    check(made, (3, 2, 4))


@pytest.mark.parametrize("batch", ["N", 2])
def test_whole_numbers_are_places_inside_of_a_function(batch):
    draw = np.random.default_rng(1)
    caches = [(name, draw.standard_normal((9, 4)).astype(np.float32)) for name in ("cosines", "sines")]
    node = helper.make_node("RotaryEmbedding", ["x", "cosines", "sines", "places"], ["y"], interleaved=1)
    made = model([node], (3, 5, 8), 23, caches)
    made.graph.input.append(helper.make_tensor_value_info("places", TensorProto.INT64, [batch, 5]))
    made.graph.input[0].type.tensor_type.shape.dim[0].CopyFrom(made.graph.input[1].type.tensor_type.shape.dim[0])
    given = {"x": x_of((3, 5, 8)), "places": draw.integers(9, size=(2, 5))}
    (wanted,) = ReferenceEvaluator(made).run(None, given)
    (found,) = interpreted(gnc.from_onnx(made), given)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_part_without_elements_is_left_out_of_a_join():
    nodes = [helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1)]
    nodes.append(helper.make_node("Concat", ["b", "a", "a"], ["y"], axis=1))
    check(model(nodes, (4, 3), 18, [("s", np.array([4, 0]))]), (4, 3))


def test_operators_without_a_definition_are_all_named():
    inner = function("Inner", ["a"], ["b"], [helper.make_node("Det", ["a"], ["b"])])
    nodes = [helper.make_node("Inner", ["x"], ["h"], domain="own"), helper.make_node("NonZero", ["h"], ["y"])]
    with pytest.raises(NetworkError) as caught:
        gnc.from_onnx(model(nodes, (3, 3), 17, functions=[inner]))
    assert [kind in issue for kind, issue in zip(("Det", "NonZero"), caught.value.issues, strict=False)] == [True, True]
