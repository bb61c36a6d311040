"""Instructions executed as one NumPy operation give the bits that they give one after the other."""

import numpy as np
import pytest
from emulator.ptx import kernel

from gncodegen.emulator import DeviceMemory, Executable, run

LANES, COPIES = 32, 4
INSTRUCTIONS = {
    "add.f32 %f{d}, %f{a}, %f{b}": "f32",
    "fma.rn.f32 %f{d}, %f{a}, %f{b}, %f{c}": "f32", "fma.rn.f32 %f{d}, %f0, %f1, %f{c}": "f32",
    "fma.rn.f32 %f{d}, 0f40400000, %f{b}, 0f3F800000": "f32",
    "max.f32 %f{d}, %f{a}, %f{b}": "f32", "rsqrt.approx.f32 %f{d}, %f{a}": "f32", "mov.f32 %f{d}, %f{a}": "f32",
    "add.sat.f32 %f{d}, %f{a}, %f{b}": "f32", "cvt.rn.f32.u32 %f{d}, %r{a}": "f32",
    "mad.lo.s32 %r{d}, %r{a}, %r{b}, %r{c}": "u32", "mad.hi.u32 %r{d}, %r{a}, %r{b}, %r{c}": "u32",
    "shl.b32 %r{d}, %r{a}, 3": "u32", "popc.b32 %r{d}, %r{a}": "u32", "prmt.b32 %r{d}, %r{a}, %r{b}, 0x5410": "u32",
    "cvt.rzi.s32.f32 %r{d}, %f{a}": "u32",
    "sub.s32 %r{d}, %t, %r{b}": "u32", "selp.b32 %r{d}, %r{a}, %r{b}, %p1": "u32",
}  # fmt: skip


def program(instruction, kind):
    """24 registers filled from the input, an instruction for 4 of their triples, and the 4 results stored."""
    letter = {"f32": "%f", "u32": "%r"}[kind]
    fill = [
        f"add.u64 %rd2, %rd0, {4 * LANES * i};\nadd.u64 %rd2, %rd2, %rd1;\nld.global.f32 %f{i}, [%rd2];\n"
        f"mov.b32 %r{i}, %f{i};"
        for i in range(3 * COPIES)
    ]
    copies = [instruction.format(a=3 * i, b=3 * i + 1, c=3 * i + 2, d=24 + i) + ";" for i in range(COPIES)]
    keep = [f"st.global.{kind} [%rd3+{4 * LANES * i}], {letter}{24 + i};" for i in range(COPIES)]
    head = [
        "ld.param.u64 %rd0, [x];", "ld.param.u64 %rd3, [y];", "mul.wide.u32 %rd1, %t, 4;", "setp.lt.u32 %p1, %t, 7;",
        "add.u64 %rd3, %rd3, %rd1;",
    ]  # fmt: skip
    return kernel("\n".join([*head, *fill, *copies, *keep]), [("u64", "x"), ("u64", "y")])


def results(module, x, kind):
    memory = DeviceMemory()
    source, target = memory.allocate(x.nbytes, "x"), memory.allocate(4 * LANES * COPIES, "y")
    memory.write(source, x)
    statistics = run(module, grid=1, block=LANES, arguments=[source, target], memory=memory)
    return memory.read(target, (COPIES, LANES), kind), statistics.instructions


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_a_pack_has_the_bits_of_its_instructions(instruction):
    x = np.random.default_rng(3).normal(0, 100, (3 * COPIES, LANES)).astype("f4")
    module = Executable(program(instruction, INSTRUCTIONS[instruction]))
    assert [pack.count for pack in module.packs if pack] == [COPIES]
    packed, executed = results(module, x, "u4")
    module.packs = [None] * len(module.packs)
    alone, one_by_one = results(module, x, "u4")
    np.testing.assert_array_equal(packed, alone)
    assert executed == one_by_one
    assert len(np.unique(packed)) > 1


@pytest.mark.parametrize(
    "body",
    [
        "add.f32 %f1, %f0, %f0;\nadd.f32 %f2, %f1, %f0;\nadd.f32 %f3, %f2, %f0;",  # each needs the one before
        "add.f32 %f1, %f0, %f0;\nadd.f32 %f1, %f2, %f0;\nadd.f32 %f1, %f3, %f0;",  # the last one wins
        "add.f32 %f1, %f0, %f0;\n@%p1 add.f32 %f2, %f0, %f0;\nadd.f32 %f3, %f0, %f0;",  # some lanes only
        "add.f32 %f1, %f0, %f0;\nmul.f32 %f2, %f0, %f0;\nadd.f32 %f3, %f0, %f0;",
        "add.f32 %f1, %f0, %f0;\nbra A;\nadd.f32 %f2, %f0, %f0;\nA:\nadd.f32 %f3, %f0, %f0;",
    ],
)
def test_what_depends_on_each_other_is_no_pack(body):
    assert not any(Executable(kernel(f"setp.lt.u32 %p1, %t, 7;\n{body}")).packs)


def test_a_branch_into_a_pack_begins_a_new_one():
    adds = "\n".join(f"add.f32 %f{i}, %f0, %f0;" for i in range(1, 4))
    more = "\n".join(f"add.f32 %f{i}, %f0, %f0;" for i in range(4, 7))
    module = Executable(kernel(f"setp.lt.u32 %p1, %t, 7;\n@%p1 bra A;\n{adds}\nA:\n{more}"))
    assert [pack.count for pack in module.packs if pack] == [3, 3]
