"""Trainings that one process and several ranks both do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import gncodegen as gnc

X = np.random.default_rng(0).normal(size=(22, 4, 4, 2)).astype(np.float32)
Y = np.arange(22) % 3
R = X.mean(axis=(1, 2))


def layers(*more: Any) -> list[Any]:
    return [
        gnc.ImageInputLayer((4, 4, 2), normalization="zscore"), gnc.Convolution2dLayer(3, 4), *more,
        gnc.GroupNormalizationLayer(2), gnc.ReluLayer(), gnc.FullyConnectedLayer(3), gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]  # fmt: skip


def batches(epoch: int, rank: int = 0, ranks: int = 1) -> Any:
    """Own batches of each rank: 3 observations of even ranks, 4 of others; together all of 7."""
    for start in range(0, 21, 7):
        edges = np.linspace(0, 7, ranks + 1).astype(int)
        part = slice(start + edges[rank], start + edges[rank + 1])
        yield X[part], Y[part]


def options(environment: str, **more: Any) -> Any:
    chosen = {
        "max_epochs": 3, "mini_batch_size": 7, "seed": 5, "shuffle": "every-epoch", "verbose": False,
        "validation_data": (X[:5], Y[:5]), "validation_frequency": 2, "initial_learn_rate": 0.05,
        "gradient_threshold": 0.8, "gradient_threshold_method": "global-l2norm", "bucket_size": 300,
        "execution_environment": environment, "rank_timeout": 60,
    } | more  # fmt: skip
    return gnc.training_options("sgdm", **chosen)


CASES = {
    "plain": lambda e: gnc.train_network(X, Y, layers(), options(e)),
    "one bucket": lambda e: gnc.train_network(X, Y, layers(), options(e, bucket_size=2**20)),
    "stream": lambda e: gnc.train_network(lambda: [(X[:7], Y[:7]), (X[7:14], Y[7:14])], None, layers(), options(e)),
    "own streams": lambda e: gnc.train_network(batches, None, layers(), options(e)),
    "accumulated": lambda e: gnc.train_network(
        X, Y, layers(), options(e, mini_batch_size=3, gradient_accumulation_steps=2)
    ),
    "batch norm": lambda e: gnc.train_network(X, Y, layers(gnc.BatchNormalizationLayer()), options(e)),
    "synchronized": lambda e: gnc.train_network(
        X,
        Y,
        layers(gnc.BatchNormalizationLayer(), gnc.ReluLayer()),
        options(e, synchronize_batch_normalization=True, batch_normalization_statistics="moving"),
    ),
}

CASES["synchronized sequences"] = lambda e: gnc.train_network(
    [X.reshape(22, 16, 2)[i, : 3 + i % 14] for i in range(22)],
    Y,
    [
        gnc.SequenceInputLayer(2, min_length=16, padding="mask", normalization="none"), gnc.Convolution1dLayer(3, 4),
        gnc.BatchNormalizationLayer(), gnc.ReluLayer(), gnc.GlobalAveragePooling1dLayer(), gnc.FullyConnectedLayer(3),
        gnc.SoftmaxLayer(), gnc.ClassificationLayer(),
    ],
    options(
        e, synchronize_batch_normalization=True, batch_normalization_statistics="moving", validation_data=None,
    ),
)  # fmt: skip


def result(net: Any, info: Any) -> dict[str, np.ndarray]:
    """All that a training leaves."""
    course = ("training_loss", "training_accuracy", "validation_loss", "validation_accuracy", "base_learn_rate")
    found = {name: np.asarray(getattr(info, name)) for name in course}
    found["final"] = np.array([info.final_validation_loss, info.output_network_iteration])
    return found | {f"parameter {name}": np.array(value) for name, value in net.compiled.parameters.items()}


ALIKE = ("plain", "one bucket", "stream", "own streams", "accumulated", "synchronized", "synchronized sequences")
"""Cases with the results of one process."""


def on_all_ranks(folder: str, *names: str) -> None:
    """These cases; what rank r leaves goes into files that bear its number.

    "again" is the first once more, "one rank" the first on a communicator of one.
    """
    from mpi4py import MPI

    from gncodegen.parallel.environments import ENVIRONMENTS
    from gncodegen.parallel.mpi import MpiCollective

    rank = MPI.COMM_WORLD.Get_rank()
    cases = {**CASES, "again": CASES["plain"], "one rank": CASES["plain"]}
    for name in names:
        if name == "one rank":
            alone = replace(
                ENVIRONMENTS["parallel"], collective=lambda timeout: MpiCollective(MPI.COMM_SELF.Dup(), timeout)
            )
            ENVIRONMENTS["parallel"] = alone  # pyright: ignore[reportIndexIssue]
        np.savez(Path(folder) / f"{name} {rank}.npz", **result(*cases[name]("parallel")))
