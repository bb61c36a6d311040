"""`to_state_dict`: what a network has learned, written back into the module that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.errors import NetworkError
from gncodegen.exchange.torch.binding import Tensors
from gncodegen.exchange.torch.capture import captured
from gncodegen.exchange.torch.framework import framework
from gncodegen.exchange.torch.importing import source
from gncodegen.exchange.translation import translated
from gncodegen.layers.checks import shown
from gncodegen.layers.network import Network
from gncodegen.layers.tensors import TensorInputLayer

if TYPE_CHECKING:
    from gncodegen.layers.graph import LayerGraph


def to_state_dict(net: Any, module: Any) -> dict[str, Any]:
    """Writes a network's parameters and running statistics into the PyTorch module that it was imported from.

    The inverse of `from_torch`, bit for bit where both have one type: names, layouts and the number of tensors are the
    module's. Which element goes where is found by importing the module once more, so it may be another of its kind.

    Args:
        net: a compiled or trained network, imported by `from_torch`.
        module: an nn.Module like the one that was imported; its tensors are overwritten.

    Returns:
        the module's state dict.

    Raises:
        NetworkError: a parameter has no place in the module, or two have one place and different values; the module
            then stays as it was.
    """
    torch = framework("to_state_dict")
    compiled = getattr(net, "compiled", net)
    if not isinstance(getattr(compiled, "network", None), Network):
        raise NetworkError(
            [f"to_state_dict: net = {shown(net)}; allowed: a compiled or trained network; give what compile returned"]
        )
    if not isinstance(module, torch.nn.Module):
        raise NetworkError(
            [f"to_state_dict: module = {shown(module)}; allowed: an nn.Module like the one that was imported; give it"]
        )
    network: Network = compiled.network
    found = captured(module, _examples(torch, network, module), free=_is_batched(network))

    def translate(tensors: Mapping[str, Any]) -> LayerGraph:
        return translated(source(found, tensors))

    own = Tensors.of(found)
    elements, where = own.elements, own.places(found, translate(found.tensors), translate)
    values, written = elements.values.copy(), np.zeros(elements.values.size, bool)
    issues: list[str] = []
    for key, parameter in network.parameters.items():
        learned = np.asarray(compiled.parameters[key], np.float64)
        index = where.get(key)
        if index is not None and index.shape == learned.shape:
            if np.any(written[index] & (values[index] != learned)):
                given = (
                    f"to_state_dict: {elements.name(int(index.flat[0]))!r} has several values, one of them in {key!r}"
                )
                issues.append(f"{given}; allowed: equal ones; import the module with that tensor in one place")
            values[index], written[index] = learned, True
        elif parameter.learnable and parameter.learn_rate_factor > 0:
            issues.append(
                f"to_state_dict: {key!r} is no tensor of the module, but new or computed from several; allowed: layers "
                "that from_torch made; read compiled.parameters, or save the network"
            )
    if issues:
        raise NetworkError(issues)
    with torch.no_grad():
        for tensor, start in zip(own.tensors, elements.starts.tolist(), strict=False):
            part = values[start : start + tensor.numel()].reshape(tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(part))
    return module.state_dict()


def _is_batched(network: Network) -> bool:
    """Whether its arrays have an axis of observations."""
    return all(getattr(node.layer, "batched", True) for node in network.inputs)


def _examples(torch: Any, network: Network, module: Any) -> tuple[Any, ...]:
    """Zeros of the shapes that the network takes."""
    floats = [tensor.dtype for tensor in module.parameters() if tensor.is_floating_point()]
    dtype = torch.float64 if torch.float64 in floats else torch.float32
    examples: list[Any] = []
    for node in network.inputs:
        layer = node.layer
        if not isinstance(layer, TensorInputLayer):
            issue = (
                f"to_state_dict: {node.label} is no input of an imported graph; allowed: networks that from_torch "
                "made; import the module with from_torch first"
            )
            raise NetworkError([issue])
        shape = (2, *layer.shape) if layer.batched else layer.shape
        examples.append(torch.zeros(shape, dtype=torch.int64 if layer.whole else dtype))
    return tuple(examples)
