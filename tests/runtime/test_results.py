"""Results: memory of their own that is used again when nobody sees it, or the caller's arrays."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.allocation import address_of
from gncodegen.runtime.pool import MOST_SPARE, SMALLEST, Pool

LAYERS = [
    gnc.ImageInputLayer((8, 8, 4), normalization="none"),
    gnc.GroupNormalizationLayer(2, name="gn"),
    gnc.ReluLayer(name="relu"),
]
SCORES = [*LAYERS, gnc.FullyConnectedLayer(3, name="fc"), gnc.SoftmaxLayer(), gnc.ClassificationLayer()]


@pytest.fixture(scope="module")
def net():
    return gnc.compile(LAYERS, batch_size=16)


@pytest.fixture(scope="module")
def classifier():
    return gnc.compile(SCORES, batch_size=4, training=True)


def images(count, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal((count, 8, 8, 4)).astype(dtype)


def empty(shape, dtype=np.float32, offset=0):
    """An array that begins `offset` bytes behind a 64-byte boundary."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(size + 128, np.uint8)
    start = -address_of(memory) % 64 + offset
    return memory[start : start + size].view(dtype).reshape(shape)


# The pool.

KEPT = {
    "the array": lambda array: array,
    "a slice": lambda array: array[3:5, ::2],
    "a view of a view": lambda array: array[1:].view(np.uint32).T[5:],
    "a DLPack view": lambda array: np.from_dlpack(array[2:]),
    "a memoryview": memoryview,
}


@pytest.mark.parametrize("kept", KEPT.values(), ids=KEPT)
def test_memory_comes_back_when_nothing_sees_it(kept):
    pool = Pool()
    array = pool.array((64, 512), "float32")
    place, seen = address_of(array), kept(array)
    del array
    other = pool.array((64, 512), "float32")
    assert address_of(other) != place
    del seen
    assert address_of(pool.array((64, 512), "float32")) == place


