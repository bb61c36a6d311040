"""Modules of ours as one: the definitions that some names need, as they are written, without imports of ours.

What stands at the top level of a module is a definition, an import, or an effect, such as a registration with Numba.
A file gets the definitions that are needed, and all effects of their modules.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from gncodegen.errors import CompileError

OURS = "gncodegen."

Place = tuple[str, str]
"""(module, name)."""

ABSENT = ("gncodegen.process",)
"""What a file does nothing about: signals and forks."""

SWITCHED = "environment"
"""What stands under an `if` that asks this function is left out: nobody sets variables for a file that stands alone."""


@dataclass(frozen=True)
class _Piece:
    """A statement at the top level of a module: its text, the names that it uses, and what it takes from where."""

    text: str
    used: frozenset[str]
    taken: Mapping[str, Place]


@dataclass(frozen=True)
class _Module:
    """A module's statements.

    Args:
        title: first line of its docstring.
        definitions: what it defines, in order.
        effects: names of those definitions that nobody has to ask for.
        imported: name → import statement, of packages.
        taken: name → place, of modules of ours.
    """

    title: str
    definitions: Mapping[str, _Piece]
    effects: frozenset[str]
    imported: Mapping[str, str]
    taken: Mapping[str, Place]


class Flattened:
    """A growing set of definitions.

    Args:
        replaced: place → that of the definition that stands for it in a file.
    """

    def __init__(self, replaced: Mapping[Place, Place]) -> None:
        self._replaced = replaced
        self._needed: dict[str, set[str]] = {}
        self._uses: dict[str, set[str]] = {}

    def need(self, module: str, names: Iterable[str]) -> None:
        """Adds names of a module, and all that they need.

        Raises:
            CompileError: two modules call different things by one name.
        """
        content = _module(module)
        fresh = module not in self._needed
        known = self._needed.setdefault(module, set())
        waiting = [*names, *(filter(lambda effect: self._stands(module, effect), content.effects) if fresh else ())]
        while waiting:
            name = waiting.pop()
            if name in known:
                continue
            known.add(name)
            if name in content.taken:
                self._take(module, content.taken[name])
            if (piece := content.definitions.get(name)) is None:
                continue
            for used in piece.used:
                place = piece.taken.get(used) or content.taken.get(used)
                if used in content.definitions:
                    place = (module, used)
                if place is None or (place[0] == module and place not in self._replaced):
                    waiting.append(used)
                else:
                    self._take(module, place)

    def _take(self, user: str, place: Place) -> None:
        module, name = self._replaced.get(place, place)
        self._uses.setdefault(user, set()).add(module)
        self.need(module, [name])

    def _stands(self, module: str, effect: str) -> bool:
        """Whether an effect is one on what is in a file."""
        content = _module(module)
        places = [content.taken[name] for name in content.definitions[effect].used if name in content.taken]
        return not any(place[0] in ABSENT for place in places)

    def text(self) -> str:
        """The file's text up to here: imports, then each module's definitions under a line that says whose they are."""
        imports: dict[str, str] = {}
        owners: dict[str, Any] = {}
        sections: list[str] = []
        for module in TopologicalSorter({name: self._uses.get(name, ()) for name in self._needed}).static_order():
            content, needed = _module(module), self._needed[module]
            real = importlib.import_module(module)
            for name in sorted(needed):
                if name in content.imported or (name in content.definitions and name not in content.effects):
                    value = getattr(real, name)
                    if owners.setdefault(name, value) is not value:
                        raise CompileError(f"{name} of {module} is another one elsewhere; rename one of them")
            imports |= {name: line for name, line in content.imported.items() if name in needed}
            pieces = list(dict.fromkeys(piece.text for name, piece in content.definitions.items() if name in needed))
            if pieces:
                sections.append("\n".join([f"# ---- {module}", f"# {content.title}.", "", *_spaced(pieces)]))
        return "\n".join([*_sorted(imports.values()), "", "", "\n\n\n".join(sections), ""])


def _spaced(pieces: list[str]) -> list[str]:
    """The pieces with the empty lines that separate functions and classes."""
    lines: list[str] = []
    before = False
    for piece in pieces:
        block = "\n    " in piece and not piece.startswith(("_", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        if lines:
            lines += ["", ""] if block or before else []
        lines.append(piece)
        before = block
    return lines


def _sorted(imports: Iterable[str]) -> list[str]:
    """Import statements in the usual order, those of one module in one: Python's own, then those of packages."""
    plain = sorted({line for line in imports if line.startswith("import ")})
    named: dict[str, set[str]] = {}
    for line in imports:
        if line.startswith("from "):
            source, _, name = line.removeprefix("from ").partition(" import ")
            named.setdefault(source, set()).add(name)
    lines = plain + [f"from {source} import {', '.join(sorted(names))}" for source, names in sorted(named.items())]
    own = [line for line in lines if re.split(r"[ .]", line)[1] in sys.stdlib_module_names]
    return [*own, "", *(line for line in lines if line not in own)]


