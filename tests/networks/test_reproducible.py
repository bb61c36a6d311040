"""The same bits for any thread count, for repeated runs, and for a batch slice alone."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import gncodegen as gnc

SCRIPT = """
import hashlib
import os
import numpy as np
import gncodegen as gnc

layers = gnc.LayerGraph([
    gnc.ImageInputLayer((17, 15, 3), normalization="none", name="start"),
    gnc.Convolution2dLayer(3, 24, padding="same", name="conv"),
    gnc.GroupNormalizationLayer(4, name="gn"),
    gnc.ReluLayer(name="relu"),
    gnc.MaxPooling2dLayer(3, stride=2, padding="same", name="pool"),
    gnc.Convolution2dLayer(3, 24, padding="same", name="conv_b"),
    gnc.BatchNormalizationLayer(name="bn"),
    gnc.AdditionLayer(2, name="add"),
    gnc.ReluLayer(name="relu_b"),
    gnc.DropoutLayer(0.3, name="drop"),
    gnc.FullyConnectedLayer(10, name="fc"),
    gnc.SoftmaxLayer(name="softmax"),
    gnc.ClassificationLayer(name="loss"),
])
layers.connect("pool", "add/in2")
options = gnc.training_options("sgdm", gradient_threshold=0.5, gradient_threshold_method="global-l2norm")
compiled = gnc.compile(layers, batch_size=13, training=True, options=options, seed=5, dtype=os.environ["DTYPE"])
random = np.random.default_rng(0)
x = random.standard_normal((13, 17, 15, 3)).astype(np.float32)
t = random.integers(0, 10, 13)

def show(name, *arrays):
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    print(name, digest.hexdigest())

for name, gradient in compiled.gradients(x, t).items():
    show("gradient " + name, gradient)
losses = [compiled.train_step(x, t) for _ in range(5)]
show("losses", np.array(losses))
assert np.isfinite(losses).all() and len(set(losses)) == 5
for name, value in compiled.parameters.items():
    show(name, value)
show("predict", compiled.predict(x))
"""


def bits(threads, dtype="float32"):
    environment = os.environ | {"GNCODEGEN_THREADS": str(threads), "DTYPE": dtype}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())


@pytest.mark.full(like="networks/test_reproducible.py::test_a_batch_slice_alone_is_predicted_to_the_same_bits")
def test_thread_counts_and_repeated_runs_give_the_same_bits():
    one, two, again = bits(1), bits(2), bits(2)
    assert len(one) > 20
    assert one == two
    assert two == again


@pytest.mark.full(like="networks/test_reproducible.py::test_a_batch_slice_alone_is_predicted_to_the_same_bits")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_thread_counts_in_half_precision(dtype):
    assert bits(1, dtype) == bits(2, dtype)


def network(batch, seed=0):
    layers = [
        gnc.ImageInputLayer((11, 9, 3), normalization="none"),
        gnc.Convolution2dLayer(3, 12, padding="same", name="conv"),
        gnc.GroupNormalizationLayer(3, name="gn"),
        gnc.ReluLayer(name="relu"),
        gnc.MaxPooling2dLayer(2, stride=2, name="pool"),
        gnc.FullyConnectedLayer(10, name="fc"),
        gnc.SoftmaxLayer(name="softmax"),
        gnc.ClassificationLayer(),
    ]
    return gnc.compile(layers, batch_size=batch, training=True, seed=seed)


def images(count):
    return np.random.default_rng(0).standard_normal((count, 11, 9, 3)).astype(np.float32)


def test_a_batch_slice_alone_is_predicted_to_the_same_bits():
    compiled, x = network(8), images(8)
    whole = compiled.predict(x)
    for part in (slice(0, 1), slice(7, 8), slice(2, 5)):
        np.testing.assert_array_equal(compiled.predict(x[part]), whole[part])


def test_more_observations_than_a_batch_are_predicted_in_order():
    compiled, x = network(8), images(21)
    whole = compiled.predict(x)
    assert whole.shape == (21, 10)
    for index in (0, 7, 8, 15, 16, 20):
        np.testing.assert_array_equal(compiled.predict(x[index : index + 1]), whole[index : index + 1])


def test_the_compiled_batch_size_does_not_change_predictions():
    x = images(8)
    np.testing.assert_array_equal(network(8).predict(x), network(1).predict(x))


@pytest.mark.parametrize("seed", [0, 7])
def test_one_seed_gives_one_set_of_starting_values(seed):
    first, again, other = network(8, seed), network(8, seed), network(8, seed + 1)
    for name, value in first.parameters.items():
        np.testing.assert_array_equal(value, again.parameters[name])
    assert not np.array_equal(first.parameters["conv.weights"], other.parameters["conv.weights"])


def test_two_networks_side_by_side_do_not_meet():
    first, second, x = network(8), network(8), images(8)
    before = first.predict(x)
    labels = np.arange(8)
    second.train_step(x, labels)
    np.testing.assert_array_equal(first.predict(x), before)
    assert not np.array_equal(second.predict(x), before)


def test_prediction_between_steps_does_not_disturb_training():
    calm, busy, x, labels = network(8), network(8), images(8), np.arange(8)
    for _ in range(3):
        calm.train_step(x, labels)
        busy.predict(x[:3])
        busy.loss(x, labels)
        busy.gradients(x, labels)
        busy.train_step(x, labels)
    for name, value in calm.parameters.items():
        np.testing.assert_array_equal(value, busy.parameters[name])


def test_two_python_threads_may_share_a_network():
    compiled = network(8)
    batches = [images(8) + shift for shift in (0, 1)]
    expected = [compiled.predict(x) for x in batches]

    def repeat(which):
        return sum(not np.array_equal(compiled.predict(batches[which]), expected[which]) for _ in range(200))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(repeat, (0, 1))) == [0, 0]
