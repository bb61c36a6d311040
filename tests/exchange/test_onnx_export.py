"""Networks become ONNX models: those compute the same, come in again as the same layers, or are refused by name."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnx.reference
import pytest
from support.networks import residual
from support.onnx_models import drawn_values, in_onnx_runtime, interpreted, same_network, small_model

import gncodegen as gnc
from gncodegen.errors import NetworkError, OptionsError, SaveError
from gncodegen.exchange.onnx import exporting
from gncodegen.exchange.onnx.exporting import model
from gncodegen.exchange.onnx.operations import LAYERS, OPERATIONS
from gncodegen.exchange.onnx.operations.elementwise import ACTIVATIONS, FUNCTIONS
from gncodegen.kernels import activations
from gncodegen.kernels.arithmetic import ARITHMETIC
from gncodegen.layers.activations import UNARY
from gncodegen.layers.network import Network

IMAGE, VECTOR = gnc.ImageInputLayer((6, 4, 8), normalization="none", name="x"), gnc.FeatureInputLayer(8, name="x")
STEPS = gnc.SequenceInputLayer(8, min_length=5)
FRAMES = gnc.SequenceInputLayer((6, 4, 8), min_length=3)
VOLUME = gnc.Image3dInputLayer((4, 3, 5, 4), normalization="none")


def joined() -> gnc.LayerGraph:
    """Functions of two and three arrays."""
    graph = gnc.LayerGraph([IMAGE, gnc.TanhLayer(name="a")])
    graph.add(gnc.SigmoidLayer(name="b")).connect("x", "b")
    names = ["add", "multiply", "minimum", "maximum", "select"]
    of_two = [
        name for name, row in ARITHMETIC.items() if len(row.cotangents) == 2 and name not in ("prelu", "mask-lowest")
    ]
    for layer in (
        *(gnc.ElementwiseLayer(name, 3, name=name) for name in names),
        *(gnc.ElementwiseLayer(name, 2, name=name) for name in of_two),
        gnc.ElementwiseLayer("mask-lowest", 1, constant=np.array([1, 0, 1, 1, 1, 0, 1, 1]), name="mask-lowest"),
    ):
        graph.add(layer)
        sources = ["b", "a", "x"][: layer.num_inputs]
        sources = ["a", "b"] if layer.name == "modulo" else sources
        for port, source in zip(layer.input_names, sources, strict=True):
            graph.connect(source, f"{layer.name}/{port}")
    return graph.returning(*names, *of_two, "mask-lowest")


def unary() -> gnc.LayerGraph:
    """Each function of numbers between 0 and 1, or of larger ones."""
    graph = gnc.LayerGraph([IMAGE, gnc.SigmoidLayer(name="fraction")])
    graph.add(gnc.UnaryLayer("cosh", name="more")).connect("fraction", "more")
    for function in UNARY:
        graph.add(gnc.UnaryLayer(function, name=function)).connect(
            "more" if function == "arcosh" else "fraction", function
        )
    return graph.returning(*UNARY)


def attention() -> gnc.LayerGraph:
    """Products of arrays, and with a constant, either way round."""
    constant = np.linspace(-1, 1, 6 * 8 * 3).reshape(6, 8, 3)
    graph = gnc.LayerGraph([
        IMAGE, gnc.MatrixProductLayer(transpose_second=True, name="scores"), gnc.SoftmaxLayer(),
        gnc.MatrixProductLayer(name="mixed"),
        gnc.MatrixProductLayer(transpose_first=True, name="turned"),
        gnc.MatrixProductLayer(transpose_second=True, constant=constant.transpose(0, 2, 1)),
    ])  # fmt: skip
    return graph.connect("x", "scores/in2").connect("x", "mixed/in2").connect("x", "turned/in2")


def of_steps(*layers: gnc.Layer) -> list[gnc.Layer]:
    return [STEPS, *layers]


NETWORKS = {
    "activations": [
        IMAGE, gnc.ReluLayer(), gnc.LeakyReluLayer(0.1), gnc.EluLayer(0.5), gnc.CeluLayer(0.7), gnc.SeluLayer(),
        gnc.HardSigmoidLayer(), gnc.SoftplusLayer(), gnc.SoftsignLayer(), gnc.MishLayer(), gnc.GeluLayer(),
        gnc.GeluLayer(approximation="tanh"), gnc.SwishLayer(), gnc.HardSwishLayer(), gnc.LogSigmoidLayer(),
        gnc.HardTanhLayer(-0.8, -0.5), gnc.TanhLayer(), gnc.SigmoidLayer(),
    ],
    "more activations": [
        IMAGE, gnc.UnaryLayer("negative"), gnc.ThresholdedReluLayer(0.2), gnc.ClippedReluLayer(0.9),
        gnc.UnaryLayer("square"), gnc.UnaryLayer("exponential"), gnc.UnaryLayer("reciprocal"),
        gnc.UnaryLayer("square-root"), gnc.UnaryLayer("logarithm"), gnc.UnaryLayer("absolute"), gnc.SoftmaxLayer(),
    ],
    "functions of arithmetic": unary(),
    "norms of images": [
        IMAGE, gnc.GroupNormalizationLayer(4), gnc.LayerNormalizationLayer(), gnc.BatchNormalizationLayer(),
        gnc.LayerNormalizationLayer(operation_dimension="channel-only"), gnc.InstanceNormalizationLayer(),
        gnc.DropoutLayer(0.3), gnc.PreluLayer(), gnc.PreluLayer(slopes="shared"),
    ],
    "norms of frames": [
        FRAMES, gnc.GroupNormalizationLayer(2), gnc.LayerNormalizationLayer(), gnc.Convolution2dLayer(3, 4, padding=1),
        gnc.MaxPooling2dLayer(2), gnc.FullyConnectedLayer(3),
    ],
    "norms of steps": of_steps(
        gnc.LayerNormalizationLayer(), gnc.InstanceNormalizationLayer(), gnc.Convolution1dLayer(3, 6, padding="same"),
        gnc.TransposedConvolution1dLayer(2, 4, stride=2), gnc.FullyConnectedLayer(3, bias_learn_rate_factor=0),
        gnc.GlobalAveragePooling1dLayer(),
    ),
    "norms of vectors": [
        VECTOR, gnc.GroupNormalizationLayer(2), gnc.LayerNormalizationLayer(), gnc.BatchNormalizationLayer(),
        gnc.InstanceNormalizationLayer(), gnc.FullyConnectedLayer(4), gnc.SoftmaxLayer(),
    ],
    "convolutions": [
        IMAGE, gnc.Convolution2dLayer((3, 2), 8, padding=(1, 0, 2, 1), dilation_factor=(2, 1), stride=(1, 2)),
        gnc.GroupedConvolution2dLayer(3, 2, "channel-wise", padding="same"),
        gnc.Convolution2dLayer(2, 6, padding=1, padding_value=0.5),
        gnc.Convolution2dLayer(3, 6, padding="same", padding_value="replicate"),
        gnc.Convolution2dLayer(3, 6, padding="same", padding_value="symmetric-exclude-edge"),
        gnc.TransposedConvolution2dLayer(2, 5, stride=3, cropping="same"),
        gnc.TransposedConvolution2dLayer((3, 2), 4, stride=2, cropping=(0, 1, 1, 0), dilation_factor=(1, 2)),
        gnc.FlattenLayer(), gnc.FullyConnectedLayer(3),
    ],
    "volumes": [
        VOLUME, gnc.Convolution3dLayer(2, 8, padding="same"), gnc.GroupNormalizationLayer(2),
        gnc.AveragePooling3dLayer(2, padding="same"), gnc.MaxPooling3dLayer(2), gnc.GlobalMaxPooling3dLayer(),
    ],
    "pools and movement": [
        IMAGE, gnc.PaddingLayer((1, 0, 2, 1), value=0.5), gnc.AveragePooling2dLayer(2, padding=(1, 0, 0, 1)),
        gnc.AveragePooling2dLayer(3, padding=1, padding_value="mean"), gnc.MaxPooling2dLayer(2, padding="same"),
        gnc.CropLayer((1, 0, 0, 2)), gnc.PaddingLayer((0, 2, 1, 0), mode="replicate"),
        gnc.DepthToSpaceLayer(2, order="column-first"), gnc.SpaceToDepthLayer(2),
        gnc.DepthToSpaceLayer(2), gnc.SpaceToDepthLayer(2, order="column-first"),
        gnc.ElementwiseLayer("multiply", 1, constant=np.linspace(1, 2, 6)[:, None]),
        gnc.PermuteLayer((2, 0, 1)), gnc.ReshapeLayer((12, 4, 8)), gnc.GlobalAveragePooling2dLayer(),
    ],
    "neighbours": [
        IMAGE, gnc.CrossChannelNormalizationLayer(3, alpha=0.5), gnc.Resize2dLayer(scale=(2, 0.5), method="linear"),
        gnc.MaxPooling2dLayer(2),
    ],
    "attention": attention(),
    "residual": residual(),
    "joined": joined(),
    **{
        f"input {name}": [gnc.ImageInputLayer((3, 2, 4), normalization=name), gnc.ReluLayer()]
        for name in ("zerocenter", "zscore", "rescale-symmetric", "rescale-zero-one")
    },
}  # fmt: skip
"""Between them every row of the exporter's tables."""


