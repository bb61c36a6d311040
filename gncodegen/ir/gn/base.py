"""The base of gn ops: pure, on tensors, with one shape rule that builds and verifies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import ClassVar

from xdsl.builder import Builder
from xdsl.dialects.builtin import AnyTensorTypeConstr
from xdsl.ir import SSAValue
from xdsl.irdl import traits_def, var_operand_def, var_result_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from gncodegen.ir.operation import Declared, TextOperation, defaults
from gncodegen.ir.values import Value, Values, encode, tensor_of, tensor_type
from gncodegen.kernels.activations import ACTIVATIONS, EPILOGUES
from gncodegen.kernels.schedule import Tensor, computed_in
from gncodegen.layers.geometry import window_outputs

Cotangents = Sequence[SSAValue | None]
"""One derivative of the loss per value; None where the value does not reach the loss."""

WINDOW = (Declared("stride", "ints"), Declared("dilation", "ints"), Declared("padding", "ints"))
POOL = (Declared("window", "ints"), Declared("stride", "ints"), Declared("padding", "ints"))

AVERAGE_POOL = (*POOL, Declared("count_padding", "bool", True), Declared("total", "bool", False))
"""Of average pools; `total`: sums instead of means."""

FUNCTION = (
    Declared("function", "text", None, ACTIVATIONS), Declared("alpha", "float", 0.0), Declared("beta", "float", 0.0),
)  # fmt: skip
"""What says which activation an op is: a row of kernels.activations, and its constants."""

EPILOGUE = (Declared("activation", "text", "", EPILOGUES), Declared("alpha", "float", 0.0))
"""What an op carries after the fuse pass merged an activation into it."""

RESIDUAL = Declared("residual", "bool", False)
"""Whether the fuse pass merged an addition into a normalization or product; the other summand is then an operand."""

WIDE = Declared("wide", "bool", False)
"""Whether y is of the type that x computes in, instead of x's own."""

PARTS = Declared("parts", "int", 0)
"""Parts of an observation whose partials a convolution leaves beside y, for a norm that takes them; 0 = none.

Partials (N, parts, 3, channels), float64: per channel the sum and the sum of squares of deviations, and the centre they
deviate from. Part i of n holds the rows from rows·i // n on.
"""

REDUCED = Declared("reduced", "text", "spatial-channel", ("spatial-channel", "channel", "batch-spatial", "step"))
"""What a norm's statistics are over: all of an observation, its channels at a position, the batch, or a time step."""

NORMALIZED = (
    Declared("norm_groups", "int", 0),
    Declared("norm_activation", "text", "", EPILOGUES),
    Declared("norm_alpha", "float", 0.0),
)
"""A group norm, of so many groups, and an activation that a convolution applies to x as it reads it; 0 = none."""

CLIPS = ("none", "l2norm", "global-l2norm", "absolute-value")


class GnOperation(TextOperation):
    """One tensor op of the gn dialect.

    Subclasses give `name`, `ATTRIBUTES`, the shape rule `infer`, and `gradient` if a loss can flow through them. An op
    with `READS_HYPERPARAMETERS` takes the hyperparameters tensor as its last operand, one without
    `COMPUTES` has no kernel.
    """

    inputs = var_operand_def(AnyTensorTypeConstr)
    outputs = var_result_def(AnyTensorTypeConstr)
    traits = traits_def(Pure())
    READS_HYPERPARAMETERS: ClassVar[bool] = False
    COMPUTES: ClassVar[bool] = True

    def __init__(
        self,
        operands: Sequence[SSAValue],
        attributes: Mapping[str, Value] | None = None,
        layers: Iterable[str] = (),
    ) -> None:
        """Builds the op; its result types follow from the shape rule, which raises VerifyException on a misfit."""
        encoded = self.encoded(attributes or {}, layers)
        values = Values({**defaults(type(self)), **(attributes or {})})
        self.require(values)
        results = self.infer(tuple(map(tensor_of, operands)), values)
        super().__init__(operands=[operands], result_types=[list(map(tensor_type, results))], attributes=encoded)

    @classmethod
    def infer(cls, operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, ...]:
        """The shape rule: result shapes and dtypes from operand shapes and dtypes and attributes."""
        raise NotImplementedError(cls.name)

    def gradient(self, builder: Builder, cotangents: Cotangents) -> Cotangents:
        """Inserts the gradient ops; one cotangent per operand from one per result."""
        raise VerifyException(f"{self.name} has no gradient; run canonicalize before gradients, and fuse after it")

    @classmethod
    def require(cls, values: Values) -> None:
        """Raises VerifyException if a required attribute is missing."""
        for declared in cls.ATTRIBUTES:
            if declared.name not in values:
                raise VerifyException(f"{cls.name} lacks the attribute {declared.name} ({declared.kind})")

    def set_attribute(self, name: str, value: Value) -> None:
        """Replaces one attribute; the result types must stay what they are."""
        self.attributes[name] = encode(value)

    def verify_(self) -> None:
        """Checks attributes, then that the written result types are those of the shape rule."""
        self.check_attributes()
        expected = self.infer(tuple(map(tensor_of, self.operands)), self.values)
        found = tuple(map(tensor_of, self.results))
        if len(expected) != len(found):
            raise VerifyException(f"{self.name} has {len(found)} results; its shape rule gives {len(expected)}")
        for index, (wanted, given) in enumerate(zip(expected, found, strict=True)):
            if wanted != given:
                raise VerifyException(
                    f"{self.name}: result {index} is {shape_text(given)}; its shape rule gives {shape_text(wanted)}"
                )


