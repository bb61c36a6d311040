"""Tables of numbers in generated CUDA kernels: constants of the module, read by an index.

The values are part of the Numba type, so that a long table costs the compiler nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.arithmetic import from_lanes
from gncodegen.targets.cuda.memory import GLOBAL
from gncodegen.targets.cuda.numba_cuda import (
    OpaqueModel,
    intrinsic,
    intrinsic_of_literals,
    lower_constant,
    register_model,
    typeof_impl,
    types,
)
from gncodegen.targets.cuda.values import INDEX, INT32, SCALAR, STORAGE, Vec, literal


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


def _memory(builder: Any, table: TableType) -> Any:
    """LLVM: the table as an array in global memory, once per module."""
    kind = STORAGE[table.element]
    array = ir.ArrayType(kind, len(table.values))
    name = f"table_{hashlib.sha256(table.name.encode()).hexdigest()[:12]}"
    if name in builder.module.globals:
        return builder.module.globals[name]
    # Threads of a warp may want different entries, which constant memory would serve one after another.
    memory: Any = ir.GlobalVariable(builder.module, array, name, GLOBAL)
    memory.linkage, memory.global_constant, memory.align = "internal", True, 16
    wanted = float if table.element.startswith("float") else int
    memory.initializer = ir.Constant(array, [ir.Constant(kind, wanted(value)) for value in table.values])
    return memory


def _entry(builder: Any, table: TableType, index: Any) -> Any:
    at = builder.gep(_memory(builder, table), [ir.Constant(INT32, 0), index], inbounds=True)
    value = builder.load(at)
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


@intrinsic
def look_up(context: Any, table: Any, index: Any) -> Any:
    """`look_up(table, i)`: entry i of a module's Table."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _entry(builder, table, args[1])

    return SCALAR[table.element](table, INDEX), generate


@intrinsic_of_literals
def look_up_strided(context: Any, table: Any, index: Any, stride: Any, lanes: Any, count: Any) -> Any:
    """`look_up_strided(table, i, stride, lanes, count)`: what load_strided would read from an endless repetition."""
    width, steps = literal(lanes, "lanes"), literal(count, "count")
    vec = Vec(SCALAR[table.element], width * steps)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        length = ir.Constant(INT32, len(table.values))
        entries: list[Any] = []
        for place in range(vec.lanes):
            step, lane = divmod(place, width)
            at = builder.add(args[1], builder.mul(args[2], ir.Constant(INT32, step)))
            at = builder.add(at, ir.Constant(INT32, lane))
            entries.append(_entry(builder, table, builder.urem(at, length)))
        return from_lanes(builder, vec, entries)

    return vec(table, INDEX, INDEX, lanes, count), generate