@pytest.mark.parametrize("nbytes", [4096, SMALLEST, SMALLEST + 8, 5 << 20])
def test_arrays_of_the_pool_begin_at_a_line_and_do_not_overlap(nbytes):
    pool = Pool()
    arrays = [pool.array((nbytes // 8,), "float64") for _ in range(3)]
    for number, array in enumerate(arrays):
        assert address_of(array) % 64 == 0
        array[:] = number
    assert [set(array) for array in arrays] == [{0.0}, {1.0}, {2.0}]


def test_spare_memory_is_bounded():
    pool = Pool()
    arrays = [pool.array((MOST_SPARE // 4,), "uint8") for _ in range(6)]
    arrays.clear()
    assert sum(piece.size for piece in pool._spare) <= MOST_SPARE


def test_threads_never_share_a_piece():
    pool = Pool()

    def fill(number):
        for _ in range(300):
            array = pool.array((SMALLEST,), "uint8")
            array[:] = number
            if not (array == number).all():
                return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(fill, range(4)))


# Results.


def test_kept_results_hold_their_own_bytes(net):
    x = images(1)
    net.predict(x)
    tracemalloc.start()
    kept = [net.predict(x) for _ in range(200)]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len({address_of(y) for y in kept}) == 200
    assert held < 200 * (x.nbytes + 1024)


def test_results_of_many_batches_are_those_of_each(net):
    x = images(37)
    y = net.predict(x)
    np.testing.assert_array_equal(y, np.concatenate([net.predict(part) for part in np.split(x, [16, 20, 36])]))
    assert y.nbytes == x.nbytes


@pytest.mark.parametrize(("kind", "count"), [("uint8", 40), ("float64", 16), ("uint8", 3)])
def test_inputs_of_other_types_are_converted_part_by_part(net, tmp_path, kind, count):
    whole = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", kind, (count, 8, 8, 4))
    whole[:] = np.arange(whole.size).reshape(whole.shape) % 251
    np.testing.assert_array_equal(net.predict(whole), net.predict(np.array(whole, np.float32)))


def test_a_large_input_of_another_type_takes_little_memory(net):
    x = np.zeros((8192, 8, 8, 4), np.uint8)
    y = net.predict(x)
    tracemalloc.start()
    net.predict(x, out=y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


# The caller's arrays.

PLACES = {
    "as kernels write": empty,
    "beside a boundary": lambda shape: empty(shape, offset=4),
    "strided": lambda shape: np.empty((*shape[:-1], 2 * shape[-1]), np.float32)[..., ::2],
}


@pytest.mark.parametrize("count", [3, 16, 37])
@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_predictions_go_where_the_caller_says(net, place, count):
    x = images(count)
    out = place(x.shape)
    assert net.predict(x, out=out) is out
    np.testing.assert_array_equal(out, net.predict(x))


def test_predictions_may_replace_their_input(net):
    x = images(16)
    y, place = net.predict(x), empty(x.shape)
    place[...] = x
    net.predict(place, out=place)
    np.testing.assert_array_equal(place, y)


def test_other_axis_orders_are_written_as_asked(net):
    x = images(5)
    out = np.empty((5, 4, 8, 8), np.float32)
    net.predict(x.transpose(0, 3, 1, 2), data_format="BCSS", out=out)
    np.testing.assert_array_equal(out.transpose(0, 2, 3, 1), net.predict(x))


def test_every_call_that_returns_arrays_takes_them(classifier):
    x, t = images(6), np.arange(6) % 3
    gradients = {name: np.empty_like(value) for name, value in classifier.gradients(x, t).items()}
    found = classifier.gradients(x, t, out=gradients)
    assert all(found[name] is gradients[name] for name in gradients)
    for name, value in classifier.gradients(x, t).items():
        np.testing.assert_array_equal(gradients[name], value)
    few = {"fc.bias": np.empty(3, np.float32)}
    np.testing.assert_array_equal(classifier.gradients(x, t, out=few)["fc.weights"], gradients["fc.weights"])
    np.testing.assert_array_equal(few["fc.bias"], gradients["fc.bias"])
    scores = np.empty((6, 3), np.float32)
    loss, y = classifier.evaluate(x, t, out=scores)
    assert y is scores
    assert loss == classifier.evaluate(x, t)[0]
    np.testing.assert_array_equal(scores, classifier.predict(x))
    relu = np.empty((6, 8, 8, 4), np.float32)
    assert classifier.activations(x, "relu", out=relu) is relu
    np.testing.assert_array_equal(relu, classifier.activations(x, "relu"))
    assert classifier.forward(x, out=scores) is scores
    np.testing.assert_array_equal(scores, classifier.forward(x))


@pytest.mark.parametrize("data_format", ["", "BCSS"])
def test_vector_jacobian_products_go_where_the_caller_says(net, data_format):
    x = images(5) if not data_format else np.ascontiguousarray(images(5).transpose(0, 3, 1, 2))
    y, gradients = net.vjp(x, x + 1, data_format)
    into = {name: np.empty_like(value) for name, value in gradients.items()}
    written, found = net.vjp(x, x + 1, data_format, out=(np.empty_like(y), into))
    np.testing.assert_array_equal(written, y)
    assert found.keys() == gradients.keys()
    for name, value in gradients.items():
        assert found[name] is into[name]
        np.testing.assert_array_equal(into[name], value)


frozen = np.zeros((4, 3), np.float32)
frozen.flags.writeable = False


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((4, 2), np.float32), r"float32 \(4, 2\).*float32 \(4, 3\)"),
        (np.empty((4, 3)), r"float64 \(4, 3\).*float32 \(4, 3\)"),
        ([0.0], "list.*allowed"),
        (frozen, "read-only.*allowed"),
        ((np.empty((4, 3), np.float32),) * 2, "2 arrays; allowed: one for each of 1 outputs"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(classifier, out, words):
    with pytest.raises(gnc.ArrayError, match=words):
        classifier.predict(images(4), out=out)


def test_arrays_for_no_gradient_are_refused(classifier):
    with pytest.raises(gnc.ArrayError, match=r"'fc\.weight'; allowed: .*'fc\.weights'"):
        classifier.gradients(images(4), np.zeros(4, int), out={"fc.weight": np.zeros(3, np.float32)})