def shape_text(tensor: Tensor) -> str:
    """`32×28×28×8 float32`."""
    return f"{'×'.join(map(str, tensor.shape)) or 'scalar'} {tensor.dtype}"


def expect(holds: bool, message: str) -> None:
    """Raises VerifyException with `message` unless `holds`."""
    if not holds:
        raise VerifyException(message)


def expect_operands(operands: Sequence[Tensor], *allowed: int) -> None:
    """The number of operands is one of `allowed`."""
    expect(len(operands) in allowed, f"{len(operands)} operands; allowed: {' or '.join(map(str, allowed))}")


def expect_shape(what: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    """`tensor` has exactly this shape."""
    expect(tensor.shape == shape, f"{what} has shape {list(tensor.shape)}; it must be {list(shape)}")


def expect_same(what: str, first: Tensor, second: Tensor) -> None:
    """Both tensors have the same shape and dtype."""
    expect(first == second, f"{what} differ: {shape_text(first)} and {shape_text(second)}")


def channels(tensor: Tensor) -> int:
    """The extent of the last axis."""
    expect(len(tensor.shape) >= 2, f"{shape_text(tensor)} needs a batch and a channel axis")
    return tensor.shape[-1]


def statistics_dtype(dtype: str) -> str:
    """Statistics are float32, or float64 for float64 activations."""
    return computed_in(dtype)


def statistics(x: Tensor, groups: int, reduced: str) -> Tensor:
    """What a group norm of x leaves."""
    axes = {"spatial-channel": x.shape[:1], "batch-spatial": (), "channel": x.shape[:-1], "step": x.shape[:-1][:2]}
    return Tensor((prod(axes[reduced]), groups, 3), statistics_dtype(x.dtype))


def expect_statistics(x: Tensor, groups: int, statistics: Tensor, *parameters: Tensor) -> None:
    """Statistics of so many groups of each observation of x, and parameters of its channels."""
    expect(channels(x) % groups == 0, f"{channels(x)} channels do not split into {groups} groups")
    expect_same("statistics and those of x", statistics, Tensor((x.shape[0], groups, 3), statistics_dtype(x.dtype)))
    for parameter in parameters:
        expect_shape("a parameter of the norm", parameter, (channels(x),))


def partials(y: Tensor, parts: int) -> Tensor:
    """What a convolution that writes y leaves for a norm; see PARTS."""
    return Tensor((y.shape[0], parts, 3, y.shape[-1]), "float64")


def product_operands(operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, Tensor, Tensor | None]:
    """The x, weights and bias, where there is one, of (x, weights[, bias][, residual])."""
    residual = bool(values["residual"])
    expect_operands(operands, 2 + residual, 3 + residual)
    x, weights, *bias = operands[: len(operands) - residual]
    return x, weights, bias[0] if bias else None


def product_result(operands: tuple[Tensor, ...], values: Values, y: Tensor) -> Tensor:
    """The y of a product whose residual, if there is one, is like it."""
    if values["residual"]:
        expect_same("y and the residual", y, operands[-1])
    return Tensor(y.shape, computed_in(y.dtype)) if values["wide"] else y


def window_operands(operands: tuple[Tensor, ...], values: Values) -> tuple[Tensor, Tensor, Tensor | None]:
    """Those of a product whose window slides over the last axes of x before its channels."""
    x, weights, bias = product_operands(operands, values)
    expect(
        3 <= len(weights.shape) <= len(x.shape),
        f"weights have {len(weights.shape)} axes and x has {len(x.shape)}; weights need 3 to {len(x.shape)}: those of "
        "the window, channels and filters",
    )
    return x, weights, bias


def window_shape(
    x: Tensor, window: Sequence[int], values: Values, dilation: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Extents of a window op's result before its channels: batch, axes that the window leaves alone, and the others."""
    stride, padding = values.integers("stride"), values.integers("padding")
    dilation = dilation or (1,) * len(window)
    rank, most = len(window), min(3, len(x.shape) - 2)
    expect(1 <= rank <= most, f"window = {list(window)} has {rank} entries; {shape_text(x)} takes 1 to {most}")
    counts = {"stride": (stride, rank), "dilation": (dilation, rank), "padding": (padding, 2 * rank)}
    for name, (entries, count) in counts.items():
        expect(
            len(entries) == count,
            f"{name} = {list(entries)} has {len(entries)} entries; the window {list(window)} needs {count}",
        )
    before, spatial = x.shape[: -rank - 1], x.shape[-rank - 1 : -1]
    expect(
        min((*window, *stride, *dilation)) >= 1, f"window {list(window)}, stride {list(stride)}: entries must be ≥ 1"
    )
    extents = window_outputs(spatial, window, stride, dilation, padding)
    expect(
        min(extents) >= 1,
        f"window {list(window)} with padding {list(padding)} is larger than the input {list(spatial)}",
    )
    return (*before, *extents)
