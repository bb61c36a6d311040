"""Arithmetic against NumPy, wider types and hand-computed cases."""

from fractions import Fraction

import numpy as np
import pytest
from emulator.ptx import compute

RNG = np.random.default_rng(0)
WORDS = np.concatenate([
    np.array([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 3], np.uint32),
    RNG.integers(0, 2**32, 56, np.uint32),
])  # fmt: skip
OTHER = RNG.permutation(WORDS)
SIGNED, OTHER_SIGNED = WORDS.view(np.int32), OTHER.view(np.int32)
LONGS = (WORDS.astype(np.uint64) << np.uint64(32)) | OTHER
FLOATS = np.concatenate([
    np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40], np.float32),
    RNG.standard_normal(56).astype(np.float32) * np.float32(10.0) ** RNG.integers(-20, 20, 56).astype(np.float32),
])  # fmt: skip
OTHERS = RNG.permutation(FLOATS)
THIRDS = RNG.permutation(FLOATS)


def same(found, wanted):
    np.testing.assert_array_equal(found, wanted, strict=True)


@pytest.mark.parametrize(
    ("opcode", "function"),
    [("add.s32", np.add), ("sub.s32", np.subtract), ("mul.lo.s32", np.multiply), ("min.s32", np.minimum),
     ("max.s32", np.maximum), ("and.b32", np.bitwise_and), ("or.b32", np.bitwise_or), ("xor.b32", np.bitwise_xor)],
)  # fmt: skip
def test_integers(opcode, function):
    same(compute(f"{opcode} %d0, %a0, %a1;", [SIGNED, OTHER_SIGNED], "i4"), function(SIGNED, OTHER_SIGNED))


@pytest.mark.parametrize(("opcode", "function"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply)])
def test_pairs_of_float32(opcode, function):
    a, b = FLOATS.view(np.uint64), OTHERS.view(np.uint64)
    with np.errstate(all="ignore"):
        wanted = function(FLOATS, OTHERS)
    found = compute(f"{opcode}.f32x2 %d0, %a0, %a1;", [a, b], "u8")
    np.testing.assert_array_equal(found.view(np.float32), wanted)


def test_fused_pairs_round_once():
    a, b = np.full(4, 1 + 2**-12, np.float32), np.full(4, 1 - 2**-12, np.float32)
    c = np.array([-1, 0, 1, -1], np.float32)
    given = [x.view(np.uint64) for x in (a, b, c)]
    found = compute("fma.rn.f32x2 %d0, %a0, %a1, %a2;", given, "u8").view(np.float32)
    same(found, (a.astype(np.float64) * b + c).astype(np.float32))


def test_products():
    a, b = WORDS.astype(object), OTHER.astype(object)
    same(compute("mul.wide.u32 %d0, %a0, %a1;", [WORDS, OTHER], "u8"), (a * b).astype(np.uint64))
    same(compute("mul.hi.u32 %d0, %a0, %a1;", [WORDS, OTHER], "u4"), ((a * b) >> 32).astype(np.uint32))
    s, t = SIGNED.astype(object), OTHER_SIGNED.astype(object)
    same(compute("mul.wide.s32 %d0, %a0, %a1;", [SIGNED, OTHER_SIGNED], "i8"), (s * t).astype(np.int64))
    same(compute("mul.hi.s32 %d0, %a0, %a1;", [SIGNED, OTHER_SIGNED], "i4"), ((s * t) >> 32).astype(np.int32))
    same(compute("mad.lo.s32 %d0, %a0, %a1, 7;", [SIGNED, OTHER_SIGNED], "i4"), SIGNED * OTHER_SIGNED + np.int32(7))
    x, y = LONGS.astype(object), LONGS[::-1].astype(object)
    same(compute("mul.hi.u64 %d0, %a0, %a1;", [LONGS, LONGS[::-1]], "u8"), ((x * y) >> 64).astype(np.uint64))
    x, y = LONGS.view(np.int64).astype(object), LONGS[::-1].copy().view(np.int64).astype(object)
    same(compute("mul.hi.s64 %d0, %a0, %a1;", [LONGS, LONGS[::-1]], "i8"), ((x * y) >> 64).astype(np.int64))
    long = (WORDS.astype(object) * OTHER + LONGS) % 2**64
    same(compute("mad.wide.u32 %d0, %a0, %a1, %a2;", [WORDS, OTHER, LONGS], "u8"), long.astype(np.uint64))


