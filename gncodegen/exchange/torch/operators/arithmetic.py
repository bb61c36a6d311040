"""Functions of several operands, and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gncodegen.exchange.construction import Unsupported
from gncodegen.exchange.torch.call import Array, Call, Row, require, row


def _scaled(call: Call, operand: Any, factor: float) -> Any:
    """Factor · operand."""
    if factor == 1:
        return operand
    known = call.known(operand)
    return call.emit("Mul", operand, factor) if known is None else known * np.asarray(factor, known.dtype)


def binary(operator: str) -> Callable[[Call], Array]:
    """The conversion of f(self, alpha · other)."""

    def convert(call: Call) -> Array:
        require(call.get("rounding_mode") is None, f"rounding_mode = {call.get('rounding_mode')!r}", "None")
        return call.emit(operator, call.first, _scaled(call, call["other"], call.get("alpha", 1)))

    return convert


def reversed_subtraction(call: Call) -> Array:
    """Other - alpha · self."""
    return call.emit("Sub", call["other"], _scaled(call, call.first, call.get("alpha", 1)))


def power(call: Call) -> Array:
    """Self to the power of exponent; one of them may be a number."""
    return call.emit("Pow", call.first, call["exponent"])


def inverse_root(call: Call) -> Array:
    """1 / sqrt(x)."""
    return call.emit("Reciprocal", call.emit("Sqrt", call.first))


def linear(call: Call) -> Array:
    """X · weightᵀ + bias along the last axis."""
    return call.emit("Gemm", call["input"], call["weight"], call.get("bias"), transB=1)


def product(call: Call) -> Array:
    """A product of two arrays; one may be a constant."""
    factors = [call.first, call.get("other", call.get("mat2"))]
    known = [call.known(factor) for factor in factors]
    # A constant may have axes of extent 1 in front, as bmm wants them.
    given = [
        factor if array is None or set(array.shape[:-2]) - {1} else array.reshape(array.shape[max(array.ndim - 2, 0) :])
        for factor, array in zip(factors, known, strict=True)
    ]
    vector = known[1] is not None and known[1].ndim == 1
    if vector and call.rank(factors[0]) > 1:
        return call.emit(
            "ReduceSum", call.emit("Mul", factors[0], factors[1]), axes=[call.rank(factors[0]) - 1], keepdims=0
        )
    return call.emit("MatMul", *given)


def product_and_sum(call: Call) -> Array:
    """Beta · self + alpha · mat1 · mat2."""
    alpha, beta = float(call.get("alpha", 1)), float(call.get("beta", 1))
    return call.emit("Gemm", call["mat1"], call["mat2"], call["self"], alpha=alpha, beta=beta)


def product_of_many_and_sum(call: Call) -> Array:
    """Beta · self + alpha · batch1 · batch2, for each of many matrices."""
    found = call.emit("MatMul", call["batch1"], call["batch2"])
    beta = float(call.get("beta", 1))
    scaled = _scaled(call, found, float(call.get("alpha", 1)))
    return scaled if beta == 0 else call.emit("Add", scaled, _scaled(call, call["self"], beta))


def sum_of_products(call: Call) -> Array:
    """Beta · self + alpha · Σ batch1 · batch2, over the products of many matrices."""
    count, rows, depth = call.shape_of(call["batch1"])
    columns = call.shape_of(call["batch2"])[-1]
    wide = call.reshape(call.emit("Transpose", call["batch1"], perm=[1, 0, 2]), (rows, count * depth))
    found = call.emit("MatMul", wide, call.reshape(call["batch2"], (count * depth, columns)))
    scaled, beta = _scaled(call, found, float(call.get("alpha", 1))), float(call.get("beta", 1))
    return scaled if beta == 0 else call.emit("Add", scaled, _scaled(call, call["self"], beta))


def form(call: Call) -> Array:
    """X1 · weight · x2 + bias for each output's own weight: the product with x1, then the sum over x2."""
    weight = call.known(call["weight"])
    if weight is None:
        raise Unsupported("its weights are computed at run time; allowed: constants")
    outputs, first, second = weight.shape
    half = call.emit("MatMul", call["input1"], weight.transpose(1, 0, 2).reshape(first, -1))
    apart = call.reshape(half, (*call.shape_of(call["input1"])[:-1], outputs, second))
    other = call.reshape(call["input2"], (*call.shape_of(call["input2"])[:-1], 1, second))
    found = call.emit("ReduceSum", call.emit("Mul", apart, other), axes=[len(call.shape)], keepdims=0)
    return found if call.get("bias") is None else call.emit("Add", found, call["bias"])


def attention(call: Call) -> Array:
    """Softmax(scale · query · keyᵀ + mask) · value."""
    mask = call.get("attn_mask")
    if isinstance(mask, Array) and mask in call.writer.conditions:
        mask = call.emit("Log", mask)  # 1 and 0 to 0 and -∞
    scale = call.get("scale")
    return call.emit(
        "Attention", call["query"], call["key"], call["value"], mask, additive=1, dropout=float(call["dropout_p"]),
        is_causal=int(call["is_causal"]), **({} if scale is None else {"scale": float(scale)}),
    )  # fmt: skip


def added(operator: str) -> Callable[[Call], Array]:
    """The conversion of self + value · f(tensor1, tensor2)."""

    def convert(call: Call) -> Array:
        found = call.emit(operator, call["tensor1"], call["tensor2"])
        return call.emit("Add", call["self"], _scaled(call, found, call.get("value", 1)))

    return convert


def between(call: Call) -> Array:
    """Self + weight · (end - self)."""
    return call.emit("Add", call["self"], call.emit("Mul", call.emit("Sub", call["end"], call["self"]), call["weight"]))


OPERATORS: Mapping[str, Row] = {
    "add": row(binary("Add"), "Add"),
    "sub": row(binary("Sub"), "Sub"),
    "mul": row(binary("Mul"), "Mul"),
    "div": row(binary("Div"), "Div"),
    "maximum": row(binary("Max"), "Max"),
    "minimum": row(binary("Min"), "Min"),
    "rsub": row(reversed_subtraction, "Sub"),
    "pow": row(power, "Pow"),
    "square": row(lambda call: call.emit("Pow", call.first, 2.0), "Pow"),
    "rsqrt": row(inverse_root, "Sqrt", "Reciprocal"),
    "addcmul": row(added("Mul"), "Mul", "Add"),
    "addcdiv": row(added("Div"), "Div", "Add"),
    "lerp": row(between, "Sub", "Mul", "Add"),
    "linear": row(linear, "Gemm"),
    "addmm": row(product_and_sum, "Gemm"),
    "mm": row(product, "MatMul"),
    "bmm": row(product, "MatMul"),
    "baddbmm": row(product_of_many_and_sum, "MatMul", "Mul", "Add"),
    "addbmm": row(sum_of_products, "Transpose", "Reshape", "MatMul", "Mul", "Add"),
    "bilinear": row(form, "MatMul", "Reshape", "Mul", "ReduceSum", "Add"),
    "scaled_dot_product_attention": row(attention, "Attention", "Log"),
    "einsum": row(lambda call: call.emit("Einsum", *call["tensors"], equation=call["equation"]), "Einsum"),
    "matmul": row(product, "MatMul", "Mul", "ReduceSum"),
}
