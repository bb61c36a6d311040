"""A network's state on disk: the network and its numbers as JSON, the arrays as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import NetworkError, OptionsError
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.runtime.state import Hyperparameters


@dataclass(frozen=True)
class NetworkState:
    """Everything that a compiled network is made from, and has learned.

    Args:
        network: checked and connected.
        options: of the compilation.
        hyperparameters: the numbers a step reads, by name.
        steps: that the solver has done.
        values: of parameters and state, by name.
        solver: the solver's arrays, by array and parameter: "velocity/conv_1.weights".
    """

    network: Network
    options: CompileOptions
    hyperparameters: Mapping[str, float]
    steps: int
    values: Mapping[str, NDArray[Any]]
    solver: Mapping[str, NDArray[Any]]


def write(state: NetworkState, directory: str | Path) -> None:
    """Writes the state to a folder: network.json, arrays.safetensors, and solver.safetensors.

    The solver's arrays are a file of their own, so that no layer's name can stand for one.
    """
    from safetensors.numpy import save_file  # noqa: PLC0415  used here only

    folder = Path(directory)
    data, arrays = state.network.to_json(dict(state.values))
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "network": data, "options": asdict(state.options),
        "hyperparameters": dict(state.hyperparameters), "steps": state.steps,
    }  # fmt: skip
    (folder / "network.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    for file, content in (("arrays", arrays), ("solver", state.solver)):
        contiguous = {name: np.ascontiguousarray(value) for name, value in content.items()}
        save_file(contiguous, folder / f"{file}.safetensors")


def read(directory: str | Path, changes: Mapping[str, Any]) -> NetworkState:
    """The state that `write` wrote.

    Args:
        directory: the folder.
        changes: options of the compilation that are to be others now.

    Raises:
        NetworkError: the folder holds none, or one of another version.
        OptionsError: an option is out of range.
    """
    from safetensors import SafetensorError  # noqa: PLC0415  used here only
    from safetensors.numpy import load_file  # noqa: PLC0415

    folder = Path(directory)
    try:
        record = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        arrays, solver = (load_file(folder / f"{file}.safetensors") for file in ("arrays", "solver"))
        options = CompileOptions(**(record["options"] | dict(changes)))
        network, steps = record["network"], int(record["steps"])
        numbers = Hyperparameters(options.solver, steps=steps, **record["hyperparameters"]).values()
    except OptionsError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        issue = f"{folder} holds no saved network: {error}; allowed: a folder that save wrote; check the path"
        raise NetworkError([issue]) from error
    built = Network.from_json(network, arrays)
    values = {name: arrays[name] for name in built.parameters if name in arrays}
    return NetworkState(built, options, numbers, steps, values, solver)
