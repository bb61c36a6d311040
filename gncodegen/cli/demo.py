"""`gncodegen demo`: trains a small group-normalized network on digits and shows what was made on the way."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.cli.choosing import add_options, chosen

if TYPE_CHECKING:
    from gncodegen.compiled import Compiled
    from gncodegen.layers.base import Layer
    from gncodegen.train.history import TrainingState

EXCERPT = 10
"""Lines of the kernel that are shown."""


def add_to(commands: Any) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="train a small network on handwritten digits",
        description="Trains a small group-normalized network on 1,797 handwritten digits, a fifth of them held out.",
    )
    parser.add_argument("--epochs", type=int, default=25, help="how often the images are seen (default 25)")
    parser.add_argument(
        "--seed", dest="draw", type=int, default=1, help="of initial values, shuffles and dropout (default 1)"
    )
    add_options(parser, "caller")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="use the first N images only")
    parser.set_defaults(run=run)


def layers() -> list[Layer]:
    """The network of the demo."""
    import gncodegen as gnc

    return [
        gnc.ImageInputLayer((8, 8, 1)),
        gnc.Convolution2dLayer(3, 32, padding="same"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.MaxPooling2dLayer(2, stride=2),
        gnc.Convolution2dLayer(3, 32, padding="same"),
        gnc.GroupNormalizationLayer(8),
        gnc.ReluLayer(),
        gnc.DropoutLayer(0.5),
        gnc.FullyConnectedLayer(10),
        gnc.SoftmaxLayer(),
        gnc.ClassificationLayer(),
    ]


def run(given: Namespace) -> None:
    """Trains and shows: table, fusions, training, accuracy, where the kernels lie, ten lines of one."""
    began = perf_counter()
    from gncodegen.data import digits_split
    from gncodegen.layers.analyze import analyze_network
    from gncodegen.train.network import prepare_training
    from gncodegen.train.options import training_options

    data = digits_split()
    if given.images:
        data = data.first(given.images)
    heading("Network")
    print(analyze_network(layers()))

    heading("Compile")
    with progress() as show:
        options = training_options(
            "sgdm",
            initial_learn_rate=0.05,
            learn_rate_schedule="piecewise",
            learn_rate_drop_period=18,
            l2_regularization=3e-3,
            max_epochs=given.epochs,
            mini_batch_size=64,
            shuffle="every-epoch",
            validation_data=(data.x_test, data.y_test),
            validation_frequency=100,
            verbose_frequency=100,
            output_fcn=show,
            seed=given.draw,
        )
        net, training = prepare_training(data.x_train, data.y_train, layers(), options, **chosen(given))
        _show_fused(net.compiled)
        print(f"{perf_counter() - began:.1f} s since the start")

        heading(f"Train on {len(data.x_train):,} images of handwritten digits")
        training.run()

    labels, _ = net.classify(data.x_test)
    right = int(np.sum(labels == data.y_test))
    heading("Result")
    print(
        f"Held-out accuracy: {100 * right / len(labels):.2f} % ({right} of {len(labels)} images the network never saw)"
    )
    _show_kernels(net.compiled)
    print(f"\nTotal {perf_counter() - began:.1f} s. Read on with `gncodegen inspect`.")


def heading(text: str) -> None:
    """Prints the start of a section: a coloured rule on a terminal, plain text elsewhere."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().rule(f"[bold cyan]{text}", align="left")
    else:
        print(f"\n== {text}", flush=True)


@contextmanager
def progress() -> Generator[Any]:
    """An output function that draws a progress bar below the training table; on a terminal only."""
    if not sys.stdout.isatty():
        yield lambda state: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    bar = Progress(*columns, transient=True)
    task = bar.add_task("", total=None)

    def show(state: TrainingState) -> None:
        if state.state == "start":
            bar.update(task, total=state.iterations)
            bar.start()
        elif state.state == "done":
            bar.stop()
        else:
            loss = f"loss {state.training_loss:.3f}"
            bar.update(task, completed=state.iteration, description=loss)

    try:
        yield show
    finally:
        bar.stop()


def _show_fused(compiled: Compiled) -> None:
    print("Fused:", *(compiled.fused or ("nothing",)), sep="\n  ")
    memory = compiled.memory.peak_bytes / 1024
    print(f"{len(compiled.kernels)} kernels for one training step; {memory:,.0f} KiB between input and loss")


def _show_kernels(compiled: Compiled) -> None:
    kernels = {name: k for name, k in compiled.kernels.items() if k.schedule.op == "group_norm"}
    for kernel in kernels.values():
        print(f"Kernel of {', '.join(kernel.layers)}:\n  {kernel.path}")
    name, kernel = next(iter(kernels.items()))
    start, lines = excerpt(kernel.source)
    print(f"\nLines {start + 1} … {start + len(lines)} of it (`gncodegen inspect {name}` shows all):\n")
    _print_python(lines, start + 1)


def excerpt(source: str) -> tuple[int, list[str]]:
    """Ten lines around the first vector arithmetic of a kernel: index of the first one, and the lines."""
    lines = source.splitlines()
    heart = next((i for i, line in enumerate(lines) if "fma(" in line), 0)
    start = max(0, min(heart - EXCERPT // 2, len(lines) - EXCERPT))
    return start, lines[start : start + EXCERPT]


def _print_python(lines: list[str], first: int) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.syntax import Syntax

        text = "\n".join(lines)
        Console().print(Syntax(text, "python", line_numbers=True, start_line=first, dedent=True, word_wrap=True))
    else:
        print("\n".join(lines))
