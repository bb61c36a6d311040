"""Wrong properties and wrong networks, each refused with the layer, what was given, what is allowed, and the cure."""

import copy
import pickle

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.errors import LayerError, NetworkError

PROPERTIES = [
    # (what is built, pieces of the message)
    (
        lambda: gnc.GroupNormalizationLayer(0, name="gn1"),
        ["GroupNormalizationLayer 'gn1'", "num_groups = 0", "positive int", "write num_groups=8"],
    ),
    (lambda: gnc.GroupNormalizationLayer(-1), ["num_groups = -1", '"all-channels"', '"channel-wise"']),
    (lambda: gnc.GroupNormalizationLayer(2.5), ["num_groups = 2.5", "positive int"]),
    (lambda: gnc.GroupNormalizationLayer(True), ["num_groups = True", "positive int"]),
    (lambda: gnc.GroupNormalizationLayer(np.bool_(True)), ["num_groups = ", "True", "positive int"]),
    (lambda: gnc.ReluLayer(name=np.array([1, 2])), ["ReluLayer: name = array([1, 2])", "text"]),
    *(
        (lambda name=name: gnc.ReluLayer(name=name), ["ReluLayer", "name = '", "text of up to 10,000 letters"])
        for name in ("a\0b", "\ud800", "x" * 10_001)
    ),
    *(
        (lambda batched=batched: gnc.TensorInputLayer((3,), batched=batched), ["batched = ", "True or F"])
        for batched in (2, "True", None, ())
    ),
    (lambda: gnc.GroupNormalizationLayer("all"), ["num_groups = 'all'", '"all-channels"']),
    (
        lambda: gnc.GroupNormalizationLayer(5, num_channels=64),
        ["64 channels do not split into 5 groups", "divisors are 1, 2, 4"],
    ),
    (lambda: gnc.GroupNormalizationLayer(2, num_channels=0), ["num_channels = 0", 'positive int or "auto"']),
    (lambda: gnc.GroupNormalizationLayer(2, epsilon=0), ["epsilon = 0", "finite number > 0", "write epsilon=1e-5"]),
    (lambda: gnc.GroupNormalizationLayer(2, epsilon=float("nan")), ["epsilon = nan", "finite number > 0"]),
    (lambda: gnc.GroupNormalizationLayer(2, epsilon=float("inf")), ["epsilon = inf", "finite number > 0"]),
    (lambda: gnc.GroupNormalizationLayer(2, epsilon=[1e-5]), ["epsilon = [1e-05]", "finite number > 0"]),
    (
        lambda: gnc.GroupNormalizationLayer(2, scale_learn_rate_factor=-1),
        ["scale_learn_rate_factor = -1", "finite number ≥ 0"],
    ),
    (lambda: gnc.GroupNormalizationLayer(2, offset_l2_factor="1"), ["offset_l2_factor = '1'", "finite number ≥ 0"]),
    (
        lambda: gnc.GroupNormalizationLayer(2, scale_initializer="glorot"),
        ["scale_initializer = 'glorot'", '"narrow-normal"', "f(shape)"],
    ),
    (lambda: gnc.GroupNormalizationLayer(2, scale=np.ones((2, 2))), ["scale = array", "vector", "write scale=None"]),
    (lambda: gnc.GroupNormalizationLayer(2, offset=["a"]), ["offset = ['a']", "real numbers"]),
    (
        lambda: gnc.BatchNormalizationLayer(mean_decay=1.5),
        ["BatchNormalizationLayer", "mean_decay = 1.5", "from 0 to 1"],
    ),
    (lambda: gnc.BatchNormalizationLayer(trained_variance=[-1.0]), ["trained_variance = [-1.0]", "≥ 0"]),
    (
        lambda: gnc.LayerNormalizationLayer(operation_dimension="channel"),
        ["operation_dimension = 'channel'", '"channel-only"'],
    ),
    (lambda: gnc.Convolution2dLayer(0, 8), ["Convolution2dLayer", "filter_size = 0", "positive int or 2 of them"]),
    (lambda: gnc.Convolution2dLayer((3, 3, 3), 8), ["filter_size = (3, 3, 3)", "2 of them"]),
    (lambda: gnc.Convolution2dLayer(3, 8.0), ["num_filters = 8.0", "positive int"]),
    (lambda: gnc.Convolution2dLayer(3, 8, stride=0), ["stride = 0", "positive int"]),
    (lambda: gnc.Convolution2dLayer(3, 8, padding="valid"), ["padding = 'valid'", '"same"', 'write padding="same"']),
    (lambda: gnc.Convolution2dLayer(3, 8, padding=(1, 2, 3)), ["padding = (1, 2, 3)", "2 or 4 of them"]),
    (lambda: gnc.Convolution2dLayer(3, 8, padding=-1), ["padding = -1", "non-negative int"]),
    (lambda: gnc.Convolution2dLayer(3, 8, padding_value="zeros"), ["padding_value = 'zeros'", '"replicate"']),
    (lambda: gnc.Convolution2dLayer(3, 8, dilation_factor=(1, 0)), ["dilation_factor = (1, 0)", "positive int"]),
    (
        lambda: gnc.Convolution2dLayer(3, 8, weights_initializer="xavier"),
        ["weights_initializer = 'xavier'", '"glorot"'],
    ),
    (
        lambda: gnc.TransposedConvolution2dLayer(0, 8),
        ["TransposedConvolution2dLayer", "filter_size = 0", "positive int or 2 of them"],
    ),
    (
        lambda: gnc.TransposedConvolution2dLayer(2, 8, stride=(2, 0), name="up"),
        ["TransposedConvolution2dLayer 'up'", "stride = (2, 0)", "positive int"],
    ),
    (
        lambda: gnc.TransposedConvolution2dLayer(2, 8, cropping="valid"),
        ["cropping = 'valid'", '"same"', 'write cropping="same"'],
    ),
    (lambda: gnc.TransposedConvolution2dLayer(2, 8, cropping=-1), ["cropping = -1", "non-negative int"]),
    (lambda: gnc.TransposedConvolution2dLayer(2, 8, cropping=(1, 2, 3)), ["cropping = (1, 2, 3)", "2 or 4 of them"]),
    (lambda: gnc.FullyConnectedLayer(0, name="fc"), ["FullyConnectedLayer 'fc'", "outputs = 0", "positive int"]),
    (
        lambda: gnc.MaxPooling2dLayer(2, padding=2),
        ["padding = (2, 2, 2, 2) with pool_size = (2, 2)", "up to (1, 1, 1, 1)"],
    ),
    (lambda: gnc.AveragePooling2dLayer(2, padding_value=1), ["padding_value = 1", '0 or "mean"']),
    (lambda: gnc.DropoutLayer(1), ["DropoutLayer", "probability = 1", "not including, 1", "write probability=0.5"]),
    (lambda: gnc.ClippedReluLayer(0), ["ceiling = 0", "> 0"]),
    (lambda: gnc.GeluLayer(approximation="erf"), ["approximation = 'erf'", '"none" or "tanh"']),
    (lambda: gnc.AdditionLayer(1), ["AdditionLayer", "num_inputs = 1", "an int ≥ 2"]),
    (
        lambda: gnc.ImageInputLayer((28, 28)),
        ["input_size = (28, 28)", "(height, width, channels)", "write input_size=(28, 28, 1)"],
    ),
    (
        lambda: gnc.ImageInputLayer((28, 28, 1), normalization="center"),
        ["normalization = 'center'", '"zerocenter"', "callable"],
    ),
    (
        lambda: gnc.ImageInputLayer((28, 28, 3), mean=np.ones(2)),
        ["mean has shape (2,)", '(3,) for "channel"', "one number per channel"],
    ),
    (lambda: gnc.FeatureInputLayer(3, normalization_dimension="row"), ["normalization_dimension = 'row'", '"element"']),
    (lambda: gnc.ClassificationLayer(classes=["a", "a"]), ["classes = ['a', 'a']", "distinct"]),
    (
        lambda: gnc.ClassificationLayer(classes=["a", "void"], ignore_label="void"),
        ["ignore_label = 'void', which is one of classes", "leave 'void' out of classes"],
    ),
    (lambda: gnc.ClassificationLayer(class_weights=[1, 0]), ["class_weights = [1, 0]", "> 0"]),
    (
        lambda: gnc.ClassificationLayer(classes=["a", "b"], class_weights=[1]),
        ["1 class_weights for 2 classes", "one weight per class"],
    ),
    (lambda: gnc.ReluLayer(name=5), ["ReluLayer", "name = 5", "text"]),
]


