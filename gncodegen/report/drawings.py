"""The report's pictures, as SVG: the network, the arena over time, the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import import_module
from itertools import pairwise
from math import log10
from typing import Any
from urllib.parse import quote

from gncodegen.errors import TargetError
from gncodegen.inspection import MemoryPlan
from gncodegen.kernels.program import Call
from gncodegen.layers.network import Network
from gncodegen.report.profile import Profile
from gncodegen.tables import scaled

BOX, ROW, COLUMN = (170, 34), 64, 200
"""Width and height of a layer's box, and the distances from one box to the next, in pixels."""

NUMBERED = 3
"""Dots of the roofline that have a number beside them."""


def networkx() -> Any:
    """The library that places the layers.

    Raises:
        TargetError: it is not installed.
    """
    try:
        return import_module("networkx")
    except ImportError as error:
        raise TargetError(
            "a report needs networkx, which is not installed; allowed: networkx 3 and later; "
            "run `pip install 'gncodegen[report]'`"
        ) from error


def network(of: Network, groups: Sequence[tuple[str, ...]]) -> str:
    """Layers as boxes from top to bottom, sizes on the edges, `groups` of layers outlined."""
    library = networkx()
    graph = library.DiGraph()
    for node in of.nodes:
        graph.add_node(node.name)
        graph.add_edges_from((source, node.name) for source in node.inputs)
    for rank, names in enumerate(library.topological_generations(graph)):
        for name in names:
            graph.nodes[name]["rank"] = rank
    placed = library.multipartite_layout(graph, subset_key="rank", align="horizontal")
    lanes = {rank: sorted({x for name, (x, _) in placed.items() if graph.nodes[name]["rank"] == rank})
             for rank in {data["rank"] for _, data in graph.nodes(data=True)}}  # fmt: skip
    widest = max(map(len, lanes.values()))
    width = widest * COLUMN + 280
    places: dict[str, tuple[float, float]] = {}
    for name, (x, _) in placed.items():
        rank = graph.nodes[name]["rank"]
        lane = lanes[rank].index(x) - (len(lanes[rank]) - 1) / 2
        places[name] = (width / 2 + lane * COLUMN, 30 + rank * ROW)
    height = 60 + len(lanes) * ROW
    parts = [
        _edge(places[source], places[node.name], str(of[source].size)) for node in of.nodes for source in node.inputs
    ]
    parts += [
        _outline([places[name] for name in group])
        for group in groups
        if all(before in of[name].inputs for before, name in pairwise(group))  # others are of gradients, far apart
    ]
    parts += [_box(places[node.name], node.name, type(node.layer).__name__.removesuffix("Layer")) for node in of.nodes]
    return _svg(width, height, "The network, layer by layer", parts)


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
    return f'{head} viewBox="0 0 {width:.0f} {height:.0f}" role="group" aria-label="{label}">{"".join(parts)}</svg>'


def _box(place: tuple[float, float], name: str, kind: str) -> str:
    x, y = place
    left, top = x - BOX[0] / 2, y - BOX[1] / 2
    shown = name if len(name) <= 24 else f"{name[:23]}…"
    return (
        f'<a href="#layer/{quote(name)}"><title>{escape(name)}: {kind}</title>'
        f'<rect class="box" x="{left:.0f}" y="{top:.0f}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y - 2:.0f}" text-anchor="middle">{escape(shown)}</text>'
        f'<text class="quiet" x="{x:.0f}" y="{y + 11:.0f}" text-anchor="middle">{kind}</text></a>'
    )


def _edge(begin: tuple[float, float], end: tuple[float, float], size: str) -> str:
    (x, y), (to_x, to_y) = begin, end
    y, to_y = y + BOX[1] / 2, to_y - BOX[1] / 2
    bend = 0.0
    if to_y - y > ROW:  # past other layers: beside them
        bend = COLUMN * 0.8 if abs(to_x - x) < 1 else 0.0
    path = f"M{x:.0f} {y:.0f}C{x + bend:.0f} {y + 20:.0f} {to_x + bend:.0f} {to_y - 20:.0f} {to_x:.0f} {to_y:.0f}"
    label = f'<text class="quiet" x="{(x + to_x) / 2 + 0.75 * bend + 6:.0f}" y="{(y + to_y) / 2 + 4:.0f}">{size}</text>'
    return f'<path class="edge" d="{path}"/>{label}'


def _outline(places: Sequence[tuple[float, float]]) -> str:
    if len(places) < 2:
        return ""
    left, right = (f(x for x, _ in places) for f in (min, max))
    top, bottom = (f(y for _, y in places) for f in (min, max))
    x, y = left - BOX[0] / 2 - 14, top - BOX[1] / 2 - 6
    width, height = right - left + BOX[0] + 28, bottom - top + BOX[1] + 12
    return f'<rect class="group" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="9"/>'


