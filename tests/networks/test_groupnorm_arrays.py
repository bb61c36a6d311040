"""Group normalization as users call it: every format and kind of array, and what is refused, with which words."""

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near
from support.group_norms import assert_accurate, layers_of, normal, oracle, plain

import gncodegen as gnc
from gncodegen.runtime.pool import ALIGNED_FROM

# Formats and kinds of arrays.

EXTENTS = {"B": (2,), "C": (6,), "T": (4,), 0: (), 1: (3,), 2: (3, 5), 3: (3, 2, 2)}
FORMATS = [
    *("CB", "BC", "CBT", "BTC", "TCB", "BCT"),
    *("SCB", "BSC", "BCS", "CSB", "SCBT", "BTSC", "BCST"),
    *("SSCB", "BSSC", "BCSS", "SBCS", "CSSB", "SBSC", "SSCBT", "BTSSC", "BCTSS"),
    *("SSSCB", "BSSSC", "BCSSS", "SSSCBT", "BTSSSC", "TCSBSS"),
]


def array_for(letters):
    spatial = iter(EXTENTS[letters.count("S")])
    return normal(*(next(spatial) if letter == "S" else EXTENTS[letter][0] for letter in letters))


@pytest.mark.few
@pytest.mark.parametrize("letters", FORMATS)
def test_every_format_and_axis_order(letters):
    x = array_for(letters)
    scale, offset = normal(6, seed=1), normal(6, seed=2)
    y = gnc.groupnorm(x, 3, offset, scale, data_format=letters)
    expected, _ = ref.group_norm(x, scale, offset, groups=3, data_format=letters)
    # Two channels of one pixel (format CB) are a group of two: see the drawn shapes.
    assert_near(y, expected, 1e-4 if len(letters) == 2 else 3e-6)


def test_the_default_format_is_channels_last():
    for shape, letters in (((2, 6), "BC"), ((2, 4, 6), "BTC"), ((2, 3, 5, 6), "BSSC")):
        x = normal(*shape)
        y = gnc.groupnorm(x, 2, np.zeros(6, np.float32), np.ones(6, np.float32))
        np.testing.assert_array_equal(y, plain(x, 2, letters))


def test_offset_comes_before_scale():
    y = gnc.groupnorm(normal(1, 4), 1, np.full(4, 3, np.float32), np.zeros(4, np.float32), data_format="BC")
    np.testing.assert_array_equal(y, 3)


def views():
    base = normal(4, 6, 10, 12)
    read_only = base[:2, :3, :5, :6].copy()
    read_only.flags.writeable = False
    return {
        "every second": base[::2, ::2, ::2, ::2],
        "backwards": base[:2, :3, 4::-1, 5::-1],
        "broadcast": np.broadcast_to(base[:1, :3, :5, :6], (2, 3, 5, 6)),
        "transposed": base[:2, :3, :5, :6].transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3),
        "Fortran order": np.asfortranarray(base[:2, :3, :5, :6]),
        "read-only": read_only,
        "other byte order": base[:2, :3, :5, :6].astype(">f4"),
        "unaligned": np.frombuffer(b"\0" + base[:2, :3, :5, :6].tobytes(), np.uint8)[1:]
        .view(np.float32)
        .reshape(2, 3, 5, 6),
        "integers": (base[:2, :3, :5, :6] * 9).astype(np.int64),
        "bytes": (np.abs(base[:2, :3, :5, :6]) * 60).astype(np.uint8),
        "lists": base[:2, :3, :5, :6].tolist(),
    }


@pytest.mark.parametrize("kind", list(views()))
def test_any_kind_of_array_gives_the_right_result(kind):
    x = views()[kind]
    before = np.array(x)
    y = plain(x, 3)
    np.testing.assert_array_equal(np.asarray(x), before)
    # To the bit what the plain contiguous float32 array gives, which the oracle has judged.
    same = np.ascontiguousarray(before.astype(np.float32))
    assert_accurate(plain(same, 3), oracle(same, 3), 3e-6)
    if kind != "lists":
        np.testing.assert_array_equal(y, plain(same, 3))
    assert_near(y, oracle(before, 3), 3e-6)