@cache
def _module(name: str) -> _Module:
    """A module, taken apart."""
    source = inspect.getsource(importlib.import_module(name))
    tree, lines = ast.parse(source), source.splitlines()
    definitions: dict[str, _Piece] = {}
    effects: set[str] = set()
    imported: dict[str, str] = {}
    taken: dict[str, Place] = {}
    last: tuple[str, ...] = ()
    for number, node in enumerate(tree.body):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            packages, ours = _imports(node)
            imported |= packages
            taken |= ours
        elif isinstance(node, ast.If) or (number == 0 and _is_text(node)):
            continue  # for the type checker only, or the module's docstring
        elif _is_text(node) and last:
            piece = definitions[last[0]]
            piece = _Piece(f"{piece.text}\n{_text(node, lines)}", piece.used, piece.taken)
            definitions |= dict.fromkeys(last, piece)
        else:
            defined = _defined(node)
            last = defined or (f"effect {number}",)
            definitions |= dict.fromkeys(last, _piece(node, lines))
            effects |= {*last} if _registers(node) or not defined else set()
    title = (ast.get_docstring(tree) or name).partition("\n")[0].rstrip(".")
    return _Module(title, definitions, frozenset(effects), imported, taken)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(node: ast.Import | ast.ImportFrom) -> tuple[dict[str, str], dict[str, Place]]:
    """What an import binds: name → statement, of packages; name → place, of modules of ours."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: f"import {ast.unparse(alias)}" for alias in node.names
        }, {}
    source = node.module or ""
    if source.startswith(OURS):
        return {}, {alias.asname or alias.name: (source, alias.name) for alias in node.names}
    return {alias.asname or alias.name: f"from {source} import {ast.unparse(alias)}" for alias in node.names}, {}


def _defined(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return (node.name,)
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    flat = [each for target in targets for each in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return tuple(each.id for each in flat if isinstance(each, ast.Name))


def _registers(node: ast.stmt) -> bool:
    """Whether a decorator is given something, as those are that register what they decorate."""
    decorators = node.decorator_list if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else []
    return any(isinstance(each, ast.Call) and each.args for each in decorators)


def _piece(node: ast.stmt, lines: list[str]) -> _Piece:
    """A statement without its imports of ours and without what is switched by the environment."""
    dropped: list[ast.AST] = []
    taken: dict[str, Place] = {}
    for each in ast.walk(node):
        if isinstance(each, ast.ImportFrom) and (each.module or "").startswith(OURS):
            taken |= _imports(each)[1]
            dropped.append(each)
        elif isinstance(each, ast.If) and SWITCHED in _names(each.test):
            dropped.append(each)
    left_out = {id(inner) for each in dropped for inner in ast.walk(each)}
    used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and id(each) not in left_out}
    return _Piece(_text(node, lines, dropped), frozenset(used), taken)


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _text(node: Any, lines: list[str], dropped: Iterable[Any] = ()) -> str:
    """The source lines of a statement, with the decorators and comments that belong to it."""
    begin = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
    gone = {number for each in dropped for number in range(each.lineno, each.end_lineno + 1)}
    return "\n".join(lines[number - 1] for number in range(begin, node.end_lineno + 1) if number not in gone)
