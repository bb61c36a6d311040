"""Networks drawn whole, of odd properties and sizes, against the float64 oracle; newly drawn in every full run."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.comparison import assert_same_network
from support.drawn_networks import drawn


@settings(print_blob=True)
@given(seed=st.integers(0, 2**32), batch=st.sampled_from((1, 2, 3, 7)))
def test_drawn_networks_agree_with_float64(seed: int, batch: int) -> None:
    network = drawn(random.Random(seed))
    x = np.random.default_rng(seed).standard_normal((batch, *network.input_size))
    compiled = assert_same_network(
        network.layers, network.nodes, x, dtype="float64", tolerance=1e-10, training=True, finite_differences=False
    )
    assert np.shape(compiled.predict(x[:0])) == (0, *network.size)
