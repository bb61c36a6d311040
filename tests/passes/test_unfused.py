"""What fusion left alone: each reason, said with the names of the layers."""

from __future__ import annotations

import pytest

import gncodegen as gnc
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.passes.lower import Lowering
from gncodegen.specification import Specification

CONV = gnc.Convolution2dLayer(1, 4, name="c")
NORM = gnc.GroupNormalizationLayer(2, name="g")
PRODUCTS = "convolution, transposed_convolution, fully_connected"


def unfused(*layers: gnc.Layer, connected: tuple[tuple[str, str], ...] = (), training: bool = False) -> tuple[str, ...]:
    graph = LayerGraph([gnc.ImageInputLayer((2, 2, 4), normalization="none", name="in"), *layers])
    for source, target in connected:
        graph.connect(source, target)
    function, options = "train_step" if training else "predict", CompileOptions(training=training)
    return Lowering(Specification(Network.build(graph, require_output=training), function, options)).unfused()


def test_nothing_is_said_of_what_is_fused() -> None:
    assert unfused(CONV, NORM, gnc.ReluLayer()) == ()


@pytest.mark.parametrize(
    ("layers", "connected", "line"),
    [
        ([NORM, gnc.TanhLayer(name="a")], (), "a: g applies leaky-relu, relu as it is written, and this is tanh"),
        (
            [CONV, gnc.ReluLayer(name="r"), gnc.TanhLayer(name="a")],
            (),
            "a: c + r has an activation, which comes before it",
        ),
        (
            [gnc.MaxPooling2dLayer(2, name="p"), gnc.ReluLayer(name="a")],
            (),
            f"a: it stands behind p; it becomes part of {PRODUCTS}, add, group_norm, channel_normalize",
        ),
        (
            [CONV, gnc.ReluLayer(name="a"), gnc.TanhLayer(name="t"), gnc.AdditionLayer(2, name="s")],
            (("c", "s/in2"),),
            "a: c is read by s too",
        ),
        (
            [CONV, gnc.AdditionLayer(3, name="s")],
            (("in", "s/in2"), ("in", "s/in3")),
            "s: it adds 3 arrays, and one is added at a time behind another op",
        ),
        (
            [gnc.ReluLayer(name="a"), gnc.AdditionLayer(2, name="s")],
            (("in", "s/in2"),),
            f"s: it stands behind a and an input; it becomes part of {PRODUCTS}, group_norm",
        ),
    ],
)
def test_the_reason(layers, connected, line):
    assert line in unfused(*layers, connected=connected)


def test_a_gradient_that_reads_what_is_between_is_named() -> None:
    end = [gnc.FullyConnectedLayer(2), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]
    lines = unfused(CONV, gnc.GeluLayer(name="a"), *end, training=True)
    assert [line.partition(":")[0] for line in lines] == ["a"], "sums of gradients are left out"
