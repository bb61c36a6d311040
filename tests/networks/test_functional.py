"""Function forms against the oracle: results, gradients, formats, and what is refused."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import reference as ref
from support.comparison import assert_near
from support.cuda_stub.arrays import GpuArray
from support.sets import in_full

import gncodegen as gnc
from gncodegen import functional
from gncodegen.functional.prepared import prepared
from gncodegen.kernels.activations import ACTIVATIONS
from gncodegen.layers.network import Network

RNG = np.random.default_rng(18)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


X, SCALE, OFFSET = normal(2, 4, 5, 6), normal(6), normal(6)
WEIGHTS, BIAS = normal(3, 3, 6, 4), normal(4)
ROWS = np.full((2, 4), 0.25, np.float32)
HUGE = np.broadcast_to(np.float32(1), (10**6, 10**3, 10**3, 4))
"""An array of 16 TB that takes four bytes."""

FORMS = {
    "groupnorm": ((X, 3, OFFSET, SCALE), {}, lambda x, offset, scale: ref.group_norm(x, scale, offset, groups=3)),
    "instancenorm": ((X, OFFSET, SCALE), {}, lambda x, offset, scale: ref.instance_norm(x, scale, offset)),
    "layernorm": ((X, OFFSET, SCALE), {}, lambda x, offset, scale: ref.layer_norm(x, scale, offset)),
    "batchnorm": ((X, OFFSET, SCALE), {}, lambda x, offset, scale: ref.batch_norm(x, scale, offset)),
    "convolution": (
        (X, WEIGHTS, BIAS), {"padding": "same"}, lambda x, w, b: ref.convolution(x, w, b, padding="same"),
    ),
    "transposed_convolution": (
        (X, normal(2, 2, 4, 6), BIAS), {"stride": 2}, lambda x, w, b: ref.transposed_convolution(x, w, b, stride=2),
    ),
    "fullyconnect": ((X, normal(3, 120), normal(3)), {}, ref.fully_connected),
    "maxpool": ((X, 2), {"stride": 2}, lambda x: ref.max_pool(x, window=(2, 2), stride=2)),
    "avgpool": ((X, 2), {}, lambda x: ref.average_pool(x, window=(2, 2))),
    "softmax": ((X,), {}, ref.softmax),
    "prelu": ((X, SCALE), {}, lambda x, alpha: ref.elementwise("prelu", x, alpha)),
}  # fmt: skip
"""Name → arguments, properties, and the oracle of the arrays among the arguments."""

NAMES = {"groupnorm": "x offset scale", "convolution": "x weights bias", "transposed_convolution": "x weights bias"}
NAMES |= dict.fromkeys(("instancenorm", "layernorm", "batchnorm"), "x offset scale")
NAMES |= {"fullyconnect": "x weights bias", "prelu": "x alpha"} | dict.fromkeys(("maxpool", "avgpool", "softmax"), "x")


def chosen(names, *default):
    """The names, of which the default run has some."""
    return [*default, *in_full(sorted(set(names) - set(default)))]


def arrays(arguments):
    return [np.asarray(each, np.float64) for each in arguments if isinstance(each, np.ndarray)]


@pytest.mark.few
@pytest.mark.parametrize("name", chosen(FORMS, "groupnorm", "convolution", "maxpool", "softmax"))
def test_results_and_gradients(name):
    arguments, properties, oracle = FORMS[name]
    form = getattr(functional, name)
    expected, backward = oracle(*arrays(arguments))
    assert_near(form(*arguments, **properties), expected.reshape(form(*arguments, **properties).shape), 1e-5)
    dy = normal(*expected.shape)
    y, gradients = functional.vjp(form, dy, *arguments, **properties)
    np.testing.assert_array_equal(y, form(*arguments, **properties))
    wanted = list(backward(dy))
    if len(wanted) == 3 and "offset" in NAMES[name]:
        wanted = [wanted[0], wanted[2], wanted[1]]  # the oracle has scale first
    assert list(gradients) == NAMES[name].split()
    for found, value in zip(gradients.values(), wanted, strict=True):
        assert_near(found, value, 2e-5)


@pytest.mark.parametrize("name", chosen(functional.pointwise.ACTIVATIONS, "relu", "clippedrelu", "square_root"))
def test_activations_take_arrays_of_any_shape(name):
    form = getattr(functional, name)
    x = np.abs(normal(3, 1, 2, 2, 3, 2)) + 0.1
    x = {"arcosh": x + 1, "arcsine": np.tanh(x), "arccosine": np.tanh(x), "artanh": np.tanh(x)}.get(name, x)
    constants = (1.5,) if name == "clippedrelu" else ()
    given = form.describe(x, *constants)
    (operation,) = given.kind.layer.operations(())
    numbers = {key: value for key, value in operation.attributes.items() if key != "function"}
    expected, backward = ref.activation(x.astype(np.float64), operation.attributes["function"], **numbers)
    y, gradients = functional.vjp(form, x, x, *constants)
    assert y.shape == x.shape
    assert_near(y, expected, 2e-6)
    assert_near(gradients["x"], backward(x)[0], 1e-5)


def test_every_activation_of_the_table_has_a_form():
    forms = functional.pointwise.ACTIVATIONS.values()
    given = [form.describe(X, *((6.0,) if form.name == "clippedrelu" else ())) for form in forms]
    given.append(functional.gelu.describe(X, approximation="tanh"))
    of_another_layer = {"shifted-power"}
    found = {each.kind.layer.operations(())[0].attributes["function"] for each in given}
    assert found == set(ACTIVATIONS) - of_another_layer


def test_losses():
    y = functional.softmax(X)
    labels = RNG.integers(6, size=(2, 4, 5))
    rows = np.eye(6)[labels]
    loss = -np.log(np.take_along_axis(y, labels[..., None], -1)).sum() / 2
    for targets in (labels, rows):
        assert functional.crossentropy(y, targets) == pytest.approx(loss, rel=1e-6)
        assert_near(gnc.gradient(functional.crossentropy, y, targets)["x"], -rows / y / 2, 1e-5)
    channels_first = y.transpose(0, 3, 1, 2), rows.transpose(0, 3, 1, 2)
    assert functional.crossentropy(*channels_first, data_format="BCSS") == pytest.approx(loss, rel=1e-6)
    weights = np.arange(1.0, 7)
    weighted = -(weights * rows * np.log(y)).sum() / 2
    assert functional.crossentropy(y, labels, weights) == pytest.approx(weighted, rel=1e-6)
    t = normal(*X.shape)
    assert functional.mse(X, t) == pytest.approx(((X - t) ** 2).sum() / 4, rel=1e-6)
    assert_near(functional.vjp(functional.mse, 3.0, X, t)[1]["x"], 3 * (X - t) / 2, 1e-5)


@pytest.mark.parametrize(
    ("letters", "order"), [("BCSS", (0, 3, 1, 2)), *in_full([("SCSB", (1, 3, 2, 0)), ("CSS", (2, 0, 1))])]
)
def test_formats(letters, order):
    x, dy = X, normal(2, 2, 3, 4)
    y, gradients = functional.vjp(functional.convolution, dy, x, WEIGHTS, BIAS)
    dx = gradients["x"]
    if "B" not in letters:
        x, dy, y, dx = x[0], dy[0], y[0], dx[0]
    moved = [np.ascontiguousarray(each.transpose(order)) for each in (x, dy, y, dx)]
    found, gradients = functional.vjp(functional.convolution, moved[1], moved[0], WEIGHTS, BIAS, data_format=letters)
    assert_near(found, moved[2], 1e-6)
    assert_near(gradients["x"], moved[3], 1e-6)


@pytest.mark.full(like="networks/test_functional.py::test_formats")
def test_convolutions_of_other_ranks_and_in_groups():
    x, w = normal(2, 7, 4), normal(3, 4, 5)
    assert_near(functional.convolution(x, w), ref.convolution(x, w, np.zeros(5))[0], 1e-5)
    grouped = normal(3, 3, 2, 6)
    expected = ref.convolution(X, grouped, np.zeros(6), groups=3)[0]
    assert_near(functional.convolution(X, grouped, num_groups=3), expected, 1e-5)


@pytest.mark.full(like="networks/test_functional.py::test_formats")
def test_batch_norm_of_given_statistics():
    mean, variance = normal(6), np.abs(normal(6)) + 0.5
    expected = SCALE * (X - mean) / np.sqrt(variance + 1e-5) + OFFSET
    assert_near(functional.batchnorm(X, OFFSET, SCALE, mean, variance), expected, 1e-5)
    assert list(gnc.gradient(functional.batchnorm, X, OFFSET, SCALE, mean, variance)) == ["x", "offset", "scale"]


def test_a_shape_is_compiled_once_and_values_are_those_of_the_call():
    functional.convolution(X, WEIGHTS, BIAS)
    before = prepared.cache_info()
    y = functional.convolution(X, WEIGHTS)
    assert_near(y, ref.convolution(X, WEIGHTS, np.zeros(4))[0], 1e-5)
    for scale in (2, 3, -1):
        again = functional.convolution(scale * X, WEIGHTS * scale, BIAS)
        assert_near(again, ref.convolution(scale * X, WEIGHTS * scale, BIAS)[0], 1e-5)
    assert_near(functional.convolution(X, WEIGHTS, None), y, 0)
    assert_near(functional.convolution(X[:, ::-1], WEIGHTS), ref.convolution(X[:, ::-1], WEIGHTS, np.zeros(4))[0], 1e-5)
    assert prepared.cache_info().misses == before.misses
    with pytest.raises(gnc.GncodegenError, match="num_channels = 5"):
        functional.convolution(X, WEIGHTS[:, :, :5], BIAS)


def test_repeated_calls_see_what_changed_in_an_array():
    scale, offset = np.ones(X.shape[-1], np.float32), np.zeros(X.shape[-1], np.float32)
    for change in (lambda: None, lambda: scale.__setitem__(0, 3), lambda: offset.fill(-1), lambda: scale.fill(1)):
        change()
        for swapped in (False, True):  # 3 as other bytes is another number
            given = (offset, scale.astype(">f4") if swapped else scale)
            assert_near(gnc.groupnorm(X, 2, *given), ref.group_norm(X, scale, offset, groups=2)[0], 1e-5)


def test_repeated_losses_and_statistics_of_a_batch_see_their_arrays():
    y, labels = functional.softmax(X), RNG.integers(6, size=(2, 4, 5))
    for given in (labels, (labels + 1) % 6, labels):
        wanted = -np.log(np.take_along_axis(y, given[..., None], -1)).sum() / 2
        assert functional.crossentropy(y, given) == pytest.approx(wanted, rel=1e-6)
        for weights in (np.ones(6), np.full(6, 2.0)):
            weighted = functional.crossentropy(y, given, weights)
            assert weighted == pytest.approx(wanted * weights[0], rel=1e-6)
    for shift in (0, 1, 2):
        assert functional.mse(X, X + shift) == pytest.approx(shift**2 * X.size / 4, rel=1e-5)
        assert_near(functional.batchnorm(X + shift, OFFSET, SCALE), functional.batchnorm(X, OFFSET, SCALE), 1e-5)


LOGITS = normal(2, 6)

REPEATED = {
    "groupnorm": lambda: functional.groupnorm(X, 3, OFFSET, SCALE),
    "a named number": lambda: functional.groupnorm(X, 3, OFFSET, SCALE, epsilon=1e-3),
    "named arrays": lambda: functional.groupnorm(X, num_groups=3, scale=SCALE, offset=OFFSET),
    "another order": lambda: functional.groupnorm(X, 2, OFFSET[:4], SCALE[:4], data_format="BCSS"),
    "no batch axis": lambda: functional.softmax(X[0], data_format="SSC"),
    "float16": lambda: functional.relu(X.astype(np.float16)),
    "bytes swapped": lambda: functional.relu(X.astype(">f4")),
    "strided": lambda: functional.instancenorm(X[:, ::2], OFFSET, SCALE),
    "batchnorm": lambda: functional.batchnorm(X, OFFSET, SCALE),
    "statistics": lambda: functional.batchnorm(X, OFFSET, SCALE, OFFSET + 1, SCALE**2),
    "convolution": lambda: functional.convolution(X, WEIGHTS, padding="same"),
    "mse": lambda: functional.mse(X, X + 1),
    "class indices": lambda: functional.crossentropy(functional.softmax(LOGITS), np.array([1, 5])),
    "rows": lambda: functional.crossentropy(functional.softmax(LOGITS), np.eye(6)[[1, 5]]),
    "class weights": lambda: functional.crossentropy(functional.softmax(LOGITS), np.array([1, 5]), np.arange(1, 7)),
}
"""What a call of each kind of arguments is, all of them made anew."""


@pytest.mark.parametrize("name", chosen(REPEATED, "groupnorm", "another order", "mse", "class weights", "float16"))
def test_repeated_calls_take_the_short_way_to_the_same_bits(name, monkeypatch):
    first = REPEATED[name]()
    forms = (functional.form.Form, "_result"), (functional.form, "resolve")
    for place, attribute in forms:
        monkeypatch.setattr(place, attribute, lambda *_: pytest.fail("the long way"))
    for _ in range(2):
        again = REPEATED[name]()
        np.testing.assert_array_equal(again, first)
        assert np.asarray(again).dtype == np.asarray(first).dtype
        assert not np.shares_memory(again, first) or np.ndim(first) == 0


def test_repeated_losses_refuse_what_the_first_would():
    y = functional.softmax(LOGITS)
    for _ in range(2):
        assert np.isfinite(functional.crossentropy(y, np.array([1, 5])))
        for wrong in (np.array([1, -1]), np.array([6, 1]), np.array([1, 12]), np.array([-13, 1])):
            with pytest.raises(gnc.ArrayError, match=r"class index \S+; allowed: whole numbers 0 … 5"):
                functional.crossentropy(y, wrong)
        assert np.isnan(functional.crossentropy(np.full_like(y, np.nan), np.array([1, 5])))


def test_results_of_repeated_calls_are_the_callers_own():
    first, other = functional.relu(X), functional.relu(-X)
    np.testing.assert_array_equal(first - other, X)


def test_repeated_calls_tell_types_apart():
    for _ in range(2):
        assert functional.relu(X).dtype == np.float32
        assert functional.relu(X.astype(np.float64)).dtype == np.float64
        assert_near(functional.relu(X.astype(">f4")), functional.relu(X), 0)
        assert_near(functional.leakyrelu(X, 0.5), np.where(X > 0, X, X * np.float32(0.5)), 1e-6)
        assert_near(functional.leakyrelu(X, 1), X, 0)
    prepared.cache_clear()
    gc.collect()
    assert not any(way.ready() for way in functional.relu._repeated.ways.values())
    assert_near(functional.relu(X), np.maximum(X, 0), 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: functional.convolution(X, normal(3, 3, 5, 4)), "'convolution': .*5.*6|6.*5"),
        (lambda: functional.convolution(X, normal(3, 3)), r"convolution: weights of shape \(3, 3\); allowed"),
        (lambda: functional.convolution(X, WEIGHTS, num_groups=3), "num_groups = 3 for 4 filters"),
        (lambda: functional.convolution(X, WEIGHTS, normal(5)), r"convolution.bias has shape \(5,\); allowed: \(4,\)"),
        (lambda: functional.fullyconnect(X, normal(3, 7)), r"fullyconnect.weights has shape \(3, 7\)"),
        (lambda: functional.maxpool(X, 9), "'maxpool'"),
        (lambda: functional.maxpool(normal(2, 3), 2), "maxpool: a window of 0 axes"),
        (lambda: functional.relu("text"), "relu: x"),
        (lambda: functional.maxpool([[1], [1, 2]], 2), "maxpool: x is not an array"),
        (lambda: functional.convolution(X, [[1], [1, 2]]), "convolution: weights is not an array"),
        (lambda: functional.fullyconnect(X, [[1], [1, 2]]), "fullyconnect: weights is not an array"),
        *(
            (lambda order=order: functional.softmax(X, data_format=order), "softmax: data_format = .*one letter per")
            for order in (4, ["B", "C"], {"B": 1}, X)
        ),
        *(
            (lambda given=given: functional.crossentropy(ROWS, ROWS, given), "class_weights")
            for given in (0, "BSSC", [[1], [1, 2]], [[1.0, 2.0]], np.ones((2, 2)), HUGE, True, [1, None], [-1.0] * 5)
        ),
        (lambda: functional.relu(HUGE), "'relu'|needs [0-9,]+ bytes"),
        (lambda: gnc.groupnorm(HUGE, 2, None, None), "needs [0-9,]+ bytes"),
        (lambda: functional.softmax(X, data_format="NHWC"), "softmax: data_format = 'NHWC'"),
        (lambda: gnc.gradient(np.sin, X), "is no function form; allowed"),
        (lambda: functional.vjp(functional.relu, normal(3), X), "shape"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(gnc.GncodegenError, match=message):
        call()


def test_unknown_names():
    with pytest.raises(AttributeError, match="has no attribute 'bend'"):
        _ = functional.bend
    assert {"relu", "groupnorm", "vjp"} <= set(dir(functional))
    assert Network.build([gnc.FeatureInputLayer(3), gnc.ClassificationLayer()]).output.size.channels == 3


@pytest.mark.full(like="networks/test_functional.py::test_results_and_gradients")
def test_arrays_of_a_gpu(stub):
    prepared.cache_clear()
    try:
        x = normal(2, 2, 2, 4)
        there = GpuArray(stub, x)
        assert_near(functional.relu(there).numpy(), np.maximum(x, 0), 0)
        scale, offset = normal(4), normal(4)
        y, gradients = functional.vjp(gnc.groupnorm, x, there, 2, offset, scale)
        expected, backward = ref.group_norm(x, scale, offset, groups=2)
        assert_near(y.numpy(), expected, 1e-5)
        assert_near(gradients["x"].numpy(), backward(x)[0], 1e-5)
        with pytest.raises(gnc.ArrayError, match="lies on a GPU in the order 'BCSS'; allowed: 'BSSC'"):
            functional.softmax(there, data_format="BCSS")
        y, gradients = functional.vjp(gnc.groupnorm, x, there, 2, GpuArray(stub, offset), GpuArray(stub, scale))
        assert_near(y.numpy(), expected, 1e-5)
        for name, value in zip(("x", "scale", "offset"), backward(x), strict=True):
            found = gradients[name]
            assert_near(found if isinstance(found, np.ndarray) else found.numpy(), value, 1e-5)
        with pytest.raises(gnc.ArrayError, match="lies in a GPU's memory"):
            functional.groupnorm(x, 2, GpuArray(stub, offset), scale)
        rows = np.eye(4, dtype=np.float32)[[1, 0]]
        scores = np.full((2, 4), 0.25, np.float32)
        for targets in (GpuArray(stub, rows), GpuArray(stub, np.array([1, 0])), rows):
            loss = functional.crossentropy(GpuArray(stub, scores), targets)
            assert float(loss) == pytest.approx(np.log(4), rel=1e-6)
            assert_near(
                gnc.gradient(functional.crossentropy, GpuArray(stub, scores), targets)["x"].numpy(), -2 * rows, 1e-6
            )
    finally:
        prepared.cache_clear()


def test_an_empty_array_stays_empty():
    for shape in ((0,), (0, 3), (2, 0, 4)):
        assert gnc.functional.relu(np.zeros(shape)).shape == shape
