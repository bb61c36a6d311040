"""shapes: infer every shape and dtype anew from the arguments, in order; on request for another batch size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.utils.exceptions import PassFailedException, VerifyException

from gncodegen.ir.function import function_of, operations_of, set_argument, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.values import tensor_of, tensor_type
from gncodegen.kernels.schedule import Tensor
from gncodegen.layers.checks import LARGEST


@dataclass(frozen=True)
class Shapes(ModulePass):
    """Checks all shapes, or specialises the function for another batch.

    Args:
        batch_size: observations per call; 0 keeps what the arguments say.
    """

    name: ClassVar[str] = "shapes"
    batch_size: int = 0

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if not 0 <= self.batch_size <= LARGEST:
            raise PassFailedException(f"batch_size = {self.batch_size}; allowed: 0 to 2⁶³ − 1; correct the option")
        function = function_of(op)
        before: dict[SSAValue, Tensor] = {}
        observations = 0
        if self.batch_size:
            for argument, slot in slots(function):
                if slot.kind in ("input", "mask", "target", "cotangent"):
                    tensor, axis = tensor_of(argument), max(slot.format.find("B"), 0)
                    observations = tensor.shape[axis]
                    shape = (*tensor.shape[:axis], self.batch_size, *tensor.shape[axis + 1 :])
                    taken = set_argument(function, argument, tensor_type(replace(tensor, shape=shape)), slot)
                    before[taken] = tensor
        for operation in operations_of(function):
            if isinstance(operation, GnOperation):
                self._infer(operation, before, observations)
        function.update_function_type()

    def _infer(self, operation: GnOperation, before: dict[SSAValue, Tensor], observations: int) -> None:
        if operation.operands and operation.operands[0] in before:
            given = before[operation.operands[0]].shape, tensor_of(operation.operands[0]).shape
            for name in ("shape", "input_shape"):
                if any(declared.name == name for declared in operation.ATTRIBUTES):
                    shape = _grown(*given, operation.values.integers(name), observations, self.batch_size)
                    operation.set_attribute(name, shape)
        try:
            inferred = operation.infer(tuple(map(tensor_of, operation.operands)), operation.values)
        except VerifyException as error:
            where = " + ".join(operation.layers) or operation.name
            raise PassFailedException(f"{where}: {operation.name}: {error}") from error
        for result, tensor in zip(operation.results, inferred, strict=True):
            if (old := tensor_of(result)) != tensor:
                before[Rewriter.replace_value_with_new_type(result, tensor_type(tensor))] = old


def _grown(
    before: tuple[int, ...], after: tuple[int, ...], shape: tuple[int, ...], old: int, new: int
) -> tuple[int, ...]:
    """Another shape of the same elements in the same order, when `old` observations have become `new`.

    The axis that changed, which holds observations and maybe what is behind them, begins where one of `shape` does that
    holds them, too; either may hold more of what is behind.
    """
    changed = next(axis for axis, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1])
    for axis, extent in enumerate(shape):
        if prod(shape[:axis]) == prod(before[:changed]) and old and extent % old == 0:
            return (*shape[:axis], extent // old * new, *shape[axis + 1 :])
    return shape