def drawn(name: str) -> Network:
    """A network with values in its layers."""
    network = Network.build(NETWORKS[name], require_output=False)
    return network.with_values(drawn_values(network))


def observations(network: Network, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(count, *network.input.size.shape)).astype(np.float32)


def exported(network: Network, **choices):
    """The model, as onnx.checker has accepted it."""
    made = model(network, network.initial_values(np.random.default_rng(0)), **choices)
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_the_same(name) -> None:
    network = drawn(name)
    x = observations(network)
    expected = interpreted(network, {network.input.name: x})
    found = in_onnx_runtime(exported(network), {network.input.name: x})
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-5)


def test_every_row_is_used_above() -> None:
    nodes = [node for name in NETWORKS for node in drawn(name).nodes]
    chains = [operation for node in nodes for operation in node.layer.operations(node.input_sizes)]
    assert set(OPERATIONS) <= {operation.op for operation in chains}
    functions = {operation.attributes.get("function", operation.op) for operation in chains}
    assert (set(ACTIVATIONS) | set(FUNCTIONS)) <= functions
    assert all(any(isinstance(node.layer, kind) and row.covers(node) for node in nodes) for kind, row in LAYERS.items())
    assert set(ACTIVATIONS) == set(activations.ACTIVATIONS)


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("norms of images", ["GroupNormalization", "GroupNormalization", "BatchNormalization", "LayerNormalization"]),
        ("norms of vectors", ["GroupNormalization", "LayerNormalization", "BatchNormalization", "GroupNormalization"]),
    ],
)
def test_a_norm_is_one_node(name, operators) -> None:
    nodes = [node.op_type for node in exported(drawn(name)).graph.node]
    assert [kind for kind in nodes if kind != "Transpose"][:4] == operators


