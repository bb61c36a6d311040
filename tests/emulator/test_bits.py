"""Bit instructions, comparisons, selections, moves and conversions."""

import numpy as np
import pytest
from emulator.ptx import compute

RNG = np.random.default_rng(1)
WORDS = np.concatenate([np.uint32([0, 1, 0x80000000, 0xFFFFFFFF, 0x12345678]), RNG.integers(0, 2**32, 27, np.uint32)])
OTHER = RNG.permutation(WORDS)
SIGNED = WORDS.view(np.int32)


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted, strict=True)


def each(function, dtype=np.uint32):
    return np.array([function(int(x)) & (2 ** (8 * np.dtype(dtype).itemsize) - 1) for x in WORDS]).astype(dtype)


def test_shifts_clamp():
    amounts = (np.arange(32) * 2).astype(np.uint32)
    left = [int(x) << int(n) & 0xFFFFFFFF if n < 32 else 0 for x, n in zip(WORDS, amounts, strict=True)]
    same(compute("shl.b32 %d0, %a0, %a1;", [WORDS, amounts], "u4"), np.uint32(left))
    right = [int(x) >> int(n) if n < 32 else 0 for x, n in zip(WORDS, amounts, strict=True)]
    same(compute("shr.u32 %d0, %a0, %a1;", [WORDS, amounts], "u4"), np.uint32(right))
    arithmetic = [int(x) >> min(int(n), 31) for x, n in zip(SIGNED, amounts, strict=True)]
    same(compute("shr.s32 %d0, %a0, %a1;", [SIGNED, amounts], "i4"), np.int32(arithmetic))
    same(compute("shl.b64 %d0, %a0, 40;", [WORDS.astype(np.uint64)], "u8"), WORDS.astype(np.uint64) << np.uint64(40))


def test_counts():
    same(compute("popc.b32 %d0, %a0;", [WORDS], "u4"), each(int.bit_count))
    same(compute("clz.b32 %d0, %a0;", [WORDS], "u4"), each(lambda x: 32 - x.bit_length()))
    same(compute("bfind.u32 %d0, %a0;", [WORDS], "u4"), each(lambda x: x.bit_length() - 1))
    same(compute("brev.b32 %d0, %a0;", [WORDS], "u4"), each(lambda x: int(f"{x:032b}"[::-1], 2)))
    same(compute("not.b32 %d0, %a0;", [WORDS], "u4"), ~WORDS)


@pytest.mark.parametrize(("start", "length"), [(0, 8), (5, 13), (28, 8), (0, 32), (3, 0)])
def test_fields(start, length):
    mask = (1 << length) - 1
    extracted = each(lambda x: x >> start & mask)
    same(compute(f"bfe.u32 %d0, %a0, {start}, {length};", [WORDS], "u4"), extracted)
    place = mask << start & 0xFFFFFFFF
    inserted = np.uint32([(int(b) & ~place) | (int(a) << start & place) for a, b in zip(WORDS, OTHER, strict=True)])
    same(compute(f"bfi.b32 %d0, %a0, %a1, {start}, {length};", [WORDS, OTHER], "u4"), inserted)


def test_signed_field():
    found = compute("bfe.s32 %d0, %a0, 4, 8;", [WORDS], "i4")
    same(found, (WORDS >> np.uint32(4)).astype(np.uint8).view(np.int8).astype(np.int32))


def test_permute():
    same(compute("prmt.b32 %d0, %a0, %a1, 0x5410;", [WORDS, OTHER], "u4"), (WORDS & 0xFFFF) | (OTHER << np.uint32(16)))
    same(compute("prmt.b32 %d0, %a0, %a1, 0x0123;", [WORDS, OTHER], "u4"), WORDS.byteswap())
    same(compute("prmt.b32 %d0, %a0, 0, 0xBBBB;", [WORDS], "u4"), np.where(SIGNED < 0, 2**32 - 1, 0).astype(np.uint32))


