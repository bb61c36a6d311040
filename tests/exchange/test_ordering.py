"""The order of elements along an axis, where it is of infinite and of equal ones."""

from __future__ import annotations

import numpy as np
from onnx import helper
from support.onnx_models import model_of

import gncodegen as gnc

INFINITE = np.inf
ROWS = np.array(
    [
        [-INFINITE, 1, -INFINITE, -INFINITE, 1, -INFINITE],
        [INFINITE, 2, INFINITE, -INFINITE, INFINITE, 2],
        [-INFINITE] * 6,
        [INFINITE] * 6,
        [3, -1, 3, -1, 3, -1],
    ],
    np.float32,
)


def test_the_largest_and_the_least_of_infinite_and_equal_elements() -> None:
    nodes = [
        helper.make_node("TopK", ["x", "k"], [f"{name}_values", f"{name}_places"], name=name, largest=int(most))
        for name, most in (("most", True), ("least", False))
    ]
    outputs = [name for node in nodes for name in node.output]
    k = np.array([5], np.int64)
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 6]}, {name: ["N", 5] for name in outputs}, {"k": k}))
    given = gnc.compile(graph, training=False, batch_size=len(ROWS)).predict(ROWS)
    for sign, values, places in zip((-1, 1), given[::2], given[1::2], strict=True):
        order = np.argsort(sign * ROWS, axis=1, kind="stable")[:, :5]  # of equal ones the first
        np.testing.assert_array_equal(places, order)
        np.testing.assert_array_equal(values, np.take_along_axis(ROWS, order, 1))
