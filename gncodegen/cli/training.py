"""`gncodegen train FILE.py` and `gncodegen run FOLDER X.npy`: train the network of a file, and use it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from io import BytesIO
from typing import Any

import numpy as np

from gncodegen.cli.choosing import add_options, chosen
from gncodegen.cli.data import WORDS, observations, samples
from gncodegen.cli.files import network_file, optional_name
from gncodegen.errors import OptionsError


def add_to(commands: Any) -> None:
    """Adds both commands to the parser."""
    train = commands.add_parser(
        "train",
        help="train the network of a file and save it",
        description="Trains the network of a Python file that defines `layers`, `options`, `x` and `y`, on those "
        "or on the data of files.",
    )
    train.add_argument("file", metavar="FILE.py", help="defines `layers`, and `options`, `x` and `y`")
    train.add_argument("data", metavar="DATA", nargs="*", help=f"train on these instead of x and y: {WORDS}")
    train.add_argument("--output", metavar="FOLDER", required=True, help="where the trained network goes")
    train.add_argument(
        "--ranks",
        type=int,
        default=1,
        metavar="N",
        help="train in so many processes under mpiexec, each on its share of every mini-batch (default 1)",
    )
    add_options(train, "caller")
    train.set_defaults(run=run_train)
    predict = commands.add_parser(
        "run",
        help="run a saved network on an array",
        description="Runs a saved network on the observations in a .npy or .csv file, in a .npz file of several "
        "inputs, or on images.",
    )
    predict.add_argument(
        "folder", metavar="FOLDER", nargs="?", help="where `gncodegen train` or `save` wrote the network"
    )
    predict.add_argument(
        "x",
        metavar="X",
        help="observations, shaped as for training: .npy; .csv; .npz of several inputs; an image or a folder of images",
    )
    predict.add_argument("--output", metavar="Y.npy", help="write the outputs there instead of printing them")
    predict.add_argument(
        "--ir", metavar="FILE", help="run the function of a file of IR text instead, on arrays by the names of its "
        "arguments; - = standard input"
    )  # fmt: skip
    predict.add_argument(
        "--ranks", type=int, default=0, metavar="N", help="predict in so many processes under mpiexec, which write to "
        "one --output; a run that was ended goes on with the rest when it is started again",
    )  # fmt: skip
    predict.add_argument("--json", action="store_true", help="print the labels or outputs as JSON")
    add_options(predict, "caller", "compile", kept=True)
    predict.set_defaults(run=run_predict)


def run_train(given: Namespace) -> int:
    """Trains and saves, also what Ctrl-C, SIGTERM or an error interrupts."""
    from gncodegen.parallel.launching import started
    from gncodegen.saving import require_writable
    from gncodegen.train.interruption import interruptible
    from gncodegen.train.network import prepare_training, ranks_of

    if given.ranks != 1 and started() == 1:
        return _run_ranks(given)
    require_writable(given.output)
    names = network_file(given.file)
    x, y = samples(given.data) if given.data else (optional_name(names, name, given.file) for name in ("x", "y"))
    options = optional_name(names, "options", given.file)
    with ranks_of(options, "parallel" if given.ranks != 1 else "") as ranks:
        net, training = prepare_training(x, y, names["layers"], options, ranks=ranks, **chosen(given))
        with interruptible() as interruption:
            try:
                iteration = training.run().output_network_iteration
            finally:  # also what an output function's error leaves
                if training.history.records and ranks.first:
                    net.save(given.output)
                    print(f"Saved in {given.output}.")
    if ranks.first:
        print(f"The network of iteration {iteration}.")
    if interruption.requested:
        raise KeyboardInterrupt
    return 0


def _run_ranks(given: Namespace) -> int:
    """The same command in several processes; its exit code."""
    from gncodegen.parallel.launching import run
    from gncodegen.targets.cpu.threads import cores

    return run(given.arguments, given.ranks, cores())


def run_predict(given: Namespace) -> int:
    """Prints the labels of a classification or the responses of a regression, or writes the outputs."""
    from gncodegen.train.trained import TrainedNetwork, load

    if (given.folder is None) == (given.ir is None):
        raise OptionsError("FOLDER and --ir; allowed: one of them; write gncodegen run FOLDER X, or --ir FILE X")
    if given.ir is not None:
        _run_ir(given)
        return 0
    if given.ranks:
        return _run_bulk(given)
    net, x = load(given.folder, **chosen(given)), observations(given.x)
    if given.output:
        _write(given.output, net.predict(x))
    elif isinstance(net, TrainedNetwork) and net.classes is not None:
        labels = net.classify(x)[0].tolist()
        print(json.dumps(labels, default=str) if given.json else "\n".join(map(str, labels)))
    else:
        y = np.asarray(net.predict(x))
        if given.json:
            print(json.dumps(y.tolist()))
        else:
            np.savetxt(sys.stdout, y.reshape(len(y), -1))
    return 0


def _run_bulk(given: Namespace) -> int:
    """Predicts a file block by block, by all ranks; the exit code."""
    from gncodegen.cli.bulk import identity_of, predict_file
    from gncodegen.parallel.collective import TIMEOUT
    from gncodegen.parallel.environments import ENVIRONMENTS
    from gncodegen.parallel.launching import started
    from gncodegen.train.trained import load

    if not given.output:
        raise OptionsError(f"--ranks {given.ranks} without --output; allowed: with it; write --output Y.npy")
    if given.ranks != 1 and started() == 1:
        return _run_ranks(given)
    collective = ENVIRONMENTS["cpu" if given.ranks == 1 else "parallel"].collective(TIMEOUT)
    try:
        net, identity = load(given.folder, **chosen(given)), identity_of(given.folder, chosen(given))
        blocks, before = predict_file(net, given.x, given.output, collective=collective, identity=identity)
    except Exception as error:
        collective.end(error)
        raise
    if collective.rank == 0:
        print(f"Written to {given.output}: {blocks} blocks, {before} of them by a run before.")
    return 0


def _run_ir(given: Namespace) -> None:
    """Compiles IR text and runs it; the results are printed or written by name."""
    from gncodegen.cli.opt import text_of
    from gncodegen.handwritten import Handwritten

    function = Handwritten(text_of(given.ir), given.ir, **chosen(given))
    results = function.run(observations(given.x))
    if given.output:
        _write(given.output, next(iter(results.values())) if len(results) == 1 else results)
    elif given.json:
        print(json.dumps({name: array.tolist() for name, array in results.items()}))
    else:
        for name, array in results.items():
            print(f"{name}: {array.dtype}{list(array.shape)}\n{array}")


def _write(path: str, y: Any) -> None:
    """An array to a .npy file, several by name to a .npz file."""
    from gncodegen.saving import write_file

    content = BytesIO()
    if isinstance(y, dict):
        np.savez(content, **y)  # pyright: ignore[reportArgumentType]
    else:
        np.save(content, y)
    write_file(path, content.getvalue())
    print(f"Written to {path}")
