"""Frozen dataclasses that refuse unknown, missing and changed properties by an error of ours, which has the cure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any, NoReturn

from gncodegen.errors import GncodegenError
from gncodegen.layers.checks import shown
from gncodegen.tables import alike, keyword_cure


@cache
def freeze(kind: type[Any], error: type[GncodegenError], what: str, cure: str) -> None:
    """Makes objects of a frozen dataclass refuse changes by `error`, where Python has a bare FrozenInstanceError.

    Called when an object is made, since the decorator writes into the class of each subclass anew.

    Args:
        kind: the dataclass.
        error: of the family.
        what: an object of it is: "a layer", "training options".
        cure: Python text that makes another; {name} and {value} are those that were to be set.
    """
    names = [field.name for field in fields(kind) if field.init]

    def setting(self: Any, name: str, value: object) -> NoReturn:
        label = " ".join(filter(None, (kind.__name__, repr(own) if (own := getattr(self, "name", "")) else "")))
        close = name if hasattr(self, name) else next(iter(alike(name, names)), "")
        given = f"{label}: {name} = {shown(value)} set on {what}"
        if not close or (hasattr(kind, name) and name not in names):
            raise error(f"{given}; allowed: {', '.join(names)}, when it is made; {name} follows from them or is none")
        raise error(f"{given}; allowed: another one, since none changes; {cure.format(name=close, value=shown(value))}")

    def deleting(self: Any, name: str) -> NoReturn:
        label = f"{kind.__name__}: {name}"
        raise error(f"{label} deleted from {what}; allowed: another one, since none changes; leave it as it is")

    type.__setattr__(kind, "__setattr__", setting)
    type.__setattr__(kind, "__delattr__", deleting)


def check_names(kind: type[Any], error: type[GncodegenError], arguments: int, given: Mapping[str, object]) -> None:
    """Refuses what the dataclass has no property for, and what it lacks, by `error`, where Python has a TypeError.

    Args:
        kind: the dataclass.
        error: of the family.
        arguments: how many are given by position.
        given: by name.
    """
    taken = [field for field in fields(kind) if field.init]
    names, placed = [field.name for field in taken], [field.name for field in taken if not field.kw_only]
    if unknown := next((name for name in given if name not in names), None):
        cure = keyword_cure(unknown, names)
        raise error(f"{kind.__name__}: {unknown}: no such property; allowed: {', '.join(names)}; {cure}")
    if arguments > len(placed):
        allowed = f"{len(placed)} ({', '.join(placed)})" if placed else "none"
        raise error(f"{kind.__name__}: {arguments} values without a name; allowed: {allowed}; write the others by name")
    if twice := next((name for name in placed[:arguments] if name in given), None):
        raise error(f"{kind.__name__}: {twice} is given twice; allowed: once; leave {twice}=… out")
    without = {field.name for field in taken if field.default is MISSING and field.default_factory is MISSING}
    if missing := [name for name in names if name in without - set(placed[:arguments]) - set(given)]:
        raise error(
            f"{kind.__name__}: {missing[0]} is missing; allowed: a value; write {kind.__name__}({missing[0]}=…)"
        )