@pytest.mark.parametrize(("build", "pieces"), PROPERTIES, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_properties(build, pieces):
    with pytest.raises(LayerError) as refusal:
        build()
    message = str(refusal.value)
    for piece in [*pieces, "; allowed: "]:
        assert piece in message
    assert isinstance(refusal.value, ValueError)


IMAGE = gnc.ImageInputLayer((8, 8, 6))
END = [gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]


def in_between(*layers):
    return [IMAGE, *layers, *END]


def joined(layer, *branches):
    graph = gnc.LayerGraph([IMAGE, branches[0], layer, *END])
    graph.add(branches[1])
    return graph.connect("imageinput", branches[1].name).connect(branches[1].name, f"{layer.name}/in2")


NETWORKS = [
    (
        in_between(gnc.GroupNormalizationLayer(4, name="gn1")),
        ["layer 2 'gn1'", "6 channels do not split into 4 groups", "divisors are 1, 2, 3, 6"],
    ),
    (in_between(gnc.GroupNormalizationLayer(12)), ["layer 2 'groupnorm_1'", "6 channels do not split into 12 groups"]),
    (
        in_between(gnc.GroupNormalizationLayer(2, num_channels=8)),
        ["layer 2 'groupnorm_1'", "num_channels = 8", "8×8×6 (SSC) has 6 channels", 'num_channels="auto"'],
    ),
    (
        in_between(gnc.GroupNormalizationLayer(2, scale=np.ones(4))),
        ["layer 2 'groupnorm_1'", "scale has shape (4,)", "allowed: (6,)"],
    ),
    (
        in_between(gnc.BatchNormalizationLayer(trained_mean=np.ones(1))),
        ["layer 2 'batchnorm_1'", "trained_mean has shape (1,)", "allowed: (6,)"],
    ),
    (
        in_between(gnc.Convolution2dLayer(3, 4, weights=np.ones((3, 3, 1, 4)))),
        ["layer 2 'conv_1'", "weights has shape (3, 3, 1, 4)", "(3, 3, 6, 4)"],
    ),
    (
        in_between(gnc.Convolution2dLayer(9, 4)),
        ["layer 2 'conv_1'", "9×9 does not fit the input 8×8×6", "up to 8×8", 'padding="same"'],
    ),
    (
        in_between(gnc.Convolution2dLayer(3, 4, padding=8, padding_value="symmetric-exclude-edge")),
        ["layer 2 'conv_1'", "mirrors more", "(7, 7, 7, 7)", "replicate"],
    ),
    (
        in_between(gnc.FullyConnectedLayer(4), gnc.Convolution2dLayer(1, 4)),
        ["layer 3 'conv_1'", "4 (C) has 0 spatial axes", "SSC", "before layers that flatten"],
    ),
    (
        in_between(gnc.TransposedConvolution2dLayer(2, 4, stride=2, cropping=(8, 8, 0, 0))),
        [
            "layer 2 'transposedconv_1'",
            "cropping = (8, 8, 0, 0) leaves nothing of the output 16×16",
            "8×8×6 (SSC)",
            "up to 15×15",
            'cropping="same"',
        ],
    ),
    (
        in_between(gnc.TransposedConvolution2dLayer(2, 4, num_channels=3)),
        ["layer 2 'transposedconv_1'", "num_channels = 3", "8×8×6 (SSC) has 6 channels", 'num_channels="auto"'],
    ),
    (
        in_between(gnc.TransposedConvolution2dLayer(2, 4, weights=np.ones((2, 2, 6, 4)))),
        ["layer 2 'transposedconv_1'", "weights has shape (2, 2, 6, 4)", "(2, 2, 4, 6)"],
    ),
    (
        in_between(gnc.FullyConnectedLayer(4), gnc.TransposedConvolution2dLayer(1, 4)),
        ["layer 3 'transposedconv_1'", "4 (C) has 0 spatial axes", "SSC", "before layers that flatten"],
    ),
    (
        in_between(gnc.FlattenLayer(), gnc.GlobalAveragePooling2dLayer()),
        ["layer 3 'gapool_1'", "384 (C) has 0 spatial axes"],
    ),
    (
        in_between(gnc.MaxPooling2dLayer(2, stride=2), gnc.AveragePooling2dLayer(5)),
        ["layer 3 'avgpool_1'", "5×5 does not fit the input 4×4×6"],
    ),
    (
        joined(gnc.AdditionLayer(2, name="add"), gnc.ReluLayer(), gnc.Convolution2dLayer(1, 4, name="c")),
        ["layer 3 'add'", "8×8×6 (SSC), 8×8×4 (SSC)", "one size"],
    ),
    (
        joined(gnc.DepthConcatenationLayer(2, name="cat"), gnc.ReluLayer(), gnc.Convolution2dLayer(3, 4, name="c")),
        ["layer 3 'cat'", "6×6×4 (SSC)", "channels only"],
    ),
    (
        in_between(gnc.AdditionLayer(2)),
        ["layer 2 'addition_1'", "'in2' is not connected", "graph.connect(source, 'addition_1/in2')"],
    ),
    (
        [IMAGE, *END[:2], gnc.ClassificationLayer(classes=[1, 2])],
        ["layer 4 'classoutput'", "2 classes", "3 (C) has 3 channels", "2 outputs"],
    ),
    (
        [IMAGE, *END[:2], gnc.ClassificationLayer(class_weights=[1, 2])],
        ["layer 4 'classoutput'", "2 class_weights", "3 channels"],
    ),
    ([IMAGE, END[0], END[2]], ["layer 3 'classoutput'", "follows layer 2 'fc_1'", "put SoftmaxLayer() between"]),
    (END, ["no input layer", "exactly one", "put ImageInputLayer"]),
    ([IMAGE, *END[:2]], ["no output layer", "append ClassificationLayer()"]),
    (
        [IMAGE, gnc.ReluLayer(), IMAGE, *END],
        ["2 input layers", "layer 1 'imageinput' and layer 3 'imageinput_2'", "remove the others"],
    ),
    ([IMAGE, *END, gnc.RegressionLayer()], ["2 output layers", "layer 4 'classoutput' and layer 5 'regressionoutput'"]),
    (
        [IMAGE, gnc.ReluLayer(name="r"), gnc.ReluLayer(name="r"), *END],
        ["layer 3 'r'", "that of layer 2", "unique", 'name="relu_1"'],
    ),
    (in_between(gnc.ReluLayer), ["layer 2", "ReluLayer is a class", "allowed: layers", "write ReluLayer(…)"]),
    (in_between("relu"), ["layer 2", "'relu' is no layer", "allowed: layers"]),
    ([IMAGE, [gnc.ReluLayer()], *END], ["layer 2", "is no layer", "[*layers, …]"]),
    ([], ["network is empty", "write [ImageInputLayer"]),
    (None, ["the network is None", "a list of layers, a LayerGraph or a Network"]),
    ({"layers": 1}, ["the network is {'layers': 1}", "a list of layers"]),
    (
        gnc.LayerGraph(in_between()).add(gnc.ReluLayer(name="lost")),
        ["layer 5 'lost'", "not connected", "graph.connect(source, 'lost/in')"],
    ),
    (
        gnc.LayerGraph(in_between(gnc.ReluLayer(name="a"))).add(gnc.ReluLayer(name="b")).connect("a", "b"),
        ["layer 6 'b'", "no layer takes its output", "remove it"],
    ),
    (
        gnc.LayerGraph(in_between(gnc.ReluLayer(name="a"), gnc.ReluLayer(name="b")))
        .disconnect("imageinput", "a")
        .connect("b", "a"),
        ["'b' → 'a' → 'b' form a cycle", "never lead back", "graph.disconnect('a', 'b')"],
    ),
]


@pytest.mark.parametrize(("layers", "pieces"), NETWORKS, ids=lambda value: value[0] if _pieces(value) else "")
def test_networks(layers, pieces):
    with pytest.raises(NetworkError) as refusal:
        gnc.Network.build(layers)
    issues = [issue for issue in refusal.value.issues if all(piece in issue for piece in pieces)]
    assert len(issues) == 1, refusal.value.issues
    assert "; allowed: " in issues[0] or "; divisors are " in issues[0]


def _pieces(value):
    return isinstance(value, list) and bool(value) and isinstance(value[0], str) and isinstance(value[-1], str)


def test_there_are_enough():
    assert len(PROPERTIES) + len(NETWORKS) >= 60


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: gnc.GroupNormalizationLayer(2, epsilom=1),
            r"GroupNorm.*: epsilom: no such property; .*write epsilon=…",
        ),
        (lambda: gnc.Convolution2dLayer(3, 4, Padding="same"), r"Padding: no such property; .*; write padding=…"),
        (lambda: gnc.GroupNormalizationLayer(2, zzz=1), r"zzz: no such property; allowed: .*; leave it out"),
        (lambda: gnc.Convolution2dLayer(3), r"num_filters is missing; .*write Convolution2dLayer\(num_filters=…\)"),
        (
            gnc.GroupNormalizationLayer,
            r"num_groups is missing; .*write GroupNormalizationLayer\(num_groups=…\)",
        ),
        (lambda: gnc.GroupNormalizationLayer(2, 4), r"2 values without a name; allowed: 1 \(num_groups\); write the"),
        (lambda: gnc.ReluLayer(3), r"ReluLayer: 1 values without a name; allowed: none"),
        (lambda: gnc.GroupNormalizationLayer(2, num_groups=3), r"num_groups is given twice; allowed: once"),
    ],
)
def test_properties_of_a_wrong_name(make, said):
    with pytest.raises(gnc.LayerError, match=said):
        make()


def test_layers_are_copied_and_pickled():
    layer = gnc.Convolution2dLayer(3, 4, padding="same", weights=np.ones((3, 3, 2, 4)))
    assert pickle.loads(pickle.dumps(layer)) == copy.deepcopy(layer) == layer
