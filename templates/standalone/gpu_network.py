"""A network on an NVIDIA GPU: cubins, a manifest of buffers and launches, weights. It needs cuda.core and numpy.

    import {module}
    y = {module}.predict(x)

Several inputs are given in the order of the manifest, of any number of observations; so are several outputs.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cuda.bindings import driver
from cuda.core import Device, LaunchConfig, ObjectCode, launch

HERE = Path(__file__).parent


def _call(name: str, *arguments: Any) -> None:
    """Calls a function of the driver."""
    (status, *_) = getattr(driver, name)(*arguments)
    if int(status):
        raise RuntimeError(f"{name} reports {status}")


class Network:
    """Prediction on one GPU, all buffers in one piece of its memory."""

    def __init__(self, number: int = 0) -> None:
        self.manifest: dict[str, Any] = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
        self.device = Device(number)
        self.device.set_current()
        found = f"sm_{self.device.compute_capability.major}{self.device.compute_capability.minor}"
        if found != self.manifest["architecture"]:
            raise RuntimeError(f"GPU {number} is {found}; these cubins are for {self.manifest['architecture']}")
        self.stream = self.device.create_stream()
        self.memory = self.device.allocate(self.manifest["bytes"], stream=self.stream)
        self.base = int(self.memory.handle)
        # A last batch may be a part of one, and kernels read all its rows.
        _call("cuMemsetD8Async", self.base, 0, self.manifest["bytes"], self.stream.handle)
        self.kernels = {name: self._kernel(name, each) for name, each in self.manifest["kernels"].items()}
        with np.load(HERE / "weights.npz", allow_pickle=False) as weights:
            for buffer in self.manifest["buffers"]:
                if buffer["kind"] in ("parameter", "state"):
                    self._upload(buffer, weights[buffer["name"]])
        self._run(self.manifest["hoisted"], self.manifest["batch"])

    def _kernel(self, name: str, facts: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """A kernel and the options of its launches."""
        kernel = ObjectCode.from_cubin((HERE / f"{name}.cubin").read_bytes(), name=name).get_kernel(facts["entry"])
        attributes, handle = driver.CUfunction_attribute, getattr(kernel, "handle", None) or kernel._handle
        if facts["shared"]:
            wanted = attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            _call("cuKernelSetAttribute", wanted, facts["shared"], handle, self.device.device_id)
        if facts["cluster"] > 8:
            wanted = attributes.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED
            _call("cuKernelSetAttribute", wanted, 1, handle, self.device.device_id)
        options = {"block": facts["threads"], "shmem_size": facts["shared"]}
        if facts["cluster"] > 1:
            options["cluster"] = facts["cluster"]
        if facts["cooperative"]:  # its name before cuda.core 1.0 is the other one
            options["is_cooperative" if hasattr(LaunchConfig, "is_cooperative") else "cooperative_launch"] = True
        return kernel, options

    def _run(self, launches: list[dict[str, Any]], count: int) -> None:
        """Launches for the first `count` observations, of which the last may need a part of a unit of tiles."""
        batch = self.manifest["batch"]
        for each in launches:
            grid, numbers = each["grid"], each["numbers"]
            if count < batch:
                observations, units, tiles, repeats = each["order"]
                grid = min(max(-(-count * units // observations) * tiles * repeats - each["first"], 0), grid)
                numbers = [number * count // batch for number in numbers]
            if not grid:
                continue
            kernel, options = self.kernels[each["kernel"]]
            addresses = [np.uint64(self.base + self.manifest["buffers"][index]["offset"]) for index in each["buffers"]]
            config = LaunchConfig(grid=grid // options.get("cluster", 1), **options)
            launch(self.stream, config, kernel, *addresses, np.uint32(each["first"]), *map(np.uint64, numbers))
        self.stream.sync()

    def _upload(self, buffer: dict[str, Any], array: Any) -> None:
        """Copies an array to the beginning of a buffer."""
        rows = np.ascontiguousarray(array, buffer["dtype"])
        _call("cuMemcpyHtoDAsync", self.base + buffer["offset"], rows.ctypes.data, rows.nbytes, self.stream.handle)
        self.stream.sync()

    def predict(self, *x: Any) -> Any:
        """The outputs for any number of observations; ValueError: x does not fit the inputs."""
        buffers, batch, launches = (self.manifest[name] for name in ("buffers", "batch", "launches"))
        in_order = all(each["order"] for each in launches)
        inputs, outputs = ([buffers[index] for index in self.manifest[name]] for name in ("inputs", "outputs"))
        given = [np.ascontiguousarray(each, buffer["dtype"]) for each, buffer in zip(x, inputs, strict=True)]
        for array, buffer in zip(given, inputs, strict=True):
            if list(array.shape[1:]) != buffer["shape"][1:] or len(array) != len(given[0]):
                raise ValueError(f"{buffer['name']} has shape {array.shape}; allowed: N, {buffer['shape'][1:]}")
        results = [np.empty((len(given[0]), *each["shape"][1:]), each["dtype"]) for each in outputs]
        self.device.set_current()
        for begin in range(0, len(given[0]), batch):
            for array, buffer in zip(given, inputs, strict=True):
                self._upload(buffer, array[begin : begin + batch])
            self._run(launches, min(batch, len(given[0]) - begin) if in_order else batch)
            for array, buffer in zip(results, outputs, strict=True):
                rows = array[begin : begin + batch]
                place = self.base + buffer["offset"]
                _call("cuMemcpyDtoHAsync", rows.ctypes.data, place, rows.nbytes, self.stream.handle)
            self.stream.sync()
        return results[0] if len(results) == 1 else tuple(results)


@cache
def _network() -> Network:
    """The network, from the first prediction on."""
    return Network()


def predict(*x: Any) -> Any:
    """The network's outputs: `Network.predict`."""
    return _network().predict(*x)
