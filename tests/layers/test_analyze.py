"""The table, and faults found together."""

import json

import pytest

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
        "layer 6 'maxpool_1': a window of 9×9 does not fit the input 6×6×64",
        "layer 8 'classoutput': 5 classes, but its input 4 (C) has 4 channels",
    ]
    for start in expected:
        assert any(issue.startswith(start) for issue in analysis.issues), start
    assert len(analysis.issues) == len(expected)
    assert analysis.rows[5].activations is None
    assert "10 issues" in str(analysis)


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


SMALL = gnc.ImageInputLayer((8, 8, 3))
WIDE = gnc.Convolution2dLayer(9, 64)
BEHIND = {
    "a window that does not fit": (
        [SMALL, WIDE, gnc.GroupNormalizationLayer(5)],
        ["layer 3 'groupnorm_1': 64 channels"],
    ),
    "through layers that leave channels alone": (
        [SMALL, WIDE, gnc.ReluLayer(), gnc.MaxPooling2dLayer(2), gnc.GroupNormalizationLayer(4, scale=[1.0])],
        ["layer 5 'groupnorm_1': scale has shape (1,); allowed: (64,) for the input of unknown size"],
    ),
    "two layers that do not fit": (
        [SMALL, WIDE, gnc.Convolution2dLayer(3, 8, num_channels=63), gnc.GroupNormalizationLayer(3)],
        ["layer 3 'conv_2': num_channels = 63, but the input of unknown size", "layer 4 'groupnorm_1': 8 channels"],
    ),
    "behind what makes one size of all": (
        [SMALL, WIDE, gnc.FullyConnectedLayer(10), gnc.GroupNormalizationLayer(3), gnc.MaxPooling2dLayer(2)],
        ["layer 4 'groupnorm_1': 10 channels", "layer 5 'maxpool_1': the input 10 (C) has 0 spatial axes"],
    ),
    "behind what is no layer": (
        [SMALL, gnc.ReluLayer, gnc.Convolution2dLayer(3, 64), gnc.GroupNormalizationLayer(5)],
        ["layer 4 'groupnorm_1': 64 channels"],
    ),
    "without an input layer": (
        [gnc.Convolution2dLayer(3, 64), gnc.GroupNormalizationLayer(5), gnc.GroupNormalizationLayer(7)],
        ["layer 2 'groupnorm_1': 64 channels do not split into 5", "layer 3 'groupnorm_2': 64 channels"],
    ),
    "the other axes": (
        [gnc.FeatureInputLayer(10), gnc.Convolution2dLayer(3, 64), gnc.GroupNormalizationLayer(5)],
        ["layer 3 'groupnorm_1': 64 channels"],
    ),
    "nothing that holds for all sizes": ([SMALL, WIDE, gnc.MaxPooling2dLayer(9), gnc.CropLayer((9, 9, 9, 9))], []),
}  # fmt: skip


@pytest.mark.parametrize("case", BEHIND)
def test_faults_behind_a_layer_of_unknown_size(case):
    layers, expected = BEHIND[case]
    analysis = analyze_network(layers, require_output=False)
    behind = [issue for issue in analysis.issues if any(issue.startswith(start) for start in expected)]
    assert len(behind) == len(expected)
    assert len(analysis.issues) == len(expected) + 1
    assert not any(number in issue for issue in analysis.issues for number in ("720", "1440"))
    assert analysis.unsized
    assert f"The sizes that reach {analysis.unsized[0]}" in str(analysis).splitlines()[-1]
    assert analysis.data()["unsized"] == list(analysis.unsized)
    assert "The sizes that reach" in analysis.html


def test_inputs_of_joins_stand_for_each_other():
    """What an addition's known input has, the other one must have, too; a concatenation's need not."""
    for join, expected in ((gnc.AdditionLayer(2), 2), (gnc.DepthConcatenationLayer(2), 1)):
        layers = [SMALL, gnc.Convolution2dLayer(3, 64), join, gnc.GroupNormalizationLayer(5)]
        issues = analyze_network(layers, require_output=False).issues
        assert len(issues) == expected
        assert "'in2' is not connected" in issues[0]
    graph = LayerGraph([SMALL, gnc.Convolution2dLayer(3, 64, name="a"), gnc.AdditionLayer(2, name="add"),
                        gnc.GroupNormalizationLayer(5)])  # fmt: skip
    graph.add([gnc.Convolution2dLayer(5, 64, name="b")]).connect("imageinput", "b").connect("b", "add/in2")
    issues = analyze_network(graph, require_output=False).issues
    assert [issue.split(":")[0] for issue in issues] == ["layer 3 'add'", "layer 4 'groupnorm_1'"]


def test_a_sound_network_has_no_unknown_sizes(classifier):
    assert analyze_network(classifier).unsized == ()


def test_a_layer_of_other_hands_may_fail_at_sizes_that_nobody_gave():
    class Strange(gnc.ReluLayer):
        def output_size(self, inputs):
            return Size("C", (inputs[0].shape[3],))

    analysis = analyze_network([SMALL, WIDE, Strange(), gnc.GroupNormalizationLayer(7)], require_output=False)
    assert len(analysis.issues) == 1