def test_lookup_and_funnel():
    third = WORDS[::-1].copy()
    same(compute("lop3.b32 %d0, %a0, %a1, %a2, 0x96;", [WORDS, OTHER, third], "u4"), WORDS ^ OTHER ^ third)
    same(compute("lop3.b32 %d0, %a0, %a1, %a2, 0xCA;", [WORDS, OTHER, third], "u4"), (WORDS & OTHER) | (~WORDS & third))
    same(compute("shf.l.wrap.b32 %d0, %a0, %a0, 8;", [WORDS], "u4"), (WORDS << 8) | (WORDS >> 24))
    same(compute("shf.r.clamp.b32 %d0, %a0, %a1, 32;", [WORDS, OTHER], "u4"), OTHER)


def test_sad_and_dp4a():
    small = RNG.integers(-100, 100, (2, 32), np.int32)
    same(compute("sad.s32 %d0, %a0, %a1, 1;", list(small), "i4"), np.abs(small[0] - small[1]) + np.int32(1))
    left, right = (value.view(np.int8).reshape(-1, 4).astype(np.int32) for value in (WORDS, OTHER))
    same(
        compute("dp4a.s32.s32 %d0, %a0, %a1, 5;", [WORDS, OTHER], "i4"),
        (left * right).sum(1, dtype=np.int32) + np.int32(5),
    )


def test_dp2a():
    """Kernels meet it where the compiler proves that factors of an index fit 16 and 8 bits."""
    third, halves = np.arange(32, dtype=np.uint32), WORDS.view(np.uint16).reshape(-1, 2).astype(np.uint32)
    octets = OTHER.view(np.uint8).reshape(-1, 4).astype(np.uint32)
    for mode, chosen in (("lo", octets[:, :2]), ("hi", octets[:, 2:])):
        same(
            compute(f"dp2a.{mode}.u32.u32 %d0, %a0, %a1, %a2;", [WORDS, OTHER, third], "u4"),
            (halves * chosen).sum(1, dtype=np.uint32) + third,
        )


FLOATS = np.float32([1, 2, np.nan, -1, 0, -0.0, np.inf, np.nan])
OTHERS = np.float32([1, 1, 1, np.nan, -0.0, 0, np.inf, np.nan])


@pytest.mark.parametrize(
    ("name", "function"),
    [("eq", np.equal), ("lt", np.less), ("le", np.less_equal), ("gt", np.greater), ("ge", np.greater_equal)],
)
def test_float_comparison(name, function):
    unordered = np.isnan(FLOATS) | np.isnan(OTHERS)
    body = "setp.{}.f32 %p1, %a0, %a1;\nselp.u32 %d0, 1, 0, %p1;"
    same(compute(body.format(name), [FLOATS, OTHERS], "u4"), function(FLOATS, OTHERS).astype(np.uint32))
    found = compute(body.format(name + "u"), [FLOATS, OTHERS], "u4")
    same(found, (function(FLOATS, OTHERS) | unordered).astype(np.uint32))


def test_ne_is_ordered_and_neu_is_not():
    body = "setp.ne.f32 %p1, %a0, %a1;\nsetp.neu.f32 %p2, %a0, %a1;\nselp.u32 %d0, 1, 0, %p1;\nselp.u32 %d1, 1, 0, %p2;"
    ordered, unordered = compute(body, [FLOATS, OTHERS], "u4", "u4")
    same(ordered, np.uint32([0, 1, 0, 0, 0, 0, 0, 0]))
    same(unordered, np.uint32([0, 1, 1, 1, 0, 0, 0, 1]))


