"""`gncodegen bench NET`: where the time of a network goes."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from gncodegen.cli.choosing import add_options, chosen


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="time a network, kernel by kernel",
        description="Times a training step of a network, or a prediction where it has no output layer, on drawn data: "
        "microseconds, share, GB/s, GFLOP/s, and the share of what this machine can, by kernel and by layer.",
    )
    parser.add_argument(
        "net", metavar="NET", nargs="?", help="a network file, an ONNX model or a folder that `save` wrote; nothing: "
        "the last compilation"
    )  # fmt: skip
    parser.add_argument("--trace", metavar="FILE", help="write a run as JSON for Chrome's trace viewer and Perfetto")
    parser.add_argument("--json", action="store_true", help="print the profile as JSON")
    parser.add_argument(
        "--measure", action="store_true", help="measure again what the machine can, and keep the larger numbers"
    )
    add_options(parser, "caller", "compile", kept=True)
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Times, prints, writes."""
    from gncodegen.cli.files import compiled_network
    from gncodegen.report.drawn import drawn

    compiled = compiled_network(given.net, chosen(given))
    profile = compiled.profile(*drawn(compiled), measure=given.measure)
    if given.trace:
        profile.write_trace(given.trace)
    print(json.dumps(profile.to_dict(), indent=1) if given.json else profile)
