"""ONNX models become layer graphs; what cannot is listed, all of it."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from support.onnx_models import in_onnx_runtime, interpreted, model_of, small_model

import gncodegen as gnc
from gncodegen.errors import NetworkError


def test_layers_carry_names_weights_and_order() -> None:
    graph = gnc.from_onnx(small_model())
    assert [layer.name for layer in graph][:4] == ["x", "x/permute", "conv", "norm"]
    convolution = graph["conv"]
    assert isinstance(convolution, gnc.Convolution2dLayer)
    assert convolution.weights is not None
    assert convolution.weights.shape == (3, 3, 3, 8)
    assert convolution.bias_learn_rate_factor == 0
    # One permutation in front of the convolution, one behind the pool: nothing between.
    assert [layer.name for layer in graph if isinstance(layer, gnc.PermuteLayer)] == ["x/permute", "pool/permute"]
    network = gnc.Network.build(graph, require_output=False)
    assert network.outputs == ("fc",)
    assert network.output.size.shape == (5,)


def test_every_unsupported_node_is_listed() -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="behind"),
        helper.make_node("Einsum", ["x", "x"], ["c"], name="second", equation="bij,bjk->ik"),
    ]
    with pytest.raises(NetworkError) as caught:
        gnc.from_onnx(model_of(nodes, {"x": ["N", 4, 4]}, {"b": ["N"], "c": ["N"]}))
    assert len(caught.value.issues) == 2
    assert "node 1 'first' (Det)" in caught.value.issues[0]
    assert "node 3 'second' (Einsum)" in caught.value.issues[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"nonsense", "this is no ONNX model"),
        (b"", "this is no ONNX model"),
        ("absent.onnx", "absent.onnx is no file"),
        (7, "the model is int; allowed: a path, bytes or onnx.ModelProto"),
        (small_model().SerializeToString().replace(b"norm", b"no\xffm", 1), "a name in the model is no UTF-8 text"),
    ],
)
def test_what_is_no_model(given, message) -> None:
    with pytest.raises(NetworkError, match=message):
        gnc.from_onnx(given)


@pytest.mark.parametrize(
    ("kind", "weights", "attributes", "message"),
    [
        ("Conv", (2, 4, 3), {"pads": [1]}, r"pads = \(1,\); allowed: 2 whole numbers for the axes of its window"),
        ("Conv", (2, 4, 3), {"strides": [1, 1]}, r"strides = \(1, 1\); allowed: 1 whole number"),
        ("Conv", (2, 4), {}, r"its input 2 has the shape \(2, 4\); allowed: 3 axes"),
        ("Gemm", (4,), {}, r"its input 2 has the shape \(4,\); allowed: 2 axes"),
        ("Conv", (2, 4, 3), {"group": 0}, "(Conv).*; allowed: "),
    ],
)
def test_attributes_and_inputs_that_do_not_fit(kind, weights, attributes, message) -> None:
    nodes = [helper.make_node(kind, ["x", "w"], ["y"], name="node", **attributes)]
    shape = ["N", 4, 8] if kind == "Conv" else ["N", 4]
    with pytest.raises(NetworkError, match=message):
        gnc.from_onnx(model_of(nodes, {"x": shape}, {"y": None}, {"w": np.ones(weights, np.float32)}))


def test_an_input_of_a_type_that_there_is_not() -> None:
    model = small_model()
    model.graph.input[0].type.tensor_type.elem_type = 65
    with pytest.raises(NetworkError, match="input 'x' is of type unknown; allowed: float32 and float64"):
        gnc.from_onnx(model)


def test_versions_and_shapes() -> None:
    old = small_model()
    old.opset_import[0].version = 6
    with pytest.raises(NetworkError, match=r"opset 6; allowed: 7 to \d+"):
        gnc.from_onnx(old)
    with pytest.raises(NetworkError, match=r"shapes names 'z'; allowed: inputs of the model: x"):
        gnc.from_onnx(small_model(), shapes={"z": (1, 2)})
    open_model = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3, "h"]}, {"y": ["N", None, None]})
    with pytest.raises(NetworkError, match=r"input 'x' has the shape \(None, 3, None\)"):
        gnc.from_onnx(open_model)
    assert gnc.from_onnx(open_model, shapes={"x": (None, 3, 5)})["x"].shape == (3, 5)


def test_shapes_are_computed_and_folded() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"], name="reshape"),
    ]
    constants = {"zero": np.array([0]), "rest": np.array([2, -1])}
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 3, 4]}, {"y": ["N", None, None]}, constants))
    assert graph["reshape/reshape"].shape == (2, 6)


def test_external_data_stays_in_its_folder(tmp_path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    onnx.save(small_model(), inside / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert len(gnc.from_onnx(inside / "m.onnx")) == len(gnc.from_onnx(small_model()))
    (inside / "w.bin").rename(tmp_path / "w.bin")
    model = onnx.load(inside / "m.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = "../w.bin" if entry.key == "location" else entry.value
    (inside / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match="files inside the model's folder"):
        gnc.from_onnx(inside / "m.onnx")


@pytest.mark.parametrize(
    ("operator", "attributes", "layer"),
    [
        ("Selu", {}, gnc.SeluLayer()),
        ("Celu", {"alpha": 2.0}, gnc.CeluLayer(2.0)),
        ("ThresholdedRelu", {"alpha": 2.0}, gnc.ThresholdedReluLayer(2.0)),
        ("HardSigmoid", {}, gnc.HardSigmoidLayer(0.2)),
        ("HardSwish", {}, gnc.HardSwishLayer()),
        ("Mish", {}, gnc.MishLayer()),
        ("Softsign", {}, gnc.SoftsignLayer()),
        ("Gelu", {"approximate": "tanh"}, gnc.GeluLayer(approximation="tanh")),
        ("Sqrt", {}, gnc.UnaryLayer("square-root")),
        ("Atan", {}, gnc.UnaryLayer("arctangent")),
    ],
)
def test_activations(operator, attributes, layer) -> None:
    node = helper.make_node(operator, ["x"], ["y"], name="f", **attributes)
    graph = gnc.from_onnx(model_of([node], {"x": ["N", 3, 4]}, {"y": ["N", 3, 4]}))
    assert replace(graph["f"], name="") == layer


@pytest.mark.parametrize(
    ("low", "high", "layer"),
    [
        (0, 6, gnc.ClippedReluLayer(6)),
        (0, None, gnc.ReluLayer()),
        (-2, 3, gnc.HardTanhLayer(-2, 3)),
        (None, 3, gnc.HardTanhLayer(-float(np.finfo(np.float32).max), 3)),
    ],
)
def test_clip(low, high, layer) -> None:
    bounds = {name: np.float32(bound) for name, bound in {"low": low, "high": high}.items() if bound is not None}
    inputs = ["x", *(name if name in bounds else "" for name in ("low", "high"))]
    constants = {name: np.asarray(bound) for name, bound in bounds.items()}
    graph = gnc.from_onnx(
        model_of([helper.make_node("Clip", inputs, ["y"], name="f")], {"x": ["N", 3]}, {"y": ["N", 3]}, constants)
    )
    assert replace(graph["f"], name="") == layer


def test_what_a_row_does_not_cover_is_a_sentence() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", group=64)
    model = model_of([node], {"x": ["N", 64, 4, 4]}, {"y": ["N", 64, 6, 6]}, {"w": np.ones((64, 1, 3, 3), np.float32)})
    with pytest.raises(NetworkError, match=r"'up' \(ConvTranspose\): group = 64"):
        gnc.from_onnx(model)


def test_what_no_output_needs_is_left_out() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"], name="kept"),
        helper.make_node("Sigmoid", ["z"], ["unread"], name="dead"),
    ]
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 3], "z": ["N", 3]}, {"y": ["N", 3]}))
    assert [layer.name for layer in graph] == ["x", "kept"]


@pytest.mark.parametrize(
    ("operator", "swap", "kinds"),
    [
        ("Sub", False, ["elementwise"]),
        ("Sub", True, ["unary", "elementwise"]),
        ("Div", True, ["unary", "elementwise"]),
        ("Pow", False, ["elementwise"]),
        ("Pow", True, ["elementwise", "unary"]),
        ("Max", True, ["elementwise"]),
    ],
)
def test_constants_of_arithmetic(operator, swap, kinds) -> None:
    inputs = ["c", "x"] if swap else ["x", "c"]
    constant = np.array([[2.0], [3.0]], np.float32)
    model = model_of(
        [helper.make_node(operator, inputs, ["y"], name="f")], {"x": ["N", 2, 4]}, {"y": ["N", 2, 4]}, {"c": constant}
    )
    assert [layer.kind for layer in gnc.from_onnx(model)][1:] == kinds


def test_observations_are_not_mixed() -> None:
    per_observation = np.ones((3, 2, 4), np.float32)
    model = model_of(
        [helper.make_node("Add", ["x", "c"], ["y"])], {"x": ["N", 2, 4]}, {"y": ["N", 2, 4]}, {"c": per_observation}
    )
    with pytest.raises(NetworkError, match=r"a constant of shape \(3, 2, 4\)"):
        gnc.from_onnx(model)
    rows = [
        helper.make_node("ReduceMax", ["x"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    with pytest.raises(NetworkError, match="different numbers of axes"):
        gnc.from_onnx(model_of(rows, {"x": ["N", 2, 4]}, {"y": ["N", 2, 4]}, opset=13))


def test_pieces_keep_the_layout() -> None:
    """Slices and pads of channels-last images move nothing else."""
    constants = {
        "w": np.ones((4, 3, 1, 1), np.float32), "starts": np.array([1]), "ends": np.array([3]), "axes": np.array([1]),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Slice", ["a", "starts", "ends", "axes"], ["b"], name="part"),
        helper.make_node("Pad", ["b", "pads"], ["c"], name="pad", mode="reflect"),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], name="pool"),
    ]
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 3, 5, 5]}, {"y": ["N", 2, 1, 1]}, constants))
    moving = [layer for layer in graph if isinstance(layer, gnc.PermuteLayer)]
    assert len(moving) == 2  # in front of the convolution and behind the pool


def test_pads_of_what_is_at_the_other_end() -> None:
    def padded(*sides):
        nodes = [helper.make_node("Pad", ["x", "pads"], ["y"], name="pad", mode="wrap")]
        return model_of(nodes, {"x": ["N", 3, 4, 5]}, {"y": ["N", None, None, None]}, {"pads": np.array(sides)})

    x, source = np.random.default_rng(0).random((2, 3, 4, 5), np.float32), padded(0, 0, 4, 2, 0, 1, 0, 5)
    (found,) = interpreted(gnc.from_onnx(source), {"x": x})
    np.testing.assert_array_equal(found, np.pad(x, ((0, 0), (0, 1), (4, 0), (2, 5)), mode="wrap"))
    with pytest.raises(NetworkError, match=r"mode = wrap with pads of 0 and 6; allowed: up to 5, the axis' extent"):
        gnc.from_onnx(padded(0, 0, 0, 0, 0, 0, 0, 6))


def test_outputs_that_no_layer_has_are_issues_only_where_they_are_read() -> None:
    nodes = [helper.make_node("Dropout", ["x"], ["y", "mask"], name="drop")]
    assert len(gnc.from_onnx(model_of(nodes, {"x": ["N", 3]}, {"y": ["N", 3]}, opset=9))) == 2
    read = [helper.make_node("Dropout", ["x"], ["d", "mask"], name="drop"), helper.make_node("Relu", ["mask"], ["y"])]
    with pytest.raises(NetworkError, match="'drop' \\(Dropout\\): its outputs mask; allowed: the first 1"):
        gnc.from_onnx(model_of(read, {"x": ["N", 3]}, {"y": ["N", 3]}, opset=9))


def twice(first: dict, second: dict, between: str = "Relu"):
    """Two products of (N, 4) with one array of weights."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["a"], name="one", **first),
        helper.make_node(between, ["a"], ["r"], name="between"),
        helper.make_node("Gemm", ["r", "w", "b"], ["y"], name="two", **second),
    ]
    rng = np.random.default_rng(3)
    constants = {"w": rng.normal(size=(4, 4)).astype(np.float32), "b": rng.normal(size=4).astype(np.float32)}
    return model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, constants)


