"""A compiled network: runs, and shows every stage of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.boundary import Boundary
from gncodegen.errors import CompileError, NetworkError
from gncodegen.inspection import CompiledKernel, MemoryPlan
from gncodegen.kernels.program import OUTPUT_KINDS, Program
from gncodegen.kernels.store import Source
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.programs import Specification, load_program, store_program
from gncodegen.runtime.arrays import aligned
from gncodegen.runtime.executor import Arena, Executor
from gncodegen.runtime.state import Hyperparameters, Parameters, copies
from gncodegen.targets.cpu.target import CpuTarget

Arrays = dict[tuple[str, str], NDArray[Any]]


@dataclass(frozen=True)
class Settings:
    """How a network is compiled: the arguments of `gncodegen.compile`, checked.

    Args:
        target: "cpu".
        batch_size: observations per training step.
        training: whether there is a training step.
        dtype: of activations and parameters.
        data_format: axis order of the arrays handed in.
        seed: of initial values and dropout.
        clip: gradient_threshold_method, "none" for an infinite threshold.
    """

    target: str
    batch_size: int
    training: bool
    dtype: str
    data_format: str
    seed: int
    clip: str


@dataclass(frozen=True)
class Lowered:
    """A function taken through the whole path, ready to run."""

    specification: Specification
    program: Program
    sources: Mapping[str, Source]
    executor: Executor


class Compiled:
    """A compiled network; `gncodegen.compile` makes one.

    Args:
        network: checked and connected.
        settings: how to compile it.
        hyperparameters: what the training step reads at run time.
    """

    def __init__(self, network: Network, settings: Settings, hyperparameters: Hyperparameters) -> None:
        self.network, self.settings, self.hyperparameters = network, settings, hyperparameters
        self._target = CpuTarget()
        values = network.initial_values(np.random.default_rng(settings.seed), settings.dtype)
        self._values = copies(values, settings.dtype)
        self._velocities = copies({name: np.zeros_like(value) for name, value in values.items()}, settings.dtype)
        self.parameters = Parameters(self._values)
        self._arena = Arena()
        self._lowered: dict[tuple[str, int, tuple[str, ...]], Lowered] = {}
        self._step_outputs: Arrays = {}
        self._boundary = Boundary(network, settings.dtype, settings.data_format)
        self._main = self.lowered("train_step" if settings.training else "predict")

    @property
    def target(self) -> str:
        """What it runs on."""
        return self.settings.target

    # ---- the path ------------------------------------------------------------------------------------------------

    def lowered(self, function: str, batch_size: int = 0, activations: tuple[str, ...] = ()) -> Lowered:
        """Takes one function through the whole path, unless that was done before.

        Args:
            function: "predict", "loss", "gradients", "train_step" or "evaluate".
            batch_size: observations per run; 0 = the compiled batch size.
            activations: layers whose outputs are results too.
        """
        key = (function, batch_size or self.settings.batch_size, activations)
        if key not in self._lowered:
            self._lowered[key] = self._lower(self._specification(*key))
        return self._lowered[key]

    def _specification(self, function: str, batch_size: int, activations: tuple[str, ...]) -> Specification:
        settings = self.settings
        clip = settings.clip if function == "train_step" else "none"
        return Specification(
            self.network, function, batch_size, settings.dtype, settings.training, self._boundary.axes,
            self._target.machine, clip, activations,
        )  # fmt: skip

    def _lower(self, specification: Specification) -> Lowered:
        target = self._target
        known = load_program(specification, target.tag)
        if known is None:
            program = specification.lowering().program()
            files = target.write(program.kernels.values())
            store_program(specification, target.tag, program, files)
        else:
            program, files = known
        target.compile(files)
        sources = dict(zip(program.kernels, files, strict=True))
        addresses = dict(zip(sources, target.link(files), strict=True))
        bound: Arrays = {("hyperparameters", "hyperparameters"): self.hyperparameters.array}
        for kind in ("parameter", "state"):
            bound |= {(kind, name): value for name, value in self._values.items()}
        bound |= {("velocity", name): value for name, value in self._velocities.items()}
        return Lowered(specification, program, sources, Executor(program, addresses, self._arena, bound))

    @property
    def program(self) -> Program:
        """The Program of the training step, or of prediction where there is none."""
        return self._main.program

    @property
    def fused(self) -> tuple[str, ...]:
        """What was fused, one readable line each."""
        return self.program.fused

    @property
    def stages(self) -> tuple[str, ...]:
        """The names `ir` takes, in order."""
        from gncodegen.passes.pipeline import STAGES  # noqa: PLC0415  running needs no IR

        return STAGES

    def ir(self, stage: str, function: str = "") -> str:
        """The MLIR text after a stage.

        Args:
            stage: one of `stages`: "gn" is the IR as built, the others are named after their pass.
            function: "train_step", "predict", "loss", "gradients" or "evaluate"; "" = the one compiled first.
        """
        specification = self._main.specification
        if function:
            specification = self._specification(function, self.settings.batch_size, ())
        return specification.lowering().text(stage)

    @property
    def kernels(self) -> Mapping[str, CompiledKernel]:
        """Name → kernel, of every function lowered so far."""
        found: dict[str, CompiledKernel] = {}
        files: set[Path] = set()
        for lowered in self._lowered.values():
            program = lowered.program
            for name, schedule in program.kernels.items():
                file = lowered.sources[name]
                if file.path in files:
                    continue
                files.add(file.path)
                call = next(call for call in program.calls if call.kernel == name)
                shown = f"{program.function}.{name}" if name in found else name
                found[shown] = CompiledKernel(shown, schedule, program.layers_of(name), call.bytes, call.flops, file)
        return found

    @cached_property
    def memory(self) -> MemoryPlan:
        """The planned buffers of the function compiled first."""
        return MemoryPlan.of(self.program)

    # ---- running -------------------------------------------------------------------------------------------------

    def predict(self, x: Any, data_format: str = "") -> NDArray[Any]:
        """The network's output for any number of observations.

        Args:
            x: N observations, axes in the order of `data_format`.
            data_format: axis order of x; "" = that of the compilation.

        Returns:
            N outputs, axes in the same order.

        Raises:
            ArrayError: x does not fit the input layer.
        """
        return self._forward(x, data_format, ("output", "y"), ())

    def activations(self, x: Any, layer_name: str, data_format: str = "") -> NDArray[Any]:
        """The output of one layer in prediction mode, for any number of observations.

        Raises:
            NetworkError: there is no such layer.
        """
        name = self.network[layer_name].name
        return self._forward(x, data_format, ("activation", name), (name,))

    def loss(self, x: Any, t: Any, data_format: str = "") -> float:
        """The loss of one batch of any size: that of training, with dropout and batch statistics, if compiled for it.

        Args:
            x: N observations.
            t: class indices (N,), one-hot rows, or responses shaped like the output.
            data_format: axis order of x; "" = that of the compilation.
        """
        return float(self._once("loss", x, t, data_format)["loss", "loss"])

    def gradients(self, x: Any, t: Any, data_format: str = "") -> dict[str, NDArray[Any]]:
        """The gradient of `loss` for every learnable by name, and under "input" for x as given."""
        outputs = self._once("gradients", x, t, data_format)
        found = {name: value for (kind, name), value in outputs.items() if kind == "gradient"}
        found["input"] = self._boundary.outward(found["input"], self._boundary.input_letters, data_format)
        return found

    def train_step(self, x: Any, t: Any, data_format: str = "") -> float:
        """One SGDM step on one batch; returns the batch's loss before the step.

        Allocates nothing where x and t have the compiled type, layout and batch size.

        Raises:
            ArrayError: x or t do not fit.
            CompileError: compiled for prediction only.
        """
        if not self.settings.training:
            raise CompileError(
                "train_step: compiled for prediction; allowed: networks with an output layer; "
                "call gncodegen.compile(layers, training=True) with a ClassificationLayer or RegressionLayer"
            )
        array = self._boundary.inward(x, data_format)
        lowered = self.lowered("train_step", self._boundary.count(array))
        targets = self._boundary.targets(t, len(array))
        with self._arena.lock:
            for key, index in lowered.executor.free.items():
                if key[0] in OUTPUT_KINDS:
                    buffer = lowered.program.buffers[index]
                    if key not in self._step_outputs or self._step_outputs[key].shape != buffer.shape:
                        self._step_outputs[key] = aligned(buffer.shape, buffer.dtype)
            self._run(lowered, array, targets, self._step_outputs)
            self.hyperparameters.iteration += 1
            return float(self._step_outputs["loss", "loss"])

    @property
    def last_scores(self) -> NDArray[Any]:
        """The network's outputs in the last training step; the next step overwrites them."""
        return self._boundary.outward(self._step_outputs["output", "y"], self._boundary.output_letters, "")

    def evaluate(self, x: Any, t: Any, data_format: str = "") -> tuple[float, NDArray[Any]]:
        """(mean loss, outputs) of any number of observations in prediction mode."""
        array, size = self._boundary.inward(x, data_format), self.settings.batch_size
        targets, total, parts = self._boundary.targets(t, self._boundary.count(array)), 0.0, list[NDArray[Any]]()
        # Rows of zeros add nothing to the loss of a classification, so its last batch can be filled up with them.
        fill = isinstance(self.network.output_layer, ClassificationLayer)
        for start in range(0, len(array), size):
            part, target = array[start : start + size], targets[start : start + size]
            count = len(part)
            if count < size and fill:
                part, target = _filled(part, size), _filled(target, size)
            lowered = self.lowered("evaluate", len(part))
            outputs = lowered.executor.allocate(OUTPUT_KINDS)
            self._run(lowered, part, target, outputs)
            total += float(outputs["loss", "loss"]) * len(part)
            parts.append(outputs["output", "y"][:count])
        y = np.concatenate(parts)
        return total / len(array), self._boundary.outward(y, self._boundary.output_letters, data_format)

    def _forward(self, x: Any, data_format: str, key: tuple[str, str], activations: tuple[str, ...]) -> NDArray[Any]:
        """One result of prediction, batch by batch; the last is filled up with zeros, which changes no other row."""
        array = self._boundary.inward(x, data_format)
        lowered = self.lowered("predict", activations=activations)
        program, size = lowered.program, self.settings.batch_size
        buffer = program.buffers[program.arguments[key]]
        result = aligned((len(array), *buffer.shape[1:]), buffer.dtype)
        spare = lowered.executor.allocate([kind for kind in OUTPUT_KINDS if kind != key[0]])
        for start in range(0, len(array), size):
            part, target = array[start : start + size], result[start : start + size]
            if len(part) == size:
                self._run(lowered, part, None, spare | {key: target})
            else:
                whole = aligned(buffer.shape, buffer.dtype)
                self._run(lowered, _filled(part, size), None, spare | {key: whole})
                target[:] = whole[: len(target)]
        letters = "B" + self.network[key[1]].size.format if key[0] == "activation" else self._boundary.output_letters
        return self._boundary.outward(result, letters, data_format)

    def _once(self, function: str, x: Any, t: Any, data_format: str) -> Arrays:
        """All results of one run over the whole of x."""
        if self.network.output_layer is None:
            raise CompileError(
                f"{function}: the network has no output layer; allowed: networks that end in a ClassificationLayer or "
                "RegressionLayer; append one"
            )
        array = self._boundary.inward(x, data_format)
        lowered = self.lowered(function, self._boundary.count(array))
        outputs = lowered.executor.allocate(OUTPUT_KINDS)
        self._run(lowered, array, self._boundary.targets(t, len(array)), outputs)
        return outputs

    def _run(self, lowered: Lowered, x: NDArray[Any], t: NDArray[Any] | None, outputs: Arrays) -> None:
        arguments = {("input", "x"): x, **outputs}
        if t is not None:
            arguments["target", "t"] = t
        lowered.executor.run(arguments)

    # ---- disk ----------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Writes the network, its parameters and velocities to a folder; `gncodegen.load` reads them back.

        The network is JSON, the arrays are safetensors.
        """
        from safetensors.numpy import save_file  # noqa: PLC0415  used here only

        folder = Path(directory)
        data, arrays = self.network.to_json(self._values)
        numbers = self.hyperparameters.array.tolist()
        folder.mkdir(parents=True, exist_ok=True)
        record = {"network": data, "settings": asdict(self.settings), "hyperparameters": numbers}
        (folder / "network.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        arrays = arrays | {f"velocity:{name}": value for name, value in self._velocities.items()}
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / "arrays.safetensors")

    @staticmethod
    def load(directory: str | Path) -> Compiled:
        """The compiled network that `save` wrote.

        Raises:
            NetworkError: the folder holds none, or one of another version.
        """
        from safetensors import SafetensorError  # noqa: PLC0415
        from safetensors.numpy import load_file  # noqa: PLC0415

        folder = Path(directory)
        try:
            record = json.loads((folder / "network.json").read_text(encoding="utf-8"))
            arrays = load_file(folder / "arrays.safetensors")
            settings = Settings(**record["settings"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            issue = f"{folder} holds no saved network: {error}; allowed: a folder that save wrote; check the path"
            raise NetworkError([issue]) from error
        velocities = {name: value for name, value in arrays.items() if name.startswith("velocity:")}
        network = Network.from_json(record["network"], {n: v for n, v in arrays.items() if n not in velocities})
        hyperparameters = Hyperparameters()
        hyperparameters.array[:] = record["hyperparameters"]
        compiled = Compiled(network, settings, hyperparameters)
        for name, value in velocities.items():
            compiled._velocities[name.removeprefix("velocity:")][...] = value
        return compiled


def _filled(part: NDArray[Any], size: int) -> NDArray[Any]:
    """A batch of `size`, the missing observations zeros."""
    whole = aligned((size, *part.shape[1:]), part.dtype)
    whole[: len(part)] = part
    return whole
