"""Finds and reads digits in a scene: a small U-Net classifies every pixel, rare classes with more weight.

    pip install 'gncodegen[plot]'
    python examples/pixels.py [--short]

A scene is a noisy canvas with four of the real 8×8 digits that come with gncodegen. A pixel is background or belongs
to one of ten digits. Scenes, classes and predictions are drawn as pixels.png.
"""

import sys

import numpy as np
from matplotlib import pyplot as plt

import gncodegen as gnc
from gncodegen.data import digits_split

CLASSES = ("background", *"0123456789")
WEIGHTS = (0.05, *[1.0] * 10)  # there are about thirty times as many pixels of background as of each digit


def scenes(images, digits, count, seed):
    """(scenes N×28×28×1, classes N×28×28): one digit somewhere in each quarter; ink is more than a quarter of black."""
    random = np.random.default_rng(seed)
    x = random.normal(scale=2, size=(count, 28, 28)).astype(np.float32)
    classes = np.zeros((count, 28, 28), int)
    for scene in range(count):
        for corner in ((0, 0), (0, 14), (14, 0), (14, 14)):
            i = random.integers(len(images))
            top, left = corner + random.integers(0, 7, 2)
            place = scene, slice(top, top + 8), slice(left, left + 8)
            x[place] += images[i, :, :, 0]
            classes[place] = np.where(images[i, :, :, 0] > 4, digits[i] + 1, 0)
    return x[..., None], np.array(CLASSES)[classes]


def splits(short=False):
    """To train with, to validate with, and held out, which has digits that training never saw."""
    data, share = digits_split(), 4 if short else 1
    seen, unseen = (data.x_train, data.y_train), (data.x_test, data.y_test)
    return [scenes(*seen, 2000 // share, 0), scenes(*seen, 200 // share, 1), scenes(*unseen, 400 // share, 2)]


def layers():
    """A convolution, one at half the size, and back, joined with what was there before."""
    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((28, 28, 1)),
            gnc.Convolution2dLayer(5, 16, padding="same"),
            gnc.GroupNormalizationLayer(4),
            gnc.ReluLayer(name="top"),
            gnc.MaxPooling2dLayer(2, stride=2),
            gnc.Convolution2dLayer(3, 32, padding="same"),
            gnc.GroupNormalizationLayer(8),
            gnc.ReluLayer(),
            gnc.TransposedConvolution2dLayer(2, 16, stride=2),
            gnc.DepthConcatenationLayer(2, name="join"),
            gnc.Convolution2dLayer(1, len(CLASSES)),
            gnc.SoftmaxLayer(),
            gnc.ClassificationLayer(classes=CLASSES, class_weights=WEIGHTS),
        ]
    )
    return graph.connect("top", "join/in2")


def options(validation, short=False):
    """How to train: 62 mini-batches of 32 are an epoch."""
    return gnc.training_options(
        "adam",
        initial_learn_rate=0.005,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=6,
        learn_rate_drop_factor=0.3,
        max_epochs=6 if short else 12,
        mini_batch_size=32,
        shuffle="every-epoch",
        validation_data=validation,
        validation_frequency=62,
        seed=0,
    )


def score(scores, classes):
    """The mean over the classes of the percentage of their pixels that are right."""
    right = np.array(CLASSES)[scores.argmax(-1)] == classes
    return 100 * np.mean([right[classes == name].mean() for name in CLASSES])


def draw(x, classes, found):
    """Writes pixels.png: six scenes, their classes, and what was found; a colour for each digit."""
    figure, axes = plt.subplots(3, 6, figsize=(7, 3.6), layout="constrained")
    for i, column in enumerate(axes.T):
        column[0].imshow(x[i, :, :, 0], cmap="gray_r")
        for place, names in ((column[1], classes[i]), (column[2], found[i])):
            digits = np.vectorize(CLASSES.index)(names)
            place.imshow(np.ma.masked_equal(digits, 0) - 1, cmap="tab10", vmin=-0.5, vmax=9.5)
    for row, title in enumerate(("scene", "classes", "found")):
        axes[row, 0].set_ylabel(title)
    plt.setp(axes, xticks=[], yticks=[])
    figure.colorbar(axes[1, 0].images[0], ax=axes, ticks=range(10))
    figure.savefig("pixels.png")


def main(short=False):
    """Trains with weights that make up for how rare a class is, and shows which pixels are right."""
    train, validation, (x, classes) = splits(short)
    net, _ = gnc.train_network(*train, layers(), options(validation, short))
    scores = net.predict(x)
    found = np.array(CLASSES)[scores.argmax(-1)]
    draw(x, classes, found)
    for name in CLASSES:
        true, given = classes == name, found == name
        recall, overlap = (true & given).sum() / true.sum(), (true & given).sum() / (true | given).sum()
        print(f"{name:10} {true.mean():6.1%} of the pixels: {recall:6.1%} found, intersection over union {overlap:.2f}")
    print(f"on the mean {score(scores, classes):.1f} % of the pixels of a class are found")
    return score(scores, classes)


if __name__ == "__main__":
    main("--short" in sys.argv)
