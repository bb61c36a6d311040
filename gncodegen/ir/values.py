"""Python values in, xDSL attributes out, and back: the only file that knows how a value looks as an attribute."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import cast

from xdsl.dialects.builtin import (
    AnyFloat,
    ArrayAttr,
    BFloat16Type,
    BytesAttr,
    DictionaryAttr,
    Float16Type,
    Float32Type,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    IntegerType,
    MemRefType,
    StringAttr,
    TensorType,
    f64,
    i1,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from gncodegen.kernels.schedule import Constant, Tensor
from gncodegen.layers.checks import LARGEST

Value = int | float | bool | str | tuple["Value", ...] | Mapping[str, "Value"]
"""What an attribute of an op can be in Python."""

ELEMENT_TYPES: dict[str, Attribute] = {
    "float64": Float64Type(),
    "float32": Float32Type(),
    "float16": Float16Type(),
    "bfloat16": BFloat16Type(),
    "int64": IntegerType(64),
    "int32": IntegerType(32),
    "uint8": IntegerType(8),
}
"""dtype name → MLIR element type."""

DTYPES = {element: dtype for dtype, element in ELEMENT_TYPES.items()}
"""MLIR element type → dtype name."""


def encode(value: object) -> Attribute:
    """The attribute for a Python value; raises VerifyException for a value no attribute can hold."""
    match value:
        case bool():
            return IntegerAttr(int(value), i1)
        case int():
            if abs(value) > LARGEST:
                raise VerifyException(f"{value} is beyond 64 bits; allowed: up to 2⁶³ − 1; make extents smaller")
            return IntegerAttr(value, i64)
        case float():
            return FloatAttr(value, f64)
        case str():
            # xDSL reads a literal with bytes beyond ASCII as BytesAttr, so that is what such text is from the start.
            return StringAttr(value) if value.isascii() else BytesAttr(value.encode())
        case Mapping():
            entries = cast("Mapping[str, object]", value)
            return DictionaryAttr({name: encode(entry) for name, entry in entries.items()})
        case tuple() | list():
            return ArrayAttr([encode(entry) for entry in cast("Sequence[object]", value)])
        case _:
            raise VerifyException(f"no attribute holds {value!r} of type {type(value).__name__}")


def decode(attribute: Attribute) -> Value:
    """The Python value of an attribute; the inverse of `encode`."""
    match attribute:
        case IntegerAttr():
            return bool(attribute.value.data) if attribute.type == i1 else attribute.value.data
        case FloatAttr():
            return attribute.value.data
        case StringAttr():
            return attribute.data
        case BytesAttr():
            try:
                return attribute.data.decode()
            except UnicodeDecodeError as error:
                raise VerifyException(f"the text {attribute.data!r} is not UTF-8") from error
        case ArrayAttr():
            return tuple(decode(entry) for entry in attribute.data)
        case DictionaryAttr():
            return {name: decode(entry) for name, entry in attribute.data.items()}
        case _:
            raise VerifyException(f"attribute {attribute} is not a number, text, list or dictionary")


def constant(value: Value) -> Constant:
    """A value as a schedule holds it; raises VerifyException for dictionaries and mixed lists."""
    if isinstance(value, (int, float, str)):
        return value
    if isinstance(value, tuple) and all(isinstance(entry, int) for entry in value):
        return cast("tuple[int, ...]", value)
    if isinstance(value, tuple) and all(isinstance(entry, (int, float)) for entry in value):
        return cast("tuple[float, ...]", value)
    if isinstance(value, tuple) and all(isinstance(entry, str) for entry in value):
        return cast("tuple[str, ...]", value)
    raise VerifyException(f"{value!r} cannot be a constant of a schedule")


class AliasPrinter(Printer):
    """A printer of values some of which have a name, which stands for them."""

    aliases: Mapping[Attribute, str] = {}


def print_value(printer: Printer, attribute: Attribute) -> None:
    """Prints an attribute without the types that the parser assumes anyway: `8`, `1.0e-05`, `[1, 1]`."""
    if isinstance(printer, AliasPrinter) and attribute in printer.aliases:
        printer.print_string(printer.aliases[attribute])
        return
    match attribute:
        case IntegerAttr() if attribute.type == i64:
            printer.print_string(str(attribute.value.data))
        case FloatAttr() if attribute.type == f64 and math.isfinite(attribute.value.data):
            printer.print_string(_float_literal(attribute.value.data))
        case ArrayAttr():
            with printer.in_square_brackets():
                printer.print_list(attribute.data, lambda entry: print_value(printer, entry))
        case DictionaryAttr():
            print_dictionary(printer, attribute.data)
        case _:
            printer.print_attribute(attribute)


def print_dictionary(printer: Printer, entries: Mapping[str, Attribute]) -> None:
    """Prints `{name = value, …}`."""

    def entry(item: tuple[str, Attribute]) -> None:
        printer.print_identifier_or_string_literal(item[0])
        printer.print_string(" = ")
        print_value(printer, item[1])

    with printer.in_braces():
        printer.print_list(entries.items(), entry)


def _float_literal(value: float) -> str:
    """The shortest literal that reads back to the same bits; MLIR wants a point in every float."""
    text = repr(value)
    if "." in text:
        return text
    mantissa, _, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}"


@lru_cache(maxsize=4096)
def tensor_type(tensor: Tensor) -> TensorType[Attribute]:
    """The `tensor<…>` type of a shape and dtype."""
    return TensorType(ELEMENT_TYPES[tensor.dtype], tensor.shape)


@lru_cache(maxsize=4096)
def memref_type(tensor: Tensor) -> MemRefType[Attribute]:
    """The `memref<…>` type of a shape and dtype."""
    return MemRefType(ELEMENT_TYPES[tensor.dtype], tensor.shape)


def tensor_of(value: SSAValue | Attribute) -> Tensor:
    """Shape and dtype of a value or type, tensor or memref."""
    kind = value.type if isinstance(value, SSAValue) else value
    if not isinstance(kind, (TensorType, MemRefType)):
        raise VerifyException(f"{kind} is neither a tensor nor a memref")
    kind = cast("TensorType[AnyFloat] | MemRefType[AnyFloat]", kind)
    if kind.element_type not in DTYPES:
        raise VerifyException(f"element type {kind.element_type}; allowed: {', '.join(ELEMENT_TYPES)}")
    return Tensor(kind.get_shape(), DTYPES[kind.element_type])


class Values(Mapping[str, Value]):
    """Typed reading of an op's attributes.

    Args:
        values: Python values, such as defaults.
        attributes: go before `values`; decoded when read.
    """

    def __init__(self, values: Mapping[str, Value], attributes: Mapping[str, Attribute] | None = None) -> None:
        self._values = values
        self._attributes = attributes or {}

    def __getitem__(self, name: str) -> Value:
        return decode(self._attributes[name]) if name in self._attributes else self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._values, *self._attributes)))

    def __len__(self) -> int:
        return len(self._values.keys() | self._attributes.keys())

    def integer(self, name: str) -> int:
        """An int."""
        value = self[name]
        if not isinstance(value, int):
            raise VerifyException(f"{name} = {value!r}; allowed: an int")
        return value

    def real(self, name: str) -> float:
        """A float."""
        value = self[name]
        if not isinstance(value, (int, float)):
            raise VerifyException(f"{name} = {value!r}; allowed: a float")
        return float(value)

    def text(self, name: str) -> str:
        """Text."""
        value = self[name]
        if not isinstance(value, str):
            raise VerifyException(f"{name} = {value!r}; allowed: text")
        return value

    def integers(self, name: str) -> tuple[int, ...]:
        """A list of ints."""
        return tuple(entry for entry in self._list(name) if isinstance(entry, int))

    def reals(self, name: str) -> tuple[float, ...]:
        """A list of floats."""
        return tuple(float(entry) for entry in self._list(name) if isinstance(entry, (int, float)))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(entry for entry in self._list(name) if isinstance(entry, str))

    def _list(self, name: str) -> tuple[Value, ...]:
        value = self[name]
        if not isinstance(value, tuple):
            raise VerifyException(f"{name} = {value!r}; allowed: a list")
        return value
