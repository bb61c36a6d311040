"""`gncodegen opt -p PASSES [FILE]`: runs any pass pipeline over IR text."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from gncodegen.errors import OptionsError


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "opt",
        help="run passes over IR text",
        description='Runs passes over IR text and prints the result: gncodegen opt -p "canonicalize,fuse" file.mlir',
    )
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="IR text; - or nothing: standard input")
    parser.add_argument(
        "-p", "--passes", default="", metavar="PASSES", help="names separated by commas, options in braces: a,b{n=2}"
    )
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Prints the IR after the passes; without passes it parses, verifies and prints."""
    from gncodegen.passes.pipeline import run_pipeline

    print(run_pipeline(_text(given.file), given.passes, given.file if given.file != "-" else "<stdin>"), end="")


def _text(path: str) -> str:
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(
            f"FILE = {path!r} cannot be read: {error}; allowed: a file of IR text; check the path"
        ) from error
