"""`gncodegen opt -p PASSES [FILE]`: runs any pass pipeline over IR text."""

from __future__ import annotations

import sys
from argparse import SUPPRESS, Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from gncodegen.errors import OptionsError


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "opt",
        help="run passes over IR text",
        description='Runs passes over IR text and prints the result:\n  gncodegen opt -p "canonicalize,fuse" file.mlir',
        formatter_class=RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action=_Help, help="show this message, and the passes, and exit")
    parser.add_argument(
        "--generic", action="store_true", help="plan for a machine of no kind in particular, not for this one"
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="IR text; - or nothing: standard input")
    parser.add_argument(
        "-p", "--passes", default="", metavar="PASSES", help="names separated by commas, options in braces: a,b{n=2}"
    )
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Prints the IR after the passes; without passes it parses, verifies and prints."""
    from gncodegen.passes.pipeline import run_pipeline

    machine = None
    if not given.generic:
        from gncodegen.targets.cpu import host

        machine = host.machine()
    name = given.file if given.file != "-" else "<stdin>"
    print(run_pipeline(text_of(given.file), given.passes, name, machine), end="")


class _Help(Action):
    """Shows the parser's help with a list of passes, which are imported only then."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002  as argparse calls it
        super().__init__(option_strings, SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        from gncodegen.passes.pipeline import PASSES, described

        lines = [
            fill(line, 80, initial_indent="  ", subsequent_indent="      ")
            for kind in PASSES.values()
            for line in described(kind).splitlines()
        ]
        parser.epilog = "passes, in the order of a compilation, with their options:\n" + "\n".join(lines)
        parser.print_help()
        parser.exit()


def text_of(path: str) -> str:
    """The IR text of a file, or of standard input for "-"."""
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OptionsError(
            f"FILE = {path!r} cannot be read: {reason}; allowed: a file of IR text; check the path"
        ) from error
