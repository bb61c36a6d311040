"""The checked, connected network: what every later stage starts from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import ArrayError, LayerError, NetworkError
from gncodegen.layers.archive import layer_arrays, layer_from_json, layer_to_json, unwritable
from gncodegen.layers.base import Layer, Parameter, Size
from gncodegen.layers.checks import shown
from gncodegen.layers.examine import examine
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.initializers import initialize
from gncodegen.layers.inputs import InputLayer
from gncodegen.layers.sequences import Mask, Masking, maskings
from gncodegen.layers.sharing import Reading
from gncodegen.layers.wiring import LayerArray, Placed, Wired
from gncodegen.process.forks import kept
from gncodegen.tables import any_of, near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike, NDArray

_VERSION = 2
"""Of the JSON form; a reader refuses others."""


@dataclass(frozen=True)
class Node:
    """A layer in its network.

    Args:
        index: 1-based position in the array the user wrote.
        layer: the layer, named.
        inputs: names of the layers that feed it, one per input.
        input_sizes: their sizes.
        size: the size of its output; of an output layer, that of its input.
    """

    index: int
    layer: Layer
    inputs: tuple[str, ...]
    input_sizes: tuple[Size, ...]
    size: Size

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def label(self) -> str:
        """How messages name the layer: "layer 3 'gn1'"."""
        return f"layer {self.index} {self.name!r}"

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The arrays the layer owns, resolved for its input sizes."""
        return self.layer.owned(self.input_sizes)

    def key(self, parameter: str) -> str:
        """The key of an array that the layer reads: "conv_1.weights", that of another layer where it is shared."""
        return self.reading(parameter).key

    def reading(self, parameter: str) -> Reading:
        """The array that the layer reads as this parameter, and in which order."""
        text = dict(self.layer.shared).get(parameter)
        return Reading(f"{self.name}.{parameter}") if text is None else Reading.of(text)

    def shape(self, parameter: str) -> tuple[int, ...]:
        """The shape of a parameter, its own or a shared one."""
        return next(each.shape for each in self.layer.parameters(self.input_sizes) if each.name == parameter)

    def array(self, parameter: str, values: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """A parameter's values as the layer reads them, of all by their keys."""
        reading = self.reading(parameter)
        return reading.read(np.asarray(values[reading.key]), self.shape(parameter))


@dataclass(frozen=True, repr=False)
class Network:
    """Layers in topological order, every size known; `Network.build` makes one.

    Args:
        nodes: one per layer, each after those that feed it.
        outputs: names of the layers whose outputs prediction returns, in order.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]

    @staticmethod
    def build(layers: Sequence[Layer] | LayerGraph | Network | Wired, *, require_output: bool = True) -> Network:
        """The network of an array of layers (each feeds the next), a `LayerGraph`, or a network.

        Args:
            layers: what to build from.
            require_output: refuse a network without output layer; pass False for prediction.

        Raises:
            NetworkError: with every fault found.
        """
        examination = examine(layers, require_output=require_output)
        if examination.issues:
            raise NetworkError(examination.issues)
        placed = examination.placed
        nodes = tuple(
            Node(
                placed[position].index,
                placed[position].layer,
                tuple(placed[source].layer.name for source in placed[position].sources if source is not None),
                examination.input_sizes(position) or (),
                examination.sizes[position],
            )
            for position in examination.order
        )
        # What feeds the output layer is the output of a network that has one.
        loss = next((node for node in nodes if node.layer.is_output), None)
        outputs = loss.inputs[:1] if loss else tuple(placed[position].layer.name for position in examination.outputs)
        return Network(nodes, outputs)

    def __repr__(self) -> str:
        sizes = (
            " + ".join(str(self[name].size) for name in names)
            for names in ([node.name for node in self.inputs], self.outputs)
        )
        return f"Network({len(self.nodes)} layers, {self.num_learnables:,} learnables: {' → '.join(sizes)})"

    def _repr_html_(self) -> str:
        from gncodegen.layers.analyze import analyze_network  # noqa: PLC0415  it reads networks

        return analyze_network(self, require_output=False).html

    @kept
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def __getitem__(self, name: str) -> Node:
        """The node of a layer name; raises NetworkError where there is none."""
        if not isinstance(name, str) or name not in self._by_name:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise NetworkError([f"there is no layer {shown(name)}; write {any_of(near(name, self._by_name))}"])
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, named, in the order the user wrote them; those of a graph are no chain, `graph` connects them."""
        ordered = sorted(self.nodes, key=lambda node: node.index)
        return LayerArray((node.layer for node in ordered), {node.name: node.inputs for node in ordered})

    @property
    def graph(self) -> LayerGraph:
        """The layers with their connections, as a graph of its own."""
        return LayerGraph.of(self.placed).returning(*(self.outputs if self.output_layer is None else ()))

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The layers in their places."""
        positions = {node.name: position for position, node in enumerate(self.nodes)}
        return tuple(Placed(node.index, node.layer, tuple(positions[n] for n in node.inputs)) for node in self.nodes)

    @property
    def connections(self) -> tuple[tuple[str, str], ...]:
        """(source, destination) pairs such as ("relu_1", "add/in2")."""
        return tuple(
            (source, f"{node.name}/{port}")
            for node in self.nodes
            for source, port in zip(node.inputs, node.layer.input_names, strict=True)
        )

    @kept
    def inputs(self) -> tuple[Node, ...]:
        """The nodes of the input layers, in the order the user wrote them."""
        return tuple(sorted((n for n in self.nodes if n.layer.is_input), key=lambda node: node.index))

    @property
    def batched(self) -> bool:
        """Whether arrays have an axis of observations; imported models may have none."""
        return all(getattr(node.layer, "batched", True) for node in self.inputs)

    @property
    def input(self) -> Node:
        """The node of the input layer; of several, the first."""
        return self.inputs[0]

    @property
    def output(self) -> Node:
        """The node whose result prediction returns; of several, the first."""
        return self[self.outputs[0]]

    @property
    def loss(self) -> Node:
        """The node of the layer that computes the loss; of networks that have one."""
        return next(node for node in self.nodes if node.layer.is_output)

    @property
    def input_layer(self) -> Layer:
        """The input layer."""
        return self.input.layer

    @property
    def output_layer(self) -> Layer | None:
        """The layer that computes the loss; None in a network for prediction."""
        return next((node.layer for node in self.nodes if node.layer.is_output), None)

    @property
    def sizes(self) -> dict[str, Size]:
        """Output size by layer name."""
        return {node.name: node.size for node in self.nodes}

    @kept
    def maskings(self) -> Mapping[str, Masking]:
        """What masks do at each layer, by name; empty where no sequences have padding that is masked."""
        nodes = ((node.layer, node.inputs, node.input_sizes, node.size) for node in self.nodes)
        return maskings(nodes)

    @kept
    def masks(self) -> tuple[Mask, ...]:
        """The masks that layers take, each once."""
        uses = (each for m in self.maskings.values() for each in (m.before, m.norm, m.after) if each is not None)
        return tuple(dict.fromkeys(uses))

    @kept
    def parameters(self) -> dict[str, Parameter]:
        """Every parameter, state included, by key "groupnorm_1.scale", in topological order."""
        return {f"{node.name}.{p.name}": p for node in self.nodes for p in node.parameters}

    @property
    def num_learnables(self) -> int:
        """How many numbers the network learns."""
        return sum(prod(each.shape) for each in self.parameters.values() if each.learnable)

    def initial_values(self, generator: np.random.Generator, dtype: DTypeLike = np.float32) -> dict[str, NDArray[Any]]:
        """Starting values of all parameters, by key.

        Args:
            generator: draws the numbers, in topological order.
            dtype: of the arrays.

        Raises:
            LayerError: a callable initializer returned the wrong shape.
        """
        values: dict[str, NDArray[Any]] = {}
        for node in self.nodes:
            for parameter in node.parameters:
                try:
                    values[f"{node.name}.{parameter.name}"] = initialize(parameter, generator, dtype)
                except LayerError as error:
                    raise LayerError(f"{node.label}: {error}") from error
        return values

    def input_statistics(self, values: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
        """The statistics of input layers in float64, by key: those that layers have, else of these values."""
        owned = ((f"{node.name}.{p.name}", p.value) for node in self.inputs for p in node.parameters)
        return {key: np.array(values[key] if value is None else value, np.float64) for key, value in owned}

    def normalized(self, names: tuple[str, ...]) -> Network:
        """The network for inputs of which some are normalized already; `names` are those of their arguments."""

        def bare(node: Node) -> Node:
            layer, taken = node.layer, argument_name(self, node) in names
            return replace(node, layer=layer.normalized) if taken and isinstance(layer, InputLayer) else node

        return replace(self, nodes=tuple(map(bare, self.nodes)))

    def with_values(self, values: Mapping[str, NDArray[Any]]) -> Network:
        """The network whose layers start from these values, by key; layers without a value here stay as they are.

        Raises:
            ArrayError: a key is unknown or an array has another shape than the parameter.
        """
        for key, value in values.items():
            if key not in self.parameters:
                raise ArrayError(f"there is no parameter {key!r}; write {any_of(near(key, self.parameters))}")
            if np.shape(value) != self.parameters[key].shape:
                raise ArrayError(
                    f"{key} has shape {np.shape(value)}; allowed: {self.parameters[key].shape}; "
                    "give an array of that shape"
                )
        return replace(self, nodes=tuple(_with_values(node, values) for node in self.nodes))

    def to_json(
        self, values: Mapping[str, NDArray[Any]] | None = None
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The network as data for `json.dumps`, and its arrays by key "conv_1.weights".

        Args:
            values: parameter values by key, such as trained ones; they replace the layers' own starting values, and
                callable initializers of these parameters are dropped.

        Raises:
            NetworkError: a callable, or a layer type of another package, cannot be written.
            ArrayError: a value is for no parameter or has the wrong shape.
        """
        network = self.with_values(values or {})
        arrays = {key: array for layer in network.layers for key, array in layer_arrays(layer).items()}
        issues = [f"{node.label}: {fault}" for node in network.nodes for fault in unwritable(node.layer, arrays)]
        if issues:
            raise NetworkError(issues)
        data: dict[str, Any] = {
            "version": _VERSION,
            "layers": [layer_to_json(layer) for layer in network.layers],
            "inputs": [list(network[layer.name].inputs) for layer in network.layers],
            "outputs": list(network.outputs) if network.output_layer is None else [],
        }
        return data, arrays

    @staticmethod
    def from_json(data: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]] | None = None) -> Network:
        """The network that `to_json` wrote.

        Raises:
            NetworkError: the data is of another version, names an unknown layer type, or makes no network.
            LayerError: a property is out of range.
        """
        if data.get("version") != _VERSION:
            given = f"network data of version {data.get('version')!r}"
            raise NetworkError([f"{given}; allowed: {_VERSION}; save the network again"])
        layers = [layer_from_json(properties, arrays or {}) for properties in data["layers"]]
        return Network.build(_Wiring.of(layers, data["inputs"], data["outputs"]), require_output=False)


