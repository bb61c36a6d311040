"""Parts of arrays, whose elements are copied whatever lies beside them."""

from __future__ import annotations

import numpy as np
from onnx import helper
from support.onnx_models import model_of

import gncodegen as gnc


def test_every_second_and_third_element_beside_infinite_ones() -> None:
    x = np.arange(2 * 3 * 11, dtype=np.float32).reshape(2, 3, 11)
    x[0, 0, 1::2], x[1, 2, ::3] = np.inf, np.nan
    constants = {
        "starts": np.array([1], np.int64),
        "ends": np.array([10], np.int64),
        "axes": np.array([2], np.int64),
        "steps": np.array([3], np.int64),
        "places": np.array([[0, 2], [4, 6]], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["sliced"]),
        helper.make_node("Gather", ["x", "places"], ["gathered"], axis=2),
    ]
    outputs = {"sliced": ["N", 3, 3], "gathered": ["N", 3, 2, 2]}
    graph = gnc.from_onnx(model_of(nodes, {"x": ["N", 3, 11]}, outputs, constants))
    sliced, gathered = gnc.compile(graph, training=False, batch_size=2).predict(x)
    np.testing.assert_array_equal(sliced, x[..., 1:10:3])
    np.testing.assert_array_equal(gathered, x[..., constants["places"]])
