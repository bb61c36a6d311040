"""The report: one HTML file that opens offline; what belongs to one layer or kernel is drawn when asked for."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, String

from gncodegen.inspection import CompiledKernel
from gncodegen.ir.changes import by_layer, changes
from gncodegen.ir.printing import Line
from gncodegen.kernels.render import page
from gncodegen.kernels.templates import template_folder
from gncodegen.layers.network import Node
from gncodegen.passes.pipeline import STAGES
from gncodegen.process.waiting import Waiting
from gncodegen.report import drawings
from gncodegen.report.machine_code import levels
from gncodegen.report.profile import Profile
from gncodegen.saving import write_file
from gncodegen.tables import Table, scaled

if TYPE_CHECKING:
    from gncodegen.readable import Readable

PANELS = (
    ("summary", "Summary"), ("network", "Network"), ("layers", "Layers"), ("kernels", "Kernels"),
    ("roofline", "Roofline"), ("memory", "Memory"),
)  # fmt: skip

_CLASSES = ((Comment, "c"), (Keyword, "k"), (String, "s"), (Number, "m"), (Name.Function, "f"))
"""Pygments' kinds of words → classes of the style sheet."""


def write(compiled: Readable, path: str | Path, profile: Profile | None) -> None:
    """Writes the report; see `Compiled.report`."""
    write_file(path, report(compiled, profile).encode())


def report(compiled: Readable, profile: Profile | None) -> str:
    """The HTML text.

    Args:
        compiled: what it is about.
        profile: of the function compiled first; None where nothing can be timed.
    """
    folder, program = template_folder() / "report", compiled.program
    kernels = [kernel for name, kernel in compiled.kernels.items() if name in program.kernels]
    machine_code = kernels[0].target.lines([kernel.file for kernel in kernels]) if kernels else []
    with Waiting("writing the report", len(kernels)) as waiting:
        shown: dict[str, Any] = {}
        for kernel, text in zip(kernels, machine_code, strict=True):
            shown[kernel.name] = _kernel(compiled, kernel, text, profile)
            waiting.advance()
        lines, unfused = compiled.lowering.overview()
        packed = {"kernels": shown, **_layers(compiled, kernels, lines)}
    total = sum(cost.seconds for cost in profile.kernels) if profile else 0.0
    costs = [
        {
            "name": cost.name,
            "layers": " + ".join(cost.layers) or "no layer",
            "share": f"{100 * cost.seconds / (total or 1.0):.0f}%",
            "time": f"{1e6 * cost.seconds:,.1f} µs",
            "reached": "" if cost.reached is None else f", {cost.reached_text} of what the machine can",
        }
        for cost in (profile.kernels[:3] if profile else ())
    ]
    groups = dict.fromkeys(
        call.layers for call in program.calls if len(call.layers) > 1 and "update" not in call.kernel
    )
    data = base64.b64encode(gzip.compress(json.dumps(packed, separators=(",", ":")).encode(), mtime=0)).decode()
    return page(
        folder / "report.html",
        title=f"{program.function} on {compiled.target}, batch size {compiled.options.batch_size}",
        css=(folder / "report.css").read_text(encoding="utf-8"),
        script=(folder / "report.js").read_text(encoding="utf-8"),
        panels=PANELS,
        summary=repr(compiled),
        costs=costs,
        whole=profile.summary if profile else "",
        fused=compiled.fused,
        unfused=unfused,
        network=drawings.network(compiled.network, list(groups)),
        layer_table=_linked(_layer_table(compiled), "layer", 1),
        kernel_table=_linked(profile.table if profile else compiled.kernels.table, "kernel", 0),
        roofline=drawings.roofline(profile) if profile else "<p>Nothing was timed.</p>",
        memory=drawings.memory(compiled.memory, program.calls),
        memory_text=f"{len(compiled.memory.blocks)} buffers in an arena of {compiled.memory.peak_bytes:,} bytes",
        data=data,
    )


def _layer_table(compiled: Readable) -> Table:
    from gncodegen.layers.analyze import analyze_network  # noqa: PLC0415  used here only

    return analyze_network(compiled.network, require_output=False).table


def _linked(table: Table, kind: str, column: int) -> str:
    """A table whose names in a column lead to their panels; where it is narrow they part behind an underscore."""
    text = table.html
    for row in table.rows:
        name = row[column]
        target, shown = quote(name.removesuffix(" (edited)")), escape(name).replace("_", "_<wbr>")
        text = text.replace(f">{escape(name)}</td>", f'><a href="#{kind}/{target}">{shown}</a></td>', 1)
    return text