@dataclass(frozen=True)
class _Wiring:
    """Layers in their places, as data names them: not by ports, since a layer's name may look like another's port."""

    placed: tuple[Placed, ...]
    outputs: tuple[str, ...]

    @staticmethod
    def of(layers: Sequence[Layer], inputs: Sequence[Sequence[str]], outputs: Sequence[str]) -> _Wiring:
        """The wiring of layers by the names of those that feed them, and of those that prediction returns."""
        positions = {layer.name: position for position, layer in enumerate(layers)}
        known = ", ".join(map(repr, positions))
        if "" in positions or len(inputs) != len(layers):
            given = f"{len(layers)} layers, {len(inputs)} lists of inputs, names {known}"
            raise NetworkError([f"{given}; allowed: a name and a list of inputs for each; save the network again"])
        if unknown := sorted({name for names in (*inputs, outputs) for name in names} - positions.keys()):
            raise NetworkError([f"there is no layer {unknown[0]!r}; allowed: {known}; save the network again"])
        for layer, names in zip(layers, inputs, strict=True):
            if len(names) != layer.num_inputs:
                given = f"layer {layer.name!r} has {layer.num_inputs} inputs, of which {len(names)} are fed"
                raise NetworkError([f"{given}; allowed: a source for each; save the network again"])
        sources = [tuple(positions[name] for name in names) for names in inputs]
        placed = [Placed(i, layer, each) for i, (layer, each) in enumerate(zip(layers, sources, strict=True), 1)]
        return _Wiring(tuple(placed), tuple(outputs))


def _with_values(node: Node, values: Mapping[str, NDArray[Any]]) -> Node:
    keys = {p.name: f"{node.name}.{p.name}" for p in node.parameters}
    given: dict[str, Any] = {name: values[key] for name, key in keys.items() if key in values}
    return replace(node, layer=replace(node.layer, **given)) if given else node


def argument_name(network: Network, node: Node) -> str:
    """The name of the array that an input layer takes: "x", or the layer's name where there are several."""
    return "x" if len(network.inputs) == 1 else node.name


def result_name(network: Network, node: Node) -> str:
    """The name of the array that prediction returns of a layer: "y", or the layer's name where there are several."""
    return "y" if len(network.outputs) == 1 else node.name
