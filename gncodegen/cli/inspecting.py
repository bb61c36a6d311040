"""`gncodegen inspect NAME`: prints a stage of the IR or a kernel of the last compilation or of a network file."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.files import network_file
from gncodegen.errors import OptionsError

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled

_LEVELS = ("source", "llvm", "asm", "ptx", "sass")


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="print a stage or a kernel of the last compilation",
        description="Prints a stage of the IR, or a kernel, of the last compilation. Without NAME it lists both.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="a stage such as `fuse`, or a kernel")
    parser.add_argument("--level", choices=_LEVELS, default="source", help="of a kernel: %(choices)s (default source)")
    parser.add_argument("--file", metavar="FILE.py", help="a network file to compile instead of the last compilation")
    add_options(parser, "caller", "compile", kept=True)
    parser.add_argument(
        "--function", default="", metavar="F", help="of a stage: train_step, predict, loss, gradients …"
    )
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Prints what was asked for."""
    compiled = _compiled(given.file, chosen(given))
    if given.name is None:
        from gncodegen.cli.listing import kernel_table

        print("Stages:", ", ".join(compiled.stages))
        print(f"\n{kernel_table(compiled)}")
    elif given.name in compiled.stages:
        print(compiled.ir(given.name, given.function), end="")
    else:
        print(_kernel(compiled, given.name, given.level))


def _compiled(file: str | None, choice: dict[str, Any]) -> Compiled:
    from gncodegen import compiler

    if file is None:
        return compiler.last(**choice)
    names = network_file(file)
    return compiler.compile(names["layers"], options=names.get("options"), **choice)


def _kernel(compiled: Compiled, name: str, level: str) -> str:
    kernels = compiled.kernels
    if name not in kernels:
        raise OptionsError(
            f"NAME = {name!r}; allowed: the stages {', '.join(compiled.stages)} and the kernels {', '.join(kernels)}; "
            "`gncodegen inspect` lists them"
        )
    from gncodegen.targets.registry import row_of

    text = getattr(kernels[name], level)
    if text is None:
        allowed = ", ".join(row_of(compiled.target).levels)
        raise OptionsError(
            f"--level {level}: target {compiled.target!r} has none; allowed: {allowed}; add --target sm_90"
        )
    return text.rstrip("\n")
