"""Window arithmetic against counting."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gncodegen.layers import geometry

EXTENTS = st.integers(1, 40)
SMALL = st.integers(1, 6)


def count_positions(extent, window, stride, dilation, before, after):
    """Steps a window from the left end until it leaves the padded extent."""
    span = (window - 1) * dilation
    return len([start for start in range(0, extent + before + after, stride) if start + span < extent + before + after])


@settings(max_examples=50)
@given(EXTENTS, SMALL, SMALL, SMALL, st.integers(0, 5), st.integers(0, 5))
def test_output_counts_the_positions(extent, window, stride, dilation, before, after):
    expected = count_positions(extent, window, stride, dilation, before, after)
    assert max(geometry.window_output(extent, window, stride, dilation, before, after), 0) == expected


@settings(max_examples=50)
@given(EXTENTS, SMALL, SMALL, SMALL)
def test_same_gives_ceil(extent, window, stride, dilation):
    before, after = geometry.same_padding(extent, window, stride, dilation)
    assert geometry.window_output(extent, window, stride, dilation, before, after) == -(-extent // stride)
    assert after - before in (0, 1)


@settings(max_examples=50)
@given(EXTENTS, SMALL, SMALL)
def test_transposed_extents(extent, window, stride):
    whole = geometry.transposed_output(extent, window, stride)
    assert geometry.window_output(whole, window, stride, 1, 0, 0) == extent
    before, after = geometry.same_cropping(window, stride)
    assert after - before in (0, 1)
    if window >= stride:
        assert whole - before - after == extent * stride


def test_window_that_does_not_fit():
    assert geometry.window_output(2, 5, 1, 1, 0, 0) < 1
    assert geometry.window_output(2, 3, 4, 1, 0, 0) < 1


def test_padding_forms():
    axes = ((5, 6), (3, 3), (1, 1), (1, 1))
    assert geometry.window_padding(2, *axes) == (2, 2, 2, 2)
    assert geometry.window_padding((1, 2), *axes) == (1, 1, 2, 2)
    assert geometry.window_padding((1, 2, 3, 4), *axes) == (1, 2, 3, 4)
    assert geometry.window_padding("same", *axes) == (1, 1, 1, 1)
    assert geometry.window_padding("same", (5,), (4,), (2,), (1,)) == (1, 2)
    assert geometry.window_padding((1, 2), (5,), (4,), (2,), (1,)) == (1, 2)


def test_outputs_of_every_axis():
    assert geometry.window_outputs((28, 28), (5, 3), (1, 2), (1, 1), (0, 0, 1, 1)) == (24, 14)
