"""The command line: `gncodegen demo · compile · train · run · inspect · diff · edit · bench · report · opt · cache`.

Errors that gncodegen raises on purpose end a command with their text and exit code 2; anything else is a bug and shows
its traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import gncodegen
from gncodegen.cli import benching, caching, compiling, demo, editing, inspecting, opt, reporting, training
from gncodegen.cli.parsing import Parser
from gncodegen.errors import GncodegenError

_COMMANDS = (demo, compiling, training, inspecting, editing, benching, reporting, opt, caching)


def _parser() -> Parser:
    parser = Parser(
        prog="gncodegen", description="A compiler for small networks: layer array in, readable kernels out."
    )
    parser.add_argument("--version", action="version", version=f"gncodegen {gncodegen.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_to(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: as typed after `gncodegen`; None = those of the process.

    Returns:
        The exit code: 0 done, 2 refused with a message, 130 interrupted.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  it was closed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  as long as the process
    _say_all_letters()
    given = _parser().parse_args(arguments)
    given.arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code: int | None = given.run(given)
        sys.stdout.flush()
        return code or 0
    except GncodegenError as error:
        sys.stdout.flush()
        print(f"gncodegen {given.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        _say_no_more()  # the reader, such as `head`, has seen enough
    except OSError as error:
        if error.filename is not None:
            raise
        _say_no_more()
        print(
            f"gncodegen {given.command}: standard output cannot be written: {error.strerror}; allowed: a place with "
            "room; free some, or send it elsewhere",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _say_all_letters() -> None:
    """Has letters that a terminal cannot show printed as `?`, rather than end the command."""
    if getattr(sys.stdout, "errors", "") == "strict" and isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _say_no_more() -> None:
    """Keeps Python from complaining when it closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