def test_comparison_with_a_predicate():
    body = """setp.gt.s32 %p1, %a0, 0;
    setp.lt.and.s32 %p2|%p3, %a0, 10, %p1;
    setp.lt.or.s32 %p4, %a0, 10, !%p1;
    selp.u32 %r1, 1, 0, %p2;
    selp.u32 %r2, 2, 0, %p3;
    selp.u32 %r3, 4, 0, %p4;
    add.u32 %r1, %r1, %r2;
    add.u32 %d0, %r1, %r3;"""
    same(compute(body, [np.int32([-5, 5, 50])], "u4"), np.uint32([4, 5, 2]))
    same(
        compute("setp.lo.u32 %p1, %a0, 5;\nselp.u32 %d0, 7, 9, %p1;", [np.uint32([3, 0xFFFFFFFF])], "u4"),
        np.uint32([7, 9]),
    )
    same(compute("set.gt.u32.f32 %d0, %a0, 0f00000000;", [np.float32([1, -1])], "u4"), np.uint32([0xFFFFFFFF, 0]))
    same(compute("slct.f32.s32 %d0, 0f3F800000, 0f40000000, %a0;", [np.int32([0, -1])], "f4"), np.float32([1, 2]))
    body = "setp.gt.s32 %p1, %a0, 0;\nnot.pred %p2, %p1;\nand.pred %p3, %p1, %p2;\nor.pred %p4, %p1, %p2;\n"
    body += "selp.u32 %r1, 1, 0, %p3;\nselp.u32 %r2, 2, 0, %p4;\nadd.u32 %d0, %r1, %r2;"
    same(compute(body, [np.int32([1, -1])], "u4"), np.uint32([2, 2]))


def test_packing():
    body = "mov.b32 {%h1, %h2}, %a0;\nmov.b32 %d0, {%h2, %h1};"
    same(compute(body, [WORDS], "u4"), (WORDS >> 16) | (WORDS << 16))
    body = "mov.b64 {%r1, %r2}, %a0;\nmov.b64 %d0, {%r2, 7};"
    longs = RNG.integers(0, 2**63, 32, np.uint64)
    same(compute(body, [longs], "u8"), (longs >> np.uint64(32)) | np.uint64(7 << 32))
    same(compute("mov.b32 %d0, %a0;", [FLOATS], "u4"), FLOATS.view(np.uint32))


VALUES = np.concatenate([
    np.float32([0.5, 1.5, -0.5, -1.5, 2.7, -2.7, 3e9, -3e9, np.nan, np.inf, -np.inf, 255.6]),
    RNG.standard_normal(20).astype(np.float32) * 100,
])  # fmt: skip


@pytest.mark.parametrize(
    ("mode", "function"), [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)]
)
@pytest.mark.parametrize("kind", ["s32", "u32", "s64", "u64"])
def test_float_to_integer_saturates(mode, function, kind):
    dtype = np.dtype(f"{'i' if kind[0] == 's' else 'u'}{int(kind[1:]) // 8}")
    limits = np.iinfo(dtype)
    ends = {np.inf: limits.max, -np.inf: limits.min}
    wanted = [0 if np.isnan(x) else ends[x] if x in ends else int(function(x)) for x in VALUES.tolist()]
    wanted = [min(max(value, limits.min), limits.max) for value in wanted]
    same(compute(f"cvt.{mode}.{kind}.f32 %d0, %a0;", [VALUES], dtype), np.array(wanted, dtype))
    with np.errstate(invalid="ignore"):
        same(compute(f"cvt.{mode}.f32.f32 %d0, %a0;", [VALUES], "f4"), function(VALUES))


def test_integer_to_float():
    same(compute("cvt.rn.f32.s32 %d0, %a0;", [SIGNED], "f4"), SIGNED.astype(np.float32))
    same(compute("cvt.rn.f32.u32 %d0, %a0;", [WORDS], "f4"), WORDS.astype(np.float32))
    down = compute("cvt.rm.f32.u32 %d0, %a0;", [WORDS], "f4")
    assert (down.astype(np.float64) <= WORDS).all()
    assert (np.nextafter(down, np.float32(np.inf)).astype(np.float64) > WORDS).all()


