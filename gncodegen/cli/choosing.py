"""The options that say how a network is compiled, as commands take them: the fields of CompileOptions."""

from __future__ import annotations

from argparse import BooleanOptionalAction, Namespace
from typing import Any

from gncodegen.options import GivenBy, chosen_by, option


def add_options(parser: Any, *who: GivenBy, kept: bool = False) -> None:
    """Adds the options that those choose to a command's parser.

    Args:
        parser: of the command.
        who: as Option.given_by.
        kept: what is not typed stays as it was when the network was saved or compiled.
    """
    for each in chosen_by(*who):
        shown = "as saved" if kept else str(each.default)
        text = f"{option(each).help} (default {shown})".replace("%", "%%")
        given: dict[str, Any] = {"default": None, "help": text}
        kind = type(each.default)
        given |= {"action": BooleanOptionalAction} if kind is bool else {"type": kind, "metavar": each.name[0].upper()}
        parser.add_argument(f"--{each.name.replace('_', '-')}", **given)


def chosen(given: Namespace) -> dict[str, Any]:
    """The keyword arguments of `gncodegen.compile` for what was typed; nothing for what was not."""
    typed = {each.name: getattr(given, each.name, None) for each in chosen_by("caller", "compile")}
    return {name: value for name, value in typed.items() if value is not None}
