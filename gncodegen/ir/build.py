"""From a checked network to its first IR: one function on channel-last tensors, one op per link of a layer's chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Block, Region, SSAValue
from xdsl.utils.exceptions import VerifyException

from gncodegen.errors import CompileError
from gncodegen.ir.function import Slot, add_arguments, set_results
from gncodegen.ir.gn import HYPERPARAMETERS, OPERATIONS, GnOperation
from gncodegen.ir.gn.base import shape_text
from gncodegen.ir.gn.elementwise import Elementwise
from gncodegen.ir.gn.pointwise import Reshape, Transpose
from gncodegen.ir.values import Value, Values, encode, tensor_of, tensor_type
from gncodegen.kernels.program import STEPS
from gncodegen.kernels.schedule import Tensor
from gncodegen.layers.base import Operation, Parameter
from gncodegen.layers.network import Network, Node, argument_name, result_name
from gncodegen.layers.sequences import Mask, Masking

WITHOUT_LOSS = ("predict", "vjp", "training_forward", "training_vjp")
"""Functions that end with the network's outputs."""

FUNCTIONS = ("predict", "loss", "gradients", *STEPS, "evaluate", *WITHOUT_LOSS[1:])
"""What can be compiled of a network.

predict: x → y; loss, evaluate and the steps: x, t → loss, y; gradients: likewise, and, once the gradients pass ran, a
gradient per learnable and of the input. vjp: x and a cotangent per output → y and these gradients; training_forward and
training_vjp: predict and vjp in training mode, the former with new running statistics.
"""


def build_module(
    network: Network,
    function: str,
    *,
    batch_size: int,
    dtype: str = "float32",
    training: bool = True,
    activations: Sequence[str] = (),
) -> ModuleOp:
    """The verified gn module of one function of a network.

    Args:
        network: checked and connected.
        function: one of FUNCTIONS.
        batch_size: observations per call.
        dtype: of activations, parameters and targets.
        training: whether "loss" and "gradients" run in training mode; of the others those that are called so do.
        activations: names of layers whose outputs are returned too.

    Raises:
        CompileError: the function is unknown, needs an output layer the network lacks, or a layer's ops do not fit.
    """
    if function not in FUNCTIONS:
        raise CompileError(f"function {function!r}; allowed: {', '.join(FUNCTIONS)}")
    if function not in WITHOUT_LOSS and network.output_layer is None:
        raise CompileError(f"{function!r} needs a loss; add a ClassificationLayer or RegressionLayer at the end")
    mode = function.startswith("train") or (training and function in ("loss", "gradients"))
    attributes = {"gn.function": encode(function), "gn.training": encode(mode)}
    return _Construction(network, function, batch_size, dtype, attributes).run(activations)


