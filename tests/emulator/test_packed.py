"""Instructions on the halves and bytes of a register: comparisons, atomics, sums."""

import numpy as np
import pytest
from emulator.ptx import compute, kernel, launch
from support.cuda_kernels import from_bfloat16, to_bfloat16

from gncodegen.emulator import EmulationFault, Executable

RNG = np.random.default_rng(0)
A, B = (RNG.integers(-3, 4, 64).astype(np.float16) for _ in range(2))
A[:2] = np.nan, -0.0
WORDS = RNG.integers(0, 1 << 32, (3, 64), dtype=np.uint32)


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("name", "function"), [("lt", np.less), ("eq", np.equal), ("ge", np.greater_equal)])
def test_comparisons_of_halves(name, function):
    pairs, wanted = [A.view(np.uint32), B.view(np.uint32)], function(A, B)
    same(compute(f"set.{name}.f16x2.f16x2 %d0, %a0, %a1;", pairs, "u4").view(np.float16), wanted)
    same(compute(f"set.{name}.f16.f16 %d0, %a0, %a1;", [A, B], "f2"), wanted)
    same(compute(f"set.{name}.u32.f16 %d0, %a0, %a1;", [A, B], "u4"), np.where(wanted, 0xFFFFFFFF, 0))
    brain = [to_bfloat16(one.astype(np.float32)) for one in (A, B)]
    found = compute(f"set.{name}.bf16x2.bf16x2 %d0, %a0, %a1;", [one.view(np.uint32) for one in brain], "u4")
    same(from_bfloat16(found.view(np.uint16)), wanted)
    both = "selp.u32 %d0, 1, 0, %p1;\nselp.u32 %d1, 1, 0, %p2;"
    low, high = compute(f"setp.{name}.f16x2 %p1|%p2, %a0, %a1;\n{both}", pairs, "u4", "u4")
    same(np.stack([low, high], 1).reshape(-1), wanted)
    plain, opposite = compute(f"setp.{name}.f16 %p1|%p2, %a0, %a1;\n{both}", [A, B], "u4", "u4")
    same(plain, wanted)
    same(opposite, ~wanted)
    odd = "and.b32 %r1, %i, 1;\nsetp.eq.u32 %p3, %r1, 1;\n"
    (found,) = (compute(f"{odd}setp.{name}.or.f16 %p1, %a0, %a1, !%p3;\nselp.u32 %d0, 1, 0, %p1;", [A, B], "u4"),)
    same(found, wanted | (np.arange(64) % 2 == 0))


@pytest.mark.parametrize("name", ["add", "min", "max"])
def test_atomics_of_halves(name):
    function = {"add": np.add, "min": np.minimum, "max": np.maximum}[name]
    start, given = np.array([1, -2], np.float16), B.reshape(-1, 2)
    body = f"""ld.global.b32 %r1, [%x1];
    mul.wide.u32 %rd1, %t, 4;
    add.s64 %rd1, %rd1, %x1;
    ld.global.b32 %r1, [%rd1];
    red.global.{name}.noftz.f16x2 [%x0], %r1;"""
    found, _ = launch(body, start, given)
    same(found, function.reduce(np.concatenate([start[None], given]).astype(np.float32)))


def test_atomics_of_vectors():
    body = """cvt.rn.f32.u32 %f1, %t;
    mov.f32 %f2, 0f3F800000;
    atom.global.add.v2.f32 {%f3, %f4}, [%x0], {%f1, %f2};
    mul.wide.u32 %rd1, %t, 4;
    add.s64 %rd1, %rd1, %x1;
    st.global.f32 [%rd1], %f4;"""
    sums, before = launch(body, np.array([5, 7], np.float32), (32, np.float32))
    same(sums, [5 + 31 * 16, 39])
    same(np.sort(before), 7 + np.arange(32))
    (counted,) = launch("mov.b16 %h1, 0;\natom.global.cas.b16 %h2, [%x0], %h1, 3;", np.zeros(2, np.uint16), block=1)
    same(counted, [3, 0])


def test_sums_of_halves_and_bytes():
    a, b, c = WORDS
    halves, octets = ([one.view(kind).reshape(64, -1).astype(np.int64) for one in (a, b)] for kind in ("u2", "i1"))
    same(compute("add.u16x2 %d0, %a0, %a1;", [a, b], "u4"), (halves[0] + halves[1]).astype("u2").view("u4")[:, 0])
    same(compute("max.u16x2 %d0, %a0, %a1;", [a, b], "u4"), np.maximum(*halves).astype("u2").view("u4")[:, 0])
    signed = "vadd4.s32.s32.s32"
    same(compute(f"{signed} %d0, %a0, %a1, 0;", [a, b], "u4"), (octets[0] + octets[1]).astype("i1").view("u4")[:, 0])
    found = compute(f"{signed}.sat %d0, %a0, %a1, 0;", [a, b], "u4")
    same(found, np.clip(octets[0] + octets[1], -128, 127).astype("i1").view("u4")[:, 0])
    found = compute("vabsdiff4.u32.s32.s32.add %d0, %a0, %a1, %a2;", [a, b, c], "u4")
    same(found, (np.abs(octets[0] - octets[1]).sum(1) + c).astype("u4"))
    average = (octets[0] + octets[1] + (octets[0] + octets[1] >= 0)) >> 1
    same(compute("vavrg4.s32.s32.s32 %d0, %a0, %a1, 0;", [a, b], "u4"), average.astype("i1").view("u4")[:, 0])


def test_what_has_no_row_is_named():
    for text in (
        "sub.u16x2 %r1, %r2, %r3;",
        "vadd4.u32.u32.u32 %r1.b0, %r2, %r3, %r4;",
        "atom.add.b128 %r1, [%rd1], %r2;",
    ):
        with pytest.raises(EmulationFault, match="does not know this instruction"):
            Executable(kernel(text))
