"""`gncodegen report NET`: the report of a network as one HTML file."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gncodegen.cli.choosing import add_options, chosen


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "report",
        help="write a page that shows every stage",
        description="Writes one HTML file that opens offline: the network, its layers with the IR after each pass, its "
        "kernels beside their machine code, where the time goes, the roofline, the arena.",
    )
    parser.add_argument(
        "net", metavar="NET", nargs="?", help="a network file, an ONNX model or a folder that `save` wrote; nothing: "
        "the last compilation"
    )  # fmt: skip
    parser.add_argument("--output", metavar="FILE", default="report.html", help="default report.html")
    add_options(parser, "caller", "compile", kept=True)
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Writes the file."""
    from gncodegen.cli.files import compiled_network

    compiled_network(given.net, chosen(given)).report(given.output)
    print(f"Written to {given.output}")
