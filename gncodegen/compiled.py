"""A compiled network: runs, and shows every stage of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.arguments import Settings
from gncodegen.errors import CompileError, NetworkError
from gncodegen.inspection import CompiledKernel, MemoryPlan
from gncodegen.kernels.program import OUTPUT_KINDS, Program
from gncodegen.kernels.store import Source
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.programs import Specification, load_program, store_program
from gncodegen.runtime.backend import Backend, PersistentBuffers, Runner
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.runtime.state import Hyperparameters, Parameters
from gncodegen.targets.registry import row_of

X, T, Y, LOSS = ("input", "x"), ("target", "t"), ("output", "y"), ("loss", "loss")
"""Arguments of Programs: (kind, name)."""


@dataclass(frozen=True)
class Lowered:
    """A function taken through the whole path, ready to run."""

    specification: Specification
    program: Program
    sources: Mapping[str, Source]
    runner: Runner


class Compiled:
    """A compiled network; `gncodegen.compile` makes one.

    Host arrays in, NumPy arrays out. On target "cuda" arrays of a GPU (`__dlpack__`, `__cuda_array_interface__`) are
    read where they are, and results are then DeviceArrays; the caller waits for the GPU only where a number is read.

    Args:
        network: checked and connected.
        settings: how to compile it.
        hyperparameters: what the training step reads at run time.
    """

    def __init__(self, network: Network, settings: Settings, hyperparameters: Hyperparameters) -> None:
        self.network, self.settings, self.hyperparameters = network, settings, hyperparameters
        self._backend: Backend = row_of(settings.target).open(settings)
        initial = network.initial_values(np.random.default_rng(settings.seed), settings.dtype)
        values = self._backend.values(initial, settings.dtype)
        trained = [name for name, parameter in network.parameters.items() if parameter.learnable and settings.training]
        zeros = {name: np.zeros_like(initial[name]) for name in trained}
        state = {array: self._backend.values(zeros, settings.dtype) for array in hyperparameters.solver.state}
        self._persistent = PersistentBuffers(values, state, hyperparameters)
        self.parameters = Parameters(values)
        self._lowered: dict[tuple[str, int, tuple[str, ...]], Lowered] = {}
        self._last_step: Runner | None = None
        self._conversion = ArrayConversion(
            network, settings.dtype, settings.data_format, self._backend.import_device_array
        )
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
            self.network, function, batch_size, settings.dtype, settings.training, self._conversion.axes,
            self._backend.target.machine, clip, activations,
            # A batch of another size, such as the last of an epoch, is not worth the time that measuring takes.
            settings.tune and batch_size == settings.batch_size, solver=settings.solver,
        )  # fmt: skip

    def _tuned(self, specification: Specification) -> Specification:
        """The specification with the choices that were measured, now or before, where they are to be."""
        if not specification.tune:
            return specification
        from gncodegen.tuning import tuned  # noqa: PLC0415  with a Program from disk, nothing is measured

        return tuned(specification, self._backend, self._persistent)

    def _lower(self, specification: Specification) -> Lowered:
        target = self._backend.target
        known = load_program(specification, target.tag)
        if known is None:
            program = self._tuned(specification).lowering().program()
            files = target.write(program.kernels.values())
            store_program(specification, target.tag, program, files)
        else:
            program, files = known
        target.compile(files)
        sources = dict(zip(program.kernels, files, strict=True))
        return Lowered(specification, program, sources, self._backend.runner(program, sources, self._persistent))

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
        return self._tuned(specification).lowering().text(stage)

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
                found[shown] = CompiledKernel(
                    shown, schedule, program.layers_of(name), call.bytes, call.flops, file, self._backend.target
                )
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
        return float(self._once("loss", x, t, data_format)[LOSS])

    def gradients(self, x: Any, t: Any, data_format: str = "") -> dict[str, NDArray[Any]]:
        """The gradient of `loss` for every learnable by name, and under "input" for x as given."""
        outputs = self._once("gradients", x, t, data_format)
        found = {name: value for (kind, name), value in outputs.items() if kind == "gradient"}
        found["input"] = self._conversion.outward(found["input"], self._conversion.input_letters, data_format)
        return found

    def train_step(self, x: Any, t: Any, data_format: str = "") -> float:
        """One step of the solver on one batch; returns the batch's loss before the step.

        Allocates no array where x and t have the compiled type, layout and batch size. For an x on a GPU the loss is a
        DeviceArray of one number: `float(loss)` waits for it.

        Raises:
            ArrayError: x or t do not fit.
            CompileError: compiled for prediction only.
        """
        if not self.settings.training:
            raise CompileError(
                "train_step: compiled for prediction; allowed: networks with an output layer; "
                "call gncodegen.compile(layers, training=True) with a ClassificationLayer or RegressionLayer"
            )
        array = self._conversion.inward(x, data_format)
        lowered = self.lowered("train_step", self._conversion.count(array))
        targets = self._conversion.targets(t, len(array))
        loss = self._backend.empty((), "float64", array)
        with self._backend.lock:
            lowered.runner.run({X: array, T: targets, LOSS: loss})
            self._last_step = lowered.runner
            self.hyperparameters.advance()
        return float(loss) if isinstance(loss, np.ndarray) else loss

    @property
    def last_scores(self) -> NDArray[Any]:
        """The network's outputs in the last training step, on the host; the next step overwrites them.

        Raises:
            CompileError: there was none.
        """
        if self._last_step is None:
            raise CompileError("last_scores: no training step was done; allowed: after one; call train_step(x, t)")
        with self._backend.lock:
            return self._conversion.outward(self._last_step.result(Y), self._conversion.output_letters, "")

    def evaluate(self, x: Any, t: Any, data_format: str = "") -> tuple[float, NDArray[Any]]:
        """(mean loss, outputs) of any number of observations in prediction mode."""
        array, size, total = self._conversion.inward(x, data_format), self.settings.batch_size, 0.0
        count = self._conversion.count(array)
        targets, y = self._conversion.targets(t, count), None
        # Rows of zeros add nothing to the loss of a classification, so its last batch can be filled up with them.
        fill = isinstance(self.network.output_layer, ClassificationLayer)
        for start in range(0, count, size):
            part, target = array[start : start + size], targets[start : start + size]
            if len(part) < size and fill:
                part, target = self._backend.filled(part, size), self._backend.filled(target, size)
            lowered = self.lowered("evaluate", len(part))
            if y is None:
                rows = -(-count // size) * size if fill else count
                y = self._result(lowered, Y, rows, array)
            loss = self._backend.empty((), "float64", array)
            lowered.runner.run({X: part, T: target, LOSS: loss, Y: y[start : start + len(part)]})
            total += float(loss) * len(part)
        assert y is not None
        return total / count, self._conversion.outward(y[:count], self._conversion.output_letters, data_format)

    def _forward(self, x: Any, data_format: str, key: tuple[str, str], activations: tuple[str, ...]) -> NDArray[Any]:
        """One result of prediction, batch by batch; the last is filled up with zeros, which changes no other row."""
        array, size = self._conversion.inward(x, data_format), self.settings.batch_size
        lowered = self.lowered("predict", activations=activations)
        result = self._result(lowered, key, -(-len(array) // size) * size, array)
        if len(array) == size:  # arrays that stay the same objects cost the runner less
            lowered.runner.run({X: array, key: result})
        else:
            for start in range(0, len(array), size):
                part = array[start : start + size]
                whole = part if len(part) == size else self._backend.filled(part, size)
                lowered.runner.run({X: whole, key: result[start : start + size]})
        letters = "B" + self.network[key[1]].size.format if key[0] == "activation" else self._conversion.output_letters
        return self._conversion.outward(result[: len(array)], letters, data_format)

    def _result(self, lowered: Lowered, key: tuple[str, str], rows: int, like: Any) -> Any:
        """An array for so many rows of a result, where `like` is."""
        buffer = lowered.program.buffers[lowered.program.arguments[key]]
        return self._backend.empty((rows, *buffer.shape[1:]), buffer.dtype, like)

    def _once(self, function: str, x: Any, t: Any, data_format: str) -> dict[tuple[str, str], Any]:
        """All results of one run over the whole of x."""
        if self.network.output_layer is None:
            raise CompileError(
                f"{function}: the network has no output layer; allowed: networks that end in a ClassificationLayer or "
                "RegressionLayer; append one"
            )
        array = self._conversion.inward(x, data_format)
        lowered = self.lowered(function, self._conversion.count(array))
        buffers = {key: lowered.program.buffers[i] for key, i in lowered.program.arguments.items()}
        outputs = {
            key: self._backend.empty(buffer.shape, buffer.dtype, array)
            for key, buffer in buffers.items()
            if key[0] in OUTPUT_KINDS
        }
        lowered.runner.run({X: array, T: self._conversion.targets(t, len(array)), **outputs})
        return outputs

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Runs this network's work on the caller's CUDA stream: `with compiled.stream(torch.cuda.current_stream()): …`.

        Outside it the network has a stream of its own, which the default stream waits for and which waits for it.

        Args:
            stream: anything with `__cuda_stream__` or `cuda_stream`, or a stream's address.

        Raises:
            TargetError: the target has no streams.
        """
        return self._backend.stream(stream)

    # ---- disk ----------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> None:
        """Writes the network, its parameters and the solver's state to a folder; `gncodegen.load` reads them back.

        The network is JSON, the arrays are safetensors; those of the solver are a file of their own, named
        "velocity/conv_1.weights", so that no layer's name can stand for one.
        """
        from safetensors.numpy import save_file  # noqa: PLC0415  used here only

        folder = Path(directory)
        values, numbers = self._persistent.values, self.hyperparameters
        data, arrays = self.network.to_json({name: values.read(name) for name in values.shapes})
        state = {
            f"{array}/{name}": of_parameter.read(name)
            for array, of_parameter in self._persistent.solver_state.items()
            for name in of_parameter.shapes
        }
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "network": data, "settings": asdict(self.settings),
            "hyperparameters": numbers.values(), "steps": numbers.steps,
        }  # fmt: skip
        (folder / "network.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        for file, content in (("arrays", arrays), ("solver", state)):
            contiguous = {name: np.ascontiguousarray(value) for name, value in content.items()}
            save_file(contiguous, folder / f"{file}.safetensors")

    @staticmethod
    def load(directory: str | Path, **changes: Any) -> Compiled:
        """The compiled network that `save` wrote.

        Args:
            directory: a folder that `save` wrote.
            changes: fields of Settings that are to be others now, such as target="cpu".

        Raises:
            NetworkError: the folder holds none, or one of another version.
        """
        folder = Path(directory)
        try:
            record = json.loads((folder / "network.json").read_text(encoding="utf-8"))
            arrays, state = (_read_arrays(folder / f"{file}.safetensors") for file in ("arrays", "solver"))
            settings = Settings(**(record["settings"] | changes))
            hyperparameters = Hyperparameters(settings.solver, steps=record["steps"], **record["hyperparameters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            issue = f"{folder} holds no saved network: {error}; allowed: a folder that save wrote; check the path"
            raise NetworkError([issue]) from error
        settings.check()
        compiled = Compiled(Network.from_json(record["network"], arrays), settings, hyperparameters)
        compiled._write_state(state)
        return compiled

    def restore(self, directory: str | Path) -> None:
        """Takes over the values, the solver's state and the numbers that `save` wrote of a network like this one.

        Raises:
            NetworkError: the folder holds none.
            ArrayError: a parameter has another shape.
        """
        folder = Path(directory)
        try:
            record = json.loads((folder / "network.json").read_text(encoding="utf-8"))
            arrays, state = (_read_arrays(folder / f"{file}.safetensors") for file in ("arrays", "solver"))
            values = {name: arrays[name] for name in self.parameters}
            steps, numbers = int(record["steps"]), dict(record["hyperparameters"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            issue = f"{folder} holds no such network: {error}; allowed: a folder that save wrote; check the path"
            raise NetworkError([issue]) from error
        self.parameters.update(values)
        self._write_state(state)
        self.hyperparameters.steps = steps
        self.hyperparameters.update(numbers)

    def _write_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The solver's state by "velocity/conv_1.weights"."""
        for key, value in state.items():
            array, _, name = key.partition("/")
            if name in self._persistent.solver_state[array].shapes:  # none are kept for prediction only
                self._persistent.solver_state[array].write(name, value)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file.

    Raises:
        ValueError: it is damaged.
    """
    from safetensors import SafetensorError  # noqa: PLC0415  used here only
    from safetensors.numpy import load_file  # noqa: PLC0415

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: {error}") from error
