"""Small ONNX models, and imported graphs run in NumPy, without kernels."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from gncodegen.ir.build import build_module
from gncodegen.layers.network import Network, argument_name, result_name
from gncodegen.options import CompileOptions
from gncodegen.passes.pipeline import pipeline, run
from support import numpy_gn


def interpreted(graph, given):
    """The outputs in float64, by NumPy on the gn IR, of an imported graph or of a network with values in its layers."""
    network = Network.build(graph, require_output=False)
    given = {node.name: given[node.name] for node in network.inputs}
    batched = {name: getattr(network[name].layer, "batched", True) for name in given}
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


def model_of(nodes, inputs, outputs, constants=None, opset=21):
    """A ModelProto of float32 arrays: name → shape for inputs and outputs, name → array for initializers."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def small_model():
    """Convolution, norm, relu, pool, flatten, product."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "scale": np.ones(8, np.float32),
        "offset": np.zeros(8, np.float32),
        "m": rng.standard_normal((5, 8 * 2 * 2)).astype(np.float32),
        "c": np.zeros(5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("GroupNormalization", ["a", "scale", "offset"], ["b"], name="norm", num_groups=4),
        helper.make_node("Relu", ["b"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "m", "c"], ["y"], name="fc", transB=1),
    ]
    return model_of(nodes, {"x": ["N", 3, 4, 4]}, {"y": ["N", 5]}, constants)


def drawn_values(network, seed=0):
    """A value for every parameter: near 1 where it must be positive, else about 0."""
    rng = np.random.default_rng(seed)
    shift = {"scale": 1.0, "trained_variance": 1.5, "standard_deviation": 2.0, "max": 3.0}
    return {
        key: (0.3 * rng.uniform(-1, 1, parameter.shape) + shift.get(parameter.name, 0.0)).astype(np.float32)
        for key, parameter in network.parameters.items()
    }


def in_onnx_runtime(model, given):
    """The outputs that ONNX Runtime computes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: given[entry.name] for entry in session.get_inputs()})


def same_network(first, second):
    """Whether two graphs have the same layers, connections and values of float32."""
    networks = [Network.build(graph, require_output=False) for graph in (first, second)]
    (data, _), (others, _) = (network.to_json() for network in networks)
    values = [network.initial_values(np.random.default_rng(0)) for network in networks]
    return data == others and all(np.array_equal(values[0][key], values[1][key]) for key in values[0])
