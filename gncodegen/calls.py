"""Calls of a compiled network: arrays taken in, functions run, batch by batch or whole, results handed out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.batching import batches
from gncodegen.direct import SMALL, DirectCall
from gncodegen.errors import CompileError
from gncodegen.kernels.program import OUTPUT_KINDS
from gncodegen.layers.network import Network
from gncodegen.lowering import Lowered
from gncodegen.options import CompileOptions
from gncodegen.runtime.backend import Backend
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.runtime.executor import Executor
from gncodegen.runtime.places import Places, Results
from gncodegen.runtime.rows import Given, Key, Rows, seen

T, Y, LOSS = ("target", "t"), ("output", "y"), ("loss", "loss")
"""Arguments of Programs: (kind, name)."""


class Calls:
    """The calls of one network.

    Args:
        network: checked and connected.
        options: of the compilation.
        backend: where it runs.
        conversion: its arrays.
        lowered: as Functions.lowered.
    """

    def __init__(
        self,
        network: Network,
        options: CompileOptions,
        backend: Backend,
        conversion: ArrayConversion,
        lowered: Callable[..., Lowered],
    ) -> None:
        self._network, self._options, self._backend = network, options, backend
        self._conversion, self._lowered = conversion, lowered
        self.places = Places(backend, conversion)

    def in_batches(
        self,
        x: tuple[Any, ...],
        data_format: str,
        wanted: Mapping[Key, str],
        activations: tuple[str, ...],
        out: Mapping[Key, Any],
    ) -> list[NDArray[Any]]:
        """Some results of prediction, batch by batch; of a last, shorter one the kernels do the tiles it needs.

        Args:
            x: one array per input.
            data_format: their axis order.
            wanted: argument → its axes.
            activations: layers whose outputs are results too.
            out: the caller's arrays for all results, or none, by argument.
        """
        inputs = self._conversion.inward(x, data_format)
        normalized = tuple(self._conversion.normalizations(inputs))
        lowered = self._lowered("predict", activations=activations, normalized=normalized)
        results = self.places.results(
            lowered.program, wanted, [each.array for each in inputs.values()], data_format, out,
            self._conversion.lengths(inputs),
        )  # fmt: skip

        def predicting(count: int) -> Lowered:
            """What does so many: the whole batch's program where it can do a part, else one of the same kernels."""
            if lowered.program.rows(count) == count:
                return lowered
            return self._lowered("predict", count, activations, normalized)

        for count, arguments in batches(self._options.batch_size, inputs, results.arrays):
            predicting(count).runner.run(arguments, count)
        return self.places.outward(results, wanted, data_format)

    def direct(self, data_format: str, function: str = "predict") -> DirectCall | None:
        """The short way for arrays of this axis order, where there is one.

        Args:
            data_format: of the caller's arrays.
            function: "loss", or one whose result is the network's output.
        """
        facts = self._conversion.direct(data_format)
        if facts is None:
            return None
        x, observation, y, letters = facts
        dtype = np.dtype(self._options.array_dtype)
        lowered = self._lowered(function)
        result = LOSS if function == "loss" else y
        buffer = lowered.program.buffers[lowered.program.arguments[result]]
        if function != "loss" and buffer.dtype != self._options.array_dtype:
            return None
        shape, kept = None if function == "loss" else seen(letters, buffer.shape), None
        if isinstance(lowered.runner, Executor) and buffer.bytes <= SMALL:
            kept = lowered.runner.result(result)
            kept = kept if shape is None else kept.reshape(len(kept), *shape)
        program, runner, backend, kind = lowered.program, lowered.runner, self._backend, np.dtype(buffer.dtype)
        return DirectCall(
            program, runner, backend.lock, backend.empty, x, result, observation, dtype, shape, kind, kept
        )

    def once(
        self,
        function: str,
        x: Any,
        t: Any,
        data_format: str,
        activations: tuple[str, ...] = (),
        out: Mapping[Key, Any] | None = None,
    ) -> Results:
        """All results of one run over the whole of x; `out` has the caller's arrays for some, by argument."""
        if self._network.output_layer is None:
            allowed = "networks that end in a ClassificationLayer or RegressionLayer; append one"
            raise CompileError(f"{function}: the network has no output layer; allowed: {allowed}")
        given = self._conversion.whole((x,), data_format)
        targets = self._conversion.targets(t, given.observations, given.lengths)
        return self.whole(function, given, {T: targets}, data_format, activations, out)

    def whole(
        self,
        function: str,
        inputs: Given,
        others: Mapping[Key, Any],
        data_format: str,
        activations: tuple[str, ...] = (),
        out: Mapping[Key, Any] | None = None,
    ) -> Results:
        """All results of one run over these inputs and other arguments, which have one batch; `out` as for `once`."""
        lowered = self._lowered(function, inputs.observations, activations, inputs.normalized)
        arrays = {**inputs.arrays, **others}
        kinds = [key for key in lowered.program.arguments if key[0] in OUTPUT_KINDS]
        wanted = {key: self._conversion.letters(key) for key in kinds}
        read = list(arrays.values())
        results = self.places.results(lowered.program, wanted, read, data_format, out or {}, inputs.lengths)
        lowered.runner.run({**arrays, **results.arrays})
        self._conversion.scale(results.arrays, inputs.normalizations)
        return results

    def evaluate(self, x: Any, t: Any, data_format: str, out: Any) -> tuple[float, NDArray[Any]]:
        """(mean loss, outputs) of prediction, batch by batch; the arguments are those of Compiled.evaluate."""
        inputs, size = self._conversion.inward((x,), data_format), self._options.batch_size
        count, total = self._conversion.count(inputs), 0.0
        like, lengths = next(iter(inputs.values())).array, self._conversion.lengths(inputs)
        read = {**inputs, T: Rows(self._conversion.targets(t, count, lengths), np.dtype(self._options.array_dtype))}
        letters = self._conversion.results[Y]
        normalized = tuple(self._conversion.normalizations(inputs))
        program = self._lowered("evaluate", min(size, count), normalized=normalized).program
        results = self.places.results(
            program, {Y: letters}, [each.array for each in read.values()], letters, {} if out is None else {Y: out},
            lengths,
        )  # fmt: skip
        for found, arguments in batches(size, read, results.arrays):
            loss = self._backend.empty((), "float64", like)
            self._lowered("evaluate", found, normalized=normalized).runner.run({**arguments, LOSS: loss})
            total += float(loss) * found
        return total / count, self.places.outward(results, {Y: letters}, letters)[0]
