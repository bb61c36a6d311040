"""Recognises speakers by a vowel: convolutions over time and group normalization on real recordings.

    pip install gncodegen && pip install --no-deps aeon
    python examples/speakers.py [--short]

Nine men say the Japanese /ae/: 12 cepstral coefficients, 7 to 29 steps (M. Kudo et al., Pattern Recognition Letters 20,
1999). Recordings are a list of arrays, and with padding="mask" each is computed as if it were alone. The files come
with the package aeon; it is not imported, since it asks for an older Numba.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import gncodegen as gnc

FORMAT = "BCT"  # as the files have the axes: recordings, channels, time


def recordings(part):
    """(N sequences 12×T, speakers N) of a .ts file: one line for each, channels between colons, the speaker last."""
    package = find_spec("aeon")
    if package is None or package.origin is None:
        raise SystemExit("the recordings come with aeon: pip install --no-deps aeon")
    file = Path(package.origin).parent / f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts"
    rows = [line.split(":") for line in file.read_text().splitlines() if line and line[0] not in "#@"]
    x = [np.array([channel.split(",") for channel in row[:-1]], np.float32) for row in rows]
    return x, np.array([int(row[-1]) for row in rows])


def splits(short=False):
    """To train with, to validate with, and held out: 240, 30 and 370 recordings."""
    x, speakers = recordings("TRAIN")
    ninth = np.arange(len(x)) % 9 == 4
    kept = [([x[i] for i in np.flatnonzero(part)], speakers[part]) for part in (~ninth, ninth)]
    return [*kept, recordings("TEST")]


def layers():
    """Two convolutions over time with group normalization, the mean over time, and a classifier."""
    return [
        gnc.SequenceInputLayer(12, min_length=29, padding="mask", normalization="zscore"),
        gnc.Convolution1dLayer(5, 32, padding="same"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.Convolution1dLayer(5, 32, padding="same"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.GlobalAveragePooling1dLayer(),
        gnc.FullyConnectedLayer(9),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def options(validation, short=False):
    """How to train: 7 mini-batches of 32 are an epoch."""
    return gnc.training_options(
        "adam",
        initial_learn_rate=0.003,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=20,
        learn_rate_drop_factor=0.3,
        max_epochs=10 if short else 40,
        mini_batch_size=32,
        shuffle="every-epoch",
        validation_data=validation,
        validation_frequency=35,
        seed=0,
    )


def score(scores, speakers):
    """Percent of the recordings whose speaker has the highest score."""
    return 100 * np.mean(scores.argmax(1) + 1 == speakers)


def main(short=False):
    """Trains on arrays with the axes in the order of the file, and shows the share that is right by speaker."""
    train, validation, (x, speakers) = splits(short)
    net, _ = gnc.train_network(*train, layers(), options(validation, short), data_format=FORMAT)
    scores = net.predict(x)
    for speaker in range(1, 10):
        own = speakers == speaker
        print(f"speaker {speaker}: {score(scores[own], speaker):5.1f} % of {own.sum()} recordings")
    print(f"all: {score(scores, speakers):.1f} % of {len(x)} held-out recordings are right")
    return score(scores, speakers)


if __name__ == "__main__":
    main("--short" in sys.argv)
