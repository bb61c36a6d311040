"""IR out as text: lines of 120 columns, attributes that repeat as aliases at the top, and each line's layers."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, ModuleOp, StringAttr
from xdsl.dialects.func import FuncOp
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.printer import Printer

from gncodegen.ir.kern import AllocOp, KernelOp, LaunchOp, ViewOp
from gncodegen.ir.operation import merged_layers, texts
from gncodegen.ir.values import AliasPrinter, decode, print_dictionary, print_value

WIDTH = 120
"""Columns of a line, unless one word is longer."""

SHORTEST_ALIASED = 24
"""Characters of an attribute that gets a name where it stands more than once."""


@dataclass(frozen=True)
class Line:
    """A line of IR text, and the names of the layers that it is about; () = of none alone."""

    text: str
    layers: tuple[str, ...] = ()


def print_module(module: ModuleOp) -> str:
    """The MLIR text of a module; `parse_module` reads it back to the same IR."""
    return "".join(f"{line.text}\n" for line in lines_of(module))


def lines_of(module: ModuleOp) -> list[Line]:
    """The lines of the text of a module."""
    stream, aliases = StringIO(), _aliases(module)
    printer = ModulePrinter(stream, aliases, _layers(module))
    printer.print_op(module)
    named = [Line(f"{name} = {_text(attribute)}") for attribute, name in aliases.items()]
    whole = [Line(text, printer.found.get(number, ())) for number, text in enumerate(stream.getvalue().split("\n"))]
    return [Line(part, line.layers) for line in (*named, *whole) for part in _wrapped(line.text)]


def _aliases(module: ModuleOp) -> dict[Attribute, str]:
    """The lists and dictionaries that stand several times on ops → their names, such as `#layers1`."""
    counts: Counter[tuple[str, Attribute]] = Counter()
    for op in module.walk():
        counts.update(
            (key, value) for key, value in op.attributes.items() if isinstance(value, ArrayAttr | DictionaryAttr)
        )
    found: dict[Attribute, str] = {}
    numbers: Counter[str] = Counter()
    for (key, value), count in counts.items():
        if count > 1 and value not in found and len(_text(value)) >= SHORTEST_ALIASED:
            stem = re.sub(r"\W", "_", key)
            numbers[stem] += 1
            found[value] = f"#{stem}{numbers[stem]}"
    return found


def _text(attribute: Attribute) -> str:
    stream = StringIO()
    print_value(Printer(stream), attribute)
    return stream.getvalue()


def _layers(module: ModuleOp) -> dict[Operation, tuple[str, ...]]:
    """The layers of every op: its own, of a kernel those of its launches, of a buffer those of what writes it."""
    found = {op: texts(op, "layers") for op in module.walk()}
    of_kernel: defaultdict[str, list[LaunchOp]] = defaultdict(list)
    writing: defaultdict[SSAValue, list[LaunchOp]] = defaultdict(list)
    for op in found:
        if isinstance(op, LaunchOp):
            of_kernel[op.kernel_name].append(op)
            for buffer in dict.fromkeys(op.written):
                writing[buffer].append(op)
    for op in found:
        if isinstance(op, KernelOp):
            found[op] = merged_layers(of_kernel[str(decode(op.sym_name))])
        elif isinstance(op, AllocOp | ViewOp):
            found[op] = merged_layers(writing[op.buffer])
    return found


def _named(slot: DictionaryAttr) -> str:
    """The name of the array that a slot describes, such as "conv_1.weights"; "" = none, or no text, in IR by hand."""
    name = slot.data.get("gn.name")
    return name.data if isinstance(name, StringAttr) else ""


_BREAKS = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<end>, | (?=: |-> ))')
"""Texts, and the places between words at which a line may end."""


def _wrapped(text: str) -> Iterator[str]:
    """The line in several of at most WIDTH columns, where it has words; those after the first are indented."""
    if len(text) <= WIDTH:
        yield text
        return
    indent = " " * (len(text) - len(text.lstrip()) + 4)
    ends = [match.end() for match in _BREAKS.finditer(text) if match["end"] and match.end() > len(indent)]
    start, margin, next_end = 0, "", 0
    while next_end < len(ends) and len(margin) + len(text) - start > WIDTH:
        furthest = start + WIDTH - len(margin)
        fitting = bisect_right(ends, furthest, lo=next_end, key=lambda end: len(text[:end].rstrip()))
        next_end = max(fitting, next_end + 1)
        yield margin + text[start : ends[next_end - 1]].rstrip()
        start, margin = ends[next_end - 1], indent
    yield margin + text[start:]


class ModulePrinter(AliasPrinter):
    """xDSL's printer, but each argument and result of a function has its own line, and `found` has lines' layers."""

    def __init__(
        self, stream: StringIO, aliases: Mapping[Attribute, str], layers: Mapping[Operation, tuple[str, ...]]
    ) -> None:
        super().__init__(stream)
        self.aliases, self._layers = aliases, layers
        self.found: dict[int, tuple[str, ...]] = {}

    def print_op(self, op: Operation) -> None:
        """Prints one op; a function in our form, any other in its own."""
        if layers := self._layers.get(op):
            self.found[self._current_line] = layers
        if not isinstance(op, FuncOp) or op.is_declaration:
            super().print_op(op)
            return
        self.enter_scope()
        self.print_string("func.func ")
        self.print_symbol_name(op.sym_name.data)
        arguments = [(lambda value=value: self.print_block_argument(value)) for value in op.args]
        self._print_arrays(arguments, op.arg_attrs)
        if op.function_type.outputs.data:
            self.print_string(" -> ")
            types = [(lambda kind=kind: self.print_attribute(kind)) for kind in op.function_type.outputs]
            self._print_arrays(types, op.res_attrs)
        if op.attributes:
            self.print_string(" attributes ")
            print_dictionary(self, op.attributes)
        self.print_string(" ")
        self.print_region(op.body, print_entry_block_args=False)
        self.exit_scope()

    def _print_arrays(self, entries: Sequence[Callable[[], None]], slots: ArrayAttr[DictionaryAttr] | None) -> None:
        """`(`, one entry with its slot per line, `)`."""
        with self.in_parens():
            with self.indented():
                for index, entry in enumerate(entries):
                    self._print_new_line()
                    entry()
                    if slots is not None:
                        self.print_string(" ")
                        print_dictionary(self, slots.data[index].data)
                        layer = _named(slots.data[index]).rpartition(".")[0]
                        self.found |= {self._current_line: (layer,)} if layer else {}
                    self.print_string("," if index + 1 < len(entries) else "")
            self._print_new_line()
