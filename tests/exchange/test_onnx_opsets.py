"""What an operator said in an older opset, and what it says in a newer one, are the same layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx import helper
from support.onnx_models import model_of

import gncodegen as gnc

IMAGES, ROWS = ["N", 4, 6, 6], ["N", 3, 4]


class Said(NamedTuple):
    """A model of one operator: opset, name, attributes, constants behind x, and how many results it has."""

    opset: int
    operator: str
    attributes: dict[str, Any]
    constants: tuple[Any, ...] = ()
    results: int = 1

    def graph(self, shape: list[Any]) -> gnc.LayerGraph:
        """Its layers, where the last result is the model's."""
        names = [f"c{place}" for place in range(len(self.constants))]
        constants = {name: value for name, value in zip(names, self.constants, strict=True) if value is not None}
        given = [name if name in constants else "" for name in names]
        results = [f"r{place}" for place in range(self.results - 1)] + ["y"]
        node = helper.make_node(self.operator, ["x", *given], results, name="node", **self.attributes)
        model = model_of([node], {"x": shape}, {"y": None}, constants, opset=self.opset)
        return gnc.from_onnx(model)


def integers(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


HALF, SIDES = np.float32(0.5), integers(0, 0, 1, 2, 0, 0, 2, 1)
SCALES = np.array([1, 1, 2, 1.5], np.float32)
AXES = {"axes": [1], "keepdims": 0}
FLOORED = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
STATISTICS = tuple(np.linspace(0.5, 2, 4, dtype=np.float32) + place for place in range(4))
OLD_AND_NEW = {
    "Clip": (ROWS, Said(7, "Clip", {"min": -0.5, "max": 0.5}), Said(13, "Clip", {}, (-HALF, HALF))),
    "Dropout": (ROWS, Said(7, "Dropout", {"ratio": 0.5}), Said(13, "Dropout", {}, (HALF,))),
    "Pad": (
        IMAGES,
        Said(7, "Pad", {"pads": SIDES.tolist(), "value": 0.5}),
        Said(13, "Pad", {}, (SIDES, HALF)),
    ),
    "Slice": (
        IMAGES,
        Said(7, "Slice", {"starts": [1, 0], "ends": [3, -1], "axes": [1, 3]}),
        Said(13, "Slice", {}, (integers(1, 0), integers(3, -1), integers(1, 3))),
    ),
    "Split": (
        IMAGES,
        Said(7, "Split", {"axis": 1, "split": [1, 3]}, results=2),
        Said(13, "Split", {"axis": 1}, (integers(1, 3),), results=2),
    ),
    "Split into equal parts": (
        IMAGES,
        Said(11, "Split", {"axis": 1}, results=2),
        Said(18, "Split", {"axis": 1, "num_outputs": 2}, results=2),
    ),
    "Unsqueeze": (ROWS, Said(7, "Unsqueeze", {"axes": [2]}), Said(13, "Unsqueeze", {}, (integers(2),))),
    "BatchNormalization": (
        IMAGES,
        Said(7, "BatchNormalization", {}, STATISTICS),
        Said(15, "BatchNormalization", {}, STATISTICS),
    ),
    "ReduceSum": (ROWS, Said(7, "ReduceSum", AXES), Said(13, "ReduceSum", {"keepdims": 0}, (integers(1),))),
    "ReduceMean": (ROWS, Said(13, "ReduceMean", AXES), Said(18, "ReduceMean", {"keepdims": 0}, (integers(1),))),
    "Softmax of the last axis": (ROWS, Said(7, "Softmax", {"axis": 2}), Said(13, "Softmax", {})),
    "Upsample": (
        IMAGES,
        Said(7, "Upsample", {"scales": SCALES.tolist()}),
        Said(13, "Resize", FLOORED, (None, SCALES)),
    ),
    "Resize": (
        IMAGES,
        Said(10, "Resize", {"mode": "linear"}, (SCALES,)),
        Said(13, "Resize", {"mode": "linear", **FLOORED}, (None, SCALES)),
    ),
    "GroupNormalization": (
        IMAGES,
        Said(18, "GroupNormalization", {"num_groups": 2}, (STATISTICS[0][:2], STATISTICS[1][:2])),
        Said(21, "GroupNormalization", {"num_groups": 2}, tuple(np.repeat(each[:2], 2) for each in STATISTICS[:2])),
    ),
}


def _same(first: object, second: object) -> bool:
    return np.array_equal(first, second) if isinstance(first, np.ndarray) else first == second


@pytest.mark.parametrize("name", OLD_AND_NEW)
def test_old_and_new_are_the_same_layers(name: str) -> None:
    shape, old, new = OLD_AND_NEW[name]
    before, after = old.graph(shape), new.graph(shape)
    assert len(before) > 1
    assert [type(layer) for layer in before] == [type(layer) for layer in after]
    for layer, other in zip(before, after, strict=True):
        for field, value in vars(layer).items():
            assert _same(value, vars(other)[field]), (layer, field)


def test_softmax_was_of_all_axes_behind_one() -> None:
    graph = Said(11, "Softmax", {}).graph(ROWS)
    assert [layer.kind for layer in graph].count("reshape") == 2
    compiled = gnc.compile(graph, training=False, batch_size=2)
    x = np.random.default_rng(0).standard_normal((2, 3, 4), np.float32)
    wanted = np.exp(x) / np.exp(x).sum((1, 2), keepdims=True)
    np.testing.assert_allclose(compiled.predict(x), wanted, rtol=1e-5)
