"""Group normalization: the specification's accuracy section and edge cases, against the float64 oracle."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.comparison import assert_near, assert_same_network
from support.group_norms import assert_accurate, compiled_gn, layers_of, nodes_of, normal, oracle, plain
from support.sets import few

import gncodegen as gnc

# Forward and gradients over drawn shapes.

SHAPES = st.tuples(
    st.integers(1, 3),  # batch
    st.sampled_from([1, 2, 3, 7]),  # height
    st.sampled_from([1, 2, 5, 16]),  # width
    st.sampled_from([1, 2, 3, 5, 8, 11, 16]),  # channels of one group
    st.sampled_from([1, 2, 3, 4]),  # groups
)


@pytest.mark.full(like="networks/test_groupnorm.py::test_error_stays_below_a_millionth_at_every_offset")
@given(shape=SHAPES, dtype=st.sampled_from(["float32", "float64"]), relu=st.booleans())
@example(shape=(2, 1, 1, 1, 3), dtype="float64", relu=False)
@example(shape=(3, 5, 3, 17, 1), dtype="float32", relu=True)
@example(shape=(1, 4, 4, 8, 4), dtype="float32", relu=True)
@example(shape=(2, 3, 5, 3, 2), dtype="float64", relu=True)
def test_drawn_shapes_forward_and_gradients(shape, dtype, relu):
    batch, height, width, block, groups = shape
    x = normal(batch, height, width, block * groups, dtype=dtype) * 2 + 1
    # A group of few elements divides small differences by their own size: its rounding errors grow by as much. A single
    # element is divided by sqrt(epsilon) alone, so its gradient, which is zero, is rounding times 316.
    elements = block * height * width
    small = 1 < elements < 4
    tolerance = {"float32": 2e-4 if small else 5e-6, "float64": 1e-9 if small else 1e-12}[dtype]
    options = {"tolerance": tolerance, "floor": 10 if elements == 1 else 1e-2}
    layers, nodes = layers_of(x.shape[1:], groups, relu), nodes_of(groups, relu)
    assert_same_network(layers, nodes, x, dtype=dtype, finite_differences=False, **options)


@pytest.mark.parametrize("relu", [False, True])
def test_gradients_are_the_slopes_of_the_loss(relu):
    x = normal(2, 3, 3, 6, dtype="float64")
    assert_same_network(layers_of((3, 3, 6), 2, relu), nodes_of(2, relu), x, dtype="float64", finite_differences=True)


def test_a_group_larger_than_one_cache():
    x = normal(1, 150, 149, 40)
    assert_accurate(plain(x, 2), oracle(x, 2), bound=1.5e-6)


# Accuracy.


@pytest.mark.parametrize("shape", few([((2, 8, 8, 16),), ((2, 7, 5, 6),), ((3, 28, 28, 20),)], 2))
@pytest.mark.parametrize("constant", [0, 1e2, 1e4, 1e6])
def test_error_stays_below_a_millionth_at_every_offset(shape, constant):
    x = normal(*shape) + np.float32(constant)
    assert_accurate(plain(x, 2), oracle(x, 2))


@pytest.mark.parametrize("constant", [1e2, 1e4, 1e6])
def test_gradients_stay_accurate_at_every_offset(constant):
    x = normal(2, 8, 8, 16) + np.float32(constant)
    assert_same_network(layers_of((8, 8, 16), 2), nodes_of(2), x)


@pytest.mark.parametrize("sigmas", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("place", [0, -1])
def test_an_outlier_does_not_spoil_its_group(sigmas, place):
    x = normal(2, 8, 8, 16)
    x.reshape(2, -1)[:, place] = sigmas
    assert_accurate(plain(x, 1), oracle(x, 1))
    x.reshape(2, -1)[:, place] = -sigmas
    assert_accurate(plain(x, 1), oracle(x, 1))


def test_an_outlier_beside_a_large_constant():
    x = normal(2, 8, 8, 16) + np.float32(1e4)
    x[:, 0, 0, 0] = -1e4
    assert_accurate(plain(x, 1), oracle(x, 1))


@pytest.mark.parametrize("spread", [1e20, 1e-30, 1e-19])
def test_huge_and_tiny_values(spread):
    x = normal(2, 8, 8, 16) * np.float32(spread)
    expected = oracle(x, 2)
    assert_near(plain(x, 2), expected, 2e-6, floor=0)
    assert_same_network(layers_of((8, 8, 16), 2), nodes_of(2), x, floor=0, tolerance=1e-5)


def test_plus_and_minus_1e20():
    x = np.full((2, 8, 8, 16), np.float32(1e20))
    x[:, ::2] *= -1
    np.testing.assert_allclose(plain(x, 2), np.sign(x), rtol=1e-6)


@pytest.mark.few
@pytest.mark.parametrize(("spread", "epsilon"), [(1e-6, 1e-12), (0.03, 1e-3), (1e-3, 1e-5), (3, 1e-12), (1e-8, 1e-12)])
def test_epsilon_stands_inside_the_root(spread, epsilon):
    x = normal(2, 8, 8, 16) * np.float32(spread)
    expected = oracle(x, 2, epsilon=epsilon)
    # The cases can tell inside from outside: sqrt(v) + eps would give something else.
    assert spread == 3 or np.abs(expected).max() < 0.99 * np.abs(oracle(x / spread, 2, epsilon=1e-12)).max()
    assert_near(plain(x, 2, epsilon=epsilon), expected, 1e-6, floor=0)


def test_zero_to_seven():
    y = plain(np.arange(8, dtype=np.float32).reshape(1, 8), 1, "BC")
    np.testing.assert_allclose(y[0, 4:], [0.21821768, 0.65465305, 1.09108841, 1.52752378], rtol=3e-7)
    np.testing.assert_array_equal(y[0, :4], -y[0, :3:-1])


# Groups.


def test_one_group_is_all_channels_and_c_groups_are_channel_wise():
    x = normal(2, 7, 5, 6)
    np.testing.assert_array_equal(plain(x, 1), plain(x, "all-channels"))
    np.testing.assert_array_equal(plain(x, 6), plain(x, "channel-wise"))
    assert_accurate(plain(x, "all-channels"), oracle(x, 1))
    assert_accurate(plain(x, "channel-wise"), oracle(x, 6))


def test_groups_are_contiguous_blocks():
    x = normal(2, 7, 5, 6)
    changed = x.copy()
    changed[..., 3] += 5 * normal(2, 7, 5, seed=1)
    differs = (plain(x, 2) != plain(changed, 2)).any(axis=(0, 1, 2))
    assert differs.tolist() == [False, False, False, True, True, True]


# Constant and single-element groups.


@pytest.mark.parametrize("value", [0.1, -7.0, 0.0, 1e6, 16777216.0, 1e20, 3e38, 1e-38, 1e-42])
def test_a_constant_group_is_exactly_the_offset(value):
    x = np.full((2, 8, 8, 16), value, np.float32)
    offset, scale = normal(16), normal(16, seed=1) * 100
    y = gnc.groupnorm(x, 2, offset, scale, data_format="BSSC")
    np.testing.assert_array_equal(y, np.broadcast_to(offset, x.shape))


def test_a_single_element_group_is_exactly_the_offset():
    offset, scale = normal(5), normal(5, seed=1)
    y = gnc.groupnorm(normal(3, 5) * 1e3, "channel-wise", offset, scale, data_format="BC")
    np.testing.assert_array_equal(y, np.broadcast_to(offset, (3, 5)))


@pytest.mark.parametrize("value", [0.1, 1e6])
def test_gradients_of_a_constant_group_are_right(value):
    x = np.full((2, 3, 3, 4), value, np.float32)
    gradients_of = assert_same_network(layers_of((3, 3, 4), 2), nodes_of(2), x)
    dscale = gradients_of.gradients(x, np.ones_like(x))["gn.scale"]
    np.testing.assert_array_equal(dscale, np.zeros(4))


def test_gradients_of_single_element_groups_are_zero():
    compiled = compiled_gn((1, 1, 5), "channel-wise", 3)
    t = normal(3, 1, 1, 5, seed=1)
    gradients = compiled.gradients(normal(3, 1, 1, 5), t)
    # dy is −t / 3 and is divided by sqrt(epsilon): one rounding of that is all that may be left.
    assert np.all(np.abs(gradients["input"]) <= np.abs(t / 3) / np.sqrt(1e-5) * np.finfo(np.float32).eps)
    np.testing.assert_array_equal(gradients["gn.scale"], 0)
    assert np.all(gradients["gn.offset"] != 0)


def test_a_fused_relu_has_slope_zero_where_the_norm_is_exactly_zero():
    compiled = compiled_gn((3, 3, 4), 2, 2, relu=True)
    x = np.full((2, 3, 3, 4), 0.1, np.float32)
    np.testing.assert_array_equal(compiled.predict(x), 0)
    gradients = compiled.gradients(x, np.ones_like(x))
    assert all(not np.any(gradient) for gradient in gradients.values())


# NaN and infinity.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("relu", [False, True])
def test_a_bad_value_spoils_its_own_group_and_nothing_else(bad, relu):
    compiled = compiled_gn((4, 4, 16), 4, 3, relu=relu)
    x, t = normal(3, 4, 4, 16), normal(3, 4, 4, 16, seed=1)
    spoiled = x.copy()
    spoiled[1, 2, 3, 9] = bad
    hit = np.zeros(x.shape, bool)
    hit[1, :, :, 8:12] = True
    for clean, dirty in (
        (compiled.predict(x), compiled.predict(spoiled)),
        (compiled.gradients(x, t)["input"], compiled.gradients(spoiled, t)["input"]),
    ):
        assert np.isnan(dirty[hit]).all()
        np.testing.assert_array_equal(dirty[~hit], clean[~hit])
    clean, dirty = compiled.gradients(x, t), compiled.gradients(spoiled, t)
    channels = hit.any(axis=(0, 1, 2))
    assert np.isnan(dirty["gn.scale"][channels]).all()
    for name in ("gn.scale", "gn.offset"):
        np.testing.assert_array_equal(dirty[name][~channels], clean[name][~channels])


def test_a_bad_first_element_is_no_exception():
    x = normal(2, 7, 5, 6)
    x[0, 0, 0, 0] = np.inf
    y = plain(x, 2)
    assert np.isnan(y[0, ..., :3]).all()
    assert np.isfinite(y[0, ..., 3:]).all()
    assert np.isfinite(y[1]).all()


# Sums and slices.


def test_a_batch_slice_alone_has_the_same_bits():
    x = normal(7, 5, 5, 24)
    whole = plain(x, 4)
    for part in (slice(0, 1), slice(6, 7), slice(2, 5), slice(0, 6, 2)):
        np.testing.assert_array_equal(plain(x[part], 4), whole[part])


def test_the_input_gradient_sums_to_zero_over_a_group():
    compiled = compiled_gn((8, 8, 16), 2, 2)
    compiled.parameters["gn.scale"] = np.full(16, 1.5, np.float32)
    dx = compiled.gradients(normal(2, 8, 8, 16), normal(2, 8, 8, 16, seed=1))["input"].astype(np.float64)
    sums = dx.reshape(2, 64, 2, 8).sum(axis=(1, 3))
    assert np.abs(sums).max() < 1e-5 * np.abs(dx).sum() / 4