def test_an_initializer_of_two_layers_is_one_parameter() -> None:
    made = twice({"transB": 1}, {"transB": 1})
    graph = gnc.from_onnx(made)
    assert dict(graph["two"].shared) == {"weights": "one.weights", "bias": "one.bias"}
    assert list(gnc.Network.build(graph, require_output=False).parameters) == ["one.weights", "one.bias"]
    x = np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(interpreted(graph, {"x": x})[0], in_onnx_runtime(made, {"x": x})[0], atol=1e-6)


def test_infinite_numbers_of_a_model_are_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = gnc.from_onnx(twice({"transB": 1, "alpha": math.inf}, {"transB": 1}))
    assert np.isinf(graph["one"].weights).all()


def test_read_in_another_order_it_is_one_too() -> None:
    made = twice({"transB": 1}, {"transB": 0})
    graph = gnc.from_onnx(made)
    assert dict(graph["two"].shared) == {"weights": "one.weights[1, 0]", "bias": "one.bias"}
    x = np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(interpreted(graph, {"x": x})[0], in_onnx_runtime(made, {"x": x})[0], atol=1e-6)


def test_constants_of_formulas_are_not_shared() -> None:
    nodes = [helper.make_node("Mul", ["x", "c"], ["a"], name="one"), helper.make_node("Add", ["a", "c"], ["y"])]
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, {"c": np.arange(4, dtype=np.float32)}))
    assert not any(layer.shared for layer in graph)


