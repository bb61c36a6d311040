"""Hand-written kernels: PTX around a few instructions, run on arrays."""

import numpy as np

from gncodegen.emulator import DeviceMemory, Executable, run

TYPES = {"f2": "b16", "f4": "f32", "f8": "f64", "u1": "u8", "i1": "s8", "u2": "u16", "i2": "s16", "u4": "u32"}
TYPES |= {"i4": "s32", "u8": "u64", "i8": "s64"}
REGISTER = {"u8": "b16", "s8": "b16", "u16": "b16", "s16": "b16", "b16": "b16", "u32": "b32", "s32": "b32"}
REGISTER |= {"u64": "b64", "s64": "b64"}


def kernel(body, parameters=(), registers=(), variables="", name="probe"):
    """A kernel of `body`; %t is the thread, %b the block, %n the threads of a block, %i the global thread."""
    declared = "\n".join(f".reg .{kind} {text};" for kind, text in registers)
    formal = ",\n".join(f".param .{kind} {text}" for kind, text in parameters)
    return f""".version 8.0
.target sm_90
.address_size 64
{variables}
.visible .entry {name}(
{formal}
)
{{
.reg .pred %p<10>;
.reg .b16 %h<10>;
.reg .b32 %r<40>;
.reg .f32 %f<40>;
.reg .b64 %rd<40>;
.reg .f64 %fd<10>;
.reg .u32 %t, %b, %n, %i;
{declared}
.loc 1 1 0
mov.u32 %t, %tid.x;
mov.u32 %b, %ctaid.x;
mov.u32 %n, %ntid.x;
mad.lo.u32 %i, %b, %n, %t;
{body}
ret;
}}
.file 1 "probe.py"
"""


def compute(body, inputs, *outputs, block=None):
    """Run `body` with %a0, %a1, … loaded from the inputs, one entry a thread; return %d0, %d1, … as given types."""
    inputs = [np.ascontiguousarray(one) for one in inputs]
    kinds = [TYPES[one.dtype.str[1:]] for one in inputs]
    results = [TYPES[np.dtype(one).str[1:]] for one in outputs]
    names = [*(f"x{i}" for i in range(len(inputs))), *(f"y{i}" for i in range(len(outputs)))]
    registers = [(REGISTER.get(kind, kind), f"%a{i}") for i, kind in enumerate(kinds)]
    registers += [(REGISTER.get(kind, kind), f"%d{i}") for i, kind in enumerate(results)]
    registers += [("b64", "%at, %base")]

    def move(name, size):
        return f"ld.param.u64 %base, [{name}];\nmul.wide.u32 %at, %i, {size};\nadd.s64 %at, %at, %base;"

    loads = [
        f"{move(f'x{i}', one.dtype.itemsize)}\nld.global.{kind} %a{i}, [%at];"
        for i, (one, kind) in enumerate(zip(inputs, kinds, strict=True))
    ]
    stores = [
        f"{move(f'y{i}', np.dtype(one).itemsize)}\nst.global.{kind} [%at], %d{i};"
        for i, (one, kind) in enumerate(zip(outputs, results, strict=True))
    ]
    text = kernel("\n".join([*loads, body, *stores]), [("u64", name) for name in names], registers)
    count = inputs[0].size
    memory = DeviceMemory()
    addresses = [memory.allocate(one.nbytes, f"x{i}") for i, one in enumerate(inputs)]
    for address, one in zip(addresses, inputs, strict=True):
        memory.write(address, one)
    targets = [memory.allocate(count * np.dtype(one).itemsize, f"y{i}") for i, one in enumerate(outputs)]
    block = block or min(count, 32)
    run(Executable(text), grid=count // block, block=block, arguments=[*addresses, *targets], memory=memory)
    found = [memory.read(address, count, one) for address, one in zip(targets, outputs, strict=True)]
    return found[0] if len(found) == 1 else found


def launch(body, *arrays, grid=1, block=32, registers=(), variables="", **options):
    """Run `body` with %x0, %x1, … the addresses of copies of the arrays (None: uninitialised); return the arrays after.

    An array given as (shape, dtype) is allocated and left uninitialised.
    """
    memory = DeviceMemory()
    addresses, shapes = [], []
    for i, one in enumerate(arrays):
        shape, dtype = one if isinstance(one, tuple) else (one.shape, one.dtype)
        shapes.append((shape, dtype))
        addresses.append(memory.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize, f"array {i}"))
        if not isinstance(one, tuple):
            memory.write(addresses[-1], one)
    loads = "\n".join(f"ld.param.u64 %x{i}, [p{i}];" for i in range(len(arrays)))
    given = [*registers, *(("b64", f"%x{i}") for i in range(len(arrays)))]
    text = kernel(f"{loads}\n{body}", [("u64", f"p{i}") for i in range(len(arrays))], given, variables)
    statistics = run(Executable(text), grid=grid, block=block, arguments=addresses, memory=memory, **options)
    assert statistics.instructions > 0
    return [memory.read(address, *shape) for address, shape in zip(addresses, shapes, strict=True)]