def test_division_goes_toward_zero():
    divisor = np.where(OTHER_SIGNED == 0, 5, OTHER_SIGNED).astype(np.int32)
    quotient = [int(Fraction(int(a), int(b))) for a, b in zip(SIGNED, divisor, strict=True)]
    quotient = np.array(quotient).astype(np.int32)
    same(compute("div.s32 %d0, %a0, %a1;", [SIGNED, divisor], "i4"), quotient)
    same(compute("rem.s32 %d0, %a0, %a1;", [SIGNED, divisor], "i4"), SIGNED - quotient * divisor)
    same(compute("div.u32 %d0, %a0, 10;", [WORDS], "u4"), WORDS // 10)
    same(compute("rem.u32 %d0, %a0, 10;", [WORDS], "u4"), WORDS % 10)


def test_carry_chain():
    body = """mov.b64 {%r1, %r2}, %a0;
    mov.b64 {%r3, %r4}, %a1;
    add.cc.u32 %r5, %r1, %r3;
    addc.u32 %r6, %r2, %r4;
    mov.b64 %d0, {%r5, %r6};
    sub.cc.u32 %r5, %r1, %r3;
    subc.u32 %r6, %r2, %r4;
    mov.b64 %d1, {%r5, %r6};"""
    other = RNG.permutation(LONGS)
    total, difference = compute(body, [LONGS, other], "u8", "u8")
    same(total, LONGS + other)
    same(difference, LONGS - other)
    body = "mad.lo.cc.u32 %r1, %a0, %a1, %a2;\nmadc.hi.u32 %r2, %a0, %a1, 0;\nmov.b64 %d0, {%r1, %r2};"
    wanted = (WORDS.astype(object) * OTHER + WORDS[::-1]).astype(np.uint64)
    same(compute(body, [WORDS, OTHER, WORDS[::-1]], "u8"), wanted)


@pytest.mark.parametrize(
    ("opcode", "function"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply), ("div.rn", np.divide)]
)
def test_floats(opcode, function):
    with np.errstate(all="ignore"):
        same(compute(f"{opcode}.f32 %d0, %a0, %a1;", [FLOATS, OTHERS], "f4"), function(FLOATS, OTHERS))
        wide = FLOATS.astype(np.float64), OTHERS.astype(np.float64)
        same(compute(f"{opcode}.f64 %d0, %a0, %a1;", wide, "f8"), function(*wide))


def rounded(exact, mode):
    """An exact fraction as float32, by search among neighbours."""
    near = np.float32(float(exact))
    around = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]
    below = max(x for x in around if Fraction(float(x)) <= exact)
    above = min(x for x in around if Fraction(float(x)) >= exact)
    if mode == "rz":
        mode = "rm" if exact > 0 else "rp"
    if mode != "rn":
        return below if mode == "rm" else above
    down, up = exact - Fraction(float(below)), Fraction(float(above)) - exact
    if down == up:
        return below if below.view(np.uint32) % 2 == 0 else above
    return below if down < up else above


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_fma_rounds_once(mode):
    one = np.float32(1)
    ulp = np.finfo(np.float32).eps
    # a·b + c lies just beside a tie of float32, too close for float64 to tell; and sums that are subnormal.
    cases = [(one + ulp, one + 2**-12, 2.0**-60), (one + ulp, one + 2**-12, -(2.0**-60)), (3e-18, 1e-20, 1e-44)]
    cases += [(one, 1 + ulp, 2.0**-24), (one, 1 + ulp, -(2.0**-24)), (one, 1 + ulp, 2.0**-24 * (1 + ulp))]
    cases += [(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-50), (1 + 2.0**-12, 1 + 2.0**-12, -(2.0**-50))]
    for _ in range(256 - len(cases)):
        a, b = RNG.standard_normal(2)
        cases.append((a, b, -a * b * (1 + RNG.standard_normal() * 2.0 ** -RNG.integers(0, 50))))
    a, b, c = np.array(cases, np.float32).T
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    wanted = np.array([rounded(value, mode) for value in exact], np.float32)
    same(compute(f"fma.{mode}.f32 %d0, %a0, %a1, %a2;", [a, b, c], "f4"), wanted)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("name", ["add", "sub", "mul"])
def test_directed_rounding(name, mode):
    a, b = (RNG.standard_normal(64).astype(np.float32) for _ in range(2))
    x, y = ([Fraction(float(v)) for v in values] for values in (a, b))
    exact = [{"add": p + q, "sub": p - q, "mul": p * q}[name] for p, q in zip(x, y, strict=True)]
    wanted = np.array([rounded(value, mode) for value in exact], np.float32)
    same(compute(f"{name}.{mode}.f32 %d0, %a0, %a1;", [a, b], "f4"), wanted)


