"""Editing layer graphs."""

import pytest

import gncodegen as gnc
from gncodegen.errors import NetworkError
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network


def test_add_chains_only_what_is_added():
    graph = LayerGraph([gnc.FeatureInputLayer(2), gnc.ReluLayer()]).add([gnc.ReluLayer(), gnc.TanhLayer()])
    assert graph.connections == (("featureinput", "relu_1/in"), ("relu_2", "tanh_1/in"))
    assert len(graph) == 4
    assert [layer.name for layer in graph] == ["featureinput", "relu_1", "relu_2", "tanh_1"]


def test_replace_keeps_connections(residual):
    residual.replace("relu_1", gnc.TanhLayer()).replace("add", gnc.AdditionLayer(3, name="sum"))
    assert ("relu_1", "sum/in1") in residual.connections
    assert isinstance(residual["relu_1"], gnc.TanhLayer)
    with pytest.raises(NetworkError, match=r"ReluLayer has no input in1, in2.*disconnect 'sum' first"):
        residual.replace("sum", gnc.ReluLayer())


def test_remove_and_disconnect(residual):
    copy = residual.copy()
    residual.disconnect("skip", "add/in2").remove("skip")
    assert len(copy) == len(residual) + 1
    residual.connect("imageinput", "add/in2")
    assert Network.build(residual)["add"].inputs == ("relu_1", "imageinput")


def test_names_with_slashes():
    graph = LayerGraph([gnc.FeatureInputLayer(2, name="a/b"), gnc.AdditionLayer(2, name="c/in")])
    graph.connect("a/b/out", "c/in/in2")
    assert Network.build(graph, require_output=False)["c/in"].inputs == ("a/b", "a/b")


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("relu_9", "add/in2", r"no layer 'relu_9'; allowed: 'imageinput', .*; write 'relu_1' or add it with"),
        ("relu_1", "add/in3", r"'add/in3' names no input; allowed: in1, in2; write 'add/in2'"),
        ("relu_1", "add", r"'add' names no input; allowed: in1, in2"),
        ("relu_1/out2", "add/in2", r"'relu_1/out2' names no output; allowed: out; write 'relu_1'"),
        ("relu_1", "add/in1", r"'add/in1' is connected to 'relu_1' already; .*graph.disconnect\('relu_1', 'add/in1'\)"),
        ("relu_1", "imageinput", r"'imageinput' is an input layer"),
        ("regressionoutput", "add/in2", r"'regressionoutput' is an output layer"),
    ],
)
def test_connections_that_cannot_be(residual, source, destination, message):
    with pytest.raises(NetworkError, match=message):
        residual.disconnect("skip", "add/in2").connect(source, destination)


def test_other_refusals(residual):
    with pytest.raises(NetworkError, match="the name 'add' is taken; allowed: unique names; write 'relu_2'"):
        residual.add(gnc.ReluLayer(name="add"))
    with pytest.raises(NetworkError, match="layer 1: 'relu' is no layer"):
        residual.add(["relu"])
    with pytest.raises(NetworkError, match=r"'relu_1' is not connected to 'add/in2'; .*'skip'"):
        residual.disconnect("relu_1", "add/in2")
    with pytest.raises(NetworkError, match="no layer 'x'"):
        residual.remove("x")


def test_append_follows_the_output():
    graph = LayerGraph([gnc.FeatureInputLayer(2), gnc.FullyConnectedLayer(3)]).append(gnc.RegressionLayer())
    assert graph.connections[-1] == ("fc_1", "regressionoutput/in")
    with pytest.raises(NetworkError, match=r"append: the graph has 0 outputs"):
        graph.append(gnc.ReluLayer())


def test_replace_by_several_layers(residual):
    residual.replace("add", [gnc.AdditionLayer(2, name="sum"), gnc.TanhLayer(), gnc.ReluLayer(name="end")])
    assert {("relu_1", "sum/in1"), ("sum", "tanh_1/in"), ("tanh_1", "end/in")} <= set(residual.connections)
    assert ("end", "fc_1/in") in residual.connections
    Network.build(residual)


def two_ends():
    graph = LayerGraph([gnc.FeatureInputLayer(2, name="a"), gnc.TanhLayer(name="u")])
    graph.add([gnc.FeatureInputLayer(2, name="b"), gnc.AdditionLayer(2, name="sum"), gnc.ReluLayer(name="v")])
    return graph.connect("u", "sum/in2")


def test_several_inputs_and_outputs():
    network = Network.build(two_ends().returning("v", "u"), require_output=False)
    assert [node.name for node in network.inputs] == ["a", "b"]
    assert network.outputs == ("v", "u")
    again = Network.from_json(network.to_json()[0])
    assert (again.outputs, again.connections) == (network.outputs, network.connections)
    assert Network.build(two_ends(), require_output=False).outputs == ("v",)
    with pytest.raises(NetworkError, match=r"layer 5 'v': no layer takes its output"):
        Network.build(two_ends().returning("u"), require_output=False)


def test_outputs_follow_changes_of_their_layers():
    graph = two_ends().returning("v", "u")
    assert graph.copy().replace("v", gnc.TanhLayer(name="w")).outputs == ("w", "u")
    assert graph.copy().remove("v").outputs == ("u",)
    with pytest.raises(NetworkError, match=r"there is no layer 'x'; .*; add it with graph.add"):
        graph.returning("x")


def test_a_mistyped_layer_is_told_with_what_is_like_it():
    graph = gnc.LayerGraph([gnc.FeatureInputLayer(2, name="in"), gnc.ReluLayer(name="relu_1")])
    with pytest.raises(NetworkError, match=r"there is no layer 'rleu_1'; .*; write 'relu_1' or add it"):
        graph.remove("rleu_1")
    with pytest.raises(NetworkError, match=r"there is no layer 'rleu_1'; write 'relu_1'$"):
        Network.build(graph, require_output=False)["rleu_1"]


def test_the_graph_of_a_network_is_what_it_was_built_from(residual):
    network = Network.build(residual)
    twin = network.graph
    assert twin.layers == residual.layers
    assert sorted(twin.connections) == sorted(residual.connections)
    twin.remove("add")
    assert "add" in Network.build(network), "a graph of its own"


def test_the_graph_of_several_outputs_returns_them():
    graph = LayerGraph([gnc.FeatureInputLayer(2), gnc.ReluLayer(name="a"), gnc.TanhLayer(name="b")]).returning("b", "a")
    assert Network.build(Network.build(graph, require_output=False).graph, require_output=False).outputs == ("b", "a")


def test_the_layers_of_a_graph_are_no_chain(residual):
    layers = Network.build(residual).layers
    message = r"'skip': it is fed by 'imageinput', and '\w+' stands before it; .*net.graph"
    for use in (LayerGraph, lambda array: Network.build(array, require_output=False), LayerGraph().add):
        with pytest.raises(NetworkError, match=message):
            use(layers)
    assert len(LayerGraph(layers[:2])) == 2
    chain = Network.build([gnc.FeatureInputLayer(2), gnc.ReluLayer(), gnc.RegressionLayer()])
    assert LayerGraph(chain.layers).connections == chain.connections
