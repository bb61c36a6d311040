"""The whole path in order: layers → network → gn IR → passes → kern IR → Program → kernels → executor.

`compile` checks its arguments; `Compiled.lowered` walks the path for each function of the network.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen.arguments import Settings
from gncodegen.compiled import Compiled
from gncodegen.environment import environment
from gncodegen.errors import NetworkError, OptionsError
from gncodegen.kernels.store import write_atomically
from gncodegen.layers.formats import axis_order
from gncodegen.layers.network import Network
from gncodegen.runtime.state import Hyperparameters

if TYPE_CHECKING:
    from gncodegen.layers.base import Layer
    from gncodegen.layers.graph import LayerGraph

DTYPES = ("float32", "float64")


def compile(  # noqa: A001
    layers: Sequence[Layer] | LayerGraph | Network,
    target: str = "cpu",
    batch_size: int = 32,
    training: bool = True,
    options: Any = None,
    dtype: str = "float32",
    data_format: str = "BSSC",
    seed: int = 0,
    emulate: bool = False,
    math: str = "float32",
    precise: bool = False,
    tune: bool = False,
) -> Compiled:
    """Compiles a network.

    Args:
        layers: a layer array, a LayerGraph or a checked Network; without an output layer it compiles for prediction.
        target: "cpu"; "cuda", the GPU here; or an architecture "sm_75" … "sm_120", whose kernels are compiled for
            inspection on any machine.
        batch_size: observations per training step; prediction takes any number.
        training: whether a training step is compiled; loss and gradients are then those of training.
        options: `training_options(solver, …)`; None = `training_options("sgdm")`.
        dtype: "float32" or "float64", of activations and parameters.
        data_format: axis order of the arrays handed in, such as "BSSC" or "BCSS"; letters an array lacks are skipped.
        seed: fixes initial values and dropout.
        emulate: run the kernels of an architecture in the PTX emulator, on the CPU, with every access checked.
        math: how convolutions and fully connected layers multiply on a GPU: "float32", or on tensor cores "tf32" (10
            bits of mantissa) or "bf16" (7 bits); sums are float32.
        precise: on the CPU, 3×3 convolutions by Winograd's F(2×2) only, with a fifth of the rounding error of the
            faster F(4×4); float32 on a GPU always is as precise.
        tune: on the CPU, the few kernels that the cost model likes best are timed on this machine, and the fastest are
            taken and remembered in the cache directory. The results keep their bits, whatever is taken.

    Raises:
        NetworkError: the network is faulty; names every fault.
        OptionsError: an argument is out of range.
        CompileError: a stage failed.
        TargetError: the target is not available; says what to install or to write instead.
    """
    network = Network.build(layers, require_output=False)
    if dtype not in DTYPES:
        raise OptionsError(f"dtype = {dtype!r}; allowed: {', '.join(DTYPES)}; write dtype='float32'")
    if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionsError(f"batch_size = {batch_size!r}; allowed: a positive int; write batch_size=32")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise OptionsError(f"seed = {seed!r}; allowed: an int, 0 or more; write seed=0")
    axis_order(data_format, "B" + network.input.size.format)
    solver, clip, numbers = "sgdm", "none", {}
    if options is not None:
        if not hasattr(options, "gradient_threshold_method"):
            raise OptionsError(
                f'options = {options!r}; allowed: None or training options; write training_options("sgdm")'
            )
        solver, numbers = (
            options.solver,
            options.hyperparameters
            | {
                "learn_rate": options.initial_learn_rate,
                "l2_regularization": options.l2_regularization,
                "gradient_threshold": options.gradient_threshold,
            },
        )
        clip = options.gradient_threshold_method if np.isfinite(options.gradient_threshold) else "none"
    hyperparameters = Hyperparameters(solver, seed, **numbers)
    trains = training and network.output_layer is not None
    place: dict[str, Any] = {"emulate": emulate, "math": math, "precise": precise, "tune": tune, "solver": solver}
    chosen = Settings(target, int(batch_size), trains, dtype, data_format, seed, clip, **place)
    chosen.check()
    compiled = Compiled(network, chosen, hyperparameters)
    _remember(compiled)
    return compiled


def load(directory: str | Path, **changes: Any) -> Compiled:
    """The compiled network that `Compiled.save` wrote to a folder.

    Args:
        directory: the folder.
        changes: what is to be other than when it was saved: target, emulate, math, precise, tune, batch_size.

    Raises:
        NetworkError: the folder holds none.
    """
    return Compiled.load(directory, **changes)


def _record() -> Path:
    return environment().cache_dir / "last.json"


def _remember(compiled: Compiled) -> None:
    """Notes what was compiled, for `gncodegen inspect`."""
    try:
        data, _ = compiled.network.to_json()
    except NetworkError:
        return  # a callable cannot be written; the record stays that of the compilation before
    write_atomically(_record(), json.dumps({"network": data, "settings": asdict(compiled.settings)}).encode())


def last(**changes: Any) -> Compiled:
    """The network compiled last by any process of this user, with new parameter values.

    Args:
        changes: what is to be other than then, such as target="sm_90".

    Raises:
        NetworkError: nothing was compiled yet.
    """
    try:
        record = json.loads(_record().read_text(encoding="utf-8"))
        network, chosen = Network.from_json(record["network"]), Settings(**(record["settings"] | changes))
    except (OSError, ValueError, KeyError, TypeError) as error:
        issue = "nothing was compiled yet; allowed: a network file, or a compilation before; run `gncodegen demo`"
        raise NetworkError([issue]) from error
    chosen.check()
    return Compiled(network, chosen, Hyperparameters(chosen.solver, chosen.seed))