class _Construction:
    """The function under construction: its block, and the value of every layer's output."""

    def __init__(
        self, network: Network, function: str, batch_size: int, dtype: str, attributes: Mapping[str, object]
    ) -> None:
        self.network, self.batch_size, self.dtype = network, batch_size, dtype
        self.with_loss, self.with_cotangents = function not in WITHOUT_LOSS, function.endswith("vjp")
        self.block = Block()
        self.block.add_op(ReturnOp())
        self.function = FuncOp(function, ([], []), Region(self.block))
        self.function.attributes.update(attributes)  # pyright: ignore[reportArgumentType, reportCallIssue]
        self.outputs: dict[str, SSAValue] = {}
        self.parameters: Mapping[str, SSAValue] = {}
        self.masks: Mapping[Mask, SSAValue] = {}
        self.hyperparameters: SSAValue | None = None
        self.dropouts = 0

    def run(self, activations: Sequence[str]) -> ModuleOp:
        network = self.network
        inputs = {node.name: self._array("input", argument_name(network, node), node) for node in network.inputs}
        kinds = [tensor_type(Tensor((self.batch_size, *mask.shape), self.dtype)) for mask in network.masks]
        slots = [Slot("mask", mask.name) for mask in network.masks]
        self.masks = dict(zip(network.masks, add_arguments(self.function, zip(kinds, slots, strict=True)), strict=True))
        target = self._array("target", "t", network.output) if self.with_loss else None
        outputs = [network[name] for name in network.outputs]
        for node in outputs if self.with_cotangents else ():
            self._array("cotangent", result_name(network, node), node)
        kinds = [tensor_type(Tensor(parameter.shape, self.dtype)) for parameter in network.parameters.values()]
        slots = [_parameter_slot(key, parameter) for key, parameter in network.parameters.items()]
        values = add_arguments(self.function, zip(kinds, slots, strict=True))
        self.parameters = dict(zip(network.parameters, values, strict=True))
        slot = Slot("hyperparameters", "hyperparameters")
        (self.hyperparameters,) = add_arguments(self.function, [(tensor_type(HYPERPARAMETERS), slot)])
        for node in network.nodes:
            if node.layer.is_output and not self.with_loss:
                continue
            fed = [inputs[node.name]] if node.layer.is_input else [self.outputs[name] for name in node.inputs]
            self.outputs[node.name] = self._layer(node, fed, target)
        returned: list[tuple[SSAValue, Slot]] = []
        if self.with_loss:
            returned.append((self.outputs[network.loss.name], Slot("loss", "loss")))
        returned += [
            (self.outputs[y.name], Slot("output", result_name(network, y), "B" + y.size.format)) for y in outputs
        ]
        returned += [
            (self.outputs[name], Slot("activation", name, "B" + network[name].size.format)) for name in activations
        ]
        set_results(self.function, returned)
        module = ModuleOp([self.function])
        module.verify()
        return module

    def _array(self, kind: str, name: str, node: Node) -> SSAValue:
        tensor = Tensor((self.batch_size, *node.size.shape), self.dtype)
        slot = Slot(kind, name, "B" + node.size.format)
        return add_arguments(self.function, [(tensor_type(tensor), slot)])[0]

    def _layer(self, node: Node, inputs: Sequence[SSAValue], target: SSAValue | None) -> SSAValue:
        """Appends the layer's chain of ops and gives the value of its output."""
        masking = self.network.maskings.get(node.name, Masking())
        if masking.before is not None:
            function = "mask-lowest" if masking.lowest else "mask"
            inputs = [self._masked(node, value, masking.before, function) for value in inputs]
        values = list(inputs)
        chain = node.layer.operations(node.input_sizes)
        for position, link in enumerate(chain):
            again = inputs if link.with_inputs else ()
            operands = [*values, *again, *(self._read(node, name) for name in link.parameters)]
            if node.layer.is_output and position == len(chain) - 1:
                assert target is not None
                operands.append(target)
            if masking.norm is not None:
                link, operands = _masked_norm(link), [*operands, self.masks[masking.norm]]  # noqa: PLW2901
            try:
                operation = self._operation(node, link, operands)
            except VerifyException as error:
                raise CompileError(f"{node.label}: gn.{link.op}: {error}") from error
            values = [self._inserted(operation)]
        if masking.after is not None:
            values = [self._masked(node, values[0], masking.after, "mask")]
        given, wanted = tensor_of(values[0]), Tensor((self.batch_size, *node.size.shape), self.dtype)
        if not node.layer.is_output and given != wanted:
            raise CompileError(f"{node.label}: its ops give {shape_text(given)}; its size is {shape_text(wanted)}")
        return values[0]

    def _read(self, node: Node, parameter: str) -> SSAValue:
        """A parameter as the layer reads it."""
        reading, layers = node.reading(parameter), (node.name,)
        value = self.parameters[reading.key]
        if not reading.order:
            return value
        turned = self._inserted(Transpose((value,), {"permutation": reading.order}, layers))
        return self._inserted(Reshape((turned,), {"shape": node.shape(parameter)}, layers))

    def _inserted(self, operation: GnOperation) -> SSAValue:
        assert self.block.last_op is not None
        self.block.insert_op_before(operation, self.block.last_op)
        return operation.results[0]

    def _masked(self, node: Node, value: SSAValue, mask: Mask, function: str) -> SSAValue:
        return self._inserted(Elementwise((value, self.masks[mask]), {"function": function}, (node.name,)))

    def _operation(self, node: Node, link: Operation, operands: list[SSAValue]) -> GnOperation:
        if link.op not in OPERATIONS:
            raise VerifyException(f"there is no such op; allowed: {', '.join(OPERATIONS)}")
        kind = OPERATIONS[link.op]
        attributes: dict[str, Value] = dict(link.attributes)
        if link.op == "dropout":
            attributes["index"] = self.dropouts
            self.dropouts += 1
        if link.op == "reshape":
            between = Values(attributes).integers("shape") if "shape" in attributes else node.size.shape
            attributes["shape"] = (self.batch_size, *between)
        if kind.READS_HYPERPARAMETERS:
            assert self.hyperparameters is not None
            operands.append(self.hyperparameters)
        return kind(operands, attributes, (node.name,))


def _masked_norm(link: Operation) -> Operation:
    """The op of a norm over the steps that sequences have."""
    if link.op == "batch_norm":
        return link
    attributes = {name: link.attributes[name] for name in ("groups", "epsilon")}
    return replace(link, op="masked_group_norm", attributes=attributes)


def _parameter_slot(key: str, parameter: Parameter) -> Slot:
    if not parameter.learnable:
        return Slot("state", key)
    rate, l2 = float(parameter.learn_rate_factor), float(parameter.l2_factor)
    return Slot("parameter", key, learn_rate_factor=rate, l2_factor=l2)
