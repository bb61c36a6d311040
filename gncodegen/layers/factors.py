"""Learning rate and L2 factors of single parameters, changed by name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar, cast, overload

from gncodegen.errors import LayerError
from gncodegen.layers.base import Layer
from gncodegen.layers.checks import shown
from gncodegen.layers.graph import LayerGraph
from gncodegen.layers.network import Network
from gncodegen.layers.wiring import name_layers

Target = TypeVar("Target", LayerGraph, Network, list[Layer])
AnyLayer = TypeVar("AnyLayer", bound=Layer)


@overload
def set_learn_rate_factor(target: AnyLayer, parameter: str, factor: float, /) -> AnyLayer: ...
@overload
def set_learn_rate_factor(target: Target, layer: str, parameter: str, factor: float, /) -> Target: ...
def set_learn_rate_factor(target: Any, *arguments: Any) -> Any:
    """Sets how a parameter's learning rate relates to the global one; the given object stays as it is.

        layer = set_learn_rate_factor(layer, "scale", 0)
        graph = set_learn_rate_factor(graph, "gn1", "scale", 0)

    Args:
        target: a layer; or an array of layers, a `LayerGraph`, a `Network` or a trained network, followed by the
            layer's name.
        arguments: the parameter's name, such as "weights", and the factor, ≥ 0.

    Returns:
        The changed layer, array, graph or network; of a trained network its `Network`, with what was learned.

    Raises:
        LayerError: there is no such parameter, or the factor is negative.
        NetworkError: there is no such layer.
    """
    return _set_factor(target, "learn_rate_factor", arguments)


@overload
def set_l2_factor(target: AnyLayer, parameter: str, factor: float, /) -> AnyLayer: ...
@overload
def set_l2_factor(target: Target, layer: str, parameter: str, factor: float, /) -> Target: ...
def set_l2_factor(target: Any, *arguments: Any) -> Any:
    """Sets how a parameter's L2 regularization relates to the global one; otherwise as `set_learn_rate_factor`."""
    return _set_factor(target, "l2_factor", arguments)


@overload
def get_learn_rate_factor(target: Layer, parameter: str, /) -> float: ...
@overload
def get_learn_rate_factor(target: LayerGraph | Network | list[Layer], layer: str, parameter: str, /) -> float: ...
def get_learn_rate_factor(target: Any, *arguments: Any) -> float:
    """How a parameter's learning rate relates to the global one.

    Args:
        target: as for `set_learn_rate_factor`.
        arguments: the layer's name where the target has several, and the parameter's name.

    Raises:
        LayerError: there is no such parameter.
        NetworkError: there is no such layer.
    """
    return _get_factor(target, "learn_rate_factor", arguments)


@overload
def get_l2_factor(target: Layer, parameter: str, /) -> float: ...
@overload
def get_l2_factor(target: LayerGraph | Network | list[Layer], layer: str, parameter: str, /) -> float: ...
def get_l2_factor(target: Any, *arguments: Any) -> float:
    """How a parameter's L2 regularization relates to the global one; otherwise as `get_learn_rate_factor`."""
    return _get_factor(target, "l2_factor", arguments)


def _get_factor(target: Any, factor: str, arguments: tuple[Any, ...]) -> float:
    target = _layers(target)
    name, parameter = _given(target, arguments, ("parameter",), f'get_{factor}(graph, "gn1", "scale")')
    if not isinstance(target, Layer):
        found = (target if isinstance(target, Network) else _graph(target))[name]
        target = found if isinstance(found, Layer) else found.layer
    return float(getattr(target, _property(target, factor, parameter)))


def _given(target: Any, arguments: tuple[Any, ...], wanted: tuple[str, ...], example: str) -> tuple[Any, ...]:
    """The arguments, with None in front where the target is a layer, which needs no name.

    Raises:
        LayerError: there are too many or too few.
    """
    alone = isinstance(target, Layer)
    if len(arguments) != len(wanted) + (not alone):
        of = "layer" if alone else type(target).__name__
        allowed = ", ".join(wanted if alone else ("name of the layer", *wanted))
        example = example.replace('graph, "gn1"', "layer") if alone else example
        raise LayerError(f"{len(arguments)} values behind the {of}; allowed: {allowed}; write {example}")
    return (None, *arguments) if alone else arguments


def _layers(target: Any) -> Any:
    """A trained or compiled network as its checked one, whose layers have the learned values."""
    own = getattr(target, "network", None)
    return own if isinstance(own, Network) else target


def _graph(target: Any) -> LayerGraph:
    if isinstance(target, (list, tuple)):
        return LayerGraph(cast("list[Layer]", target))
    if isinstance(target, LayerGraph):
        return target
    raise LayerError(
        f"target = {shown(target)}; allowed: a layer, a list of layers, a LayerGraph, a Network or a trained network; "
        'write set_learn_rate_factor(layer, "scale", 0)'
    )


def _set_factor(target: Any, factor: str, arguments: tuple[Any, ...]) -> Any:
    target = _layers(target)
    name, *rest = _given(target, arguments, ("parameter", "factor"), f'set_{factor}(graph, "gn1", "scale", 0)')
    if isinstance(target, Layer):
        return _changed(target, factor, *rest)
    if isinstance(target, (list, tuple)):
        graph = _graph(target)
        named = [layer.name for layer in name_layers(target)]
        layer = _changed(graph[name], factor, *rest)
        return [layer if n == name else old for n, old in zip(named, target, strict=True)]
    if isinstance(target, Network):
        changed = _changed(target[name].layer, factor, *rest)
        return replace(target, nodes=tuple(replace(n, layer=changed) if n.name == name else n for n in target.nodes))
    graph = _graph(target)
    return graph.copy().replace(name, _changed(graph[name], factor, *rest))


def _changed(layer: Layer, factor: str, parameter: str, value: float) -> Layer:
    return replace(layer, **{_property(layer, factor, parameter): value})


def _property(layer: Layer, factor: str, parameter: str) -> str:
    """The name of the property that is a parameter's factor."""
    properties = {
        # The factors of `weights` are named in the singular, as in the reference.
        field.name.removesuffix(f"_{factor}").replace("weight", "weights"): field.name
        for field in fields(layer)
        if field.name.endswith(factor)
    }
    if not isinstance(parameter, str) or parameter not in properties:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise LayerError(
            f"{type(layer).__name__} {layer.name!r}: parameter {shown(parameter)}; "
            f"allowed: {', '.join(properties) or 'none'}; name one of the layer's learnables"
        )
    return properties[parameter]
