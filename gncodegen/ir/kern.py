"""The kern dialect: buffers, and launches of kernels over them. What select makes of gn, and memory places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from xdsl.dialects.builtin import MemRefType, SymbolNameConstraint, SymbolRefAttr
from xdsl.ir import Attribute, Dialect, SSAValue
from xdsl.irdl import (
    BaseAttr,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import SymbolOpInterface, SymbolTable
from xdsl.utils.exceptions import VerifyException

from gncodegen.ir.operation import Declared, TextOperation
from gncodegen.ir.values import Value, constant, encode, memref_type, tensor_of
from gncodegen.kernels.schedule import Constant, Schedule, Tensor

_MEMREF = BaseAttr[MemRefType[Attribute]](MemRefType)
_SCHEDULE_TEXTS = ("op", "template", "target", "family", "dtype", "layout")


@irdl_op_definition
class KernelOp(TextOperation):
    """`kern.kernel @name {schedule}`: one kernel to render; its attributes are the Schedule."""

    name = "kern.kernel"
    sym_name = prop_def(SymbolNameConstraint())
    traits = traits_def(SymbolOpInterface())
    SYMBOL: ClassVar[str] = "sym_name"
    ATTRIBUTES: ClassVar = (
        *(Declared(name, "text") for name in _SCHEDULE_TEXTS),
        Declared("shape", "dictionary"),
        Declared("tiles", "dictionary"),
        Declared("numbers", "texts", ()),
    )

    def __init__(self, name: str, schedule: Schedule) -> None:
        values: dict[str, Value] = {field: getattr(schedule, field) for field in _SCHEDULE_TEXTS}
        values |= {"shape": dict(schedule.shape), "tiles": dict(schedule.tiles), "numbers": schedule.numbers}
        super().__init__(properties={"sym_name": encode(name)}, attributes=self.encoded(values))

    @property
    def schedule(self) -> Schedule:
        """The Schedule the attributes hold."""
        values = self.values
        texts = {field: values.text(field) for field in _SCHEDULE_TEXTS}
        shape, tiles = _constants(values["shape"]), _constants(values["tiles"])
        return Schedule(**texts, shape=shape, tiles=tiles, numbers=values.texts("numbers"))

    def verify_(self) -> None:
        self.check_attributes()


@irdl_op_definition
class AllocOp(TextOperation):
    """`%r = kern.alloc(%a, %b) {offset, bytes, constant}`: one buffer, placed once `offset` is there.

    The operands are buffers whose memory it may take over, where they die with the step that writes this one.
    It lies in the arena, or, where it is constant, in memory that keeps it from run to run.
    """

    name = "kern.alloc"
    candidates = var_operand_def(_MEMREF)
    buffer = result_def(_MEMREF)
    ATTRIBUTES: ClassVar = (
        Declared("offset", "int", -1),
        Declared("bytes", "int", 0),
        Declared("constant", "bool", False),
    )

    def __init__(self, tensor: Tensor, candidates: Sequence[SSAValue] = ()) -> None:
        super().__init__(operands=[candidates], result_types=[memref_type(tensor)])

    @property
    def constant(self) -> bool:
        """Whether it keeps its values from run to run."""
        return bool(self.values["constant"])

    def keep(self) -> None:
        """Makes it constant; no memory is taken over."""
        self.operands = []
        self.attributes["constant"] = encode(True)

    def place(self, offset: int) -> None:
        """Gives the buffer its place."""
        self.attributes["offset"] = encode(offset)
        self.attributes["bytes"] = encode(tensor_of(self.buffer).bytes)

    def verify_(self) -> None:
        self.check_attributes()
        given, needed = self.values.integer("bytes"), tensor_of(self.buffer).bytes
        if "offset" in self.attributes and given != needed:
            raise VerifyException(f"kern.alloc: bytes = {given}; its type needs {needed}")


@irdl_op_definition
class ViewOp(TextOperation):
    """`%r = kern.view(%a)`: the same memory under another shape; no copy."""

    name = "kern.view"
    source = operand_def(_MEMREF)
    buffer = result_def(_MEMREF)

    def __init__(self, source: SSAValue, shape: Sequence[int]) -> None:
        result = Tensor(tuple(shape), tensor_of(source).dtype)
        super().__init__(operands=[source], result_types=[memref_type(result)])

    def verify_(self) -> None:
        self.check_attributes()
        source, result = tensor_of(self.source), tensor_of(self.buffer)
        if (source.count, source.dtype) != (result.count, result.dtype):
            raise VerifyException(
                f"kern.view: {source.count} {source.dtype} elements seen as {result.count} {result.dtype}"
            )


@irdl_op_definition
class LaunchOp(TextOperation):
    """`kern.launch @kernel(%a, %b) {grid, writes, step, …}`: runs a kernel over `grid` independent tiles.

    `writes` lists the operands it writes, all others are only read; launches of one gn op share their `step`.
    """

    name = "kern.launch"
    arguments = var_operand_def(_MEMREF)
    kernel = prop_def(BaseAttr(SymbolRefAttr))
    SYMBOL: ClassVar[str] = "kernel"
    ATTRIBUTES: ClassVar = (
        Declared("grid", "int"),
        Declared("writes", "ints"),
        Declared("step", "int"),
        Declared("bytes", "int", 0),
        Declared("flops", "int", 0),
        Declared("first", "int", 0),
        Declared("order", "ints", ()),
        Declared("numbers", "ints", ()),
    )

    def __init__(
        self, kernel: str, arguments: Sequence[SSAValue], attributes: Mapping[str, Value], layers: Sequence[str]
    ) -> None:
        super().__init__(
            operands=[arguments],
            properties={"kernel": SymbolRefAttr(kernel)},
            attributes=self.encoded(attributes, layers),
        )

    @property
    def kernel_name(self) -> str:
        """The symbol of its kernel."""
        symbol = self.kernel
        assert isinstance(symbol, SymbolRefAttr)
        return symbol.string_value()

    @property
    def step(self) -> int:
        """The number of the gn op it comes from."""
        return self.values.integer("step")

    @property
    def written(self) -> list[SSAValue]:
        """The buffers it writes."""
        return [self.operands[slot] for slot in self.values.integers("writes")]

    @property
    def read(self) -> list[SSAValue]:
        """The buffers it only reads."""
        writes = self.values.integers("writes")
        return [value for slot, value in enumerate(self.operands) if slot not in writes]

    def verify_(self) -> None:
        self.check_attributes()
        for slot in self.values.integers("writes"):
            if not 0 <= slot < len(self.operands):
                raise VerifyException(f"kern.launch writes operand {slot}; it has {len(self.operands)}")
        if self.values.integer("grid") < 0:
            raise VerifyException(f"kern.launch: grid = {self.values.integer('grid')}; it must be ≥ 0")
        if self.parent is not None and not isinstance(SymbolTable.lookup_symbol(self, self.kernel), KernelOp):
            raise VerifyException(f"kern.launch: there is no kern.kernel @{self.kernel_name}")


@irdl_op_definition
class AllReduceOp(TextOperation):
    """`kern.all_reduce(%a, %b)`: from here on buffers are averaged over ranks, until a launch that uses one of them.

    They lie side by side in the arena, those of one op behind those of the one before.
    """

    name = "kern.all_reduce"
    buffers = var_operand_def(_MEMREF)

    def __init__(self, buffers: Sequence[SSAValue], layers: Sequence[str]) -> None:
        super().__init__(operands=[buffers], attributes=self.encoded({}, layers))

    def verify_(self) -> None:
        self.check_attributes()
        if len(kinds := {tensor_of(value).dtype for value in self.operands}) != 1:
            raise VerifyException(f"kern.all_reduce of {', '.join(sorted(kinds)) or 'nothing'}; it takes one type")


def _constants(value: Value) -> dict[str, Constant]:
    assert isinstance(value, Mapping)
    return {name: constant(entry) for name, entry in value.items()}


KERN = Dialect("kern", [KernelOp, AllocOp, ViewOp, LaunchOp, AllReduceOp])

__all__ = ["KERN", "AllReduceOp", "AllocOp", "KernelOp", "LaunchOp", "ViewOp"]
