"""`gncodegen train FILE.py` and `gncodegen run FOLDER X.npy`: train the network of a file, and use it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.files import network_file, optional_name
from gncodegen.errors import ArrayError, OptionsError


def add_to(commands: Any) -> None:
    """Adds both commands to the parser."""
    train = commands.add_parser(
        "train",
        help="train the network of a file and save it",
        description="Trains the network of a Python file that defines `layers`, `options`, `x` and `y`.",
    )
    train.add_argument("file", metavar="FILE.py", help="defines `layers`, `options`, `x` and `y`")
    train.add_argument("--output", metavar="FOLDER", required=True, help="where the trained network goes")
    add_options(train, "caller")
    train.set_defaults(run=run_train)
    predict = commands.add_parser(
        "run",
        help="run a saved network on an array",
        description="Runs a saved network on the observations in a .npy file.",
    )
    predict.add_argument("folder", metavar="FOLDER", help="where `gncodegen train` or `save` wrote the network")
    predict.add_argument("x", metavar="X.npy", help="observations, shaped as for training")
    predict.add_argument("--output", metavar="Y.npy", help="write the outputs there instead of printing them")
    add_options(predict, "caller", "compile", kept=True)
    predict.set_defaults(run=run_predict)


def run_train(given: Namespace) -> None:
    """Trains and saves, also what Ctrl-C, SIGTERM or an error interrupts."""
    from gncodegen.saving import require_writable
    from gncodegen.train.interruption import interruptible
    from gncodegen.train.network import prepare_training

    require_writable(given.output)
    names = network_file(given.file)
    x, y, options = (optional_name(names, name, given.file) for name in ("x", "y", "options"))
    net, training = prepare_training(x, y, names["layers"], options, **chosen(given))
    with interruptible() as interruption:
        try:
            iteration = training.run().output_network_iteration
        finally:  # also what an output function's error leaves
            if training.history.records:
                net.save(given.output)
                print(f"Saved in {given.output}.")
    print(f"The network of iteration {iteration}.")
    if interruption.requested:
        raise KeyboardInterrupt


def run_predict(given: Namespace) -> None:
    """Prints the labels of a classification or the responses of a regression, or writes the outputs."""
    from gncodegen.train.trained import TrainedNetwork, load

    net, x = load(given.folder, **chosen(given)), _array(given.x)
    if given.output:
        try:
            np.save(given.output, net.predict(x))
        except OSError as error:
            raise OptionsError(
                f"--output {given.output!r} cannot be written: {error.strerror}; allowed: a file in a folder that is "
                "there, with room; make the folder"
            ) from error
        print(f"Written to {given.output}")
    elif isinstance(net, TrainedNetwork) and net.classes is not None:
        print(*net.classify(x)[0].tolist(), sep="\n")
    else:
        np.savetxt("/dev/stdout", net.predict(x).reshape(len(x), -1))


def _array(path: str) -> NDArray[Any]:
    if not Path(path).is_file():
        raise ArrayError(f"X = {path!r} is not a file; allowed: a .npy file of observations; check the path")
    try:
        # Mapped, not read: the header of a damaged file may ask for any size.
        array = np.load(path, allow_pickle=False, mmap_mode="r")
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArrayError(
            f"X = {path!r}: {reason}; allowed: a .npy file of numbers; write it with numpy.save"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ArrayError(f"X = {path!r} holds several arrays; allowed: a .npy file; write it with numpy.save")
    return np.array(array)
