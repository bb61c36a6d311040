"""Imported graphs run in NumPy, without kernels."""

from __future__ import annotations

import numpy as np

from gncodegen.ir.build import build_module
from gncodegen.layers.network import Network, argument_name, result_name
from gncodegen.options import CompileOptions
from gncodegen.passes.pipeline import pipeline, run
from support import numpy_gn


def interpreted(graph, given):
    """The outputs in float64, by NumPy on the gn IR."""
    network = Network.build(graph, require_output=False)
    given = {node.name: given[node.name] for node in network.inputs}
    batched = {name: network[name].layer.batched for name in given}
    arrays = {name: array if batched[name] else array[None] for name, array in given.items()}
    size = next(iter(arrays.values())).shape[0]
    module = build_module(network, "predict", batch_size=size, dtype="float64")
    for step in pipeline(CompileOptions()):
        run(module, [step])
        if step.name == "canonicalize":
            break
    known = {("hyperparameters", "hyperparameters"): np.zeros(64)}
    for node in network.inputs:
        known["input", argument_name(network, node)] = arrays[node.name].reshape(size, *node.size.shape)
    for key, parameter in network.parameters.items():
        known["parameter" if parameter.learnable else "state", key] = np.asarray(parameter.value, np.float64)
    found = numpy_gn.run_module(module, known)
    outputs = [found["output", result_name(network, network[name])] for name in network.outputs]
    return [array if all(batched.values()) else array[0] for array in outputs]
