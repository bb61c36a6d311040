"""The table, and faults found together."""

import json

import gncodegen as gnc
from gncodegen.layers.analyze import analyze_network
from gncodegen.layers.base import Size
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network


def test_table(classifier):
    analysis = analyze_network(classifier)
    assert analysis.issues == ()
    assert analysis.total_learnables == 80 + 16 + (9 * 8 * 16 + 16) + 32 + (10 * 2304 + 10)
    row = analysis.rows[6]
    assert (row.index, row.name, row.type) == (7, "bn", "BatchNormalizationLayer")
    assert row.activations == Size("SSC", (12, 12, 16))
    assert row.learnables == {"scale": (16,), "offset": (16,)}
    assert row.states == {"trained_mean": (16,), "trained_variance": (16,)}
    assert row.num_learnables == 32


def test_text_is_aligned(classifier):
    lines = str(analyze_network(classifier)).splitlines()
    assert len({len(line) for line in lines[:-1]}) == 1
    assert " 2 conv_1      Convolution2d" in "\n".join(lines)
    assert lines[-1] == "11 layers, 24,346 learnables, 558 kFLOP for an observation, no issues"


def test_what_a_layer_costs(classifier):
    """Per observation, in float32: bytes of activations; products, sums and functions of a prediction."""
    rows = analyze_network(classifier).rows
    assert [row.bytes for row in rows[:2]] == [4 * 28 * 28, 4 * 28 * 28 * 8]
    convolution, norm, relu, pool, second, batch_norm = (row.flops for row in rows[1:7])
    assert convolution == 28 * 28 * 8 * (2 * 9 + 1)
    assert (norm, relu, pool) == (6 * 28 * 28 * 8, 28 * 28 * 8, 14 * 14 * 8 * 4)
    assert (second, batch_norm) == (12 * 12 * 16 * (2 * 9 * 8 + 1), 2 * 12 * 12 * 16)
    assert rows[8].flops == 10 * (2 * 12 * 12 * 16 + 1)
    resize = gnc.Resize2dLayer(scale=2, method="linear")
    others = [
        gnc.ImageInputLayer((3, 4, 6)), resize, gnc.TransposedConvolution2dLayer(2, 5, stride=2),
        gnc.CrossChannelNormalizationLayer(3), gnc.CropLayer((1, 1, 1, 1)),
    ]  # fmt: skip
    found = [row.flops for row in analyze_network(others, require_output=False).rows]
    # Two inputs for each output but those at the ends of an axis.
    assert found[1] == 2 * (2 * 6 - 2) * 4 * 6 + 2 * (2 * 8 - 2) * 6 * 6
    assert found[2:] == [2 * 6 * 8 * 6 * 2 * 2 * 5 + 12 * 16 * 5, 12 * 16 * (3 * 5 + 2 * (5 + 4 + 4)), 0]


def test_as_data(classifier):
    data = analyze_network(classifier).data()
    assert json.loads(json.dumps(data)) == data
    assert data["layers"][6] == {
        "index": 7, "name": "bn", "type": "BatchNormalizationLayer", "format": "SSC", "activations": [12, 12, 16],
        "bytes": 9216, "learnables": {"scale": [16], "offset": [16]},
        "states": {"trained_mean": [16], "trained_variance": [16]}, "num_learnables": 32, "flops": 4608,
    }  # fmt: skip
    assert (data["num_learnables"], data["issues"]) == (24346, [])
    assert data["flops"] == sum(row["flops"] for row in data["layers"])
    assert "<td" in analyze_network(classifier).html


def test_accepts_graphs_and_networks(residual):
    assert str(analyze_network(residual)) == str(analyze_network(LayerGraph.copy(residual)))
    assert analyze_network(Network.build(residual)).total_learnables == analyze_network(residual).total_learnables


def test_all_issues_at_once():
    analysis = analyze_network(
        [
            gnc.Convolution2dLayer(3, 64, num_channels=3),
            gnc.ImageInputLayer((8, 8, 1)),
            gnc.Convolution2dLayer(3, 64, num_channels=3),
            gnc.GroupNormalizationLayer(5, name="gn1", num_channels="auto", scale=[1.0]),
            gnc.AdditionLayer(2, name="gn1"),
            gnc.MaxPooling2dLayer(9),
            gnc.FullyConnectedLayer(4),
            gnc.ClassificationLayer(classes=["a", "b", "c", "x", "y"]),
        ]
    )
    expected = [
        "layer 5 'gn1': the name is that of layer 4",
        "layer 1 'conv_1': its input 'in' is not connected",
        "layer 1 'conv_1': no layer takes its output",
        "layer 5 'gn1': its input 'in2' is not connected",
        "layer 8 'classoutput': it follows layer 7 'fc_1'",
        "layer 3 'conv_2': num_channels = 3, but the input 8×8×1 (SSC) has 1 channels",
        "layer 4 'gn1': 64 channels do not split into 5 groups; divisors are 1, 2, 4, 8, 16, 32, 64",
        "layer 4 'gn1': scale has shape (1,); allowed: (64,)",
    ]
    for start in expected:
        assert any(issue.startswith(start) for issue in analysis.issues), start
    assert len(analysis.issues) == len(expected)
    assert analysis.rows[5].activations is None
    assert "8 issues" in str(analysis)


def test_never_raises():
    for layers in (None, 5, "relu", [], [None], [gnc.ReluLayer], [gnc.ReluLayer()], [[gnc.ReluLayer()]], LayerGraph()):
        analysis = analyze_network(layers)
        assert analysis.issues
        assert str(analysis)


def test_a_transposed_convolution_is_a_row_like_others():
    analysis = analyze_network(
        [
            gnc.ImageInputLayer((4, 5, 3)),
            gnc.TransposedConvolution2dLayer((2, 3), 7, stride=2, cropping=(0, 0, 1, 0)),
            gnc.RegressionLayer(),
        ]
    )
    row = analysis.rows[1]
    assert (row.name, row.activations) == ("transposedconv_1", Size("SSC", (8, 10, 7)))
    assert row.learnables == {"weights": (2, 3, 7, 3), "bias": (7,)}
    assert analysis.total_learnables == 2 * 3 * 7 * 3 + 7
    assert analysis.issues == ()
