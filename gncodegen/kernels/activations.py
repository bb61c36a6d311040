"""What kernels know of activation functions; their formulas stand in templates/parts/activation.py.jinja."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from gncodegen.errors import CompileError

Source = Literal["input", "output"]

GRADIENT_FROM: Mapping[str, Source] = {
    "relu": "output",
    "leaky-relu": "output",
    "clipped-relu": "output",
    "elu": "output",
    "tanh": "output",
    "sigmoid": "output",
    "swish": "input",
    "gelu": "input",
    "gelu-tanh": "input",
    "softplus": "input",
}
"""For every function, which of its two arrays its gradient needs; "output" lets the input's memory go early."""

FLOPS: Mapping[str, int] = {
    "": 0, "relu": 1, "leaky-relu": 2, "clipped-relu": 2, "elu": 20, "tanh": 24, "sigmoid": 22, "swish": 22,
    "gelu": 30, "gelu-tanh": 30, "softplus": 40,
}  # fmt: skip
"""Floating-point operations of one element, forward; the gradient takes about as many and two more."""


def gradient_from(function: str, alpha: float = 0.0) -> Source:
    """Which array the gradient of `function` is taken from.

    A leaky ReLU or ELU of negative slope is not monotonic: its output does not tell the side, so the input is needed.
    """
    if function in ("leaky-relu", "elu") and alpha < 0:
        return "input"
    return GRADIENT_FROM[checked(function)]


def checked(function: str) -> str:
    """`function` if it is known or "" (no activation).

    Raises:
        CompileError: it is not; lists those that are.
    """
    if function and function not in GRADIENT_FROM:
        raise CompileError(f"activation {function!r} is unknown; allowed: {', '.join(GRADIENT_FROM)}")
    return function