def test_a_condition_is_no_output() -> None:
    model = model_of(
        [helper.make_node("Greater", ["x", "c"], ["y"])],
        {"x": ["N", 3]},
        {"y": ["N", 3]},
        {"c": np.zeros(3, np.float32)},
    )
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.BOOL
    with pytest.raises(NetworkError, match="output 'y' is a condition; allowed: outputs of floats; put a Cast"):
        gnc.from_onnx(model)


@pytest.mark.parametrize(
    ("equation", "constant", "result"),
    [
        ("nabc,cd->nabd", (5, 6), (3, 4, 6)),
        ("nabc,bd->ndac", (4, 6), (6, 3, 5)),
        ("ebc,nabc->nea", (7, 4, 5), (7, 3)),
        ("nabc,bcde->nade", (4, 5, 2, 3), (3, 2, 3)),
        ("nabc->ncab", None, (5, 3, 4)),
    ],
)
def test_einsum(equation, constant, result) -> None:
    rng = np.random.default_rng(0)
    constants = {"w": rng.standard_normal(constant).astype(np.float32)} if constant else {}
    names = ["x" if term == "nabc" else "w" for term in equation.partition("->")[0].split(",")]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    model = model_of([node], {"x": ["N", 3, 4, 5]}, {"y": ["N", *result]}, constants)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    (got,) = interpreted(gnc.from_onnx(model), {"x": x})
    np.testing.assert_allclose(got, ReferenceEvaluator(model).run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("equation", ["nab,bc->ab", "nab,nb->na", "nab,cd->nabcd", "...b,bc->...c"])
def test_equations_of_other_kinds_are_refused(equation) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation=equation)
    model = model_of([node], {"x": ["N", 3, 3]}, {"y": None}, {"w": np.ones((3, 3), np.float32)})
    with pytest.raises(NetworkError, match="equation = "):
        gnc.from_onnx(model)
