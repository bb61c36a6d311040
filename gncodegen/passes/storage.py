"""storage: activations and their gradients become 16 bits in memory, where the network's type is float16 or bfloat16.

Ops whose kernels read and write 16 bits take them as they are; others get float32 through casts (kernels/storage.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Operation, OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint, Rewriter

from gncodegen.ir.function import body_of, function_of, operations_of, return_of, slots
from gncodegen.ir.gn import GnOperation
from gncodegen.ir.gn.pointwise import Reshape, Transpose
from gncodegen.ir.gn.storage import Cast
from gncodegen.ir.operation import users
from gncodegen.ir.values import tensor_of, tensor_type
from gncodegen.kernels.loss_scale import LOSS_SCALE
from gncodegen.kernels.schedule import COMPUTED_IN, Tensor, computed_in
from gncodegen.kernels.storage import Stored, stored

MOVES = (Reshape, Transpose)
"""Ops that leave values as they are: what they move is as wide as what it was."""


@dataclass(frozen=True)
class Storage(ModulePass):
    """Stores activations and their gradients as elements of a type, and puts casts where kernels need float32.

    Args:
        dtype: "float16" or "bfloat16"; another type leaves everything as it is.
        family: of the kernels that read and write them.
    """

    name: ClassVar[str] = "storage"
    dtype: str = ""
    family: str = "cpu"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if self.dtype in COMPUTED_IN:
            _Storing(function_of(op), self.dtype, self.family).run()


@dataclass
class _Storing:
    """One run of the pass: which values are activations, and whether they are stored in 16 bits or in float32."""

    function: FuncOp
    dtype: str
    family: str
    narrow: set[SSAValue] = field(default_factory=set[SSAValue])
    raw: dict[SSAValue, SSAValue | None] = field(default_factory=dict[SSAValue, SSAValue | None])
    scale: SSAValue | None = None

    def run(self) -> None:
        """Rewrites every op of the function, in order."""
        for argument, slot in slots(self.function):
            if slot.kind in ("input", "cotangent"):
                self.raw[argument] = None
            if slot.kind == LOSS_SCALE:
                self.scale = argument
        for operation in operations_of(self.function):
            assert isinstance(operation, GnOperation)
            if any(map(self._is_activation, operation.operands)):
                self._store(operation, _row(operation))
        end = return_of(self.function)
        for index, value in enumerate(end.operands):
            if value in self.narrow:
                end.operands[index] = _cast((value,), computed_in(self.dtype), InsertPoint.before(end))
        self.function.update_function_type()

    def _is_activation(self, value: SSAValue) -> bool:
        return value in self.narrow or value in self.raw

    def _store(self, operation: GnOperation, row: Stored) -> None:
        results = [operation.results[index] for index in row.results if index < len(operation.results)]
        given = [value for value in operation.operands if self._is_activation(value)]
        moved = isinstance(operation, MOVES) and given[0] in self.raw
        wide = moved or row.kept or not all(_is_read_narrow(result) for result in results)
        all_given = not row.alike or len(given) == len(operation.operands)
        widens = wide and row.widens and not operation.values.get("residual")
        if (widens or not wide) and self._has_kernels(operation, row) and all_given:
            self._take(operation, narrow=True)
            if widens:
                operation.set_attribute("wide", True)
                self.raw |= dict.fromkeys(results)
                return
            for result in results:
                kind = tensor_type(Tensor(tensor_of(result).shape, self.dtype))
                self.narrow.add(Rewriter.replace_value_with_new_type(result, kind))
            return
        self._take(operation, narrow=False)
        kept = computed_in(self.dtype) if wide else self.dtype
        for result in results:
            scale = [self.scale] if row.of_loss and self.scale is not None else []
            value = self._replaced(result, kept, *scale) if scale or not wide else result
            if wide:
                self.raw[value] = None
            else:
                self.narrow.add(value)

    def _has_kernels(self, operation: GnOperation, row: Stored) -> bool:
        """Whether the family's kernels of an op read and write 16 bits."""
        if self.family in row.disjoint:
            axes = zip(operation.values.integers("window"), operation.values.integers("stride"), strict=True)
            return all(size <= step for size, step in axes)
        return self.family in row.families

    def _take(self, operation: Operation, *, narrow: bool) -> None:
        """Gives an op its operands in 16 bits, or in float32."""
        for index, value in enumerate(operation.operands):
            if narrow and value in self.raw:
                operation.operands[index] = self._narrowed(value)
            elif not narrow and value in self.narrow:
                operation.operands[index] = _cast((value,), computed_in(self.dtype), InsertPoint.before(operation))

    def _narrowed(self, value: SSAValue) -> SSAValue:
        """What is stored of an activation that others read in float32, cast once where it is made."""
        known = self.raw[value]
        if known is None:
            known = self.raw[value] = _cast((value,), self.dtype, self._behind(value))
        return known

    def _replaced(self, value: SSAValue, dtype: str, *scale: SSAValue) -> SSAValue:
        """The value as another type, times the loss scale where that is given; whoever reads the value reads this."""
        cast = _cast((value, *scale), dtype, self._behind(value))
        cast.name_hint = value.name_hint
        value.replace_uses_with_if(cast, lambda use: use.operation is not cast.owner)
        return cast

    def _behind(self, value: SSAValue) -> InsertPoint:
        made = isinstance(value, OpResult)
        return InsertPoint.after(value.op) if made else InsertPoint.at_start(body_of(self.function))


def _row(operation: Operation) -> Stored:
    return stored(operation.name.removeprefix("gn."))


def _cast(operands: tuple[SSAValue, ...], dtype: str, point: InsertPoint) -> SSAValue:
    layers = getattr(operands[0].owner, "layers", ())
    return Builder(point).insert(Cast(operands, {"dtype": dtype}, layers)).results[0]


def _is_read_narrow(value: SSAValue) -> bool:
    """Whether an op reads a value that could do so in 16 bits; the caller, losses and softmax do not."""
    for user in users(value):
        if isinstance(user, MOVES):
            if _is_read_narrow(user.results[0]):
                return True
        elif not isinstance(user, ReturnOp) and not _row(user).wide:
            return True
    return False
