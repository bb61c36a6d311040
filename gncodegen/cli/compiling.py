"""`gncodegen compile FILE.py`: compiles the network of a file and lists what came out."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.files import network_file


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "compile",
        help="compile a network file and list its kernels",
        description="Compiles the network of a Python file that defines `layers` (and perhaps `options`).",
    )
    parser.add_argument("file", metavar="FILE.py", help="defines `layers`, and `options` if the defaults do not do")
    add_options(parser, "caller", "compile")
    parser.add_argument("--output", metavar="FOLDER", help="save the compiled network there, for gncodegen.load")
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Compiles and prints the network's table, what was fused, the kernels and the memory."""
    from gncodegen.cli.listing import kernel_table
    from gncodegen.compiler import compile as compile_network
    from gncodegen.layers.analyze import analyze_network

    names = network_file(given.file)
    compiled = compile_network(names["layers"], options=names.get("options"), **chosen(given))
    print(analyze_network(compiled.network, require_output=False))
    print("\nFused:", *(compiled.fused or ("nothing",)), sep="\n  ")
    print(f"\n{kernel_table(compiled)}")
    print(f"\nMemory of a step: {compiled.memory.peak_bytes:,} bytes for everything between input and output")
    if given.output:
        compiled.save(given.output)
        print(f"Saved in {given.output}")
    print("Read on with `gncodegen inspect`.")
