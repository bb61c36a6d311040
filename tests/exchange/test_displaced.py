"""Arrays of ONNX models in which observations are not the first axis: what is computed is right, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from support.onnx_models import interpreted, model_of

import gncodegen as gnc
from gncodegen.errors import NetworkError

TIME, CHANNELS = 4, 6
CONSTANTS = {"apart": (TIME, -1, 2, 3), "turned": (TIME, -1, 3, 2), "whole": (TIME, -1, CHANNELS), "starts": (1, 0, 2),
             "ends": (4, 2**62, 5), "two": (2,), "first": (0,), "wide": (1, 1, 5, 1)}  # fmt: skip


def model(*steps, opset=17):
    """X (N, T, C) as (T, N, C), the steps (operator, constant or "", attributes), and N in front again."""
    nodes = [helper.make_node("Transpose", ["x"], ["0"], perm=[1, 0, 2])]
    for number, (operator, constant, attributes) in enumerate(steps):
        given = [str(number), *filter(None, constant.split())]
        nodes.append(helper.make_node(operator, given, [str(number + 1)], **attributes))
    rank = 4 if steps[-1][1] in ("apart", "turned", "two", "wide") else 3
    order = [1, 0, *range(2, rank)]
    nodes.append(helper.make_node("Transpose", [str(len(steps))], ["y"], perm=order))
    constants = {name: np.array(value, np.int64) for name, value in CONSTANTS.items()}
    return model_of(nodes, {"x": ["N", TIME, CHANNELS]}, {"y": [None] * rank}, constants, opset)


@pytest.mark.parametrize(
    "source",
    [
        model(("Flatten", "", {"axis": -1}), ("Reshape", "whole", {})),
        model(("Reshape", "apart", {}), ("Reshape", "turned", {})),
        model(("Slice", "starts ends", {})),
        model(("Unsqueeze", "two", {})),
        model(("Unsqueeze", "two", {}), ("Expand", "wide", {})),
        model(("Softmax", "", {"axis": 0})),
        model(("Softmax", "", {"axis": 2}), opset=11),
        model(("Hardmax", "", {"axis": -1})),
        model(("ReduceProd", "", {"axes": [0]})),
    ],
    ids=lambda source: source.graph.node[1].op_type,
)
def test_computed(source) -> None:
    x = np.random.default_rng(3).standard_normal((3, TIME, CHANNELS)).astype(np.float32)
    (found,) = interpreted(gnc.from_onnx(source), {"x": x})
    (wanted,) = ReferenceEvaluator(source).run(None, {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "source",
    [
        model(("Softmax", "", {}), opset=11),
        model(("Softmax", "", {"axis": 0}), opset=11),
        model(("LogSoftmax", "", {"axis": 1})),
        model(("Squeeze", "first", {}), ("Unsqueeze", "first", {})),
    ],
    ids=lambda source: source.graph.node[1].op_type,
)
def test_refused(source) -> None:
    with pytest.raises(NetworkError, match="observations"):
        gnc.from_onnx(source)
