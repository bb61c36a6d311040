"""Functions that are written as IR: compiled like those of a network, run on arrays by the names of arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.kernels.program import OUTPUT_KINDS, Program
from gncodegen.options import CompileOptions
from gncodegen.passes.pipeline import program_of_text
from gncodegen.runtime.arrays import as_array
from gncodegen.runtime.backend import Backend, Key, PersistentBuffers
from gncodegen.runtime.state import HostValues, Hyperparameters
from gncodegen.targets.registry import row_of


class Handwritten:
    """A compiled function of IR text.

    Args:
        text: one module with one function, at any stage: passes that its ops are past are left out.
        name: of the text, for messages.
        options: target, type and what else a compilation takes.

    Raises:
        CompileError: the text, or a stage, is faulty.
    """

    def __init__(self, text: str, name: str = "<text>", **options: Any) -> None:
        self.options = CompileOptions(**options)
        self._backend: Backend = row_of(self.options.target).open(self.options)
        target = self._backend.target
        self.program: Program = program_of_text(text, self.options, target.machine, name)
        files = target.write(self.program.kernels.values())
        target.compile(files)
        persistent = PersistentBuffers(HostValues({}, self.options.array_dtype), {}, Hyperparameters())
        self._runner = self._backend.runner(
            self.program, dict(zip(self.program.kernels, files, strict=True)), persistent
        )

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arrays that a run takes."""
        return tuple(name for _, name in self._taken)

    @property
    def _taken(self) -> list[Key]:
        return [key for key in self.program.arguments if key[0] not in (*OUTPUT_KINDS, "hyperparameters")]

    def run(self, arrays: Any) -> dict[str, NDArray[Any]]:
        """One run: name of an argument → array in, name of a result → array out.

        Args:
            arrays: by name, shaped as in the text; an array alone where the function takes one.

        Raises:
            ArrayError: one is missing, or has another shape.
        """
        keys = self._taken
        given: Mapping[str, Any] = arrays if isinstance(arrays, Mapping) else {keys[0][1]: arrays} if keys else {}
        if missing := [name for _, name in keys if name not in given]:
            raise ArrayError(
                f"no array for {', '.join(map(repr, missing))}; allowed: one for each of "
                f"{', '.join(self.arguments)}; give them by name, such as numpy.savez writes"
            )
        bound = {key: self._array(key, given[key[1]]) for key in keys}
        with self._backend.lock:
            self._runner.run(bound)
            results = [key for key in self.program.arguments if key[0] in OUTPUT_KINDS]
            found = {name: np.array(self._runner.result((kind, name))) for kind, name in results}
        changed = {name: array for (kind, name), array in bound.items() if kind not in ("input", "mask", "target")}
        return found | (changed if self.program.changes_parameters else {})

    def _array(self, key: Key, value: Any) -> NDArray[Any]:
        buffer = self.program.buffers[self.program.arguments[key]]
        array = as_array(value, key[1])
        if array.shape != buffer.shape:
            raise ArrayError(f"{key[1]} has shape {array.shape}; allowed: {buffer.shape}, as in the IR; reshape it")
        return np.array(array, buffer.dtype, order="C")
