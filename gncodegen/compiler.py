"""The whole path in order: layers → network → gn IR → passes → kern IR → Program → kernels → executor.

`compile` checks its arguments; `Functions.lowered` walks the path for each function of the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gncodegen import loading
from gncodegen.cache import files
from gncodegen.cache.folder import root
from gncodegen.compiled import Compiled
from gncodegen.errors import NetworkError, OptionsError
from gncodegen.layers.archive import shaping_names
from gncodegen.layers.checks import shown
from gncodegen.layers.formats import axis_order
from gncodegen.layers.network import Network
from gncodegen.layers.tensors import TensorInputLayer
from gncodegen.options import CompileOptions, takes_options
from gncodegen.parallel.averaging import bucket_size
from gncodegen.runtime.state import Hyperparameters

if TYPE_CHECKING:
    from gncodegen.layers.base import Layer
    from gncodegen.layers.graph import LayerGraph
    from gncodegen.parallel.averaging import Averaging
    from gncodegen.saving import NetworkState


@takes_options("caller", "compile")
def compile(  # noqa: A001, D417  choices are documented by their fields
    layers: Sequence[Layer] | LayerGraph | Network,
    target: str = CompileOptions.target,
    *,
    options: Any = None,
    **choices: Any,
) -> Compiled:
    """Compiles a network.

    Args:
        layers: a layer array, a LayerGraph or a checked Network; without an output layer it compiles for prediction.
        options: `training_options(solver, …)`; None = `training_options("sgdm")`.
        choices: the other fields of CompileOptions.

    Raises:
        NetworkError: the network is faulty; names every fault.
        OptionsError: an option is out of range.
        CompileError: a stage failed.
        TargetError: the target is not available; says what to install or to write instead.
    """
    return compiled(layers, {"target": target, **choices}, options)


def compiled(
    layers: Sequence[Layer] | LayerGraph | Network,
    choices: Mapping[str, Any],
    options: Any = None,
    averaging: Averaging | None = None,
) -> Compiled:
    """`compile` for one of several ranks, whose gradients are averaged; `choices` are fields of CompileOptions."""
    network = Network.build(layers, require_output=False)
    choices, numbers = dict(choices), {}
    if options is not None:
        if not hasattr(options, "gradient_threshold_method"):
            raise OptionsError(
                f'options = {shown(options)}; allowed: None or training options; write training_options("sgdm")'
            )
        numbers = options.hyperparameters | {
            "learn_rate": options.initial_learn_rate,
            "l2_regularization": options.l2_regularization,
            "gradient_threshold": options.gradient_threshold,
        }
        clips = np.isfinite(options.gradient_threshold)
        choices |= {"solver": options.solver, "clip": options.gradient_threshold_method if clips else "none"}
        if averaging is not None and averaging.collective.ranks > 1:
            choices["synchronize_batch_normalization"] = options.synchronize_batch_normalization
            choices["bucket_size"] = options.bucket_size or bucket_size(4 * network.num_learnables)
    chosen = CompileOptions(**choices)
    if network.output_layer is None:
        chosen = replace(chosen, training=False)
    if not network.batched:
        chosen = replace(chosen, batch_size=1)
    check_format(network, chosen.data_format)
    made = Compiled(network, chosen, Hyperparameters(chosen.solver, chosen.seed, **numbers), averaging)
    _remember(made)
    return made


@takes_options("caller", "compile")
def load(directory: str | Path, **choices: Any) -> Compiled:
    """The compiled network that `Compiled.save` wrote to a folder, with the options that it was saved with.

    Args:
        directory: the folder.
        choices: what is to be other than when it was saved, of the options of compilation.

    Raises:
        NetworkError: the folder holds none.
    """
    return of_state(loading.read(directory, choices))


def of_state(state: NetworkState) -> Compiled:
    """The network of a state, compiled again, or taken from the cache.

    Raises:
        OptionsError: its inputs cannot have the axis order.
    """
    check_format(state.network, state.options.data_format)
    return Compiled.of_state(state)


def _record() -> Path:
    return root() / "last.json"


def _remember(compiled: Compiled) -> None:
    """Notes what was compiled, for `gncodegen inspect`."""
    try:
        data, arrays = compiled.network.to_json()
    except NetworkError:
        return  # a callable cannot be written; the record stays that of the compilation before
    shapes = {name: arrays[name].shape for name in shaping_names(data["layers"]) if name in arrays}
    record = {"network": data, "options": asdict(compiled.options), "shapes": shapes}
    files.keep(_record(), json.dumps(record).encode())


@takes_options("caller", "compile")
def last(**choices: Any) -> Compiled:
    """The network compiled last by any process of this user, with new parameter values and the options of then.

    Args:
        choices: what is to be other than then, of the options of compilation.

    Raises:
        NetworkError: nothing was compiled yet.
    """
    try:
        record = json.loads(files.read(_record()) or b"")
        arrays = {name: np.ones(shape, np.float32) for name, shape in record["shapes"].items()}
        network = Network.from_json(record["network"], arrays)
        chosen = CompileOptions(**(record["options"] | choices))
    except OptionsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        issue = "nothing was compiled yet; allowed: a network file, or a compilation before; run `gncodegen demo`"
        raise NetworkError([issue]) from error
    return Compiled(network, chosen, Hyperparameters(chosen.solver, chosen.seed))


def check_format(network: Network, data_format: str | None) -> None:
    """Refuses an axis order that the inputs cannot have."""
    for node in network.inputs:
        axis_order(data_format or "", "B" + node.size.format)
        if data_format and isinstance(node.layer, TensorInputLayer):
            raise OptionsError(
                f"{node.label}: data_format = {data_format!r}; allowed: None: its arrays keep their own order of axes; "
                "leave data_format out, or transpose the arrays"
            )
