"""One kernel as a flat list of instructions: scopes renamed apart, device functions inlined (PTX ISA 7)."""

from __future__ import annotations

import re

from gncodegen.emulator.ptx.text import (
    Function,
    Instruction,
    PtxFile,
    Scope,
    Variable,
    location,
    registers,
    split,
    statements,
    variable,
)
from gncodegen.errors import EmulationFault

_GUARD = re.compile(r"@(!?)([%\w$@]+)\s+(.*)", re.S)
_PARAM_DECLARATION = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.\w+\s+([\w$%]+)")
DEEPEST_CALL = 64


class InlinedKernel:
    """The entry of a PTX file with every call inlined.

    Attributes: `code`, `labels` (label → index into code), `tables` (branch tables), `registers` (name → PTX type),
    `locals` and `shared` variables declared in bodies.
    """

    def __init__(self, file: PtxFile, entry: Function) -> None:
        self.code: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self.tables: dict[str, list[str]] = {}
        self.registers: dict[str, str] = {}
        self.variables: list[Variable] = []
        self._ptx = file
        self._scopes = 0
        self._location = (0, 0)
        self._main = 0
        self._body(entry.body, Scope({}, ""), end="", depth=0)

    def _body(self, body: str, scope: Scope, end: str, depth: int) -> None:
        parts = statements(body)
        for kind, text in parts:
            if kind == "label":
                scope.declare(text)
            elif kind == "statement":
                self._declare(text, scope)
        label = ""
        for kind, text in parts:
            if kind == "scope":
                self._scopes += 1
                self._body(text, Scope(scope.names, f"@{self._scopes}"), end, depth)
            elif kind == "label":
                label = scope.rename(text)
                self.labels[label] = len(self.code)
            elif kind == "location":
                self._locate(text)
            elif text.startswith(".branchtargets"):
                self.tables[label] = split(scope.rename(text.removeprefix(".branchtargets")))
            elif not text.startswith("."):
                self._instruction(scope.rename(text), text, end, depth)

    def _declare(self, text: str, scope: Scope) -> None:
        if text.startswith(".reg"):
            for name, kind in registers(text):
                self.registers[scope.declare(name)] = kind
        elif text.startswith(".param"):
            match = _PARAM_DECLARATION.match(text)
            if match is not None:
                scope.declare(match.group(1))
        elif text.startswith((".local", ".shared", ".global", ".const")):
            declared = variable(text)
            if declared is not None:
                name = scope.declare(declared.name)
                self.variables.append(Variable(declared.space, name, *_rest(declared)))

    def _locate(self, text: str) -> None:
        for file, line in location(text):
            self._main = self._main or file
            if file == self._main and line:
                self._location = (file, line)
                return

    def _instruction(self, text: str, original: str, end: str, depth: int) -> None:
        guard = _GUARD.match(text) if text[0] == "@" else None
        negated, name, rest = (guard.group(1) == "!", guard.group(2), guard.group(3)) if guard else (False, "", text)
        opcode, _, operands = rest.partition(" ")
        parts, arguments = opcode.split("."), split(operands)
        if parts[0] == "call":
            self._call(arguments, original, depth, name, negated)
            return
        if parts[0] == "brx":
            self._indexed(arguments, original, name, negated)
            return
        if parts[0] == "ret" and end:
            parts, arguments = ["bra"], [end]
        self._emit(original, parts, arguments, name, negated)

    def _emit(self, text: str, parts: list[str], operands: list[str], guard: str, negated: bool) -> None:
        self.code.append(Instruction(text, tuple(parts), tuple(operands), guard, negated, *self._location))

    def _indexed(self, operands: list[str], text: str, guard: str, negated: bool) -> None:
        """brx.idx as a branch for each index of its table; another index is undefined."""
        self._scopes += 1
        chosen, end = f"%chosen@{self._scopes}", f"$behind@{self._scopes}"
        self.registers[chosen] = "pred"
        if guard:
            self._emit(text, ["bra"], [end], guard, not negated)
        for number, target in enumerate(self.tables[operands[1]]):
            self._emit(text, ["setp", "eq", "u32"], [chosen, operands[0], str(number)], "", False)
            self._emit(text, ["bra"], [target], chosen, False)
        self._emit(text, ["trap"], [], "", False)
        self.labels[end] = len(self.code)

    def _call(self, operands: list[str], text: str, depth: int, guard: str, negated: bool) -> None:
        returned = split(operands.pop(0)[1:-1]) if operands[0].startswith("(") else []
        name, passed = operands[0], split(operands[1][1:-1]) if len(operands) > 1 else []
        function = self._ptx.functions.get(name)
        if function is None:  # the driver's, if anyone's
            self._emit(text, ["call", name], [*returned, *passed], guard, negated)
            return
        if depth >= DEEPEST_CALL:
            raise EmulationFault(f"the called function {name} calls itself", instruction=text)
        self._scopes += 1
        formal = [one.name for one in (*function.returns, *function.parameters)]
        scope = Scope(dict(zip(formal, [*returned, *passed], strict=True)), f"@{self._scopes}")
        end = f"$return@{self._scopes}"
        if guard:
            self._emit(text, ["bra"], [end], guard, not negated)
        self._body(function.body, scope, end, depth + 1)
        self.labels[end] = len(self.code)


def _rest(declared: Variable) -> tuple[str, int, int, str | None]:
    return declared.kind, declared.alignment, declared.elements, declared.initial
