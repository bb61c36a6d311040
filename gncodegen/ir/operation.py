"""The base of all our ops: declared attributes, one assembly format that parses back, layer provenance."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Self

from xdsl.dialects.builtin import SymbolRefAttr
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import IRDLOperation
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from gncodegen.ir.values import Value, Values, decode, encode, print_dictionary

_CHECKS: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "bool": bool,
    "text": str,
    "int or text": (int, str),
    "ints": int,
    "floats": (int, float),
    "texts": str,
    "dictionary": Mapping,
}
_LISTS = ("ints", "floats", "texts")


@dataclass(frozen=True)
class Declared:
    """One attribute an op may carry.

    Args:
        name: its key in the op's `{…}`.
        kind: "int", "float", "bool", "text", "int or text", "ints", "floats", "texts" or "dictionary".
        default: what an absent attribute means; None makes it required.
        choices: the only texts allowed; empty allows every value of the kind.
    """

    name: str
    kind: str
    default: Value | None = None
    choices: Collection[str] = ()

    def check(self, value: Value) -> None:
        """Raises VerifyException if `value` is not of the declared kind."""
        entries = value if isinstance(value, tuple) else (value,)
        fits = isinstance(value, tuple) == (self.kind in _LISTS)
        fits = fits and all(isinstance(entry, _CHECKS[self.kind]) for entry in entries)
        fits = fits and (self.kind == "bool" or not any(isinstance(entry, bool) for entry in entries))
        if not fits:
            raise VerifyException(f"{self.name} = {value!r}; allowed: {self.kind}")
        if self.choices and isinstance(value, str) and value not in self.choices:
            raise VerifyException(f"{self.name} = {value!r}; allowed: {', '.join(map(repr, self.choices))}")


class TextOperation(IRDLOperation):
    """An op written `%r = dialect.op @symbol(%a, %b) {name = value} : (types) -> types`; the symbol is optional.

    `ATTRIBUTES` declares what the braces may hold; `layers`, the names of the layers an op computes, is always allowed.
    `SYMBOL` names the property that holds the symbol; an op that defines one ("sym_name") has no operands and results.
    """

    ATTRIBUTES: ClassVar[tuple[Declared, ...]] = ()
    SYMBOL: ClassVar[str] = ""

    @property
    def values(self) -> Values:
        """All declared attributes as Python values, defaults filled in."""
        given = {name: attribute for name, attribute in self.attributes.items() if name != "layers"}
        return Values(defaults(type(self)), given)

    def attribute(self, name: str) -> Value:
        """One attribute as a Python value, or its default."""
        return self.values[name]

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers this op computes."""
        return texts(self, "layers")

    @layers.setter
    def layers(self, names: Iterable[str]) -> None:
        distinct = tuple(dict.fromkeys(names))
        if distinct:
            self.attributes["layers"] = encode(distinct)
        else:
            self.attributes.pop("layers", None)

    @classmethod
    def encoded(cls, values: Mapping[str, Value], layers: Iterable[str] = ()) -> dict[str, Attribute]:
        """The attribute dictionary of Python values, in declared order and without values equal to their default."""
        unknown = values.keys() - {declared.name for declared in cls.ATTRIBUTES}
        if unknown:
            raise VerifyException(f"{cls.name} has no attribute {', '.join(sorted(unknown))}; {cls._allowed()}")
        attributes: dict[str, Attribute] = {}
        for declared in cls.ATTRIBUTES:
            if declared.name in values and values[declared.name] != declared.default:
                declared.check(value := values[declared.name])
                as_float = declared.kind == "float" and isinstance(value, int)
                attributes[declared.name] = encode(float(value) if as_float else value)  # pyright: ignore[reportArgumentType]
        distinct = tuple(dict.fromkeys(layers))
        return attributes | ({"layers": encode(distinct)} if distinct else {})

    def check_attributes(self) -> None:
        """Raises VerifyException for an unknown, missing or ill-typed attribute."""
        declared_names = {declared.name: declared for declared in self.ATTRIBUTES}
        for name, attribute in self.attributes.items():
            if name == "layers":
                Declared("layers", "texts").check(decode(attribute))
            elif name not in declared_names:
                raise VerifyException(f"{self.name} has no attribute {name}; {self._allowed()}")
            else:
                declared_names[name].check(decode(attribute))
        for declared in self.ATTRIBUTES:
            if declared.default is None and declared.name not in self.attributes:
                raise VerifyException(f"{self.name} lacks the attribute {declared.name} ({declared.kind})")

    @classmethod
    def _allowed(cls) -> str:
        names = [declared.name for declared in cls.ATTRIBUTES]
        return f"allowed: {', '.join([*names, 'layers'])}"

    def print(self, printer: Printer) -> None:
        """Prints everything after the op's name."""
        if self.SYMBOL:
            printer.print_string(" ")
            symbol = self.properties[self.SYMBOL]
            printer.print_symbol_name(
                symbol.string_value() if isinstance(symbol, SymbolRefAttr) else str(decode(symbol))
            )
        if self.SYMBOL != "sym_name":
            printer.print_operands(self.operands)
        if self.attributes:
            printer.print_string(" ")
            print_dictionary(printer, self.attributes)
        if self.SYMBOL != "sym_name":
            printer.print_string(" : ")
            printer.print_operation_type(self)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        """Parses everything after the op's name."""
        properties: dict[str, Attribute] = {}
        if cls.SYMBOL == "sym_name":
            name = parser.parse_symbol_name()
            return cls.create(properties={cls.SYMBOL: name}, attributes=parser.parse_optional_attr_dict())
        if cls.SYMBOL:
            properties[cls.SYMBOL] = SymbolRefAttr(parser.parse_symbol_name())
        operands = parser.parse_op_args_list()
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        position = parser.pos
        types = parser.parse_function_type()
        return cls.create(
            operands=parser.resolve_operands(operands, types.inputs.data, position),
            result_types=types.outputs.data,
            properties=properties,
            attributes=attributes,
        )


@cache
def defaults(kind: type[TextOperation]) -> Mapping[str, Value]:
    """The declared attributes of an op that have a default."""
    return {declared.name: declared.default for declared in kind.ATTRIBUTES if declared.default is not None}


def texts(operation: Operation, name: str) -> tuple[str, ...]:
    """A list-of-text attribute of any op; absent means empty."""
    if name not in operation.attributes:
        return ()
    value = decode(operation.attributes[name])
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, tuple) else ()


def merged_layers(operations: Iterable[Operation]) -> tuple[str, ...]:
    """The layers of several ops, each once, in order: what their fusion computes."""
    return tuple(dict.fromkeys(name for operation in operations for name in texts(operation, "layers")))


def only_user(value: SSAValue) -> Operation | None:
    """The one op that uses `value`, if exactly one use exists."""
    use = value.get_unique_use()
    return None if use is None else use.operation


def users(value: SSAValue) -> Sequence[Operation]:
    """The ops that use `value`, one entry per use."""
    return [use.operation for use in value.uses]
