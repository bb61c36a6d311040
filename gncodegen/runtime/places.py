"""Where results go: to memory of their own, or to the caller's arrays, by the kernels themselves where they can."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gncodegen.allocation import ALIGNMENT, address_of
from gncodegen.errors import ArrayError
from gncodegen.kernels.program import Program
from gncodegen.runtime.backend import Backend, Key
from gncodegen.runtime.conversion import ArrayConversion
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.pool import ALIGNED_FROM
from gncodegen.runtime.rows import Array
from gncodegen.runtime.sequences import Lengths


@dataclass
class Results:
    """Results of a call.

    Args:
        arrays: what kernels write.
        views: callers' arrays in the kernels' axis order, to which results are copied at the end.
        given: the same arrays, and those that kernels write themselves, as they were given.
        lengths: as Given.lengths.
    """

    arrays: Mapping[Key, Any]
    views: Mapping[Key, Any]
    given: Mapping[Key, Any]
    lengths: Lengths


class Places:
    """Makes the arrays of one network's results.

    Args:
        backend: where it runs.
        conversion: its axis orders.
    """

    def __init__(self, backend: Backend, conversion: ArrayConversion) -> None:
        self._backend, self._conversion = backend, conversion

    def results(
        self,
        program: Program,
        wanted: Mapping[Key, str],
        read: Sequence[Array],
        data_format: str,
        given: Mapping[Key, Any],
        lengths: Lengths,
    ) -> Results:
        """Arrays for results: the caller's where kernels can write them, else others where the inputs are.

        Args:
            program: what computes them.
            wanted: argument → its axes; "" where there are no observations among them.
            read: what kernels read; the first array is of an input.
            data_format: axis order of the caller's arrays.
            given: the caller's arrays, by argument.
            lengths: as Given.lengths.

        Raises:
            ArrayError: an array of the caller's is for no result, or does not fit it.
        """
        like = read[0]
        arrays: dict[Key, Any] = {}
        views: dict[Key, Any] = {}
        for key, letters in wanted.items():
            buffer = program.buffers[program.arguments[key]]
            shape = (like.shape[0], *buffer.shape[1:]) if letters else buffer.shape
            if key in given:
                what = f"out for {key[1]!r}"
                view = self._conversion.destination(given[key], letters, data_format, shape, buffer.dtype, what)
                if _writable(view, read):
                    arrays[key] = view.reshape(*shape)
                    continue
                views[key] = view
            arrays[key] = self._backend.empty(shape, buffer.dtype, like)
        if unknown := given.keys() - wanted.keys():
            names = ", ".join(repr(name) for _, name in unknown)
            known = ", ".join(repr(name) for _, name in wanted)
            raise ArrayError(f"out: arrays for {names}; allowed: for {known}; correct the names")
        return Results(arrays, views, given, lengths)

    def outward(self, results: Results, wanted: Mapping[Key, str], data_format: str) -> list[Any]:
        """Results as the caller sees them, in his arrays where he gave some."""
        for key, view in results.views.items():
            view[...] = results.arrays[key].reshape(view.shape)
        found = {
            key: results.given[key]
            if key in results.given
            else self._conversion.outward(results.arrays[key], letters, data_format)
            for key, letters in wanted.items()
        }
        cut, lengths = self._conversion.cut, results.lengths
        return [cut(key, array, wanted[key], data_format, lengths) for key, array in found.items()]

    def given(self, out: Any) -> dict[Key, Any]:
        """The caller's arrays for the network's outputs, by argument: one, or a tuple of several; None = there is none.

        Raises:
            ArrayError: they are not as many as the outputs.
        """
        wanted = self._conversion.results
        arrays = () if out is None else out if isinstance(out, tuple) else (out,)
        if arrays and len(arrays) != len(wanted):
            raise ArrayError(f"out: {len(arrays)} arrays; allowed: one for each of {len(wanted)} outputs; give as many")
        return dict(zip(wanted, arrays, strict=False))

    def outputs(self, results: Results, data_format: str) -> Any:
        """The network's outputs as the caller sees them; a tuple where there are several."""
        found = tuple(self.outward(results, self._conversion.results, data_format))
        return found[0] if len(found) == 1 else found

    def gradients(self, results: Results, data_format: str) -> dict[str, Any]:
        """The gradients among results by name, those of inputs in the caller's axis order."""
        wanted = {key: self._conversion.letters(key) for key in results.arrays if key[0] == "gradient"}
        found = self.outward(results, wanted, data_format)
        return {name: value for (_, name), value in zip(wanted, found, strict=True)}


def _writable(array: Array, read: Iterable[Array]) -> bool:
    """Whether kernels can write a result where a caller's array lies; `read` is what they read meanwhile."""
    if isinstance(array, DeviceArray):
        return True
    placed = array.nbytes < ALIGNED_FROM or address_of(array) % ALIGNMENT == 0
    apart = (not isinstance(other, np.ndarray) or not np.may_share_memory(array, other) for other in read)
    return array.flags.c_contiguous and placed and all(apart)
