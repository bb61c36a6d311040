"""What the group normalization tests share: data, both function forms, networks of one layer."""

import numpy as np
import reference as ref

import gncodegen as gnc


def normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def plain(x, groups, data_format="BSSC", epsilon=1e-5):
    """The function form with scale 1 and offset 0."""
    channels = np.shape(x)[data_format.index("C")]
    scale, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    return gnc.groupnorm(x, groups, offset, scale, data_format=data_format, epsilon=epsilon)


def oracle(x, groups, data_format="BSSC", epsilon=1e-5):
    channels = np.shape(x)[data_format.index("C")]
    scale, offset = np.ones(channels), np.zeros(channels)
    return ref.group_norm(x, scale, offset, groups=groups, data_format=data_format, epsilon=epsilon)[0]


def assert_accurate(actual, expected, bound=1e-6):
    """No element is off by more than `bound` times its own magnitude, or 1 if that is larger."""
    assert actual.shape == expected.shape
    assert actual.dtype == np.float32
    worst = np.max(np.abs(actual - expected) / np.maximum(1, np.abs(expected)))
    assert worst <= bound, f"off by {worst:.3g}"


def layers_of(shape, groups, relu=False, **options):
    middle = [gnc.ReluLayer(name="relu")] if relu else []
    return [
        gnc.ImageInputLayer(shape, normalization="none"),
        gnc.GroupNormalizationLayer(groups, name="gn", **options),
        *middle,
        gnc.RegressionLayer(),
    ]


def nodes_of(groups, relu=False, **options):
    middle = [ref.Node("relu", ref.relu)] if relu else []
    return [ref.Node("gn", ref.group_norm, ("scale", "offset"), options={"groups": groups, **options}), *middle]


def compiled_gn(shape, groups, batch, **options):
    return gnc.compile(layers_of(shape, groups, **options), target="cpu", batch_size=batch, training=False, seed=0)