def test_float64_fma_keeps_the_product():
    a = RNG.standard_normal(64)
    b = RNG.standard_normal(64)
    wanted = [float(Fraction(x) * Fraction(y) - Fraction(x * y)) for x, y in zip(a, b, strict=True)]
    same(compute("neg.f64 %fd1, %a2;\nfma.rn.f64 %d0, %a0, %a1, %fd1;", [a, b, a * b], "f8"), np.array(wanted))


def test_extremes():
    with np.errstate(all="ignore"):
        same(compute("min.f32 %d0, %a0, %a1;", [FLOATS, OTHERS], "f4"), np.fmin(FLOATS, OTHERS))
        same(compute("max.NaN.f32 %d0, %a0, %a1;", [FLOATS, OTHERS], "f4"), np.maximum(FLOATS, OTHERS))
    zeros = compute("min.f32 %d0, %a0, %a1;\nmax.f32 %d1, %a0, %a1;", [np.float32([0, -0.0]), np.float32([-0.0, 0])],
                    "f4", "f4")  # fmt: skip
    assert np.signbit(zeros[0]).all()
    assert not np.signbit(zeros[1]).any()


@pytest.mark.parametrize(
    ("opcode", "function"),
    [("abs.f32", np.abs), ("neg.f32", np.negative), ("sqrt.rn.f32", np.sqrt), ("rcp.rn.f32", lambda x: 1 / x),
     ("rsqrt.approx.f32", lambda x: 1 / np.sqrt(x)), ("ex2.approx.ftz.f32", np.exp2), ("lg2.approx.f32", np.log2),
     ("sin.approx.f32", np.sin), ("cos.approx.f32", np.cos), ("tanh.approx.f32", np.tanh),
     ("sqrt.approx.ftz.f32", np.sqrt), ("rcp.approx.ftz.f32", lambda x: 1 / x)],
)  # fmt: skip
def test_functions(opcode, function):
    values = np.abs(RNG.standard_normal(64)).astype(np.float32) + np.float32(0.1)
    found = compute(f"{opcode} %d0, %a0;", [values], "f4")
    wanted = function(values.astype(np.float64)).astype(np.float32)
    if "approx" in opcode:
        np.testing.assert_allclose(found, wanted, rtol=2e-7)
    else:
        same(found, wanted)


def test_copysign_and_testp():
    magnitude, sign = np.float32([1, -2, 3, -4]), np.float32([-1, 1, -0.0, 0.0])
    same(compute("copysign.f32 %d0, %a0, %a1;", [sign, magnitude], "f4"), np.float32([-1, 2, -3, 4]))
    body = "testp.finite.f32 %p1, %a0;\nselp.u32 %d0, 1, 0, %p1;"
    same(compute(body, [np.float32([1, np.inf, np.nan, 0])], "u4"), np.uint32([1, 0, 0, 1]))


def test_saturated():
    same(compute("add.sat.f32 %d0, %a0, 0f3F000000;", [np.float32([-1, 0.25, 3, np.nan])], "f4"),
         np.float32([0, 0.75, 1, 0]))  # fmt: skip
    same(compute("add.sat.s32 %d0, %a0, 10;", [np.int32([2**31 - 2, -5])], "i4"), np.int32([2**31 - 1, 5]))


def test_half_arithmetic():
    a, b = (RNG.standard_normal(32).astype(np.float16) for _ in range(2))
    same(compute("add.f16 %d0, %a0, %a1;", [a, b], "f2"), a + b)
    c = RNG.standard_normal(32).astype(np.float16)
    wanted = (a.astype(np.float64) * b + c).astype(np.float16)
    same(compute("fma.rn.f16 %d0, %a0, %a1, %a2;", [a, b, c], "f2"), wanted)
    pairs = [value.view(np.uint32) for value in (a, b)]
    same(compute("mul.f16x2 %d0, %a0, %a1;", pairs, "u4").view(np.float16), a * b)


def test_halves_and_a_float32():
    a, b = (RNG.standard_normal(32).astype(np.float16) for _ in range(2))
    c, wide = RNG.standard_normal(32).astype(np.float32), a.astype(np.float32)
    same(compute("add.rn.f32.f16 %d0, %a0, %a1;", [a, c], "f4"), wide + c)
    same(compute("sub.f32.f16 %d0, %a0, %a1;", [a, c], "f4"), wide - c)
    wanted = (a.astype(np.float64) * b + c).astype(np.float32)
    same(compute("fma.rn.f32.f16 %d0, %a0, %a1, %a2;", [a, b, c], "f4"), wanted)
