"""Arrays at the border: what is accepted, what comes back, and what is refused with which words."""

import mmap
import re
import tracemalloc

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.allocation import HUGE_PAGE, aligned, lasting

SHAPE = (6, 5, 3)


def layers(output=True):
    return [
        gnc.ImageInputLayer(SHAPE, normalization="none"),
        gnc.Convolution2dLayer(3, 4, name="conv"),
        gnc.GroupNormalizationLayer(2, name="gn"),
        gnc.ReluLayer(name="relu"),
        gnc.FullyConnectedLayer(7, name="fc"),
        *([gnc.SoftmaxLayer(name="softmax"), gnc.ClassificationLayer(name="loss")] if output else []),
    ]


@pytest.fixture(scope="module")
def compiled():
    return gnc.compile(layers(), batch_size=4, training=True, seed=0)


def images(count=4, dtype="float32"):
    return np.random.default_rng(0).standard_normal((count, *SHAPE)).astype(dtype)


# The package's own.


@pytest.mark.parametrize("make", [aligned, lasting])
@pytest.mark.parametrize("count", [1, 1000, HUGE_PAGE // 2, HUGE_PAGE, 3 * HUGE_PAGE + 8])
def test_memory_is_zeroed_writable_and_on_a_conversion(count, make):
    array = make((count // 4 + 1,), np.float32)
    huge = make is lasting and hasattr(mmap, "MADV_HUGEPAGE") and array.nbytes >= HUGE_PAGE // 2
    boundary = HUGE_PAGE if huge else 64
    assert array.ctypes.data % boundary == 0
    assert not array.any()
    array[...] = 1
    assert array.sum(dtype=np.float64) == array.size


# Accepted.


def variants():
    wide = np.random.default_rng(0).standard_normal((8, 12, 10, 6)).astype(np.float32)
    x = images()
    frozen = images()
    frozen.flags.writeable = False
    return {
        "every second": wide[::2, ::2, ::2, ::2],
        "backwards": x[::-1, ::-1],
        "transposed": images().transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3),
        "Fortran order": np.asfortranarray(x),
        "read-only": frozen,
        "broadcast": np.broadcast_to(x[:1], x.shape),
        "other byte order": x.astype(">f4"),
        "unaligned": np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape),
        "float64": x.astype(np.float64),
        "float16": x.astype(np.float16),
        "int64": (x * 9).astype(np.int64),
        "uint8": (np.abs(x) * 60).astype(np.uint8),
        "bool": x > 0,
        "lists": x.tolist(),
        "objects": x.astype(object),
    }


@pytest.mark.few
@pytest.mark.parametrize("kind", list(variants()))
def test_odd_but_good_arrays_are_the_same_as_their_plain_copy(compiled, kind):
    x = variants()[kind]
    before = np.array(x)
    plain = np.ascontiguousarray(before.astype(np.float32))
    labels = np.array([0, 6, 3, 3])
    np.testing.assert_array_equal(compiled.predict(x), compiled.predict(plain))
    assert compiled.loss(x, labels) == compiled.loss(plain, labels)
    gradient = compiled.gradients(x, labels)["input"]
    np.testing.assert_array_equal(gradient, compiled.gradients(plain, labels)["input"])
    np.testing.assert_array_equal(np.array(x), before)


@pytest.mark.parametrize(
    "t", [[0, 6, 3, 3], np.array([0, 6, 3, 3], np.uint8), [[0], [6], [3], [3]], np.eye(7)[[0, 6, 3, 3]].tolist()]
)
def test_labels_of_any_kind_are_the_same(compiled, t):
    assert compiled.loss(images(), t) == compiled.loss(images(), np.array([0, 6, 3, 3]))


def test_channel_first_images_are_the_same_images():
    first = gnc.compile(layers(), batch_size=4, training=True, seed=0, data_format="BCSS")
    last = gnc.compile(layers(), batch_size=4, training=True, seed=0)
    x, labels = images(), np.array([0, 6, 3, 3])
    moved = x.transpose(0, 3, 1, 2).copy()
    for name in last.parameters:
        np.testing.assert_array_equal(first.parameters[name], last.parameters[name])
    np.testing.assert_array_equal(first.predict(moved), last.predict(x))
    assert first.loss(moved, labels) == last.loss(x, labels)
    by_first, by_last = first.gradients(moved, labels), last.gradients(x, labels)
    np.testing.assert_array_equal(by_first.pop("input"), by_last.pop("input").transpose(0, 3, 1, 2))
    for name, gradient in by_last.items():
        np.testing.assert_array_equal(gradient, by_first[name])
    assert first.train_step(moved, labels) == last.train_step(x, labels)


def test_what_comes_back_has_the_network_type(compiled):
    y = compiled.predict(images())
    assert (y.dtype, y.shape) == (np.float32, (4, 7))
    gradients = compiled.gradients(images(), np.zeros(4, int))
    assert {g.dtype for g in gradients.values()} == {np.dtype("float32")}
    assert gradients["input"].shape == (4, *SHAPE)
    assert isinstance(compiled.loss(images(), np.zeros(4, int)), float)
    assert isinstance(compiled.train_step(images(), np.zeros(4, int)), float)


def test_results_belong_to_the_caller(compiled):
    x, labels = images(), np.array([0, 6, 3, 3])
    y, gradients = compiled.predict(x), compiled.gradients(x, labels)
    kept_y, kept = y.copy(), {name: g.copy() for name, g in gradients.items()}
    compiled.predict(x + 1)
    compiled.gradients(x + 1, labels)
    compiled.train_step(x + 1, labels)
    np.testing.assert_array_equal(y, kept_y)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, kept[name])
    y[:] = 0
    assert compiled.predict(x).any()


def test_an_empty_batch_is_predicted_as_nothing(compiled):
    y = compiled.predict(np.empty((0, *SHAPE), np.float32))
    assert (y.shape, y.dtype) == ((0, 7), np.float32)


def test_a_single_observation(compiled):
    x = images()
    np.testing.assert_array_equal(compiled.predict(x[:1]), compiled.predict(x)[:1])


def test_a_network_without_output_layer_predicts(compiled):
    bare = gnc.compile(layers(output=False), batch_size=4)
    for name, value in compiled.parameters.items():
        bare.parameters[name] = value
    scores = bare.predict(images()).astype(np.float64)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    np.testing.assert_allclose(compiled.predict(images()), powers / powers.sum(axis=1, keepdims=True), rtol=1e-5)


def test_nan_inputs_give_nan_and_no_error(compiled):
    x = images()
    x[2, 3, 3, 1] = np.nan
    y = compiled.predict(x)
    assert np.isnan(y[2]).all()
    assert np.isfinite(np.delete(y, 2, axis=0)).all()


# Refused.


def refuses(call, *words):
    """The call raises ArrayError, whose text has every word and says what is allowed."""
    with pytest.raises(gnc.ArrayError) as caught:
        call()
    message = str(caught.value)
    missing = [word for word in words if not re.search(word, message)]
    assert not missing, f"{missing} not in: {message}"
    assert "allowed" in message, message


BAD_INPUTS = {
    "too few rows": (np.zeros((4, 5, 5, 3)), (r"4, 5, 5, 3", r"6×5×3")),
    "channels in front": (np.zeros((4, 3, 6, 5)), (r"4, 3, 6, 5", r"6×5×3")),
    "one image without batch": (np.zeros(SHAPE), (r"6×5×3",)),
    "flat": (np.zeros((4, 90)), (r"4, 90", r"6×5×3")),
    "one axis too many": (np.zeros((4, 6, 5, 3, 1)), (r"4, 6, 5, 3, 1",)),
    "a number": (3.0, (r"6×5×3",)),
    "complex": (np.zeros((4, *SHAPE), complex), (r"complex",)),
    "text": (np.full((4, *SHAPE), "1.0"), (r"<U3|str",)),
    "texts and numbers": (np.where(images() > 0, images().astype(object), "1"), (r"object",)),
    "dates": (np.zeros((4, *SHAPE), "datetime64[s]"), (r"datetime",)),
    "ragged lists": ([[1, 2], [3]], (r"not an array",)),
    "nothing": (None, (r"object",)),
    "empty and wrong": (np.zeros((0, 5, 5, 3)), (r"0, 5, 5, 3",)),
}


@pytest.mark.parametrize("kind", list(BAD_INPUTS))
def test_bad_inputs_are_refused(compiled, kind):
    x, words = BAD_INPUTS[kind]
    refuses(lambda: compiled.predict(x), *words)
    refuses(lambda: compiled.gradients(x, np.zeros(4, int)), *words)
    refuses(lambda: compiled.train_step(x, np.zeros(4, int)), *words)


BAD_TARGETS = {
    "index too large": (np.array([0, 1, 7, 2]), (r"7", r"0 … 6|0 to 6|7 classes")),
    "negative index": (np.array([0, -1, 3, 2]), (r"-1|−1",)),
    "fractional index": (np.array([0, 0.5, 3, 2]), (r"0\.5|float",)),
    "too few": (np.zeros(3, int), (r"3", r"4")),
    "too many": (np.zeros(5, int), (r"5", r"4")),
    "wrong width": (np.eye(6)[[0, 1, 2, 3]], (r"4, 6", r"7")),
    "text": (np.array(["a", "b", "c", "d"]), (r"<U1|str|text",)),
    "NaN": (np.array([0, np.nan, 3, 2]), (r"nan|NaN",)),
    "two columns": (np.zeros((4, 2), int), (r"4, 2", r"4×7|N×7")),
    "complex rows": (np.zeros((4, 7), complex), (r"complex",)),
    "nothing": (None, ()),
}


@pytest.mark.parametrize("kind", list(BAD_TARGETS))
def test_bad_targets_are_refused(compiled, kind):
    t, words = BAD_TARGETS[kind]
    refuses(lambda: compiled.loss(images(), t), *words)
    refuses(lambda: compiled.gradients(images(), t), *words)
    refuses(lambda: compiled.train_step(images(), t), *words)


def test_refused_arrays_change_nothing(compiled):
    before = {name: np.array(value) for name, value in compiled.parameters.items()}
    with pytest.raises(gnc.ArrayError):
        compiled.train_step(images(), np.array([0, 1, 7, 2]))
    for name, value in compiled.parameters.items():
        np.testing.assert_array_equal(value, before[name])


def test_responses_of_the_wrong_shape_are_refused():
    network = [gnc.FeatureInputLayer(3, normalization="none"), gnc.FullyConnectedLayer(2), gnc.RegressionLayer()]
    compiled = gnc.compile(network, batch_size=4, training=True)
    x = np.zeros((4, 3), np.float32)
    assert compiled.loss(x, np.zeros((4, 2))) == 0
    for t in (np.zeros((4, 3)), np.zeros(4), np.zeros((3, 2))):
        refuses(lambda t=t: compiled.loss(x, t), r"4×2|N×2|4 observations")
    for t in (np.zeros((4, 2), "U1"), None):
        refuses(lambda t=t: compiled.loss(x, t), "regressionoutput", "real numbers")


def test_a_smaller_batch_than_compiled_for_trains_too():
    whole, part = (gnc.compile(layers(), batch_size=size, training=True, seed=0) for size in (4, 3))
    x, labels = images(3), np.array([0, 6, 3])
    assert whole.train_step(x, labels) == part.train_step(x, labels)
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(value, part.parameters[name])


@pytest.mark.parametrize("data_format", ["NHWC", "BSC", "BSSS", "BSSCC", "", "bssc", "BTC", 3])
def test_wrong_data_formats_are_refused(data_format):
    with pytest.raises(gnc.GncodegenError) as caught:
        gnc.compile(layers(), batch_size=4, data_format=data_format)
    assert "data_format" in str(caught.value)
    assert repr(data_format) in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("batch_size", True),
        ("dtype", "float8"),
        ("dtype", "int32"),
        ("target", "tpu"),
        ("target", "sm_1"),
        ("seed", -1),
        ("seed", "lucky"),
        ("options", "sgdm"),
    ],
)
def test_wrong_compile_options_are_refused(option, value):
    with pytest.raises(gnc.GncodegenError) as caught:
        gnc.compile(layers(), **{"batch_size": 4, option: value})
    assert option in str(caught.value)


