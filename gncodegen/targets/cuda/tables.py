"""Tables of numbers in generated CUDA kernels: constants of the module, read by an index.

The values are part of the Numba type, so that a long table costs the compiler nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.memory import GLOBAL, index_type
from gncodegen.targets.cuda.numba_cuda import (
    OpaqueModel,
    intrinsic,
    lower_constant,
    register_model,
    typeof_impl,
    types,
)
from gncodegen.targets.cuda.values import INT32, SCALAR, STORAGE


class Table:
    """Numbers that a kernel looks up.

    Args:
        values: in order.
        dtype: float32, float64 or uint32.
    """

    def __init__(self, values: Sequence[float], dtype: Any) -> None:
        self.values, self.element = tuple(values), str(dtype)


class TableType(types.Type):
    """The Numba type of one table; equal tables are one type."""

    def __init__(self, values: tuple[float, ...], element: str) -> None:
        super().__init__(name=f"Table({element}, {values})")
        self.values, self.element = values, element


register_model(TableType)(OpaqueModel)


@typeof_impl.register(Table)
def _type_of_table(value: Table, context: Any) -> TableType:
    return TableType(value.values, value.element)


@lower_constant(TableType)
def _constant_table(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.get_dummy_value()


@intrinsic
def look_up(context: Any, table: Any, index: Any) -> Any:
    """`look_up(table, i)`: entry i of a module's Table."""
    kind, scalar = STORAGE[table.element], SCALAR[table.element]
    wanted = float if table.element.startswith("float") else int

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        array = ir.ArrayType(kind, len(table.values))
        # Threads of a warp may want different entries, which constant memory would serve one after another.
        memory: Any = ir.GlobalVariable(builder.module, array, builder.module.get_unique_name("table"), GLOBAL)
        memory.linkage, memory.global_constant, memory.align = "internal", True, 16
        memory.initializer = ir.Constant(array, [ir.Constant(kind, wanted(value)) for value in table.values])
        at = builder.gep(memory, [ir.Constant(INT32, 0), args[1]], inbounds=True)
        value = builder.load(at)
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    return scalar(table, index_type(index)), generate
