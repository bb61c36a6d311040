"""PTX text cut into functions, variables and instructions (PTX ISA 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from gncodegen.errors import EmulationFault

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_FUNCTION = re.compile(r"\.(entry|func)\s+(?:\(([^)]*)\)\s*)?([\w$]+)\s*(?:\(([^)]*)\))?")
_PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+\d+\s+)?\.(\w+)\s+(?:\.ptr\s*)?(?:\.(?:global|shared|const|local)\s+)?(?:\.align\s+\d+\s+)?"
    r"([\w$%]+)(?:\[(\d*)\])?"
)
_VARIABLE = re.compile(
    r"\.(global|const|shared|local)\s+(?:\.attribute\([^)]*\)\s*)?(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$%]+)((?:\[\d*\])*)"
    r"\s*(?:=\s*(.*))?$",
    re.S,
)
_FILE = re.compile(r"\.file\s+(\d+)\s+\"([^\"]*)\"")
_LOCATION = re.compile(
    r"\.loc\s+(\d+)\s+(\d+)\s+\d+(?:,\s*function_name[^\n]*?inlined_at\s+(\d+)\s+(\d+)\s+\d+)?[^\n]*"
)
_STATEMENT = re.compile(
    r"[\s;]*(?:(?P<scope>\{)|(?P<location>\.loc\s[^\n]*)|(?P<label>[\w$%]+)\s*:(?!:)|(?P<statement>[^\s;][^;]*))"
)
_REGISTER = re.compile(r"\.reg\s*(?:\.v[24]\s+)?\.(\w+)\s+(.*)", re.S)
_PART = re.compile(r"(?:[^,{\[(]|\{[^}]*\}|\[[^\]]*\]|\([^)]*\))+")
_BRACE = re.compile(r"[{}]")
_VISIBLE = re.compile(r"\S")
_NAME = re.compile(r"(?<![\w$%.])[%$A-Za-z_][\w$]*")


@dataclass(frozen=True)
class FormalParameter:
    """One formal parameter: its name, its PTX type and its bytes (0 when the type says)."""

    name: str
    kind: str
    nbytes: int


@dataclass(frozen=True)
class Variable:
    """One variable of a state space: `elements` of `kind`, with initial values as text or None."""

    space: str
    name: str
    kind: str
    alignment: int
    elements: int
    initial: str | None


class Instruction(NamedTuple):
    """One instruction: dotted opcode, operands, guard predicate ("" for none) and where it comes from."""

    text: str
    opcode: tuple[str, ...]
    operands: tuple[str, ...]
    guard: str
    negated: bool
    file: int
    line: int


@dataclass
class Function:
    """One .entry or .func as text."""

    name: str
    entry: bool
    returns: list[FormalParameter]
    parameters: list[FormalParameter]
    body: str


@dataclass
class PtxFile:
    """A PTX file cut at its top level."""

    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    variables: list[Variable] = field(default_factory=list[Variable])
    files: dict[int, str] = field(default_factory=dict[int, str])


def split(text: str) -> list[str]:
    """The parts between commas outside brackets."""
    return [part.strip() for part in _PART.findall(text) if not part.isspace()]


def closing(text: str, start: int) -> int:
    """The index just behind the brace that closes the one at `start`."""
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return match.end()
    raise EmulationFault("the PTX text ends inside a brace")


def parameters(text: str | None) -> list[FormalParameter]:
    """The formal parameters in a parenthesised list."""
    found = _PARAMETER.findall(text or "")
    return [FormalParameter(name, kind, int(count or 0)) for kind, name, count in found]


def variable(statement: str) -> Variable | None:
    """The variable a directive declares, None if it declares none."""
    match = _VARIABLE.search(statement)
    if match is None:
        return None
    space, alignment, kind, name, dimensions, initial = match.groups()
    elements = 1
    for size in re.findall(r"\[(\d*)\]", dimensions):
        elements *= int(size or 0)
    return Variable(space, name, kind, int(alignment or 0), elements, initial)


def read(text: str) -> PtxFile:
    """Cut a PTX file into its functions, variables and source files.

    Raises:
        EmulationFault: a brace is not closed.
    """
    text = _COMMENT.sub("", text)
    file = PtxFile(files={int(number): name for number, name in _FILE.findall(text)})
    at = 0
    while match := _VISIBLE.search(text, at):
        at = match.start()
        stop = min(i for i in (text.find(";", at), text.find("{", at), len(text)) if i >= 0)
        head = text[at:stop]
        function = _FUNCTION.search(head)
        if function is not None and stop < len(text) and text[stop] == "{":
            end = closing(text, stop)
            kind, returns, name, formal = function.groups()
            body = text[stop + 1 : end - 1]
            file.functions[name] = Function(name, kind == "entry", parameters(returns), parameters(formal), body)
            at = end
        elif re.match(r"\.section", head):
            at = closing(text, stop)
        elif function is not None:
            at = stop + 1
        else:
            stop = text.find(";", closing(text, stop) if text[stop : stop + 1] == "{" else at)
            stop = len(text) if stop < 0 else stop
            declared = variable(text[at:stop])
            file.variables += [declared] if declared else []
            at = stop + 1
    return file


class Scope:
    """Names declared between two braces; each name gets one spelling that is unique in the kernel.

    Args:
        names: the spellings of the names declared outside.
        suffix: what the spelling of a name declared here ends in.
    """

    def __init__(self, names: dict[str, str], suffix: str) -> None:
        self.names, self.suffix = dict(names), suffix

    def declare(self, name: str) -> str:
        """The unique spelling of a name declared here."""
        spelled = name + self.suffix
        if spelled != name or name in self.names:
            self.names[name] = spelled
        return spelled

    def rename(self, text: str) -> str:
        """The text with every name in its unique spelling."""
        if not self.names:
            return text
        return _NAME.sub(lambda match: self.names.get(match.group(), match.group()), text)


def statements(body: str) -> list[tuple[str, str]]:
    """The body's statements in order: ("scope" | "label" | "location" | "statement", text)."""
    found: list[tuple[str, str]] = []
    at = 0
    while match := _STATEMENT.match(body, at):
        kind, at = str(match.lastgroup), match.end()
        if kind == "scope":
            end = closing(body, at - 1)
            found.append((kind, body[at : end - 1]))
            at = end
        elif kind == "label":
            found.append((kind, match.group(kind)))
        else:
            found.append((kind, " ".join(match.group(kind).split())))
    return found


def location(text: str) -> list[tuple[int, int]]:
    """The (file, line) pairs of a .loc directive, innermost first."""
    match = _LOCATION.match(text)
    numbers = [int(number) for number in match.groups() if number] if match else []
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def registers(statement: str) -> list[tuple[str, str]]:
    """The (name, type) pairs that a .reg directive declares."""
    match = _REGISTER.match(statement)
    if match is None:
        return []
    kind, names = match.groups()
    found: list[tuple[str, str]] = []
    for name in names.split(","):
        many = re.match(r"\s*([%\w$]+)<(\d+)>", name)
        spelled = [f"{many.group(1)}{i}" for i in range(int(many.group(2)))] if many else [name.strip()]
        found += [(one, kind) for one in spelled]
    return found
