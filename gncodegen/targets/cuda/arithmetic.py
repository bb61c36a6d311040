"""Arithmetic of generated CUDA kernels, on scalars and vectors alike; NaN and Inf are honest everywhere."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from gncodegen.targets.cuda.numba_cuda import cgutils, intrinsic, intrinsic_of_literals, types
from gncodegen.targets.cuda.values import INT32, LLVM, Vec, literal, splat_value


def _scalar(kind: Any) -> Any:
    """The type of one lane."""
    return kind.dtype if isinstance(kind, Vec) else types.unliteral(kind)


def _common(*kinds: Any) -> Any:
    """The vector among the operands, else the first operand's scalar type."""
    return next((kind for kind in kinds if isinstance(kind, Vec)), types.unliteral(kinds[0]))


def lanes_of(builder: Any, kind: Any, value: Any) -> list[Any]:
    """LLVM: the scalars of a scalar or a vector."""
    if not isinstance(kind, Vec):
        return [value]
    return [builder.extract_element(value, ir.Constant(INT32, i)) for i in range(kind.lanes)]


def from_lanes(builder: Any, kind: Any, scalars: list[Any]) -> Any:
    """LLVM: a scalar or a vector made of scalars."""
    if not isinstance(kind, Vec):
        return scalars[0]
    result = ir.Constant(kind.llvm, ir.Undefined)
    for i, scalar in enumerate(scalars):
        result = builder.insert_element(result, scalar, ir.Constant(INT32, i))
    return result


def call_each(builder: Any, kind: Any, names: dict[Any, str], operands: list[Any]) -> Any:
    """LLVM: a scalar function applied lane by lane; `names` has one name per scalar type."""
    scalar = _scalar(kind)
    function_type = ir.FunctionType(LLVM[scalar], [LLVM[scalar]] * len(operands))
    function = cgutils.get_or_insert_function(builder.module, function_type, names[scalar])
    columns = zip(*(lanes_of(builder, kind, operand) for operand in operands), strict=True)
    return from_lanes(builder, kind, [builder.call(function, column) for column in columns])


def _function(name: str, arity: int, single: str, double: str, documentation: str) -> Any:
    """An intrinsic that is one library function or LLVM intrinsic per lane."""
    names = {types.float32: single, types.float64: double}

    def typed(*operands: Any) -> Any:
        kind = _common(*operands)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return call_each(builder, kind, names, list(args))

        return kind(*[kind] * arity), generate

    def one(context: Any, a: Any) -> Any:
        return typed(a)

    def two(context: Any, a: Any, b: Any) -> Any:
        return typed(a, b)

    def three(context: Any, a: Any, b: Any, c: Any) -> Any:
        return typed(a, b, c)

    function = {1: one, 2: two, 3: three}[arity]
    function.__name__, function.__doc__ = name, documentation
    return intrinsic(function)


