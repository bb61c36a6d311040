"""Frozen dataclasses whose properties cannot be set: by an error of ours, which has the cure."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from typing import Any, NoReturn

from gncodegen.errors import GncodegenError
from gncodegen.layers.checks import shown


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
        close = name if hasattr(self, name) else next(iter(get_close_matches(name, names, 1)), "")
        given = f"{label}: {name} = {shown(value)} set on {what}"
        if not close or (hasattr(kind, name) and name not in names):
            raise error(f"{given}; allowed: {', '.join(names)}, when it is made; {name} follows from them or is none")
        raise error(f"{given}; allowed: another one, since none changes; {cure.format(name=close, value=shown(value))}")

    def deleting(self: Any, name: str) -> NoReturn:
        label = f"{kind.__name__}: {name}"
        raise error(f"{label} deleted from {what}; allowed: another one, since none changes; leave it as it is")

    type.__setattr__(kind, "__setattr__", setting)
    type.__setattr__(kind, "__delattr__", deleting)
