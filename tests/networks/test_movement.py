"""Crops, and channels that become positions, in whole networks on the CPU."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network
from support.sets import few

import gncodegen as gnc
from gncodegen.errors import NetworkError


def network(shape, layer):
    return [gnc.ImageInputLayer(shape, normalization="none"), layer, gnc.RegressionLayer()]


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape)


@pytest.mark.parametrize("cropping", few([((1, 2, 0, 1),), ((0, 0, 1, 2),), ((2, 0, 0, 0),)], 1))
def test_crop(cropping):
    nodes = [ref.Node("crop", lambda x: ref.crop(x, cropping[:2], cropping[2:]))]
    assert_same_network(network((5, 6, 3), gnc.CropLayer(cropping, name="crop")), nodes, drawn(2, 5, 6, 3))


@pytest.mark.parametrize("order", few(["depth-first", "column-first"], 1))
def test_depth_to_space_and_back(order):
    nodes = [ref.Node("m", lambda x: ref.depth_to_space(x, 2, order))]
    wide = network((3, 5, 12), gnc.DepthToSpaceLayer(2, order=order, name="m"))
    assert_same_network(wide, nodes, drawn(2, 3, 5, 12))
    nodes = [ref.Node("m", lambda x: ref.space_to_depth(x, 3, order))]
    large = network((6, 9, 2), gnc.SpaceToDepthLayer(3, order=order, name="m"))
    assert_same_network(large, nodes, drawn(2, 6, 9, 2))
    both = [*wide[:2], gnc.SpaceToDepthLayer(2, order=order)]
    x = drawn(2, 3, 5, 12).astype(np.float32)
    np.testing.assert_array_equal(gnc.compile(both, batch_size=2).predict(x), x)


def test_refusals():
    for layer, cure in (
        (gnc.CropLayer((1, 1)), "allowed: 4 ints"),
        (gnc.CropLayer((2, 2, 0, 0)), "leaves nothing of the input 4×6×8"),
        (gnc.DepthToSpaceLayer(3), "8 channels; allowed: a multiple of block² = 9"),
        (gnc.SpaceToDepthLayer(4), "allowed: multiples of block = 4; pad or crop it"),
    ):
        with pytest.raises(NetworkError, match=cure):
            gnc.compile(network((4, 6, 8), layer))
    with pytest.raises(NetworkError, match="0 spatial axes; allowed: SSC"):
        gnc.compile([gnc.FeatureInputLayer(8), gnc.DepthToSpaceLayer(2)])
