"""Tells solids apart: 3-D convolutions and group normalization on drawn volumes.

    python examples/volumes.py [--short]

Each volume holds a ball, a cube, an octahedron or a hollow ball, of any size and place, under noise.
"""

import sys

import numpy as np

import gncodegen as gnc

SOLIDS = ("ball", "cube", "octahedron", "hollow ball")
EDGE = 12


def drawn(count, seed):
    """(volumes N×12×12×12×1, names N)."""
    random = np.random.default_rng(seed)
    kinds = random.integers(len(SOLIDS), size=count)
    radius = random.uniform(3, 5, (count, 1, 1, 1))
    centre = random.uniform(4, EDGE - 5, (3, count, 1, 1, 1))
    offsets = np.abs(np.indices((EDGE, EDGE, EDGE))[:, None] - centre)
    distance = np.sqrt((offsets**2).sum(0))
    ball, shell = distance <= radius, np.abs(distance - radius + 0.75) <= 0.75
    cube, octahedron = offsets.max(0) <= 0.8 * radius, offsets.sum(0) <= 1.3 * radius
    solid = np.choose(kinds[:, None, None, None], (ball, cube, octahedron, shell))
    noise = random.normal(scale=0.5, size=solid.shape)
    return (solid + noise).astype(np.float32)[..., None], np.array(SOLIDS)[kinds]


def splits(short=False):
    """To train with, to validate with, and held out."""
    return [drawn(count // (4 if short else 1), seed) for seed, count in enumerate((1600, 400, 1000))]


def layers():
    """Two convolutions with group normalization, the mean over the volume, and a classifier."""
    return [
        gnc.Image3dInputLayer((EDGE, EDGE, EDGE, 1)),
        gnc.Convolution3dLayer(3, 8, padding="same"),
        gnc.GroupNormalizationLayer(2),
        gnc.ReluLayer(),
        gnc.MaxPooling3dLayer(2, stride=2),
        gnc.Convolution3dLayer(3, 16, padding="same"),
        gnc.GroupNormalizationLayer(4),
        gnc.ReluLayer(),
        gnc.GlobalAveragePooling3dLayer(),
        gnc.FullyConnectedLayer(len(SOLIDS)),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(classes=SOLIDS),
    ]


def options(validation, short=False):
    """How to train: 50 mini-batches of 32 are an epoch."""
    return gnc.training_options(
        "adam",
        initial_learn_rate=0.003,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=8,
        learn_rate_drop_factor=0.3,
        max_epochs=10 if short else 20,
        mini_batch_size=32,
        shuffle="every-epoch",
        validation_data=validation,
        validation_frequency=50,
        seed=0,
    )


def score(scores, names):
    """Percent of the volumes whose solid has the highest score."""
    return 100 * np.mean(np.array(SOLIDS)[scores.argmax(-1).reshape(len(scores))] == names)


def main(short=False):
    """Trains, and shows the share that is right by solid."""
    train, validation, (volumes, names) = splits(short)
    net, _ = gnc.train_network(*train, layers(), options(validation, short))
    scores = net.predict(volumes)
    for solid in SOLIDS:
        own = names == solid
        print(f"{solid:12} {score(scores[own], solid):5.1f} % of {own.sum()}")
    print(f"all: {score(scores, names):.1f} % of {len(names)} held-out volumes are right")
    return score(scores, names)


if __name__ == "__main__":
    main("--short" in sys.argv)