def test_results_are_aligned_for_stores_past_the_caches():
    """A result larger than the caches is written in whole vectors: 16 bytes, as NumPy aligns, end in a crash."""
    for rows in (3, 1 << 10, 1 << 16):
        x = np.ones((2, rows, 64), np.float32)
        y = gnc.groupnorm(x, 8, np.zeros(64), np.ones(64))
        assert y.nbytes < ALIGNED_FROM or y.ctypes.data % 64 == 0
        assert not y.any()


def test_float64_arrays_keep_float64_accuracy():
    x = normal(2, 3, 5, 6, dtype="float64") + 1e3
    y = gnc.groupnorm(x, 3, normal(6), normal(6, seed=1), data_format="BSSC")
    assert y.dtype == np.float64
    assert_near(y, ref.group_norm(x, normal(6, seed=1), normal(6), groups=3)[0], 1e-12)


# What is refused.


@pytest.mark.parametrize("groups", [0, -1, 2.5, True, "all", "", None, float("nan")])
def test_wrong_group_counts_are_refused_at_construction(groups):
    with pytest.raises(gnc.LayerError, match="num_groups") as caught:
        gnc.GroupNormalizationLayer(groups)
    assert repr(groups) in str(caught.value)


@pytest.mark.parametrize("epsilon", [0, -1e-5, float("nan"), float("inf"), "small", [1e-5], None, True])
def test_wrong_epsilons_are_refused_at_construction(epsilon):
    with pytest.raises(gnc.LayerError, match="epsilon"):
        gnc.GroupNormalizationLayer(2, epsilon=epsilon)


@pytest.mark.parametrize(
    "options",
    [
        {"num_channels": 0},
        {"num_channels": -4},
        {"num_channels": 2.5},
        {"num_channels": 7},
        {"scale_learn_rate_factor": -1},
        {"offset_learn_rate_factor": float("nan")},
        {"scale_l2_factor": -0.5},
        {"offset_l2_factor": "much"},
        {"offset_initializer": "random"},
        {"scale_initializer": 3},
        {"scale": [[1.0, 2.0]]},
    ],
)
def test_wrong_properties_are_refused_at_construction(options):
    with pytest.raises(gnc.LayerError) as caught:
        gnc.GroupNormalizationLayer(2, **options)
    assert list(options)[-1] in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_groups": 2}, ["'gn'", "3 channels", "2 groups", "1, 3"]),
        ({"num_groups": 4}, ["'gn'", "3", "4"]),
        ({"num_groups": 1, "num_channels": 5}, ["'gn'", "3", "5"]),
        ({"num_groups": 1, "scale": np.ones(4)}, ["'gn'", "3", "4", "scale"]),
        ({"num_groups": 1, "offset": np.ones(2)}, ["'gn'", "3", "2", "offset"]),
    ],
)
def test_what_does_not_fit_the_channels_is_refused_at_build(options, words):
    options = dict(options)
    layers = layers_of((4, 4, 3), options.pop("num_groups"), **options)
    with pytest.raises(gnc.GncodegenError) as caught:
        gnc.compile(layers, batch_size=2)
    message = str(caught.value)
    assert all(word in message for word in words), message


def test_the_function_form_refuses_what_does_not_fit():
    x, ones = normal(2, 3, 5, 6), np.ones(6, np.float32)
    for arguments, options in (
        ((x, 4, ones, ones), {"data_format": "BSSC"}),
        ((x, 0, ones, ones), {"data_format": "BSSC"}),
        ((x, 2, ones[:5], ones), {"data_format": "BSSC"}),
        ((x, 2, ones, ones[:5]), {"data_format": "BSSC"}),
        ((x, 2, ones, ones), {"data_format": "BSC"}),
        ((x, 2, ones, ones), {"data_format": "BSSB"}),
        ((x, 2, ones, ones), {"data_format": "BCSC"}),
        ((x, 2, ones, ones), {"data_format": "NHWC"}),
        ((x, 2, ones, ones), {"data_format": "BSSC", "epsilon": 0}),
        ((x.astype(complex), 2, ones, ones), {"data_format": "BSSC"}),
    ):
        with pytest.raises(gnc.GncodegenError):
            gnc.groupnorm(*arguments, **options)


def test_an_empty_batch_stays_empty():
    assert plain(np.empty((0, 3, 5, 6), np.float32), 2).shape == (0, 3, 5, 6)
