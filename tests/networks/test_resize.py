"""Resizing, and local response normalization, in whole networks on every target."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network
from support.formats import entrance
from support.sets import in_full
from support.targets import TARGETS

import gncodegen as gnc

DRAW = np.random.default_rng(0)
WORDS = {
    "method": "method", "geometric_transform_mode": "coordinates", "nearest_rounding_mode": "rounding",
    "antialias": "antialias", "exclude_outside": "exclude_outside", "cubic_coefficient": "a",
}  # fmt: skip
CASES = [
    ("SSC", (3, 5, 2), {"extents": (7, 4), "method": "linear"}),
    ("SSC", (3, 5, 2), {"scale": 2}),
    *in_full([
        ("SSC", (3, 5, 2), {"extents": 6, "geometric_transform_mode": "asymmetric", "nearest_rounding_mode": "floor"}),
        ("SSC", (4, 5, 2), {"extents": (2, 9), "method": "linear", "geometric_transform_mode": "align-corners"}),
        ("SSC", (4, 6, 2), {"scale": (0.5, 1.5), "nearest_rounding_mode": "round-half-down"}),
        ("SSC", (4, 6, 2), {"scale": 1.3, "geometric_transform_mode": "asymmetric", "nearest_rounding_mode": "ceil"}),
        ("SSC", (3, 3, 2), {"scale": (0.5, 1.5), "nearest_rounding_mode": "floor",
                            "geometric_transform_mode": "align-corners"}),
        ("SC", (5, 3), {"scale": 3, "method": "linear"}),
        ("SSC", (5, 4, 2), {"extents": (3, 7), "method": "area"}),
        ("SSC", (4, 5, 2), {"extents": (7, 3), "method": "cubic", "geometric_transform_mode": "align-corners"}),
        ("SSC", (7, 6, 2), {"scale": (0.4, 1.5), "method": "linear", "antialias": True}),
        ("SSC", (9, 5, 2), {"extents": (4, 2), "method": "cubic", "antialias": True, "exclude_outside": True,
                            "cubic_coefficient": -0.5}),
        ("SSC", (3, 4, 2), {"extents": (7, 6), "method": "cubic", "exclude_outside": True}),
        ("SSSC", (2, 3, 2, 2), {"extents": (3, 2, 4), "method": "linear"}),
        ("TSSC", (2, 3, 2, 2), {"scale": 2, "method": "linear"}),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("letters", "shape", "options"), CASES)
def test_resize(letters, shape, options, target):
    rank = letters.count("S")
    axes = [axis + 1 for axis, letter in enumerate(letters) if letter == "S"]
    extents, scales = options.get("extents"), None
    if extents is None:
        scales = np.broadcast_to(options["scale"], rank)
        extents = [int(scale * shape[axis - 1]) for scale, axis in zip(scales, axes, strict=True)]
    how = {WORDS[name]: value for name, value in options.items() if name in WORDS}
    extents = np.broadcast_to(extents, rank).tolist()
    node = ref.Node("layer", lambda x: ref.resize(x, extents, axes=axes, scales=scales, **how))
    layer = getattr(gnc, f"Resize{rank}dLayer")(**options, name="layer")
    layers = [entrance(letters, shape), layer, gnc.RegressionLayer()]
    assert_same_network(layers, [node], DRAW.standard_normal((2, *shape)), target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_local_response(target):
    options = {"alpha": 0.7, "beta": 0.6, "k": 1.5}
    node = ref.Node("layer", lambda x: ref.local_response(x, 4, **options))
    layer = gnc.CrossChannelNormalizationLayer(4, **options, name="layer")
    layers = [gnc.ImageInputLayer((3, 2, 6), normalization="none"), layer, gnc.RegressionLayer()]
    assert_same_network(layers, [node], DRAW.standard_normal((2, 3, 2, 6)), target=target)


def test_refusals():
    for options, message in (({}, "neither extents nor scale"), ({"extents": 2, "scale": 2}, "extents and scale")):
        with pytest.raises(gnc.LayerError, match=f"{message}; allowed: one of both; write scale=2"):
            gnc.Resize2dLayer(**options)
    for layer, message in (
        (gnc.Resize3dLayer(2), "2 spatial axes; allowed: 3; take Resize2dLayer"),
        (gnc.Resize2dLayer(scale=0.1), "scale = .* leaves nothing of the input 4×4×1"),
    ):
        with pytest.raises(gnc.NetworkError, match=message):
            gnc.compile([gnc.ImageInputLayer((4, 4, 1)), layer])