def test_a_chain_of_convolutions_has_no_transpose_inside() -> None:
    layers = [IMAGE, gnc.Convolution2dLayer(3, 4), gnc.GroupNormalizationLayer(2), gnc.ReluLayer()]
    layers += [gnc.GlobalAveragePooling2dLayer(), gnc.FullyConnectedLayer(3)]
    made = exported(Network.build(layers, require_output=False))
    kinds = [node.op_type for node in made.graph.node]
    assert kinds == ["Transpose", "Conv", "GroupNormalization", "Relu", "GlobalAveragePool", "Reshape", "Gemm"]
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize(("letters", "shape"), [("BCSS", ["N", 8, 6, 4]), ("SSCB", [6, 4, 8, "N"])])
def test_axis_orders(letters, shape) -> None:
    network = Network.build([IMAGE, gnc.MaxPooling2dLayer(2)], require_output=False)
    made = exported(network, data_format=letters)
    dims = made.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == shape
    x = observations(network)
    order = (0, 3, 1, 2) if letters == "BCSS" else (1, 2, 3, 0)
    (got,) = in_onnx_runtime(made, {"x": x.transpose(order)})
    (wanted,) = interpreted(network, {"x": x})
    np.testing.assert_array_equal(got, wanted.astype(np.float32).transpose(order))
    assert len(made.graph.node) == (1 if letters == "BCSS" else 4)


def test_in_out_in() -> None:
    graph = gnc.from_onnx(small_model())
    again = gnc.from_onnx(exported(Network.build(graph, require_output=False)))
    assert same_network(graph, again)
    assert not same_network(graph, gnc.from_onnx(exported(drawn("volumes"))))


def test_learn_rate_factors_come_back() -> None:
    layers = [VECTOR, gnc.FullyConnectedLayer(4, name="fc", weight_learn_rate_factor=0, bias_l2_factor=0.5)]
    made = exported(Network.build(layers, require_output=False))
    layer = gnc.from_onnx(made)["fc"]
    assert (layer.weight_learn_rate_factor, layer.bias_l2_factor, layer.bias_learn_rate_factor) == (0, 0.5, 1)
    made.graph.node[-1].metadata_props[0].value = '{"weight_learn_rate_factor": -1}'
    with pytest.raises(NetworkError, match=r"metadata gncodegen.factors"):
        gnc.from_onnx(made)


def test_what_onnx_cannot_say_is_refused_all_at_once(tmp_path) -> None:
    image = replace(IMAGE, normalization=np.sqrt, name="image")
    layers = [image, gnc.PaddingLayer((1, 1, 1, 1), mode="symmetric-include-edge", name="pad"), gnc.ReluLayer()]
    with pytest.raises(NetworkError) as caught:
        exported(Network.build(layers, require_output=False))
    first, second = caught.value.issues
    assert first.startswith("export: layer 1 'image' (ImageInputLayer): its normalization is a callable")
    assert second.startswith("export: layer 2 'pad' (PaddingLayer): padding of mode 'symmetric-include-edge'; allowed:")
    frames = gnc.SequenceInputLayer((4, 4, 4, 2), min_length=2)
    with pytest.raises(NetworkError, match=r"\(2, 4, 4, 4, 2\) has 4 axes beside the channels; allowed: up to 3"):
        exported(Network.build([frames, gnc.MaxPooling3dLayer(2)], require_output=False))


