"""`gncodegen inspect NAME`: prints a stage of the IR or a kernel of the last compilation or of a network file."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.files import compiled_network
from gncodegen.errors import OptionsError
from gncodegen.tables import any_of, near

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled
    from gncodegen.inspection import CompiledKernel

_LEVELS = ("explanation", "source", "llvm", "asm", "ptx", "sass", "path")


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="print a stage or a kernel of the last compilation",
        description="Prints a stage of the IR, or a kernel, of the last compilation. Without NAME it lists both.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a stage such as `fuse`, or a kernel")
    parser.add_argument(
        "--level",
        choices=_LEVELS,
        default="source",
        help="of a kernel: %(choices)s (default source); explanation: its schedule in words; path: where it lies",
    )
    parser.add_argument("--json", action="store_true", help="without NAME: print the list as JSON")
    add_choices(parser)
    parser.set_defaults(run=run)
    difference = commands.add_parser(
        "diff",
        help="print what passes changed in the IR",
        description="Prints what changed in the IR between two stages of the last compilation, as a unified diff.",
    )
    difference.add_argument("before", metavar="STAGE", help="such as `dce`")
    difference.add_argument("after", metavar="STAGE", help="a later one, such as `fuse`")
    add_choices(difference)
    difference.set_defaults(run=run_diff)


def add_choices(parser: Any) -> None:
    """What is looked at."""
    parser.add_argument("--file", metavar="FILE.py", help="a network file to compile instead of the last compilation")
    add_options(parser, "caller", "compile", kept=True)
    parser.add_argument(
        "--function", default="", metavar="F", help="of a stage: train_step, predict, loss, gradients …"
    )
    parser.add_argument("--layer", default="", metavar="L", help="of a stage: only the lines about this layer")


def run_diff(given: Namespace) -> None:
    """Prints the difference, in colours on a terminal."""
    compiled = compiled_network(given.file, chosen(given))
    text = compiled.diff(given.before, given.after, given.function, given.layer)
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.syntax import Syntax

        coloured = Syntax("", "diff", background_color="default").highlight(text)
        Console().print(coloured, soft_wrap=True, end="")  # whole lines, however narrow the terminal
    else:
        print(text, end="")


def run(given: Namespace) -> None:
    """Prints what was asked for."""
    compiled = compiled_network(given.file, chosen(given))
    if given.name is None and given.json:
        from gncodegen.cli.facts import facts

        print(facts(compiled))
    elif given.name is None:
        print(fill(f"Stages: {', '.join(compiled.stages)}", 80, break_on_hyphens=False))
        print(f"\n{compiled.kernels}")
    elif given.name in compiled.stages:
        print(compiled.ir(given.name, given.function, given.layer), end="")
    else:
        print(_kernel(compiled, given.name, given.level))


def kernel_named(compiled: Compiled, name: str, others: Sequence[str] = ()) -> CompiledKernel:
    """A kernel.

    Args:
        compiled: whose.
        name: of the kernel.
        others: stages that may have been meant.

    Raises:
        OptionsError: there is none of that name; says which is meant.
    """
    kernels = compiled.kernels
    if name not in kernels:
        allowed = "a stage or a kernel" if others else "a kernel"
        raise OptionsError(
            f"NAME = {name!r}; allowed: {allowed}; write {any_of(near(name, [*others, *kernels]))}; "
            "`gncodegen inspect` lists all"
        )
    return kernels[name]


def _kernel(compiled: Compiled, name: str, level: str) -> str:
    from gncodegen.targets.registry import row_of

    kernel = kernel_named(compiled, name, compiled.stages)
    if kernel.override:
        print(kernel.override, file=sys.stderr)
    text = getattr(kernel, level)
    if text is None:
        allowed = ", ".join(row_of(compiled.target).levels)
        raise OptionsError(
            f"--level {level}: target {compiled.target!r} has none; allowed: {allowed}; add --target sm_90"
        )
    return str(text).rstrip("\n")