fma = _function("fma", 3, "llvm.fma.f32", "llvm.fma.f64", "`fma(a, b, c)`: a·b + c with one rounding.")
sqrt = _function("sqrt", 1, "llvm.sqrt.f32", "llvm.sqrt.f64", "`sqrt(v)`: the square root, correctly rounded.")
absolute = _function("absolute", 1, "__nv_fabsf", "__nv_fabs", "`absolute(v)`: the magnitude.")
exp = _function("exp", 1, "__nv_expf", "__nv_exp", "`exp(v)`: eᵛ, within 1 ulp (libdevice).")
expm1 = _function("expm1", 1, "__nv_expm1f", "__nv_expm1", "`expm1(v)`: eᵛ - 1, within 1 ulp (libdevice).")
log = _function("log", 1, "__nv_logf", "__nv_log", "`log(v)`: the natural logarithm, within 1 ulp (libdevice).")
log1p = _function("log1p", 1, "__nv_log1pf", "__nv_log1p", "`log1p(v)`: ln(1 + v), within 1 ulp (libdevice).")
floor = _function("floor", 1, "__nv_floorf", "__nv_floor", "`floor(v)`: the largest whole number that is no larger.")
ceil = _function("ceil", 1, "__nv_ceilf", "__nv_ceil", "`ceil(v)`: the least whole number that is no less.")
rint = _function("rint", 1, "__nv_rintf", "__nv_rint", "`rint(v)`: the nearest whole number, of two the even one.")
log_of_more = _function("log_of_more", 1, "__nv_log1pf", "__nv_log1p", "`log_of_more(v)`: as log1p.")
sin = _function("sin", 1, "__nv_sinf", "__nv_sin", "`sin(v)`: the sine, within 2 ulp (libdevice).")
cos = _function("cos", 1, "__nv_cosf", "__nv_cos", "`cos(v)`: the cosine, within 2 ulp (libdevice).")
tan = _function("tan", 1, "__nv_tanf", "__nv_tan", "`tan(v)`: the tangent, within 4 ulp (libdevice).")
asin = _function("asin", 1, "__nv_asinf", "__nv_asin", "`asin(v)`: the inverse of the sine, within 4 ulp (libdevice).")
acos = _function("acos", 1, "__nv_acosf", "__nv_acos", "`acos(v)`: that of the cosine, within 3 ulp (libdevice).")
atan = _function("atan", 1, "__nv_atanf", "__nv_atan", "`atan(v)`: that of the tangent, within 2 ulp (libdevice).")
sinh = _function("sinh", 1, "__nv_sinhf", "__nv_sinh", "`sinh(v)`: the hyperbolic sine, within 3 ulp (libdevice).")
cosh = _function("cosh", 1, "__nv_coshf", "__nv_cosh", "`cosh(v)`: the hyperbolic cosine, within 2 ulp (libdevice).")
asinh = _function("asinh", 1, "__nv_asinhf", "__nv_asinh", "`asinh(v)`: the inverse of sinh, within 3 ulp (libdevice).")
acosh = _function("acosh", 1, "__nv_acoshf", "__nv_acosh", "`acosh(v)`: that of cosh, within 4 ulp (libdevice).")
atanh = _function("atanh", 1, "__nv_atanhf", "__nv_atanh", "`atanh(v)`: that of tanh, within 3 ulp (libdevice).")
power = _function("power", 2, "__nv_powf", "__nv_pow", "`power(a, b)`: aᵇ, within 4 ulp (libdevice).")
remainder = _function("remainder", 2, "__nv_fmodf", "__nv_fmod", "`remainder(a, b)`: of a / b, with a's sign; exact.")
tanh = _function("tanh", 1, "__nv_tanhf", "__nv_tanh", "`tanh(v)`: within 2 ulp (libdevice).")
erf = _function("erf", 1, "__nv_erff", "__nv_erf", "`erf(v)`: the error function, within 2 ulp (libdevice).")


def _comparison(name: str, sign: str, documentation: str) -> Any:
    """Maximum and minimum: b where `a sign b`, else a, so a NaN in `a` stays."""

    def typed(context: Any, a: Any, b: Any) -> Any:
        kind = _common(a, b)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            left, right = args
            return builder.select(builder.fcmp_ordered(sign, left, right), right, left)

        return kind(kind, kind), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


maximum = _comparison("maximum", "<", "`maximum(a, b)`: b where a < b, else a; a NaN in `a` stays.")
minimum = _comparison("minimum", ">", "`minimum(a, b)`: b where a > b, else a; a NaN in `a` stays.")


@intrinsic
def select(context: Any, mask: Any, a: Any, b: Any) -> Any:
    """`select(mask, a, b)`: a where mask, else b, per lane; both are evaluated."""
    kind = _common(
        *(k for k in (a, b) if isinstance(k, Vec)), *((a, b) if not isinstance(a, types.Integer) else (b, a))
    )

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(args[0], args[1], args[2])

    return kind(mask, kind, kind), generate