@pytest.fixture(scope="module")
def compiled():
    layers = [
        gnc.FeatureInputLayer(6, name="x"), gnc.GroupNormalizationLayer(2, name="gn"), gnc.ReluLayer(),
        gnc.FullyConnectedLayer(3, name="fc"), gnc.SoftmaxLayer(), gnc.ClassificationLayer(classes=("a", "b", "c")),
    ]  # fmt: skip
    return gnc.compile(layers, training=False, batch_size=8)


def test_a_compiled_network(compiled, tmp_path) -> None:
    compiled.parameters["gn.scale"] = np.linspace(1, 2, 6)
    compiled.export(tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    made = onnx.load(tmp_path / "net.onnx")
    assert made.opset_import[0].version == 21
    assert {entry.key: json.loads(entry.value) for entry in made.metadata_props} == {"classes": ["a", "b", "c"]}
    x = np.random.default_rng(2).normal(size=(5, 6)).astype(np.float32)
    (found,) = in_onnx_runtime(made, {"x": x})
    np.testing.assert_allclose(found, compiled.predict(x), rtol=0, atol=1e-5)
    again = gnc.from_onnx(tmp_path / "net.onnx")
    for name in ("scale", "offset"):
        np.testing.assert_array_equal(getattr(again["gn"], name), compiled.parameters[f"gn.{name}"])
    assert again["gn"].epsilon == 1e-5


def test_large_weights_lie_beside_the_model(compiled, tmp_path, monkeypatch) -> None:
    compiled.export(tmp_path / "one.onnx")
    monkeypatch.setattr(exporting, "LARGEST", 100)
    compiled.export(tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data", "one.onnx"]
    assert same_network(*(gnc.from_onnx(tmp_path / name) for name in ("one.onnx", "net.onnx")))


def test_refusals(compiled, tmp_path, monkeypatch) -> None:
    with pytest.raises(OptionsError, match=r"'net.h5' ends in '.h5'; allowed: .onnx \(an ONNX model\)"):
        compiled.export("net.h5")
    with pytest.raises(OptionsError, match=r"cpu: no such option of .onnx; allowed: opset, data_format"):
        compiled.export(tmp_path / "net.onnx", cpu="x")
    with pytest.raises(OptionsError, match=r"opset = 20; allowed: 21 to \d+"):
        compiled.export(tmp_path / "net.onnx", opset=20)
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=r"net\.onnx"):
        compiled.export(tmp_path / "file" / "net.onnx")

    def refuse(*_, **__):
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(NetworkError, match=r"onnx.checker refuses the model: no"):
        compiled.export(tmp_path / "net.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("opset", [21, pytest.param(onnx.defs.onnx_opset_version(), id="newest")])
def test_opsets(opset) -> None:
    made = exported(drawn("residual"), opset=opset)
    assert made.opset_import[0].version == opset
    assert same_network(gnc.from_onnx(made), gnc.from_onnx(exported(drawn("residual"))))


def test_float64() -> None:
    network = drawn("convolutions")
    made = exported(network, dtype="float64")
    x = observations(network).astype(np.float64)
    (found,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": x})
    np.testing.assert_allclose(found, interpreted(network, {"x": x})[0], rtol=1e-12)


def test_shared_parameters_go_out_and_come_in_as_one() -> None:
    shared = {"weights": "one.weights", "bias": "one.bias"}
    norms = {"scale": "norm.scale", "offset": "norm.offset"}
    layers = [
        gnc.ImageInputLayer((6, 4, 8), normalization="none", name="x"),
        gnc.Convolution2dLayer(3, 8, padding=1, name="one"), gnc.GroupNormalizationLayer(4, name="norm"),
        gnc.ReluLayer(name="relu"),
        gnc.Convolution2dLayer(3, 8, padding=1, name="two", shared=shared, weight_learn_rate_factor=0.5),
        gnc.GroupNormalizationLayer(2, name="other", shared=norms),
    ]  # fmt: skip
    network = Network.build(layers, require_output=False)
    made = exported(network.with_values(drawn_values(network)))
    assert len(made.graph.initializer) == 4
    graph = gnc.from_onnx(made)
    assert dict(graph["two"].shared) == shared
    assert dict(graph["other"].shared) == norms
    assert same_network(graph, gnc.from_onnx(exported(Network.build(graph, require_output=False))))