# Parameters.


def test_parameters_read_back_what_was_assigned(compiled):
    scale = np.array([1.0, -2.5, 0.25, 3.0])
    kept = np.array(compiled.parameters["gn.scale"])
    compiled.parameters["gn.scale"] = scale
    np.testing.assert_array_equal(compiled.parameters["gn.scale"], scale.astype(np.float32))
    scale[:] = 9
    assert compiled.parameters["gn.scale"][0] == 1
    compiled.parameters["gn.scale"] = kept


def test_parameters_are_a_mapping_of_layer_dot_name(compiled):
    shapes = {name: np.shape(value) for name, value in compiled.parameters.items()}
    assert shapes == {
        "conv.weights": (3, 3, 3, 4),
        "conv.bias": (4,),
        "gn.scale": (4,),
        "gn.offset": (4,),
        "fc.weights": (7, 48),
        "fc.bias": (7,),
    }


def test_parameters_of_the_wrong_shape_or_name_are_refused(compiled):
    def assign(name, value):
        def call():
            compiled.parameters[name] = value

        return call

    refuses(assign("gn.scale", np.ones(5)), r"gn\.scale", r"5", r"4")
    refuses(assign("gn.scale", 1.0), r"gn\.scale", r"4")
    refuses(assign("gn.scale", np.array(["a"] * 4)), r"gn\.scale")
    refuses(assign("gn.scale", np.ones(4, complex)), r"gn\.scale", r"complex")
    refuses(assign("fc.weights", np.ones((48, 7))), r"fc\.weights", r"48, 7", r"7, 48")
    with pytest.raises((gnc.GncodegenError, KeyError)) as caught:
        assign("gn.gamma", np.ones(4))()
    assert "gn.scale" in str(caught.value)


# Copies.


def test_inputs_that_fit_are_not_copied():
    """A float32, contiguous input reaches the kernels where it lies: the call allocates less than the input's size."""
    bare = gnc.compile(
        [
            gnc.ImageInputLayer((64, 64, 16), normalization="none"),
            gnc.GlobalAveragePooling2dLayer(name="pool"),
        ],
        batch_size=8,
    )
    x = np.random.default_rng(0).standard_normal((8, 64, 64, 16)).astype(np.float32)
    bare.predict(x)
    tracemalloc.start()
    bare.predict(x)
    peak = tracemalloc.get_traced_memory()[1]
    bare.predict(x.astype(np.float64))
    copied = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 20
    assert copied > x.nbytes