def _kernel(compiled: Readable, kernel: CompiledKernel, machine_code: str, profile: Profile | None) -> dict[str, Any]:
    """What the panel of a kernel shows."""
    facts = [["Template", kernel.schedule.template], ["Storage type", kernel.schedule.dtype],
             ["Predicted", f"{scaled(kernel.bytes, 'B')}, {scaled(kernel.flops, 'FLOP')} a call"]]  # fmt: skip
    for cost in profile.kernels if profile else ():
        if cost.name == kernel.name:
            rates = f"{scaled(cost.bandwidth, 'B/s')}, {scaled(cost.rate, 'FLOP/s')}"
            facts.append(["Measured", f"{cost.calls} × {1e6 * cost.seconds / cost.calls:,.1f} µs: {rates}"])
            facts.append(["Of what the machine can", cost.reached_text])
    if kernel.override:
        facts.append(["Edited", str(kernel.override)])
    facts.append(["File", str(kernel.path)])
    call = next(call for call in compiled.program.calls if call.kernel == kernel.name)
    return {
        "layers": kernel.layers,
        "facts": facts,
        "words": _words(kernel, call.grid),
        "source": _coloured(kernel.source),
        "levels": levels(kernel, machine_code),
        "note": "" if kernel.ptx else " The assembly is that of a second compilation, which keeps lines.",
    }


def _words(kernel: CompiledKernel, grid: int) -> str:
    """The schedule in words."""
    prose, _, numbers = kernel.explanation.partition("\n")
    plural = "s" * (grid != 1)
    share = f"{grid} block{plural}" if kernel.ptx else f"{grid} independent tile{plural}, shared among the threads"
    return f"{prose} {share}. {numbers}"


@lru_cache(maxsize=256)
def _coloured(source: str) -> tuple[str, ...]:
    """Lines of HTML."""
    parts: list[str] = []
    for kind, text in PythonLexer().get_tokens(source):
        name = next((name for token, name in _CLASSES if kind in token), "")
        pieces = [escape(piece) for piece in text.split("\n")]
        parts.append("\n".join(f'<span class="{name}">{piece}</span>' if name and piece else piece for piece in pieces))
    return tuple("".join(parts).rstrip("\n").split("\n"))


def _layers(
    compiled: Readable, kernels: Sequence[CompiledKernel], whole: Mapping[str, Sequence[Line]]
) -> dict[str, Any]:
    """What the panels of layers show, of the lines after every stage; each line of IR stands once in `lines`."""
    stages = {stage: by_layer(lines) for stage, lines in whole.items()}
    numbers: dict[str, int] = {}

    def packed(lines: Sequence[tuple[str, Line]]) -> list[list[Any]]:
        return [[mark, numbers.setdefault(line.text, len(numbers))] for mark, line in lines]

    layers: dict[str, Any] = {}
    for node in compiled.network.nodes:
        before: list[Line] = []
        shown: list[Any] = []
        for stage in STAGES:
            lines = stages[stage].get(node.name, [])
            marked = [(" ", line) for line in lines] if stage == STAGES[0] else list(changes(before, lines, None))
            if stage == STAGES[0] or any(mark != " " for mark, _ in marked):
                shown.append([stage, packed(marked)])
            before = lines
        layers[node.name] = {
            "facts": _facts(node),
            "kernels": [kernel.name for kernel in kernels if node.name in kernel.layers],
            "stages": shown,
        }
    return {"layers": layers, "lines": list(numbers)}


def _facts(node: Node) -> list[list[str]]:
    """Type, sizes, parameters and the properties that are not at their defaults."""
    arrays = (f"{each.name} {'×'.join(map(str, each.shape))}" for each in node.parameters)
    facts = [["Type", type(node.layer).__name__], ["Inputs", ", ".join(node.inputs) or "none"],
             ["Output", str(node.size)], ["Parameters", ", ".join(arrays) or "none"]]  # fmt: skip
    for field in fields(node.layer):
        value = getattr(node.layer, field.name)
        if field.name not in ("name", "shared") and not hasattr(value, "shape") and value != field.default:
            facts.append([field.name, str(value)])
    return facts