def test_integer_widths():
    same(compute("cvt.s32.s8 %d0, %a0;", [WORDS], "i4"), WORDS.astype(np.uint8).view(np.int8).astype(np.int32))
    same(compute("cvt.u32.u16 %d0, %a0;", [WORDS], "u4"), WORDS & np.uint32(0xFFFF))
    same(compute("cvt.s64.s32 %d0, %a0;", [SIGNED], "i8"), SIGNED.astype(np.int64))
    same(compute("cvt.u64.u32 %d0, %a0;", [WORDS], "u8"), WORDS.astype(np.uint64))
    same(compute("cvt.sat.u8.s32 %d0, %a0;", [np.int32([-1, 5, 300])], "u4"), np.uint32([0, 5, 255]))
    same(compute("cvt.u8.u32 %d0, %a0;", [WORDS], "u1"), WORDS.astype(np.uint8))


HALVES = np.concatenate(
    [np.float32([0, 65504, 65520, 1e-8, 6e-8, -1.0009765]), RNG.standard_normal(26).astype(np.float32)]
)


def test_float16():
    with np.errstate(over="ignore"):
        wanted = HALVES.astype(np.float16)
    same(compute("cvt.rn.f16.f32 %d0, %a0;", [HALVES], "f2"), wanted)
    same(compute("cvt.f32.f16 %d0, %a0;", [wanted], "f4"), wanted.astype(np.float32))
    low, high = HALVES[::2].copy(), HALVES[1::2].copy()
    with np.errstate(over="ignore"):
        wanted = np.stack([low, high], 1).astype(np.float16).view(np.uint32)[:, 0]
    same(compute("cvt.rn.f16x2.f32 %d0, %a0, %a1;", [high, low], "u4"), wanted)
    toward = compute("cvt.rz.f16.f32 %d0, %a0;", [HALVES], "f2").astype(np.float32)
    assert (np.abs(toward) <= np.abs(HALVES)).all()


def test_bfloat16():
    values = np.float32([1, 1.00390625, 1.01171875, -3.14159, np.inf, np.nan, 0, 1e38])
    # 1 + 2**-8 is a tie and goes to the even 1; 1 + 3·2**-8 is a tie and goes to the even 1 + 2**-6.
    bits = np.uint16([0x3F80, 0x3F80, 0x3F82, 0xC049, 0x7F80, 0x7FFF, 0, 0x7E96])
    same(compute("cvt.rn.bf16.f32 %d0, %a0;", [values], "u2"), bits)
    same(compute("cvt.f32.bf16 %d0, %a0;", [bits[:4]], "f4"), (bits[:4].astype(np.uint32) << 16).view(np.float32))
    packed = compute("cvt.rn.bf16x2.f32 %d0, %a0, %a1;", [values, values[::-1].copy()], "u4")
    same(packed, bits[::-1].astype(np.uint32) | (bits.astype(np.uint32) << 16))


def test_tf32_and_float64():
    values = np.uint32([0x3F800FFF, 0x3F801000, 0x3F803000, 0xBF801001]).view(np.float32)
    wanted = np.uint32([0x3F800000, 0x3F802000, 0x3F804000, 0xBF802000])
    same(compute("cvt.rna.tf32.f32 %d0, %a0;", [values], "u4"), wanted)
    doubles = RNG.standard_normal(32)
    same(compute("cvt.rn.f32.f64 %d0, %a0;", [doubles], "f4"), doubles.astype(np.float32))
    same(
        compute("cvt.f64.f32 %d0, %a0;", [doubles.astype(np.float32)], "f8"),
        doubles.astype(np.float32).astype(np.float64),
    )
    same(compute("cvt.sat.f32.f32 %d0, %a0;", [np.float32([-1, 0.5, 2, np.nan])], "f4"), np.float32([0, 0.5, 1, 0]))
