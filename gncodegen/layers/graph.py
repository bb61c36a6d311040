"""A layer graph: layers and the connections between them, for networks that are not one chain."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from gncodegen.errors import NetworkError
from gncodegen.layers.base import Layer
from gncodegen.layers.checks import shown
from gncodegen.layers.wiring import Placed, free_name, name_layers, wire
from gncodegen.tables import alike

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class LayerGraph:
    """Layers and connections, changed in place; every method returns the graph.

    A residual block:

        graph = LayerGraph([ImageInputLayer((8, 8, 4)), ReluLayer(name="a"), ReluLayer(name="b"),
                            AdditionLayer(2, name="add"), SoftmaxLayer()])
        graph.connect("a", "add/in2")

    Args:
        layers: an array of layers, connected one after another; unnamed layers get their names at once.
    """

    def __init__(self, layers: Sequence[Layer] | Layer = ()) -> None:
        self._layers: dict[str, Layer] = {}
        self._sources: dict[tuple[str, str], str] = {}
        self._outputs: tuple[str, ...] = ()
        self.add(layers)

    @staticmethod
    def of(placed: Sequence[Placed]) -> LayerGraph:
        """The graph of named layers in their places."""
        graph = LayerGraph()
        for each in sorted(placed, key=lambda each: each.index):
            ports = zip(each.layer.input_names, each.sources, strict=True)
            graph._layers[each.layer.name] = each.layer
            graph._sources |= {
                (each.layer.name, port): placed[source].layer.name for port, source in ports if source is not None
            }
        return graph

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in the order they were added."""
        return tuple(self._layers.values())

    @property
    def connections(self) -> tuple[tuple[str, str], ...]:
        """(source, destination) pairs such as ("relu_1", "add/in2")."""
        return tuple((source, f"{layer}/{port}") for (layer, port), source in self._sources.items())

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The layers in their places."""
        positions = {name: position for position, name in enumerate(self._layers)}
        return tuple(
            Placed(
                positions[name] + 1,
                layer,
                tuple(positions.get(self._sources.get((name, port), "")) for port in layer.input_names),
            )
            for name, layer in self._layers.items()
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """The layers whose outputs prediction returns, in order; empty = those that no layer takes."""
        return self._outputs

    def returning(self, *names: str) -> LayerGraph:
        """Says which layers' outputs prediction returns, in order; none = those that no layer takes.

        Raises:
            NetworkError: there is no such layer.
        """
        self._outputs = tuple(self._require_layer(name) for name in names)
        return self

    def append(self, layers: Sequence[Layer] | Layer) -> LayerGraph:
        """Adds layers, connected one after another, behind the graph's one output: `graph.append(RegressionLayer())`.

        Raises:
            NetworkError: the graph has several outputs or none, or as for `add`.
        """
        used = set(self._sources.values())
        ends = self._outputs or tuple(n for n, layer in self._layers.items() if layer.num_outputs and n not in used)
        if len(ends) != 1:
            raise _refusal(
                f"append: the graph has {len(ends)} outputs ({', '.join(map(repr, ends))})",
                "a graph with one output",
                "write graph.add(layers) and graph.connect(source, destination)",
            )
        count = len(self._layers)
        self.add(layers)
        added = list(self._layers)[count:]
        if added:
            self.connect(ends[0], f"{added[0]}/{self._layers[added[0]].input_names[0]}")
            self._outputs = ()
        return self

    def add(self, layers: Sequence[Layer] | Layer) -> LayerGraph:
        """Adds layers, connected one after another, but not to those already there.

        Raises:
            NetworkError: something is no layer, or a name is taken.
        """
        array = [layers] if isinstance(layers, Layer) else layers
        _, issues = wire(array)
        if issues:
            raise NetworkError(issues)
        named = name_layers(array, self._layers)
        self._require_free(named)
        self._layers.update({layer.name: layer for layer in named})
        for source, target in pairwise(named):
            if source.num_outputs and target.num_inputs:
                self._sources[target.name, target.input_names[0]] = source.name
        return self

    def connect(self, source: str, destination: str) -> LayerGraph:
        """Joins a layer's output to a layer's input, `connect("relu_1", "add/in2")`.

        Raises:
            NetworkError: there is no such layer or input, or the input is connected already.
        """
        layer, port = self._input(destination)
        origin = self._output(source)
        fed_by = self._sources.get((layer, port))
        if fed_by is not None:
            raise _refusal(
                f"'{layer}/{port}' is connected to {fed_by!r} already",
                "one source per input",
                f"write graph.disconnect({fed_by!r}, '{layer}/{port}') first",
            )
        self._sources[layer, port] = origin
        return self

    def disconnect(self, source: str, destination: str) -> LayerGraph:
        """Takes a connection away.

        Raises:
            NetworkError: there is no such connection.
        """
        target, origin = self._input(destination), self._output(source)
        if self._sources.get(target) != origin:
            raise _refusal(
                f"{source!r} is not connected to {destination!r}",
                "a pair of graph.connections",
                f"the source is {self._sources.get(target)!r}",
            )
        del self._sources[target]
        return self

    def remove(self, name: str) -> LayerGraph:
        """Takes a layer and its connections away.

        Raises:
            NetworkError: there is no such layer.
        """
        self._require_layer(name)
        del self._layers[name]
        self._outputs = tuple(output for output in self._outputs if output != name)
        self._sources = {key: source for key, source in self._sources.items() if name not in (key[0], source)}
        return self

    def replace(self, name: str, layers: Sequence[Layer] | Layer) -> LayerGraph:
        """Puts a layer, or several connected one after another, in the place of one; its connections stay.

        A single new layer without a name takes the old one's.

        Raises:
            NetworkError: there is no such layer, a new name is taken, or the first new layer lacks a connected input.
        """
        self._require_layer(name)
        given = [layers] if isinstance(layers, Layer) else layers
        _, issues = wire(given)
        if issues:
            raise NetworkError(issues)
        array = list(given)
        if not array:
            raise _refusal(f"replace: no layer for {name!r}", "one or more layers", f"write graph.remove({name!r})")
        if len(array) == 1 and not array[0].name:
            array = [replace(array[0], name=name)]
        named = name_layers(array, [other for other in self._layers if other != name])
        self._require_free(named, without=name)
        first, last = named[0], named[-1]
        ports = [port for target, port in self._sources if target == name]
        missing = sorted(set(ports) - set(first.input_names))
        if missing:
            raise _refusal(
                f"{type(first).__name__} has no input {', '.join(missing)}, which is connected in {name!r}",
                f"layers with inputs {', '.join(ports)}",
                f"disconnect {name!r} first",
            )
        placed: dict[str, Layer] = {}
        for other, layer in self._layers.items():
            placed |= {layer.name: layer for layer in named} if other == name else {other: layer}
        self._layers = placed
        self._sources = {
            (first.name if target == name else target, port): last.name if source == name else source
            for (target, port), source in self._sources.items()
        }
        self._sources |= {(b.name, b.input_names[0]): a.name for a, b in pairwise(named)}
        self._outputs = tuple(last.name if output == name else output for output in self._outputs)
        return self

    def copy(self) -> LayerGraph:
        """A graph of the same layers and connections."""
        twin = LayerGraph()
        twin._layers, twin._sources, twin._outputs = dict(self._layers), dict(self._sources), self._outputs
        return twin

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name; raises NetworkError where there is none."""
        return self._layers[self._require_layer(name)]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers.values())

    def __len__(self) -> int:
        return len(self._layers)

    def __repr__(self) -> str:
        return f"LayerGraph({len(self._layers)} layers, {len(self._sources)} connections)"

    def _repr_html_(self) -> str:
        from gncodegen.layers.analyze import analyze_network  # noqa: PLC0415  it reads graphs

        return analyze_network(self, require_output=False).html

    def _require_free(self, layers: Sequence[Layer], without: str = "") -> None:
        seen = set(self._layers) - {without}
        issues: list[str] = []
        for layer in layers:
            if layer.name in seen:
                free = free_name(layer, seen)
                issues.append(f"the name {layer.name!r} is taken; allowed: unique names; write {free!r}")
            seen.add(layer.name)
        if issues:
            raise NetworkError(issues)

    def _require_layer(self, name: str) -> str:
        if not isinstance(name, str) or name not in self._layers:  # pyright: ignore[reportUnnecessaryIsInstance]
            cures = [*(f"write {each!r}" for each in alike(name, self._layers)), "add it with graph.add(layers)"]
            allowed = ", ".join(map(repr, self._layers)) or "none yet"
            raise _refusal(f"there is no layer {shown(name)}", allowed, " or ".join(cures))
        return name

    def _input(self, text: str) -> tuple[str, str]:
        """Layer and input of "add/in2", or of "relu_1" where there is one input."""
        name, port = self._split(text)
        allowed = self._layers[name].input_names
        if port in allowed or (not port and len(allowed) == 1):
            return name, port or allowed[0]
        if not allowed:
            raise _refusal(f"{name!r} is an input layer", "layers that take an input", "connect from it instead")
        raise _refusal(f"{text!r} names no input", ", ".join(allowed), f"write '{name}/{allowed[-1]}'")

    def _output(self, text: str) -> str:
        """The layer of "relu_1" or "relu_1/out"."""
        name, port = self._split(text)
        allowed = self._layers[name].output_names
        if not allowed:
            raise _refusal(f"{name!r} is an output layer", "layers with an output", "connect to it instead")
        if port and port not in allowed:
            raise _refusal(f"{text!r} names no output", ", ".join(allowed), f"write {name!r}")
        return name

    def _split(self, text: str) -> tuple[str, str]:
        if not isinstance(text, str) or text in self._layers:  # pyright: ignore[reportUnnecessaryIsInstance]
            return self._require_layer(text), ""
        name, _, port = text.rpartition("/")
        return (name, port) if name in self._layers else (self._require_layer(text), "")


def _refusal(given: str, allowed: str, cure: str) -> NetworkError:
    return NetworkError([f"{given}; allowed: {allowed}; {cure}"])
