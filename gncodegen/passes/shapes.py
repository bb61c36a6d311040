"""shapes: infer every shape and dtype anew from the arguments, in order; on request for another batch size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter
from xdsl.utils.exceptions import PassFailedException, VerifyException

from gncodegen.ir.function import function_of, operations_of, set_argument, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.pointwise import Reshape
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
        old = 0
        if self.batch_size:
            for argument, slot in slots(function):
                if slot.kind in ("input", "target", "cotangent"):
                    tensor = tensor_of(argument)
                    old = tensor.shape[0]
                    tensor = replace(tensor, shape=(self.batch_size, *tensor.shape[1:]))
                    set_argument(function, argument, tensor_type(tensor), slot)
        for operation in operations_of(function):
            if isinstance(operation, GnOperation):
                self._infer(operation, old)
        function.update_function_type()

    def _infer(self, operation: GnOperation, old_batch: int) -> None:
        if isinstance(operation, Reshape) and self.batch_size:
            shape = operation.values.integers("shape")
            if shape[0] == old_batch:
                operation.set_attribute("shape", (self.batch_size, *shape[1:]))
        try:
            inferred = operation.infer(tuple(map(tensor_of, operation.operands)), operation.values)
        except VerifyException as error:
            where = " + ".join(operation.layers) or operation.name
            raise PassFailedException(f"{where}: {operation.name}: {error}") from error
        for result, tensor in zip(operation.results, inferred, strict=True):
            _retype(result, tensor)


def _retype(value: SSAValue, tensor: Tensor) -> None:
    if tensor_of(value) != tensor:
        Rewriter.replace_value_with_new_type(value, tensor_type(tensor))