def memory(plan: MemoryPlan, calls: Sequence[Call]) -> str:
    """The arena over time: calls to the right, addresses upwards; a buffer leads to the kernel that fills it."""
    width, height, left, bottom = 900, 320, 70, 290
    across, up = (width - left - 10) / max(len(calls), 1), (bottom - 10) / max(plan.peak_bytes, 1)
    parts = [
        f'<line class="axis" x1="{left}" y1="{bottom}" x2="{width - 10}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" y1="10" x2="{left}" y2="{bottom}"/>',
        f'<text class="quiet" x="{left}" y="{bottom + 16}">call 0</text>',
        f'<text class="quiet" x="{width - 10}" y="{bottom + 16}" text-anchor="end">call {len(calls) - 1}</text>',
        f'<text class="quiet" x="{left - 6}" y="16" text-anchor="end">{scaled(plan.peak_bytes, "B")}</text>',
        f'<text class="quiet" x="{left - 6}" y="{bottom}" text-anchor="end">0</text>',
    ]
    for block in plan.blocks:
        x, wide = left + block.first * across, (block.last - block.first + 1) * across - 1
        y, tall = bottom - (block.offset + block.bytes) * up, max(block.bytes * up - 0.5, 0.5)
        maker, shape = calls[block.first], "×".join(map(str, block.shape))
        layers = " + ".join(maker.layers) or "no layer"
        about = f"{shape} {block.dtype} of {layers}, {scaled(block.bytes, 'B')}, calls {block.first}–{block.last}"
        text = f"{layers}: {shape}"
        shown = tall >= 14 and wide >= 6.5 * len(text)
        label = f'<text x="{x + 5:.1f}" y="{y + tall / 2 + 4:.1f}">{escape(text)}</text>' if shown else ""
        parts.append(
            f'<a href="#kernel/{quote(maker.kernel)}"><title>{escape(about)}</title><rect class="block" x="{x:.1f}" '
            f'y="{y:.1f}" width="{max(wide, 1):.1f}" height="{tall:.1f}"/>{label}</a>'
        )
    return f'<div class="canvas">{_svg(width, height, "The arena over time", parts)}</div>'


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="label" x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def roofline(profile: Profile) -> str:
    """Operations per second over operations per byte: what memory and cores allow, and where each kernel is."""
    width, height, left, bottom = 900, 400, 70, 360
    limits = profile.roofline
    if limits is None:
        return "<p>What this machine can is not measured, so the roofline is unknown.</p>"
    rates = [rate for _, rate in limits.bandwidths]
    dots = [cost for cost in profile.kernels if cost.flops and cost.bytes and cost.seconds]
    if not dots:
        return "<p>No kernel does operations.</p>"
    densities = [cost.flops / cost.bytes for cost in dots] + [limits.flops / rate for rate in (min(rates), max(rates))]
    heights = [cost.rate for cost in dots] + [limits.flops]
    low, high = log10(min(densities)) - 0.2, log10(max(densities)) + 0.2
    floor, top = log10(min(heights)) - 0.2, log10(max(heights)) + 0.2

    def point(density: float, rate: float) -> tuple[float, float]:
        x = left + (log10(density) - low) / (high - low) * (width - left - 20)
        return x, bottom - (log10(rate) - floor) / (top - floor) * (bottom - 20)

    parts = [
        f'<line class="axis" x1="{left}" y1="{bottom}" x2="{width - 20}" y2="{bottom}"/>',
        f'<line class="axis" x1="{left}" y1="20" x2="{left}" y2="{bottom}"/>',
        f'<text class="quiet" x="{width - 20}" y="{bottom + 36}" text-anchor="end">operations per byte</text>',
        f'<text class="quiet" x="{left}" y="14">operations per second</text>',
    ]
    labels: list[str] = []  # above all else
    for number, (size, rate) in enumerate(limits.bandwidths, 1):
        begin, knee = max(10**low, 10**floor / rate), limits.flops / rate
        (x, y), (to_x, to_y) = point(begin, rate * begin), point(knee, limits.flops)
        parts.append(f'<path class="roof" d="M{x:.0f} {y:.0f}L{to_x:.0f} {to_y:.0f}L{width - 20} {to_y:.0f}"/>')
        along = (number + 0.5) / (
            len(limits.bandwidths) + 1
        )  # side by side, since the lines of caches lie close together
        text = f"{scaled(rate, 'B/s')} for {scaled(size, 'B')}"
        labels.append(_label(x + along * (to_x - x) - 5, y + along * (to_y - y) - 3, text, "end"))
    labels.append(_label(width - 20, point(10**low, limits.flops)[1] - 5, scaled(limits.flops, "FLOP/s"), "end"))
    for power in range(int(floor) + 1, int(top) + 1):
        y = point(10**low, 10**power)[1]
        parts.append(
            f'<path class="axis" d="M{left} {y:.0f}H{width - 20}"/>'
            f'<text class="quiet" x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{scaled(10**power, "")}</text>'
        )
    for power in range(int(low), int(high) + 1):
        if low <= power <= high:
            x = point(10**power, 10**floor)[0]
            parts.append(
                f'<path class="axis" d="M{x:.0f} 20V{bottom}"/>'
                f'<text class="quiet" x="{x:.0f}" y="{bottom + 18}" text-anchor="middle">{10**power:g}</text>'
            )
    for number, cost in enumerate(dots, 1):
        x, y = point(cost.flops / cost.bytes, cost.rate)
        if number <= NUMBERED:
            labels.append(_label(x + 8, y + 4, str(number), "start"))
        parts.append(
            f'<a href="#kernel/{quote(cost.name)}"><circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
            f"<title>{escape(cost.name)}: {scaled(cost.rate, 'FLOP/s')}, {scaled(cost.bandwidth, 'B/s')}</title></a>"
        )
    parts += labels
    about = (
        f"A dot is a kernel; 1 to {NUMBERED} take longest. A sloping line is what copies of one size reach. "
        "Convolutions by Winograd's method count the operations of the direct sum, of which they do a part: they may "
        "lie above the roof. A roof that was measured while other work ran is too low: "
        "<code>gncodegen bench --measure</code> measures again."
    )
    return f'<div class="canvas">{_svg(width, height, "Roofline", parts)}</div><p>{about}</p>'
