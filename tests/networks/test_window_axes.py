"""Windows of one to three axes as layers on every target: one table of every layer, in the formats it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network
from support.formats import entrance
from support.targets import TARGETS

import gncodegen as gnc

WEIGHTED = ("weights", "bias")
WORDS = {"dilation_factor": "dilation"}


@dataclass(frozen=True)
class Case:
    """One layer behind an input of this format and shape, and its twin.

    Args:
        size: format and shape of one observation.
        layer: type name without rank and "dLayer", and positional arguments.
        options: of the layer; the twin has the same ones.
        twin: the oracle's options where they are other ones.
        steps: whether each time step is by itself.
    """

    size: tuple[str, tuple[int, ...]]
    layer: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)
    twin: dict[str, Any] = field(default_factory=dict)
    steps: bool = False

    @property
    def rank(self):
        return self.size[0].count("S") + self.size[0].count("T") - self.steps

    def layers(self):
        kind, *arguments = self.layer
        made = getattr(gnc, f"{kind}{self.rank}dLayer")(*arguments, name="layer", **self.options)
        return [entrance(*self.size), made, gnc.RegressionLayer()]

    def node(self):
        options = {WORDS.get(name, name): value for name, value in self.options.items()} | self.twin
        for name in ("padding", "cropping"):
            if isinstance(options.get(name), tuple):
                sides = options[name] if len(options[name]) == 2 * self.rank else np.repeat(options[name], 2).tolist()
                options[name] = list(zip(sides[::2], sides[1::2], strict=True))
        value = options.pop("padding_value", 0)
        kind = self.layer[0]
        if kind.endswith("Convolution") or kind == "Convolution":
            if kind != "TransposedConvolution":
                options |= {"mode": value} if isinstance(value, str) else {"value": value}
            operation = ref.transposed_convolution if kind == "TransposedConvolution" else ref.convolution
            return ref.Node("layer", self.each(operation), WEIGHTED, options=options)
        if kind.startswith("Global"):
            operation = ref.global_max_pool if "Max" in kind else ref.global_average_pool
            return ref.Node("layer", self.each(self.without_time(operation)))
        window = self.layer[1]
        options["window"] = (window,) * self.rank if isinstance(window, int) else window
        if kind == "AveragePooling":
            options["count_padding"] = value != "mean"
        operation = ref.max_pool if kind == "MaxPooling" else ref.average_pool
        return ref.Node("layer", self.each(operation), options=options)

    def each(self, operation):
        return ref.each_step(operation) if self.steps else operation

    def without_time(self, operation):
        """A global pooling that covers T leaves no T."""
        if "T" not in self.size[0] or self.steps:
            return operation

        def pooled(x):
            y, backward = operation(x)
            return y[:, 0], lambda dy: backward(np.asarray(dy)[:, None])

        return pooled


LINE, SEQUENCE, LINES = ("SC", (11, 4)), ("TC", (9, 4)), ("TSC", (3, 8, 4))
IMAGE, IMAGES = ("SSC", (6, 7, 4)), ("TSSC", (2, 5, 6, 4))
VOLUME, VOLUMES = ("SSSC", (4, 5, 6, 4)), ("TSSSC", (2, 3, 4, 5, 2))
GROUPED, CHANNELWISE, FLIPPED = {"groups": 2}, {"groups": 4}, "symmetric-exclude-edge"
REPEATED, CROPPED = "replicate", (0, 1, 1, 0, 0, 0)

CASES = {
    "convolution SC": Case(LINE, ("Convolution", 3, 5), {"stride": 2, "padding": "same"}),
    "convolution TC": Case(SEQUENCE, ("Convolution", 4, 5), {"dilation_factor": 2, "padding": (3, 0)}),
    "convolution TSC, 1-D": Case(LINES, ("Convolution", 3, 5), {"padding": 1}, steps=True),
    "convolution TSC, 2-D": Case(LINES, ("Convolution", (2, 3), 5), {"padding": "same"}),
    "convolution TSSC, 2-D": Case(IMAGES, ("Convolution", 3, 8), {"padding": 1}, steps=True),
    "convolution TSSC, 3-D": Case(IMAGES, ("Convolution", (2, 3, 3), 5), {"padding": (0, 1, 1)}),
    "convolution SSSC": Case(VOLUME, ("Convolution", 3, 5), {"padding": "same", "stride": (2, 1, 2)}),
    "convolution SSSC, dilated": Case(VOLUME, ("Convolution", (2, 1, 3), 5), {"dilation_factor": (3, 1, 2)}),
    "convolution TSSSC": Case(VOLUMES, ("Convolution", 2, 3), {"padding": (1, 0, 0, 1, 1, 1)}, steps=True),
    "padded with a number": Case(SEQUENCE, ("Convolution", 3, 5), {"padding": 2, "padding_value": 1.5}),
    "padded by reflection": Case(VOLUME, ("Convolution", 3, 3), {"padding": 2, "padding_value": FLIPPED}),
    "padded, edge twice": Case(LINE, ("Convolution", 4, 3), {"padding": 3, "padding_value": "symmetric-include-edge"}),
    "padded by repetition": Case(VOLUMES, ("Convolution", 3, 3), {"padding": 1, "padding_value": REPEATED}, steps=True),
    "grouped TC": Case(SEQUENCE, ("GroupedConvolution", 3, 3, 2), {"padding": "same"}, GROUPED),
    "grouped SSC": Case(IMAGE, ("GroupedConvolution", 3, 3, 2), {"stride": 2}, GROUPED),
    "grouped SSSC": Case(VOLUME, ("GroupedConvolution", 2, 1, 2), {"padding": 1}, GROUPED),
    "channel-wise TC": Case(SEQUENCE, ("GroupedConvolution", 3, 1, "channel-wise"), {"padding": "same"}, CHANNELWISE),
    "channel-wise SSC": Case(IMAGE, ("GroupedConvolution", 3, 2, "channel-wise"), {"padding": "same"}, CHANNELWISE),
    "channel-wise SSSC": Case(VOLUME, ("GroupedConvolution", 3, 1, "channel-wise"), {"stride": 2}, CHANNELWISE),
    "transposed TC": Case(SEQUENCE, ("TransposedConvolution", 3, 5), {"stride": 2, "cropping": "same"}),
    "transposed TSC, 1-D": Case(LINES, ("TransposedConvolution", 2, 5), {"stride": 2}, steps=True),
    "transposed SSSC": Case(VOLUME, ("TransposedConvolution", (2, 3, 1), 3), {"stride": 2, "cropping": CROPPED}),
    "transposed SSSC, dilated": Case(
        VOLUME, ("TransposedConvolution", (2, 3, 1), 3), {"stride": (2, 1, 3), "dilation_factor": (3, 2, 1)}
    ),
    "transposed TSSC, 2-D": Case(IMAGES, ("TransposedConvolution", 2, 3), {"stride": 2}, steps=True),
    "max SC": Case(LINE, ("MaxPooling", 3), {"stride": 2, "padding": "same"}),
    "max TC": Case(SEQUENCE, ("MaxPooling", 2), {"stride": 2}),
    "max TSSC, 2-D": Case(IMAGES, ("MaxPooling", 2), {"stride": 2}, steps=True),
    "max SSSC": Case(VOLUME, ("MaxPooling", (2, 3, 2)), {"stride": (2, 1, 2), "padding": (1, 1, 0)}),
    "average TC": Case(SEQUENCE, ("AveragePooling", 3), {"padding": 1}),
    "average TSC, 2-D": Case(LINES, ("AveragePooling", 2), {"stride": 2}),
    "average SSSC": Case(VOLUME, ("AveragePooling", 3), {"padding": "same", "padding_value": "mean"}),
    "average TSSSC": Case(VOLUMES, ("AveragePooling", 2), {"stride": 2}, steps=True),
    **{
        f"global {kind.lower()} {label}": Case(size, (f"Global{kind}Pooling",), steps=steps)
        for kind in ("Average", "Max")
        for label, size, steps in (
            *(("SC", LINE, False), ("TC", SEQUENCE, False), ("TSC, 1-D", LINES, True), ("TSC, 2-D", LINES, False)),
            *(("TSSC, 2-D", IMAGES, True), ("TSSC, 3-D", IMAGES, False), ("SSSC", VOLUME, False)),
        )
    },
}  # fmt: skip
IN_TURN = {"convolution TC", "grouped SSSC", "transposed SSSC", "max TC", "padded by repetition", "global average TC"}
ON_CPU = {"average SSSC"}
"""What the default run has; --full has all, on both targets."""


def _param(name):
    families = ("cuda",) if name in ON_CPU else ()
    return pytest.param(name, id=name, marks=[] if name in IN_TURN else [pytest.mark.full(*families)])


@pytest.mark.few
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", [_param(name) for name in CASES])
def test_against_the_twin(name, target):
    case = CASES[name]
    # Distinct values, far apart, so that a finite step never changes which one of a window is the largest.
    shape = (2, *case.size[1])
    x = np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape) / 64 - 1
    dtype = "float64" if target == "cpu" else "float32"
    assert_same_network(case.layers(), [case.node()], x, dtype=dtype, target=target)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_weights_lie_as_the_interface_says(rank):
    size = gnc.layers.base.Size("S" * rank + "C", (5,) * rank + (6,))
    shapes = {}
    for kind, arguments in (
        ("Convolution", (3, 8)),
        ("GroupedConvolution", (3, 4, 2)),
        ("TransposedConvolution", (3, 8)),
    ):
        layer = getattr(gnc, f"{kind}{rank}dLayer")(*arguments)
        weights, bias = layer.parameters((size,))
        shapes[kind] = weights.shape[rank:]
        assert weights.shape[:rank] == (3,) * rank
        assert bias.shape == (8,)
    assert shapes == {"Convolution": (6, 8), "GroupedConvolution": (3, 8), "TransposedConvolution": (8, 6)}


@pytest.mark.parametrize(
    ("size", "layer", "words"),
    [
        (IMAGE, gnc.Convolution1dLayer(3, 4), ["6×7×4 (SSC)", "2 spatial axes", "SC, TC, TSC"]),
        (SEQUENCE, gnc.MaxPooling2dLayer(2), ["9×4 (TC)", "SSC, TSC, TSSC"]),
        (IMAGE, gnc.GlobalMaxPooling3dLayer(), ["SSSC, TSSC, TSSSC"]),
        (VOLUME, gnc.TransposedConvolution2dLayer(2, 3), ["4×5×6×4 (SSSC)", "3 spatial axes"]),
        (IMAGE, gnc.GroupedConvolution2dLayer(3, 2, 3), ["4 channels do not split into 3 groups", "1, 2, 4"]),
        (SEQUENCE, gnc.Convolution1dLayer(10, 4), ["a window of 10", "9×4 (TC)", 'padding="same"']),
    ],
)  # fmt: skip
def test_refusals(size, layer, words):
    with pytest.raises(gnc.NetworkError) as caught:
        gnc.compile([entrance(*size), layer], batch_size=1)
    assert all(word in str(caught.value) for word in words), str(caught.value)
