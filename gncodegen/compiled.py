"""A compiled network: runs. How it was made is in lowering.py, inspection.py and the passes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen import loading, saving
from gncodegen.calls import LOSS, Calls, T, Y
from gncodegen.direct import DirectCall
from gncodegen.errors import ArrayError, CompileError, NetworkError, OptionsError
from gncodegen.footprint import check_network
from gncodegen.kernels.loss_scale import INITIAL, LOSS_SCALE, STATE
from gncodegen.kernels.program import SUMS
from gncodegen.layers.checks import shown
from gncodegen.layers.network import Network
from gncodegen.lowering import Functions
from gncodegen.options import CompileOptions
from gncodegen.parallel.averaging import Averaging
from gncodegen.process.signals import Uninterrupted
from gncodegen.readable import Readable
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.runtime.rows import Given
from gncodegen.runtime.state import Hyperparameters, Parameters
from gncodegen.saving import NetworkState
from gncodegen.targets.registry import row_of


class Compiled(Readable):
    """A compiled network; `gncodegen.compile` makes one.

    Host arrays in, NumPy arrays out. On target "cuda" arrays of a GPU (`__dlpack__`, `__cuda_array_interface__`) are
    read where they are, and results are then DeviceArrays; the caller waits for the GPU only where a number is read.

    Args:
        network: checked and connected.
        options: how to compile it.
        hyperparameters: what the training step reads at run time.
        averaging: over ranks, of a training step's gradients; None = there is one rank.
    """

    def __init__(
        self,
        network: Network,
        options: CompileOptions,
        hyperparameters: Hyperparameters,
        averaging: Averaging | None = None,
    ) -> None:
        self.network, self.options, self.hyperparameters = network, options, hyperparameters
        check_network(network, options)
        self._backend: Backend = row_of(options.target).open(options)
        initial = network.initial_values(np.random.default_rng(options.seed), options.array_dtype)
        values = self._backend.values(initial, options.array_dtype)
        trained = [name for name, parameter in network.parameters.items() if parameter.learnable and options.training]
        zeros = {name: np.zeros_like(initial[name]) for name in trained}
        state = {array: self._backend.values(zeros, options.array_dtype) for array in hyperparameters.solver.state}
        if options.training and options.scales_loss:
            state[LOSS_SCALE] = self._backend.values({LOSS_SCALE: np.array(INITIAL)}, STATE.dtype)
        self._persistent = PersistentBuffers(values, state, hyperparameters, averaging or Averaging())
        self.parameters = Parameters(values, network.input_statistics(initial), self._backend.import_device_array)
        self._last_step: Callable[[], Any] | None = None
        self._conversion = ArrayConversion(
            network,
            options.array_dtype,
            options.data_format or "",
            self._backend.import_device_array,
            self.parameters.statistics,
        )
        self._direct: dict[str, DirectCall | None] = {}
        self._functions = Functions(network, options, self._backend, self._persistent, self._conversion.axes)
        self.lowered = self._functions.lowered
        self.calls = Calls(network, options, self._backend, self._conversion, self.lowered)
        self._main = self.lowered("train_step" if options.training else "predict")

    # ---- running -------------------------------------------------------------------------------------------------

    def predict(self, *x: Any, data_format: str = "", out: Any = None) -> Any:
        """The network's outputs for any number of observations.

        Args:
            x: N observations of every input, in the order of the inputs, or one mapping of their names to arrays. In
                every call sequences of different lengths are a list of arrays, and so are results that have time.
            data_format: axis order of x; "" = that of the compilation.
            out: the array that the outputs are written to, shaped as they are; a tuple of as many as there are outputs.
                C-contiguous ones that begin on a 64-byte boundary are written by the kernels themselves.

        Returns:
            N outputs, axes in the same order; a tuple where the network has several outputs. `out` if it was given.

        Raises:
            ArrayError: x does not fit the input layers, or out the outputs.
        """
        known = isinstance(data_format, str)  # pyright: ignore[reportUnnecessaryIsInstance]
        if known and out is None and len(x) == 1 and (direct := self._direct.get(data_format)):
            result = direct(x[0])
            if result is not None:
                return result
        given = self.calls.places.given(out)
        results = self.calls.in_batches(x, data_format, self._conversion.results, (), given)
        if data_format not in self._direct:
            self._direct[data_format] = self.calls.direct(data_format)
        return results[0] if len(results) == 1 else tuple(results)

    def activations(self, x: Any, layer_name: str, data_format: str = "", *, out: Any = None) -> NDArray[Any]:
        """The output of one layer in prediction mode, for any number of observations; `out` as for `predict`.

        Raises:
            NetworkError: there is no such layer.
        """
        node = self.network[layer_name]
        letters = {("activation", node.name): "B" + node.size.format}
        given = {} if out is None else dict.fromkeys(letters, out)
        return self.calls.in_batches((x,), data_format, letters, (node.name,), given)[0]

    def loss(self, x: Any, t: Any, data_format: str = "") -> float:
        """The loss of one batch of any size: that of training, with dropout and batch statistics, if compiled for it.

        Args:
            x: N observations; of several inputs a tuple or a mapping by name.
            t: class indices (N,), one-hot rows, or responses shaped like the output.
            data_format: axis order of x; "" = that of the compilation.
        """
        return float(self.calls.once("loss", x, t, data_format).arrays[LOSS])

    def gradients(
        self, x: Any, t: Any, data_format: str = "", *, out: Mapping[str, Any] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The gradient of `loss` for every learnable by name, and for x as given.

        That of x stands under "input"; of several inputs each stands under "input/NAME". `out` has arrays for some or
        all of them, which they are written to.
        """
        results = self.calls.once("gradients", x, t, data_format, out=_of("gradient", out))
        return self.calls.places.gradients(results, data_format)

    def vjp(
        self,
        x: Any,
        dy: Any,
        data_format: str = "",
        *,
        training: bool = False,
        iteration: int | None = None,
        out: tuple[Any, Mapping[str, Any] | None] = (None, None),
    ) -> tuple[Any, dict[str, NDArray[Any]]]:
        """The outputs for x, and the gradient of Σ dy·y for every learnable and input, under the names of `gradients`.

        Needs no output layer: a vector-Jacobian product, with which a network is one part of a larger computation.
        An input that is read as places only, such as those of an embedding, has no gradient.

        Args:
            x: N observations; of several inputs a tuple or a mapping by name.
            dy: cotangents, shaped like the output; of several outputs a tuple.
            data_format: axis order of x and dy; "" = that of the compilation.
            training: with dropout and the batch's statistics, as `forward` computes.
            iteration: of the `forward` whose dropout masks are taken; None = the masks of the next one.
            out: what the outputs and the gradients are written to, as for `predict` and for `gradients`.
        """
        given = self._conversion.whole((x,), data_format)
        cotangents = self._conversion.cotangents(dy, given.observations, data_format, given.lengths)
        places, function = self.calls.places, "training_vjp" if training else "vjp"
        into = places.given(out[0]) | _of("gradient", out[1])
        with self._backend.lock, self.hyperparameters.at(iteration):
            results = self.calls.whole(function, given, cotangents, data_format, out=into)
        return places.outputs(results, data_format), places.gradients(results, data_format)

    def forward(self, *x: Any, data_format: str = "", out: Any = None) -> Any:
        """The outputs in training mode, of one batch of any size; otherwise as `predict`.

        Dropout drops, with another mask in every call, and batch norms take the batch's statistics and update theirs.
        """
        given, into = self._conversion.whole(x, data_format), self.calls.places.given(out)
        with self._backend.lock, Uninterrupted():
            results = self.calls.whole("training_forward", given, {}, data_format, out=into)
            self.hyperparameters.iteration += 1
        return self.calls.places.outputs(results, data_format)

    def as_torch_module(self) -> Any:
        """A `torch.nn.Module` whose forward and backward run this network's kernels; see docs/exchange.md."""
        from gncodegen.exchange.torch.module import CompiledModule  # noqa: PLC0415  needs torch

        return CompiledModule(self)

    def trace(self, x: Any, t: Any, data_format: str = "") -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
        """The outputs by layer, without output layers, and the gradients by learnable of one batch, in training mode.

        Outputs are in the network's own axis order.
        """
        names = tuple(node.name for node in self.network.nodes if not node.layer.is_output)
        found = self.calls.once("gradients", x, t, data_format, names).arrays
        outputs, gradients = (
            {name: np.asarray(value) for (kind, name), value in found.items() if kind == wanted}
            for wanted in ("activation", "gradient")
        )
        return outputs, gradients

    def train_step(self, x: Any, t: Any, data_format: str = "", *, parts: int = 1) -> float:
        """One step of the solver on one batch; returns the batch's loss before the step.

        Allocates no array where x and t have the compiled type, layout and batch size. For an x on a GPU the loss is a
        DeviceArray of one number: `float(loss)` waits for it.

        Args:
            x: as for `loss`.
            t: likewise.
            data_format: likewise.
            parts: the batch is run in so many parts, as equal as can be, whose gradients are added up, weighted by
                their observations, before the one update: activations take the memory of one part. Batch norms take
                the statistics of each part, dropout has a mask for each.

        Raises:
            ArrayError: x or t do not fit.
            CompileError: compiled for prediction only.
        """
        if not self.options.training:
            raise CompileError(
                "train_step: compiled for prediction; allowed: networks with an output layer; call "
                "gncodegen.compile(layers, training=True) with a ClassificationLayer or RegressionLayer"
            )
        if not isinstance(parts, int) or isinstance(parts, bool) or parts < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionsError(f"train_step: parts = {shown(parts)}; allowed: a positive int; write parts=1")
        given = self._conversion.whole((x,), data_format)
        targets = self._conversion.targets(t, given.observations, given.lengths)
        if parts > 1:
            return self._step_in_parts(given, targets, min(parts, given.observations))
        lowered = self.lowered("train_step", given.observations, normalized=given.normalized)
        loss = self._backend.empty((), "float64", next(iter(given.arrays.values())))
        with self._backend.lock, Uninterrupted():
            lowered.runner.run({**given.arrays, T: targets, LOSS: loss})
            self._last_step = partial(lowered.runner.result, Y)
            self.hyperparameters.advance()
        return float(loss) if isinstance(loss, np.ndarray) else loss

    def _step_in_parts(self, given: Given, targets: Any, parts: int) -> float:
        """One step whose batch is run part by part; returns the mean loss."""
        persistent, like, count = self._persistent, next(iter(given.arrays.values())), given.observations
        if SUMS not in persistent.sums:
            trained = [name for name, each in self.network.parameters.items() if each.learnable]
            zeros = {name: np.zeros(persistent.values.shapes[name]) for name in trained}
            persistent.sums[SUMS] = self._backend.values(zeros, self.options.array_dtype)
        bounds = [count * number // parts for number in range(parts + 1)]
        losses: list[float] = []
        y: Any = None
        with self._backend.lock, Uninterrupted():
            for number, (start, stop) in enumerate(pairwise(bounds)):
                function = "train_last_part" if stop == count else "train_part"
                lowered = self.lowered(function, stop - start, normalized=given.normalized)
                if y is None:
                    buffer = lowered.program.buffers[lowered.program.arguments[Y]]
                    y = self._backend.empty((count, *buffer.shape[1:]), buffer.dtype, like)
                loss = self._backend.empty((), "float64", like)
                arrays = {key: array[start:stop] for key, array in {**given.arrays, T: targets, Y: y}.items()}
                with self.hyperparameters.part(number, parts, (stop - start) / count, start / count):
                    lowered.runner.run({**arrays, LOSS: loss})
                losses.append(float(loss) * (stop - start) / count)
            self._last_step = lambda: y
            self.hyperparameters.advance()
        return sum(losses)

    @property
    def last_scores(self) -> NDArray[Any]:
        """The network's outputs in the last training step, B first and C last; the next step overwrites them.

        Raises:
            CompileError: there was none.
        """
        if self._last_step is None:
            raise CompileError("last_scores: no training step was done; allowed: after one; call train_step(x, t)")
        with self._backend.lock:
            letters = self._conversion.results[Y]
            return self._conversion.outward(self._last_step(), letters, letters)

    def evaluate(self, x: Any, t: Any, data_format: str = "", *, out: Any = None) -> tuple[float, NDArray[Any]]:
        """(mean loss, outputs with B first and C last) of any number of observations in prediction mode.

        `out` is as for `predict`.
        """
        return self.calls.evaluate(x, t, data_format, out)

    def stream(self, stream: Any) -> AbstractContextManager[None]:
        """Runs this network's work on the caller's CUDA stream: `with compiled.stream(torch.cuda.current_stream()): …`.

        Outside it the network has a stream of its own, which the default stream waits for and which waits for it.

        Args:
            stream: anything with `__cuda_stream__` or `cuda_stream`, or a stream's address.

        Raises:
            TargetError: the target has no streams.
        """
        return self._backend.stream(stream)

    # ---- state ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> NetworkState:
        """Everything that this network is made from and has learned, copied."""
        with self._backend.lock:
            values, numbers = self._persistent.values, self.hyperparameters
            solver = {
                f"{array}/{name}": of_parameter.read(name)
                for array, of_parameter in self._persistent.solver_state.items()
                for name in of_parameter.shapes
            }
            learned = {name: values.read(name) for name in values.shapes} | self.parameters.statistics
            alone = {"bucket_size": 0, "synchronize_batch_normalization": False}  # who loads it has ranks of his own
            options = replace(self.options, **alone)
            return NetworkState(self.network, options, numbers.values(), numbers.steps, learned, solver)

    @staticmethod
    def of_state(state: NetworkState) -> Compiled:
        """The network of a state, compiled again, or taken from the cache."""
        numbers: dict[str, Any] = {**state.hyperparameters}
        hyperparameters = Hyperparameters(state.options.solver, steps=state.steps, **numbers)
        compiled = Compiled(state.network, state.options, hyperparameters)
        compiled._learn(state)
        return compiled

    def __reduce__(self) -> tuple[Any, tuple[NetworkState]]:
        return Compiled.of_state, (self.state,)

    def save(self, directory: str | Path) -> None:
        """Writes the network, its parameters and the solver's state to a folder; `gncodegen.load` reads them back."""
        saving.write(self.state, directory)

    def export(self, path: str | Path, **choices: Any) -> None:
        """Writes the network as a file that others read; docs/exchange.md lists the formats and their options.

        Args:
            path: its ending says the format: "net.onnx".
            choices: options of the format.

        Raises:
            OptionsError: there is no such format or option.
            NetworkError: the format cannot hold the network; `issues` names every layer.
            SaveError: the file cannot be written.
        """
        from gncodegen.exchange.exporting import export  # noqa: PLC0415  used here only

        export(self, path, **choices)

    def restore(self, directory: str | Path) -> None:
        """Takes over the values, the solver's state and the numbers that `save` wrote of a network like this one.

        Raises:
            NetworkError: the folder holds none, or one with other parameters.
            ArrayError: a parameter has another shape.
        """
        state = loading.read(directory, {})
        self._learn(state)
        self.hyperparameters.steps = state.steps
        self.hyperparameters.update(state.hyperparameters)

    def _learn(self, state: NetworkState) -> None:
        if missing := sorted(self.parameters.keys() - state.values.keys()):
            issue = f"no values are saved of {', '.join(missing)}; allowed: those of all parameters; save it again"
            raise NetworkError([issue])
        self.parameters.update(state.values)
        for key, value in state.solver.items():
            array, _, name = key.partition("/")
            kept = self._persistent.solver_state.get(array)  # no loss scale is of another type
            if kept is not None and name in kept.shapes:  # nothing is of prediction only
                kept.write(name, value)


def _of(kind: str, arrays: Mapping[str, Any] | None) -> dict[Key, Any]:
    """The caller's arrays by argument, given those of one kind by name.

    Raises:
        ArrayError: they are no mapping.
    """
    if arrays is not None and not isinstance(arrays, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ArrayError(
            f"out = {shown(arrays)}; allowed: arrays by the names of gradients; write "
            'out={"conv_1.weights": array}, or leave it out'
        )
    return {(kind, name): array for name, array in (arrays or {}).items()}
