"""A parser of the command line that tells what is most like a misspelled command, option or choice."""

from __future__ import annotations

import sys
from argparse import Action, ArgumentError, ArgumentParser
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, NoReturn

from gncodegen.tables import near


class Parser(ArgumentParser):
    """As argparse's; what it does not know is refused by name, with what is most like it, before anything else is."""

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  typeshed has overloads
        self, args: Any = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse has it, without arguments that are left over."""
        for word in self._own(sys.argv[1:] if args is None else args):
            name = word.partition("=")[0]
            if _is_option(word) and not self._knows(name):
                names = sorted(each for each in self._option_string_actions if each.startswith("--"))
                self._refuse(f"{name} is no option; allowed: {', '.join(near(name, names))}")
        known, rest = super().parse_known_args(args, namespace)
        if rest:
            self._refuse(f"{rest[0]!r} is one word too many; allowed: what the usage has")
        return known, rest

    def _own(self, args: Sequence[str]) -> Sequence[str]:
        """The words that are not a command's, and come before `--`."""
        words = list(takewhile(lambda word: word != "--", args))
        return list(takewhile(_is_option, words)) if self._subparsers else words

    def _knows(self, name: str) -> bool:
        options = self._option_string_actions
        return name[:2] in options if name[1] != "-" else any(each.startswith(name) for each in options)

    def _check_value(self, action: Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = ", ".join(near(str(value), map(str, action.choices)))
            if action.metavar == "COMMAND":
                self._refuse(f"{value!r} is no command; allowed: {names}")
            raise ArgumentError(action, f"{value!r} is no choice; allowed: {names}")

    def _refuse(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; `{self.prog} --help` lists all\n")


def _is_option(word: str) -> bool:
    """Whether argparse takes the word for an option: `-` is a file, -1 a number."""
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit() and " " not in word
