"""Networks drawn whole, of odd properties and sizes, against the float64 oracle; newly drawn in every full run."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.drawn_cases import judge


@settings(print_blob=True)
@given(seed=st.integers(0, 2**32))
def test_drawn_networks_agree_with_float64(seed: int) -> None:
    judge(seed, cases=8)
