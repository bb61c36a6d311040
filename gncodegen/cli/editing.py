"""`gncodegen edit KERNEL`: a copy of a generated kernel to edit, which compilations then use where it is right."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = "gncodegen-overrides"
"""Where copies lie, below the current folder, unless GNCODEGEN_OVERRIDE or --override names another."""


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    from gncodegen.cli.inspecting import add_choices

    parser = commands.add_parser(
        "edit",
        help="copy a generated kernel, to edit it",
        description="Copies a kernel of the last compilation to a folder and prints its path. A compilation with "
        "GNCODEGEN_OVERRIDE=FOLDER, or override=FOLDER, checks the edited kernel and uses it.",
    )
    parser.add_argument("kernel", metavar="KERNEL", help="a name that `gncodegen inspect` lists")
    add_choices(parser)
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Copies, and prints the path."""
    from gncodegen.cli.choosing import chosen
    from gncodegen.cli.files import compiled_network
    from gncodegen.cli.inspecting import kernel_named
    from gncodegen.environment import environment
    from gncodegen.overrides import copy_of

    folder = given.override or environment().override or FOLDER
    with TemporaryDirectory() as nothing:
        given.override = nothing  # what is copied is the generated kernel, whatever the folder holds, if it is there
        kernel = kernel_named(compiled_network(given.file, chosen(given)), given.kernel)
    print(copy_of(kernel.file, Path(folder)))
    print(f"Edit it, then compile with GNCODEGEN_OVERRIDE={folder}", file=sys.stderr)
