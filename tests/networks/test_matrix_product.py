"""Products of two arrays in whole networks on the CPU: prediction, gradients, other numbers of observations, faults."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_same_network
from support.sets import few

import gncodegen as gnc
from gncodegen.errors import NetworkError

DRAW = np.random.default_rng(0)
SIZE = (4, 5, 7)


def network(*layers: Any, second: Any = None) -> Any:
    """The layers over images; `second` feeds in2 of the layer "product"."""
    graph = gnc.LayerGraph([
        gnc.ImageInputLayer(SIZE, normalization="none", name="start"), gnc.LeakyReluLayer(0.3, name="a"), *layers,
        gnc.RegressionLayer(name="loss"),
    ])  # fmt: skip
    if second is None:
        return graph
    return graph.add([second]).connect("start", second.name).connect(second.name, "product/in2")


def leaky(name: str, alpha: float) -> Any:
    return ref.Node(
        name, ref.activation, inputs=("input",) if name == "b" else (),
        options={"function": "leaky-relu", "alpha": alpha},
    )  # fmt: skip


@pytest.mark.parametrize(("first", "dtype"), few([(False, "float64"), (True, "float32")], 1))
def test_products(first: bool, dtype: str) -> None:
    layer = gnc.MatrixProductLayer(transpose_first=first, transpose_second=not first, name="product")
    nodes = [
        leaky("a", 0.3), leaky("b", 0.6),
        ref.Node("product", lambda a, b: ref.matrix_product(a, b, first=first, second=not first), inputs=("a", "b")),
    ]  # fmt: skip
    graph = network(layer, second=gnc.LeakyReluLayer(0.6, name="b"))
    assert_same_network(graph, nodes, DRAW.standard_normal((3, *SIZE)), dtype=dtype)


def test_one_key_for_several_heads() -> None:
    graph = network(
        gnc.MatrixProductLayer(transpose_second=True, name="product"), second=gnc.MaxPooling2dLayer((4, 1), name="b")
    )
    pool = ref.Node("b", lambda x: ref.max_pool(x, window=(4, 1)), inputs=("input",))
    product = ref.Node("product", lambda a, b: ref.matrix_product(a, b, second=True), inputs=("a", "b"))
    nodes = [leaky("a", 0.3), pool, product]
    assert_same_network(graph, nodes, DRAW.standard_normal((3, *SIZE)), dtype="float64")


def test_a_learned_constant() -> None:
    constant = DRAW.standard_normal((4, 7, 3))
    layer = gnc.MatrixProductLayer(constant=constant, constant_learn_rate_factor=1, name="product")
    nodes = [leaky("a", 0.3), ref.Node("product", ref.matrix_product, ("constant",))]
    assert_same_network(network(layer), nodes, DRAW.standard_normal((3, *SIZE)), dtype="float64")


def test_any_number_of_observations_has_the_same_bits() -> None:
    graph = network(gnc.MatrixProductLayer(transpose_second=True, name="product"), second=gnc.TanhLayer(name="b"))
    compiled = gnc.compile(graph, training=False, batch_size=4)
    x = DRAW.standard_normal((9, *SIZE)).astype(np.float32)
    whole = compiled.predict(x)
    np.testing.assert_allclose(whole[8], ref.matrix_product(
        np.where(x[8] < 0, 0.3 * x[8], x[8]), np.tanh(x[8].astype(float)), second=True
    )[0], rtol=1e-4, atol=1e-5)  # fmt: skip
    for count in (1, 3, 9):
        np.testing.assert_array_equal(compiled.predict(x[:count]), whole[:count])


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (gnc.MatrixProductLayer(name="product"), "5×7 and 5×7; allowed: as many columns as rows"),
        (gnc.MatrixProductLayer(constant=np.ones((3, 7, 2)), name="product"), "axes ahead of the last two"),
        (gnc.MatrixProductLayer(constant=np.ones(7), name="product"), "two arrays of as many axes, at least 2"),
    ],
)
def test_what_does_not_fit_is_told(layer: Any, said: str) -> None:
    graph = network(layer, second=gnc.TanhLayer(name="b") if layer.constant is None else None)
    with pytest.raises(NetworkError, match="product") as error:
        gnc.compile(graph)
    assert said in str(error.value)
