"""Elementary functions of vectors: polynomials for float32, the C library lane by lane for float64.

float32 results are within 2 units in the last place unless another bound stands; NaN stays NaN, infinities give limits.
Coefficients: S. L. Moshier, Cephes (expf, logf); the ratio for erf as in Eigen.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from gncodegen.targets.cpu.vector import INT32, Vec, call_value

EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
ERF_ABOVE = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
ERF_BELOW = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02,
)  # fmt: skip
ROUNDER = 12582912.0
"""1.5·2²³: a float32 plus this has its nearest integer in the low bits."""


def _constant(kind: Any, value: float) -> Any:
    """LLVM: every lane `value`, rounded to the lanes' type."""
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)


def _clamp(b: Any, x: Any, low: float, high: float) -> Any:
    """LLVM: x within [low, high]; NaN stays."""
    bottom, top = _constant(x.type, low), _constant(x.type, high)
    x = b.select(b.fcmp_ordered("<", x, bottom), bottom, x)
    return b.select(b.fcmp_ordered(">", x, top), top, x)


def _polynomial(b: Any, x: Any, coefficients: tuple[float, ...]) -> Any:
    """LLVM: Horner's scheme, the highest power first."""
    value = _constant(x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        value = call_value(b, "llvm.fma", [value, x, _constant(x.type, coefficient)])
    return value


def _reduced_exp(b: Any, x: Any) -> tuple[Any, Any]:
    """LLVM, float32: (e^r − 1, n) with x = n·ln 2 + r; n as integers."""
    rounder = _constant(x.type, ROUNDER)
    shifted = call_value(b, "llvm.fma", [x, _constant(x.type, math.log2(math.e)), rounder])
    n = b.fsub(shifted, rounder)
    r = call_value(b, "llvm.fma", [n, _constant(x.type, -0.693359375), x])
    r = call_value(b, "llvm.fma", [n, _constant(x.type, 2.12194440e-4), r])
    power = call_value(b, "llvm.fma", [b.fmul(r, r), _polynomial(b, r, EXP), r])
    integers = ir.VectorType(INT32, x.type.count)
    return power, b.sub(b.bitcast(shifted, integers), b.bitcast(rounder, integers))


def _two_to(b: Any, n: Any, kind: Any) -> Any:
    """LLVM, float32: 2^n for −126 ≤ n ≤ 127, by writing the exponent."""
    biased = b.add(n, ir.Constant(n.type, [127] * n.type.count))
    return b.bitcast(b.shl(biased, ir.Constant(n.type, [23] * n.type.count)), kind)


def _exp(b: Any, x: Any) -> Any:
    power, n = _reduced_exp(b, _clamp(b, x, -104.0, 89.0))
    # Two factors, because 2^n alone leaves the range before e^x does.
    half = b.ashr(n, ir.Constant(n.type, [1] * n.type.count))
    value = b.fadd(power, _constant(x.type, 1.0))
    return b.fmul(b.fmul(value, _two_to(b, half, x.type)), _two_to(b, b.sub(n, half), x.type))


def _expm1(b: Any, x: Any) -> Any:
    power, n = _reduced_exp(b, _clamp(b, x, -30.0, 88.0))
    scale = _two_to(b, n, x.type)
    value = call_value(b, "llvm.fma", [scale, power, b.fsub(scale, _constant(x.type, 1.0))])
    return b.select(b.fcmp_ordered(">", x, _constant(x.type, 88.0)), _constant(x.type, math.inf), value)


def _log1p(b: Any, x: Any) -> Any:
    high = b.fcmp_ordered(">", x, _constant(x.type, math.sqrt(2) - 1))
    halved = b.fmul(b.fsub(x, _constant(x.type, 1.0)), _constant(x.type, 0.5))
    w = b.select(high, halved, x)
    base = b.select(high, _constant(x.type, math.log(2)), _constant(x.type, 0.0))
    square = b.fmul(w, w)
    bent = call_value(b, "llvm.fma", [_polynomial(b, w, LOG), w, _constant(x.type, -0.5)])
    return b.fadd(base, call_value(b, "llvm.fma", [square, bent, w]))


def _tanh(b: Any, x: Any) -> Any:
    magnitude = call_value(b, "llvm.fabs", [x])
    less = _expm1(b, b.fmul(magnitude, _constant(x.type, -2.0)))
    value = b.fdiv(b.fneg(less), b.fadd(less, _constant(x.type, 2.0)))
    return call_value(b, "llvm.copysign", [value, x])


def _erf(b: Any, x: Any) -> Any:
    x = _clamp(b, x, -4.0, 4.0)
    square = b.fmul(x, x)
    return b.fdiv(b.fmul(x, _polynomial(b, square, ERF_ABOVE)), _polynomial(b, square, ERF_BELOW))


def _exp_of_any(b: Any, x: Any) -> Any:
    return _exp(b, x) if isinstance(x.type.element, ir.FloatType) else _by_lane(b, x, "exp")


def _sigmoid(b: Any, x: Any) -> Any:
    one = _constant(x.type, 1.0)
    return b.fdiv(one, b.fadd(one, _exp_of_any(b, b.fneg(x))))


def _sigmoid_slope(b: Any, x: Any) -> Any:
    # e / (1 + e)² with e = exp(−|x|) loses nothing where 1 − sigmoid(x) would.
    power = _exp_of_any(b, b.fneg(call_value(b, "llvm.fabs", [x])))
    below = b.fadd(_constant(x.type, 1.0), power)
    return b.fdiv(power, b.fmul(below, below))


def _by_lane(b: Any, x: Any, name: str, *more: Any) -> Any:
    """LLVM: the C library's function of every lane of one vector or several."""
    operands = (x, *more)
    kind = ir.FunctionType(x.type.element, [x.type.element] * len(operands))
    function = cgutils.get_or_insert_function(b.module, kind, name)
    function.attributes.add("readnone")
    value = ir.Constant(x.type, ir.Undefined)
    for i in range(x.type.count):
        result = b.call(function, [b.extract_element(operand, ir.Constant(INT32, i)) for operand in operands])
        value = b.insert_element(value, result, ir.Constant(INT32, i))
    return value


def _function(name: str, polynomial: Any, documentation: str, *, library: bool = True) -> Any:
    """An intrinsic over vectors: `polynomial`, but for float64 the C library's `name` if it has one."""

    def typed(context: Any, v: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            if library and v.dtype == types.float64:
                return _by_lane(builder, args[0], name)
            return polynomial(builder, args[0])

        return v(v), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


def _library(name: str, function: str, documentation: str) -> Any:
    """An intrinsic over vectors that is the C library's function of every lane."""
    return _function(name, lambda b, x: _by_lane(b, x, _of(x, function)), documentation, library=False)


def _of(x: Any, function: str) -> str:
    """The C library's name of a function of what a vector holds."""
    return function + "f" * isinstance(x.type.element, ir.FloatType)


exp = _function("exp", _exp, "`exp(v)`: e to the power of every lane.")
expm1 = _function("expm1", _expm1, "`expm1(v)`: e^v − 1, accurate near 0; float32 above 88 gives infinity.")
log1p = _function("log1p", _log1p, "`log1p(v)`: ln(1 + v), accurate near 0, for 0 ≤ v ≤ 1.")
log = _library("log", "log", "`log(v)`: the natural logarithm, by the C library.")
log_of_more = _library("log_of_more", "log1p", "`log_of_more(v)`: ln(1 + v) of any v, by the C library.")
sin = _library("sin", "sin", "`sin(v)`: the sine, by the C library.")
cos = _library("cos", "cos", "`cos(v)`: the cosine, by the C library.")
tan = _library("tan", "tan", "`tan(v)`: the tangent, by the C library.")
asin = _library("asin", "asin", "`asin(v)`: the inverse of the sine, by the C library.")
acos = _library("acos", "acos", "`acos(v)`: the inverse of the cosine, by the C library.")
atan = _library("atan", "atan", "`atan(v)`: the inverse of the tangent, by the C library.")
sinh = _library("sinh", "sinh", "`sinh(v)`: the hyperbolic sine, by the C library.")
cosh = _library("cosh", "cosh", "`cosh(v)`: the hyperbolic cosine, by the C library.")
asinh = _library("asinh", "asinh", "`asinh(v)`: the inverse of the hyperbolic sine, by the C library.")
acosh = _library("acosh", "acosh", "`acosh(v)`: the inverse of the hyperbolic cosine, by the C library.")
atanh = _library("atanh", "atanh", "`atanh(v)`: the inverse of the hyperbolic tangent, by the C library.")
tanh = _function("tanh", _tanh, "`tanh(v)`: the hyperbolic tangent of every lane.")
erf = _function("erf", _erf, "`erf(v)`: the error function of every lane; float32 within 4 units in the last place.")
sigmoid = _function("sigmoid", _sigmoid, "`sigmoid(v)`: 1 / (1 + e^−v).", library=False)
sigmoid_slope = _function(
    "sigmoid_slope", _sigmoid_slope, "`sigmoid_slope(v)`: the derivative of sigmoid.", library=False
)


def _function_of_two(name: str, function: str, documentation: str) -> Any:
    """An intrinsic that is the C library's function of every lane of two vectors, one of which may be a scalar."""

    def typed(context: Any, a: Any, b: Any) -> Any:
        kind = a if isinstance(a, Vec) else b

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _by_lane(builder, args[0], _of(args[0], function), args[1])

        return kind(kind, kind), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


power = _function_of_two("power", "pow", "`power(a, b)`: a to the power of b, by the C library.")
remainder = _function_of_two("remainder", "fmod", "`remainder(a, b)`: that of a / b, with the sign of a; exact.")
