"""`gncodegen compile FILE`: compiles the network of a file, lists what came out, and writes it in other formats."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.files import network_file
from gncodegen.errors import OptionsError


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "compile",
        help="compile a network file and list its kernels",
        description="Compiles the network of a Python file that defines `layers` (and perhaps `options`), "
        "or of an ONNX model.",
    )
    parser.add_argument(
        "file", metavar="FILE", help="FILE.py defines `layers`, and `options` if the defaults do not do; or FILE.onnx"
    )
    add_options(parser, "caller", "compile")
    parser.add_argument("--output", metavar="FOLDER", help="save the compiled network there, for gncodegen.load")
    parser.add_argument(
        "--export", nargs="+", metavar=("FILE", "NAME=VALUE"), action="append", default=[], help="write the network "
        "there, in the format of the ending, such as net.onnx, with options of that format, such as net.so "
        "cpu=x86-64-v3; may be given several times",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print layers, kernels and memory as JSON")
    parser.set_defaults(run=run)


def run(given: Namespace) -> None:
    """Compiles and prints the network's table, what was fused, the kernels and the memory."""
    from gncodegen.cli.facts import facts
    from gncodegen.compiler import compile as compile_network
    from gncodegen.layers.analyze import analyze_network

    names = network_file(given.file)
    compiled = compile_network(names["layers"], options=names.get("options"), **chosen(given))
    done: list[str] = []
    if given.output:
        compiled.save(given.output)
        done.append(f"Saved in {given.output}")
    for path, *choices in given.export:
        compiled.export(path, **dict(map(_choice, choices)))
        done.append(f"Exported to {path}")
    if given.json:
        print(facts(compiled))
        return
    print(analyze_network(compiled.network, require_output=False))
    print("\nFused:", *(compiled.fused or ("nothing",)), sep="\n  ")
    if unfused := compiled.unfused:  # lowered for this
        print("\nNot fused:", *unfused, sep="\n  ")
    print(f"\n{compiled.kernels}")
    print(f"\nMemory of a step: {compiled.memory.peak_bytes:,} bytes for everything between input and output")
    print(*done, "Read on with `gncodegen inspect`.", sep="\n")


def _choice(text: str) -> tuple[str, Any]:
    """NAME=VALUE of a format's option: yes or no, a whole number, or words."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise OptionsError(f"--export: {text!r}; allowed: NAME=VALUE behind the file; write it like cpu=x86-64-v3")
    words = {"true": True, "false": False}
    return name, words.get(value.lower(), int(value) if value.isdecimal() else value)
