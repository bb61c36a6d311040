"""Training from streams and files, with augmentations: the bits of the same arrays, whatever the thread does."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import gncodegen as gnc
from gncodegen.train.ahead import made_ahead

RNG = np.random.default_rng(8)
X = RNG.normal(2.0, 1.5, size=(24, 6)).astype(np.float32)
Y = np.array(["ant", "bee", "cat"])[np.argmax(X[:, :3], axis=1)]
BATCHES = [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 24, 8)]


def layers(normalization="zscore", classes="auto"):
    return [
        gnc.FeatureInputLayer(6, normalization=normalization), gnc.FullyConnectedLayer(3, name="fc"),
        gnc.SoftmaxLayer(), gnc.ClassificationLayer(classes=classes),
    ]  # fmt: skip


def train(x, y=None, net=None, *, augment=None, resume=None, **options):
    chosen = {"max_epochs": 3, "mini_batch_size": 8, "shuffle": "never", "verbose": False, "seed": 4} | options
    given = gnc.training_options("sgdm", **chosen)
    return gnc.train_network(x, y, net or layers(), given, augment=augment, resume=resume)


def assert_equal(found, wanted):
    for name, value in wanted[0].compiled.parameters.items():
        np.testing.assert_array_equal(found[0].compiled.parameters[name], value, err_msg=name)
    np.testing.assert_array_equal(found[1].training_loss, wanted[1].training_loss)
    np.testing.assert_array_equal(found[1].training_accuracy, wanted[1].training_accuracy)


@pytest.fixture(scope="module")
def of_arrays():
    return train(X, Y, layers("none"))


def test_batches_of_a_stream_are_accumulated():
    """Two and the one that is left make the iterations of an epoch, as batches of those sizes would."""
    larger = [(X[:16], Y[:16]), (X[16:], Y[16:])]
    classes = ("ant", "bee", "cat")
    found = train(BATCHES, net=layers("none", classes), gradient_accumulation_steps=2)[1]
    np.testing.assert_allclose(found.training_loss, train(larger, net=layers("none", classes))[1].training_loss, 1e-6)


class Slow:
    """A re-iterable whose batches come late, one of them very late."""

    def __iter__(self):
        for position, batch in enumerate(BATCHES):
            time.sleep(0.02 if position == 1 else 0.001)
            yield batch


@pytest.mark.parametrize(
    "data",
    [
        BATCHES,
        Slow(),
        lambda: iter(BATCHES),
        lambda epoch: (batch for batch in BATCHES if epoch),
        [[list(map(list, x)), list(y)] for x, y in BATCHES],
    ],
    ids=["list", "slow", "callable", "callable of the epoch", "lists"],
)
def test_a_stream_trains_as_its_arrays_do(data, of_arrays):
    found = train(data, None, layers("none"))
    assert_equal(found, of_arrays)
    assert found[0].classes == ("ant", "bee", "cat")


def test_statistics_are_joined_over_the_first_pass():
    for normalization in ("zscore", "rescale-zero-one"):
        stream, arrays = train(BATCHES, None, layers(normalization)), train(X, Y, layers(normalization))
        for name in ("mean", "standard_deviation", "min", "max"):
            found, wanted = getattr(stream[0].layers[0], name), getattr(arrays[0].layers[0], name)
            assert (found is None) == (wanted is None)
            assert found is None or np.allclose(found, wanted, rtol=1e-6)


def test_what_is_given_needs_no_pass():
    passes = []

    def make(epoch):
        passes.append(epoch)
        return iter(BATCHES)

    net = layers(classes=("cat", "bee", "ant"))
    net[0] = gnc.FeatureInputLayer(6, normalization="zscore", mean=X.mean(0), standard_deviation=X.std(0))
    found, _ = train(make, None, net)
    assert passes == [1, 2, 3]
    assert found.classes == ("cat", "bee", "ant")
    train(make)
    assert passes == [1, 2, 3, 1, 1, 2, 3]


def test_iterations_and_validation_are_those_of_the_arrays():
    states = []
    _, info = train(BATCHES, None, output_fcn=states.append, validation_data=(X, Y), validation_frequency=2)
    assert np.flatnonzero(~np.isnan(info.validation_loss)).tolist() == [0, 1, 3, 5, 7, 8]
    assert {state.iterations for state in states} == {9}
    train(lambda: iter(BATCHES), None, layers("none", ("ant", "bee", "cat")), output_fcn=states.append, max_epochs=1)
    assert states[-1].iterations == 0


def test_one_pass_over_an_iterator():
    net, info = train(iter(BATCHES), None, layers("none", ("ant", "bee", "cat")), max_epochs=1)
    assert len(info.training_loss) == 3
    assert net.classes == ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("data", "net", "message"),
    [
        (iter(BATCHES), layers("none", (1, 2, 3)), r"lasts for one epoch, and max_epochs = 2; .* callable"),
        (X, None, r"y is None and the data is of type ndarray; .* give x and y as arrays"),
        (3, None, r"y is None and the data is of type int"),
        ([], None, r"epoch 1 of the data has no batch"),
        ([(X, Y, Y)], None, r"batch 1 of epoch 1 is a tuple of length 3; allowed: pairs \(x, y\)"),
        (lambda: 5, None, r"callable returned int for epoch 1"),
        ([(X[:4], Y[:3])], layers("none", ("ant", "bee", "cat")), r"a batch of 4 observations but 3 targets"),
        ([(X[:, :4], Y)], None, r"allowed: \(N, 6\)"),
        ([(X, np.array(["dog"] * 24))], layers("none", ("ant", "bee", "cat")), r"label 'dog'"),
    ],
)
def test_refused(data, net, message):
    with pytest.raises(gnc.ArrayError, match=message):
        train(data, None, net, max_epochs=2)


def test_an_iterator_allows_no_pass_of_its_own():
    with pytest.raises(gnc.ArrayError, match="finding class names and input statistics takes a pass of its own"):
        train(iter(BATCHES), None, max_epochs=1)


def test_an_epoch_without_batches():
    generator = iter(BATCHES)
    with pytest.raises(gnc.ArrayError, match="epoch 2 of the data has no batch"):
        train(lambda: generator, None, layers("none", ("ant", "bee", "cat")))


def test_what_a_stream_raises_reaches_the_caller():
    def make():
        yield from BATCHES
        raise KeyError("broken file")

    with pytest.raises(KeyError, match="broken file") as error:
        train(make, None, layers("none", ("ant", "bee", "cat")))
    assert isinstance(error.value.network, gnc.TrainedNetwork)
    assert not [thread for thread in threading.enumerate() if "mini-batches" in thread.name]


def test_a_resumed_stream_has_the_same_bits(tmp_path):
    def make(epoch):
        order = np.random.default_rng(epoch).permutation(24).reshape(3, 8)
        return [(X[rows], Y[rows]) for rows in order]

    def flip(x, y, generator):
        return x * generator.choice([1, -1]), y

    wanted = train(make, augment=flip)
    options = {"checkpoint_path": tmp_path, "checkpoint_frequency": 4, "checkpoint_frequency_unit": "iteration"}
    train(make, augment=flip, output_fcn=lambda state: state.iteration == 5, **options)
    assert_equal(train(make, augment=flip, resume=tmp_path, **options), wanted)


class TestAugmentation:
    def test_it_sees_the_data_as_they_are_and_repeats_to_the_bit(self):
        seen = []

        def augment(x, y, generator):
            seen.append((x.dtype, y.copy(), generator.random()))
            return x[:, ::-1], y

        x = (X * 20).clip(0, 255).astype(np.uint8)
        runs = [train(x, Y, layers("none"), augment=augment) for _ in range(2)]
        assert_equal(runs[0], runs[1])
        assert {dtype for dtype, _, _ in seen} == {np.dtype(np.uint8)}
        assert seen[0][1].tolist() == np.unique(Y, return_inverse=True)[1][:8].tolist()
        numbers = [number for _, _, number in seen]
        assert numbers[:9] == numbers[9:]
        assert len(set(numbers)) == 9
        assert_equal(runs[0], train(np.ascontiguousarray(x[:, ::-1]), Y, layers("none")))

    def test_rows_of_mixed_classes(self):
        def mix(x, y, generator):
            rows = np.eye(3)[y]
            return (x + x[::-1]) / 2, (rows + rows[::-1]) / 2

        _, info = train(X, Y, augment=mix)
        assert np.isfinite(info.training_loss).all()

    def test_refused(self):
        with pytest.raises(gnc.ArrayError, match=r"augment returned ndarray; allowed: a pair"):
            train(X, Y, augment=lambda x, y, generator: x)
        with pytest.raises(gnc.OptionsError, match="augment = 3"):
            train(X, Y, augment=3)


def test_a_file_is_read_batch_by_batch(tmp_path, of_arrays):
    np.save(tmp_path / "x.npy", X)
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_equal(train(x, Y, layers("none")), of_arrays)


def test_a_data_loader(of_arrays):
    torch = pytest.importorskip("torch", reason="a DataLoader needs PyTorch")
    labels = torch.from_numpy(np.unique(Y, return_inverse=True)[1])
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), labels)
    found = train(torch.utils.data.DataLoader(data, batch_size=8), None, layers("none"))
    assert_equal(found, of_arrays)
    with pytest.raises(gnc.ArrayError, match="DataLoader"):
        train(data)


class TestMadeAhead:
    def test_no_more_than_a_few_wait(self):
        made = []

        def items():
            for number in range(100):
                made.append(number)
                yield number

        with made_ahead(items(), ahead=2) as taken:
            assert next(taken) == 0
            time.sleep(0.05)
            assert len(made) <= 4
        time.sleep(0.05)
        assert len(made) <= 6, "the thread has ended"

    def test_the_end_and_what_goes_wrong(self):
        def items():
            yield 1
            raise ValueError("no")

        with made_ahead(iter([1, 2, 3])) as taken:
            assert list(taken) == [1, 2, 3]
        with made_ahead(items()) as taken, pytest.raises(ValueError, match="no"):
            list(taken)
