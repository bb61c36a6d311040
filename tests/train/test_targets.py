"""Labels of every kind become class indices; those that cannot are refused."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

import numpy as np
import pytest

from gncodegen.errors import ArrayError
from gncodegen.train.targets import class_targets, response_targets

DAYS = np.array(["2020-01-01", "2021-01-01", "2022-01-01"], "datetime64[D]")
LASTED = np.array([90, 91, 5000], "timedelta64[25m]")
WHERE = "layer 6 'classoutput'"


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        (["cat", "dog", "ant"], ("ant", "cat", "dog"), [1, 2, 0]),
        (np.array([10, 30, 20, 30]), (10, 20, 30), [0, 2, 1, 2]),
        (np.array([0.5, -1.0, 2.0]), (-1.0, 0.5, 2.0), [1, 0, 2]),
        ([1, 1, 0], (0, 1, 2), [1, 1, 0]),  # fewer labels than outputs: class indices
        ([2, 3, 1], (1, 2, 3), [1, 2, 0]),  # as many as outputs: labels
        (np.eye(3)[[2, 0]], (0, 1, 2), [2, 0]),
        (np.eye(3, dtype=bool)[[2, 0]], (0, 1, 2), [2, 0]),
        (np.array(["x", "z", "y"], dtype=object), ("x", "y", "z"), [0, 2, 1]),
        (np.array([2, 0], dtype=np.uint8), (0, 1, 2), [2, 0]),
        ([[2], [3], [1]], (1, 2, 3), [1, 2, 0]),  # a column
        ([b"b", b"c", b"a"], (b"a", b"b", b"c"), [1, 2, 0]),
        ([Decimal(2), Decimal("0.5"), Decimal(3)], (Decimal("0.5"), Decimal(2), Decimal(3)), [1, 0, 2]),
        ([date(2, 1, 1), date(1, 1, 1), date(3, 1, 1)], (date(1, 1, 1), date(2, 1, 1), date(3, 1, 1)), [1, 0, 2]),
        (DAYS[[1, 0, 2]], tuple(DAYS), [1, 0, 2]),
        (LASTED[[1, 0, 2]], tuple(LASTED), [1, 0, 2]),
        ([timedelta(2), timedelta(1), timedelta(3)], (timedelta(1), timedelta(2), timedelta(3)), [1, 0, 2]),
        ([UUID(int=2), UUID(int=1), UUID(int=3)], (UUID(int=1), UUID(int=2), UUID(int=3)), [1, 0, 2]),
    ],
)
def test_automatic_classes(labels, classes, indices):
    targets = class_targets(labels, None, (3,), WHERE)
    assert targets.classes == classes
    assert targets.indices.tolist() == indices
    assert targets.indices.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "indices"),
    [(["dog", "cat"], [0, 1]), ([1, 0], [1, 0]), (np.eye(2)[[1, 0]], [1, 0])],
)
def test_given_classes_keep_their_order(labels, indices):
    targets = class_targets(labels, ("dog", "cat"), (2,), WHERE)
    assert targets.classes == ("dog", "cat")
    assert targets.indices.tolist() == indices


def test_given_numbers_are_labels_not_indices():
    assert class_targets([1, 0, 1], (1, 0), (2,), WHERE).indices.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        (["a", "b"], None, "2 distinct labels for 3 outputs"),
        ([0, 1, 2, 3], None, "4 distinct labels for 3 outputs"),
        ([0, 3], None, "2 distinct labels"),
        ([-1, 0], None, "2 distinct labels"),
        (["a", "b", "q"], ("a", "b", "c"), "label 'q'"),
        ([0, 7], ("a", "b", "c"), "label 0"),
        ([[0.5, 0.5, 0.0]], None, "not one-hot"),
        ([[1, 1, 0]], None, "not one-hot"),
        ([[0, 0, 0]], None, "not one-hot"),
        ([[np.nan, 1, 0]], None, "not one-hot"),
        ([[0, 1], [1, 0]], None, "labels of shape (2, 2)"),
        (np.zeros((2, 4)), None, "(2, 4)"),
        (3, None, "shape ()"),
        ([0.0, np.nan, 2.0], None, "undefined labels"),
        (np.array(["a", None, "b"], dtype=object), None, "undefined labels"),
        (np.array(["a", 1, 2.0], dtype=object), None, "no order"),
        (np.array(["2020-01-01", "NaT"], "datetime64[D]"), None, "undefined labels"),
        (np.ma.masked_equal([0, 1, 2], 1), None, "masked labels"),
        ([[0, 1], [2]], None, "labels are no array"),
        ([1j, 2, 3], None, "complex128"),
        ([0, "a", 1.5], None, "labels of kinds float, int, str"),
        ([b"a", "b", b"c"], None, "labels of kinds bytes, str"),
        (np.array([object(), 1], object)[:1], None, "labels of kind object"),
    ],
)
def test_refused(labels, classes, words):
    with pytest.raises(ArrayError) as error:
        class_targets(labels, classes, (3,), WHERE)
    message = str(error.value)
    assert message.startswith(WHERE)
    assert words in message
    assert "allowed: " in message


def test_responses():
    assert response_targets([1, 2, 3], (1,), WHERE).whole().shape == (3, 1)
    assert response_targets(np.zeros((4, 2)), (2,), WHERE).gather(np.array([0, 3]), "float32").dtype == np.float32


@pytest.mark.parametrize(
    "responses", [np.zeros((4, 3)), np.zeros(4), np.array([["a", "b"]]), np.zeros((2, 2), complex)]
)
def test_wrong_responses(responses):
    with pytest.raises(ArrayError, match=r"allowed: real numbers \((N, 2|bool, int, float)\)"):
        response_targets(responses, (2,), WHERE)


def test_categories_keep_their_order():
    """As in the reference: those of a categorical are the classes; such as do not occur may be left out."""
    pandas = pytest.importorskip("pandas")
    small = pandas.CategoricalDtype(["low", "mid", "high"])
    for labels in (pandas.Categorical(["mid", "low", "high"], dtype=small), pandas.Series(["mid", "low"], dtype=small)):
        found = class_targets(labels, None, (3,), WHERE)
        assert found.classes == ("low", "mid", "high")
        assert found.indices[:2].tolist() == [1, 0]
    frame = pandas.DataFrame({"y": pandas.Series(["mid", "low"], dtype=small)})
    assert class_targets(frame, None, (2,), WHERE).classes == ("low", "mid")
    assert class_targets(frame, None, (2,), WHERE, "high").classes == ("low", "mid")
    assert class_targets(frame, ("mid", "low"), (2,), WHERE).indices.tolist() == [0, 1]
    numbers = pandas.Series([7, 3, 7], dtype=pandas.CategoricalDtype([7, 3]))
    assert class_targets(numbers, None, (2,), WHERE).indices.tolist() == [0, 1, 0]
    with pytest.raises(ArrayError, match="2 distinct labels for 4 outputs"):
        class_targets(frame, None, (4,), WHERE)
    with pytest.raises(ArrayError, match="undefined labels"):
        class_targets(pandas.Series(["mid", None], dtype=small), None, (3,), WHERE)


def test_labels_of_pandas():
    pandas = pytest.importorskip("pandas")
    for dtype in ("category", "string", "object"):
        series = pandas.Series(["b", "a", "c", "a"], dtype=dtype)
        assert class_targets(series, None, (3,), WHERE).indices.tolist() == [1, 0, 2, 0]
    assert class_targets(pandas.Categorical(["b", "a", "c"]), None, (3,), WHERE).indices.tolist() == [1, 0, 2]
    for given in (pandas.Series([3, 1, 2], dtype="Int64"), pandas.DataFrame({"y": [3, 1, 2]})):
        assert class_targets(given, None, (3,), WHERE).classes == (1, 2, 3)
    with pytest.raises(ArrayError, match="undefined labels"):
        class_targets(pandas.Series([3, None, 2], dtype="Int64"), None, (3,), WHERE)
