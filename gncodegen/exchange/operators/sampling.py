"""Samples of images at places that are computed."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

import gncodegen as gnc
from gncodegen.exchange.construction import Unsupported, Value
from gncodegen.exchange.node import Node
from gncodegen.exchange.operators.matrices import multiplied, turned
from gncodegen.exchange.operators.pieces import taken
from gncodegen.exchange.operators.reduction import reduced, without
from gncodegen.exchange.operators.row import Operator, single

MODES = ("linear", "bilinear", "nearest")
OUTSIDE = ("zeros", "border", "reflection")


def sampled(node: Node) -> Value:
    """Y[c, p] = Σ x[c, i, j] · share(i, row of p) · share(j, column of p), of images or volumes at a grid's places.

    The share of an element in a place is 1 − their distance, not below 0; the nearest element has all of it.
    """
    image, grid, construction = node.value(), node.value(1), node.construction
    mode, outside = node.attributes.get("mode", "linear"), node.attributes.get("padding_mode", "zeros")
    if mode not in MODES or outside not in OUTSIDE:
        raise Unsupported(f"mode = {mode}, padding_mode = {outside}; allowed: {', '.join((*MODES, *OUTSIDE))}")
    channels, *extents = image.shape
    if not node.batching.batched or not extents or grid.rank != image.rank or grid.shape[-1] != len(extents):
        raise Unsupported("images or places of other shapes; allowed: (N, C, H, W) and (N, rows, columns, 2)")
    places = construction.reshaped(grid, (prod(grid.shape[:-1]), len(extents)))
    shares = [
        _shares(node, taken(node, places, 1, range(place, place + 1)), extent, mode != "nearest", outside)
        for place, extent in enumerate(reversed(extents))
    ]
    lines = construction.reshaped(image, (channels * prod(extents[:-1]), extents[-1]))
    found = multiplied(construction, lines, turned(construction, shares[0]))
    found = construction.reshaped(found, (channels, *extents[:-1], places.shape[0]))
    for own in shares[1:]:
        axis = found.rank - 2
        weights = construction.raised(construction.permuted(own, (1, 0)), found.rank)
        weighted = construction.joined([found, weights], gnc.ElementwiseLayer("multiply", 2))
        found = without(node, reduced(node, weighted, (axis,), "sum"), (axis,))
    return construction.reshaped(found, (channels, *grid.shape[:-1]))


def _shares(node: Node, place: Value, extent: int, linear: bool, outside: str) -> Value:
    """(places, 1) in [−1, 1] → (places, extent): the share of every element in each."""
    construction, aligned = node.construction, bool(node.attributes.get("align_corners", 0))

    def by(function: str, value: Value, number: float) -> Value:
        return construction.with_constant(function, value, np.asarray(number))

    # −1 and 1 are the centres of the outer elements, or their outer edges.
    low, span = (0.0, extent - 1.0) if aligned else (-0.5, float(extent))
    found = by("add", by("multiply", place, span / 2), low + span / 2)
    if outside == "reflection":
        there = by("modulo", by("add", found, -low), 2 * span) if span else by("multiply", found, 0.0)
        back = by("add", construction.alike(there, gnc.UnaryLayer("negative")), 2 * span)
        found = by("add", construction.joined([there, back], gnc.ElementwiseLayer("minimum", 2)), low)
    if outside != "zeros":
        found = by("minimum", by("maximum", found, 0.0), extent - 1.0)
    elements = np.arange(float(extent))
    if not linear:
        return construction.with_constant("equal", construction.alike(found, gnc.UnaryLayer("round")), elements)
    distance = construction.alike(construction.with_constant("subtract", found, elements), gnc.UnaryLayer("absolute"))
    return construction.alike(by("add", construction.alike(distance, gnc.UnaryLayer("negative")), 1.0), gnc.ReluLayer())


OPERATORS: Mapping[str, Operator] = {"GridSample": single(sampled, "Elementwise, MatrixProduct, GlobalAveragePooling")}
