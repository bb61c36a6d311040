"""What `fuse` left alone, and why: each bias, activation and addition of the forward pass that is an op of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, OpResult, SSAValue

from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.forward import Bias, ChannelNormalize, GroupNorm
from gncodegen.ir.gn.pointwise import Activation, Add
from gncodegen.ir.operation import users
from gncodegen.kernels.activations import IN_REGISTERS
from gncodegen.passes.fuse import NORMS, PRODUCTS

TAKERS: Mapping[type[GnOperation], tuple[type[GnOperation], ...]] = {
    Bias: PRODUCTS,
    Activation: (*PRODUCTS, Add, GroupNorm, ChannelNormalize),
    Add: (*PRODUCTS, GroupNorm),
}
"""Kind of op → those that it can become a part of."""


def unfused_lines(module: ModuleOp, activations: Sequence[str]) -> tuple[str, ...]:
    """A line for each: `relu_2: addition_1 is read by conv_3 too`.

    Args:
        module: IR after `fuse`.
        activations: those that norms apply.
    """
    lines: list[str] = []
    for operation in module.walk():
        if _is_gradient(operation):
            break  # what follows adds gradients up
        if isinstance(operation, GnOperation) and type(operation) in TAKERS:
            name = " + ".join(operation.layers) or operation.name
            lines.append(f"{name}: {_reason(operation, activations)}")
    return tuple(lines)


def _reason(operation: GnOperation, activations: Sequence[str]) -> str:
    takers = TAKERS[type(operation)]
    values = operation.operands if isinstance(operation, Add) else operation.operands[:1]
    if len(values) > 2:
        return f"it adds {len(values)} arrays, and one is added at a time behind another op"
    producers = [value.op for value in values if isinstance(value, OpResult)]
    found = [each for each in producers if isinstance(each, takers)]
    if not found:
        behind = " and ".join(dict.fromkeys(map(_named, values)))
        kinds = ", ".join(kind.name.removeprefix("gn.") for kind in takers)
        return f"it stands behind {behind}; it becomes part of {kinds}"
    return "; ".join(dict.fromkeys(_hindrance(operation, each, activations) for each in found))


def _hindrance(operation: GnOperation, producer: GnOperation, activations: Sequence[str]) -> str:
    """Why an op is no part of a producer that could take one like it."""
    name = _named(producer.results[0])
    if producer.attribute("activation"):
        return f"{name} has an activation, which comes before it"
    if isinstance(operation, Activation):
        function = operation.attribute("function")
        allowed = activations if type(producer) in NORMS else {*activations, *IN_REGISTERS}
        if function not in allowed or operation.attribute("beta"):
            return f"{name} applies {', '.join(sorted(allowed))} as it is written, and this is {function}"
    if isinstance(operation, Add) and producer.attribute("residual"):
        return f"{name} adds something already"
    if isinstance(operation, Add) and operation.attribute("activation"):
        return f"it has an activation of its own, and {name} is in no place to take both"
    others = [user for user in users(producer.results[0]) if user is not operation]
    readers = list(dict.fromkeys(_reader(user) for user in others if isinstance(user, GnOperation)))
    if readers or others:
        return f"{name} is read by {', '.join(readers) or 'the caller'} too"
    return f"{name} cannot move to it: what is in between needs its statistics first"


def _reader(operation: GnOperation) -> str:
    name = " + ".join(operation.layers) or operation.name
    return f"the gradient of {name}" if _is_gradient(operation) else name


def _is_gradient(operation: Operation) -> bool:
    return operation.name.endswith("_gradient")


def _named(value: SSAValue) -> str:
    """What made a value."""
    if not isinstance(value, OpResult):
        return "an input"
    operation = value.op
    layers = operation.layers if isinstance(operation, GnOperation) else ()
    return " + ".join(layers) or operation.name