@intrinsic_of_literals
def splat(context: Any, scalar: Any, lanes: Any) -> Any:
    """`splat(s, lanes)`: lanes copies of the scalar."""
    vec = Vec(types.unliteral(scalar), literal(lanes, "lanes"))

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splat_value(builder, args[0], vec.lanes)

    return vec(types.unliteral(scalar), lanes), generate


@intrinsic_of_literals
def lane(context: Any, value: Any, index: Any) -> Any:
    """`lane(v, i)`: lane i as a scalar; i is a constant, so the vector stays in registers."""
    which = literal(index, "index")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(INT32, which))

    return value.dtype(value, index), generate


@intrinsic_of_literals
def with_lane(context: Any, value: Any, index: Any, scalar: Any) -> Any:
    """`with_lane(v, i, s)`: v with lane i replaced by s; i is a constant."""
    which = literal(index, "index")

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.insert_element(args[0], args[2], ir.Constant(INT32, which))

    return value(value, index, value.dtype), generate


@intrinsic
def convert(context: Any, value: Any, dtype: Any) -> Any:
    """`convert(v, dtype)`: a float scalar or vector as float32 or float64."""
    source, target = _scalar(value), dtype.dtype
    kind = Vec(target, value.lanes) if isinstance(value, Vec) else target

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if source == target:
            return args[0]
        llvm = kind.llvm if isinstance(kind, Vec) else LLVM[target]
        return builder.fpext(args[0], llvm) if target == types.float64 else builder.fptrunc(args[0], llvm)

    return kind(types.unliteral(value), dtype), generate


def _reduction(name: str, join: Any, documentation: str) -> Any:
    def typed(context: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            parts = lanes_of(builder, value, args[0])
            while len(parts) > 1:
                half = (len(parts) + 1) // 2
                parts = [
                    join(builder, parts[i], parts[i + half]) if i + half < len(parts) else parts[i] for i in range(half)
                ]
            return parts[0]

        return value.dtype(value), generate

    typed.__name__, typed.__doc__ = name, documentation
    return intrinsic(typed)


reduce_add = _reduction(
    "reduce_add", lambda b, x, y: b.fadd(x, y), "`reduce_add(v)`: the sum of the lanes, first with last halves."
)
reduce_max = _reduction(
    "reduce_max",
    lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), y, x),
    "`reduce_max(v)`: the largest lane; a NaN may be passed over.",
)


def _constant(kind: Any, llvm: Any, number: float) -> Any:
    return ir.Constant(llvm, [number] * kind.lanes if isinstance(kind, Vec) else number)


def _sigmoid(builder: Any, kind: Any, value: Any) -> tuple[Any, Any]:
    """LLVM: (1 + e⁻ˣ) and e⁻ˣ of a scalar or vector."""
    # libNVVM reads the IR of LLVM 7, which has no fneg.
    negated = builder.fsub(_constant(kind, value.type, -0.0), value)
    power = call_each(builder, kind, {types.float32: "__nv_expf", types.float64: "__nv_exp"}, [negated])
    return builder.fadd(_constant(kind, power.type, 1.0), power), power


@intrinsic
def sigmoid(context: Any, value: Any) -> Any:
    """`sigmoid(v)`: 1 / (1 + e⁻ᵛ)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        below, _ = _sigmoid(builder, value, args[0])
        return builder.fdiv(_constant(value, below.type, 1.0), below)

    return value(value), generate


@intrinsic
def sigmoid_slope(context: Any, value: Any) -> Any:
    """`sigmoid_slope(v)`: e⁻|ᵛ| / (1 + e⁻|ᵛ|)², the derivative of sigmoid, without overflow."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        names = {types.float32: "__nv_fabsf", types.float64: "__nv_fabs"}
        below, power = _sigmoid(builder, value, call_each(builder, value, names, [args[0]]))
        return builder.fdiv(builder.fdiv(power, below), below)

    return value(value), generate
