"""States of small networks without a compilation, and folders of them that were damaged."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import gncodegen as gnc
from gncodegen import saving
from gncodegen.kernels.solvers import SOLVERS
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.runtime.state import Hyperparameters
from gncodegen.saving import NetworkState

LAYERS = [
    gnc.ImageInputLayer((6, 6, 2), normalization="zscore", mean=np.ones(2), standard_deviation=np.ones(2)),
    gnc.Convolution2dLayer(3, 4, padding="same", name="conv"),
    gnc.BatchNormalizationLayer(name="bn"),
    gnc.GroupNormalizationLayer(2, name="gn"),
    gnc.ReluLayer(),
    gnc.FullyConnectedLayer(3, name="fc"),
    gnc.SoftmaxLayer(),
    gnc.ClassificationLayer(classes=("a", "b", "c")),
]


def state(fill: float = 0.5, layers: Any = LAYERS, solver: str = "sgdm", steps: int = 3) -> NetworkState:
    """A state whose arrays are all filled with one number."""
    network = Network.build(layers, require_output=False)
    values = {name: np.full(p.shape, fill, np.float32) for name, p in network.parameters.items()}
    learned = [name for name, p in network.parameters.items() if p.learnable]
    kept = {f"{array}/{name}": values[name] for array in SOLVERS[solver].state for name in learned}
    numbers = Hyperparameters(solver, steps=steps).values()
    return NetworkState(network, CompileOptions(solver=solver, batch_size=4), numbers, steps, values, kept)


def killed_at(line: int, work: Callable[[], object], *modules: Any) -> bool:
    """Does some work in a forked child that is killed at the n-th line of modules; whether it came so far."""
    files, left = {module.__file__ for module in modules}, [line]

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
        return trace

    pid = os.fork()
    if pid == 0:
        try:
            sys.settrace(trace)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9)
    return code == 9


ODD = [None, True, -1, 0, 5, 1 << 70, 0.5, float("nan"), float("inf"), "", "x", "a/b", "conv", [], [[]], {}, {"a": 1}]


def changed(data: Any, draw: random.Random) -> Any:
    """JSON data with one drawn change: an entry replaced, removed, doubled, or moved."""
    places = list(_places(data))
    holder, key = draw.choice(places)
    way = draw.randrange(6)
    if way < 3:
        holder[key] = draw.choice(ODD)
    elif way == 3:
        del holder[key]
    elif way == 4:
        other, there = draw.choice(places)
        holder[key] = json.loads(json.dumps(other[there]))
    elif isinstance(holder, list):
        holder.insert(0, holder[key])
    else:
        holder[draw.choice(["extra", "type", "name"])] = holder[key]
    return data


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(data) if isinstance(data, dict) else range(len(data)):
        yield data, key
        if isinstance(data[key], (dict, list)):
            yield from _places(data[key])


def damage(folder: Path, draw: random.Random) -> None:
    """Changes a saved folder in one drawn way; a changed file of arrays gets the name of its new content."""
    record = json.loads((folder / saving.RECORD).read_text())
    way = draw.randrange(8)
    if way < 4:
        (folder / saving.RECORD).write_text(json.dumps(changed(record, draw)))
        return
    index = draw.randrange(2)
    path = folder / (record["files"][index] if way < 7 else saving.RECORD)
    content = path.read_bytes()
    if way == 4:  # the header
        size = int.from_bytes(content[:8], "little")
        text = json.dumps(changed(json.loads(content[8 : 8 + size]), draw)).encode()
        content = len(text).to_bytes(8, "little") + text + content[8 + size :]
    elif way == 5:  # a byte
        at = draw.randrange(len(content))
        content = content[:at] + bytes([draw.randrange(256)]) + content[at + 1 :]
    else:
        content = content[: draw.randrange(len(content))]
    path.write_bytes(content)
    if way < 7:
        name = saving.part_name(saving.PARTS[index], content)
        path.rename(folder / name)
        record["files"][index] = name
        (folder / saving.RECORD).write_text(json.dumps(record))
