"""The last step of lowering: a placed kern module becomes a Program."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from gncodegen.ir.function import function_of, operations_of, setting, slots
from gncodegen.ir.kern import AllocOp, AllReduceOp, KernelOp, LaunchOp, ViewOp
from gncodegen.ir.operation import texts
from gncodegen.ir.values import decode, tensor_of
from gncodegen.kernels.program import Buffer, Call, Program, Reduction


def program_of(module: ModuleOp) -> Program:
    """The Program of a module that the memory pass has placed; raises VerifyException for any other."""
    function = function_of(module)
    sizes = {name: function.attributes.get(f"kern.{name}") for name in ("arena_bytes", "constant_bytes")}
    if None in sizes.values():
        raise VerifyException("the function has no arena; run the passes up to memory")
    buffers: list[Buffer] = []
    index: dict[SSAValue, int] = {}
    calls: list[Call] = []
    reductions: list[Reduction] = []

    def add(value: SSAValue, kind: str, name: str = "", offset: int = 0, of: int = -1, axes: str = "") -> None:
        tensor = tensor_of(value)
        index[value] = len(buffers)
        buffers.append(Buffer(kind, name, tensor.shape, tensor.dtype, offset, of, axes))

    for value, slot in slots(function):
        add(value, slot.kind, slot.name, axes=slot.format)
    for operation in operations_of(function):
        match operation:
            case AllocOp():
                kind = "constant" if operation.constant else "arena"
                add(operation.buffer, kind, offset=operation.values.integer("offset"))
            case ViewOp():
                add(operation.buffer, "view", of=index[operation.source])
            case LaunchOp():
                calls.append(_call(operation, index))
            case AllReduceOp():
                reductions.append(Reduction(len(calls), tuple(index[buffer] for buffer in operation.operands)))
            case _:
                raise VerifyException(f"{operation.name} is left; run the passes up to memory")
    kernels = {str(decode(op.sym_name)): op.schedule for op in module.ops if isinstance(op, KernelOp)}
    called = {call.kernel for call in calls}
    return Program(
        function=str(setting(function, "function", function.sym_name.data)),
        kernels={name: schedule for name, schedule in kernels.items() if name in called},
        buffers=tuple(buffers),
        calls=tuple(calls),
        **{name: int(decode(size)) for name, size in sizes.items()},  # pyright: ignore[reportArgumentType]
        fused=texts(module, "gn.fused"),
        reductions=tuple(reductions),
        others=tuple(schedule for name, schedule in kernels.items() if name not in called),
    )


def _call(launch: LaunchOp, index: dict[SSAValue, int]) -> Call:
    values = launch.values
    return Call(
        kernel=launch.kernel_name,
        arguments=tuple(index[operand] for operand in launch.operands),
        writes=values.integers("writes"),
        grid=values.integer("grid"),
        first=values.integer("first"),
        order=values.integers("order"),
        numbers=values.integers("numbers"),
        step=values.integer("step"),
        layers=launch.layers,
        bytes=values.integer("bytes"),
        flops=values.integer("flops"),
    )
