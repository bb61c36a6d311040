"""Where arrays come in and go out: checked, in the type and axis order that kernels read, and back in the caller's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.network import Network, Node, argument_name, result_name
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.layers.tensors import TensorInputLayer, is_one_number
from gncodegen.process.forks import kept
from gncodegen.runtime.arrays import as_array, batch, check_batch, one_hot
from gncodegen.runtime.device_array import DeviceArray
from gncodegen.runtime.input_normalization import InputNormalization, input_normalization
from gncodegen.runtime.rows import Array, Given, Key, Rows, seen, with_observations
from gncodegen.runtime.sequences import Lengths, SequenceArrays, as_batch, is_listed, sequences_of


@dataclass(frozen=True)
class _Port:
    """One input in one axis order.

    Args:
        node: the input layer.
        letters: its axes, channel last.
        order: those of the caller's arrays.
        inner: those that kernels read.
        shape: of an observation as kernels read it.
        plain: whether an array of that shape and type is read as it is.
    """

    node: Node
    letters: str
    order: str
    inner: str
    shape: tuple[int, ...]
    plain: bool


class ArrayConversion:
    """The arrays of one network.

    Args:
        network: checked and connected.
        dtype: what kernels read.
        data_format: the caller's axis order where a call names none; "" = that of the network.
        import_device_array: an array of a GPU, read where it is, or None; its second argument names it in messages.
        statistics: of input layers, in float64, by key: host arrays of a type that `dtype` cannot hold are normalized
            with them before they are converted; None = kernels normalize them.
    """

    def __init__(
        self,
        network: Network,
        dtype: str,
        data_format: str,
        import_device_array: Callable[[Any, str], DeviceArray | None],
        statistics: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        self._statistics = statistics or {}
        self._network, self._dtype, self._format = network, np.dtype(dtype), data_format
        self._import_device_array = import_device_array
        # Inside a call arrays have the batch axis first, so that a part of a batch is contiguous.
        self.axes = "B" + data_format.replace("B", "") if data_format else ""
        # Arrays without an axis of observations are one observation.
        self._single = not network.batched
        self._sequences = SequenceArrays(network)
        self._outputs = {result_name(network, network[name]): name for name in network.outputs}
        self._inputs: dict[Key, Node] = {("input", argument_name(network, node)): node for node in network.inputs}
        self._ports: dict[tuple[Key, str], _Port] = {}
        self.results: dict[Key, str] = {
            ("output", result_name(network, node)): self._letters(node)
            for node in map(network.__getitem__, network.outputs)
        }

    def _letters(self, node: Node) -> str:
        """The axes of a layer's output; scores of a classification are rows, also behind 1×1 positions.

        Observations of one number without an axis have the axis of observations alone.
        """
        if is_one_number(node.layer):
            return "B"
        one = node.size.count == node.size.channels if "C" in node.size.format else False
        classifies = one and isinstance(self._network.output_layer, ClassificationLayer)
        return "BC" if classifies and node is self._network.output else "B" + node.size.format

    def inward(self, given: tuple[Any, ...], data_format: str) -> dict[Key, Rows]:
        """The observations by argument, checked.

        Args:
            given: one array per input, or one mapping of input layers' names to arrays. N observations each; on a GPU
                they must have the type and axis order that kernels read.
            data_format: their axis order; "" = that of the compilation.

        Raises:
            ArrayError: they do not fit the input layers.
        """
        if len(self._inputs) > 1 and len(given) == 1 and isinstance(given[0], (tuple, list)):
            given = tuple(given[0])
        if len(given) == 1 and isinstance(given[0], Mapping):
            given = self._by_name(given[0])
        if len(given) != len(self._inputs):
            names = ", ".join(repr(node.name) for node in self._inputs.values())
            raise ArrayError(
                f"{len(given)} arrays for the inputs {names}; allowed: one for each of {len(self._inputs)}, in this "
                "order, or a mapping by name; give as many"
            )
        pairs = zip(self._inputs, given, strict=True)
        rows = {key: self._input(key, array, data_format) for key, array in pairs}
        if len(rows) > 1 and len({len(each) for each in rows.values()}) > 1:
            counts = ", ".join(f"{len(each)} of {self._inputs[key].name!r}" for key, each in rows.items())
            raise ArrayError(f"{counts}; allowed: as many observations of each input; give as many")
        if self._network.masks:
            masks = self._sequences.masks(self.lengths(rows), len(next(iter(rows.values()))), self._dtype)
            rows |= {("mask", name): Rows(mask, self._dtype) for name, mask in masks.items()}
        if any(isinstance(each.array, DeviceArray) for each in rows.values()):
            return {key: Rows(each.array, self._dtype) for key, each in rows.items()}  # results lie on the GPU
        return rows

    def _by_name(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        names = [node.name for node in self._inputs.values()]
        if set(given) != set(names):
            raise ArrayError(
                f"arrays for {', '.join(map(repr, given))}; allowed: one for each of {', '.join(map(repr, names))}; "
                "correct the names"
            )
        return tuple(given[name] for name in names)

    def _input(self, key: Key, x: Any, data_format: str) -> Rows:
        """The observations of one input."""
        if data_format is not None and not isinstance(data_format, str):  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison]
            axis_order(data_format, "B" + self._inputs[key].size.format)  # says what is allowed
        port = self._ports.get((key, data_format))
        if port is None:
            port = self._ports[key, data_format] = self._port(key, data_format)
        if port.plain and type(x) is np.ndarray and x.dtype == self._dtype and x.shape[1:] == port.shape:
            return Rows(x, self._dtype)  # as below, in less time
        node, letters, order, inner = port.node, port.letters, port.order, port.inner
        normalization = getattr(node.layer, "normalization", None)
        lengths, sequences = None, sequences_of(x, node, order)
        if sequences is not None:
            order = "B" + order.replace("B", "")
            x, lengths = as_batch(sequences, node, order, self._dtype)
        imported = self._import_device_array(x, f"{node.label}: x")
        if imported is not None:
            check_batch(imported.shape, node.size.shape, letters, order, node.label)
            if order != inner or imported.dtype != self._dtype or callable(normalization):
                raise ArrayError(
                    f"{node.label}: x lies on a GPU as {imported.dtype} in the order {order!r}; allowed: {self._dtype} "
                    f"in the order {inner!r}, without a normalization of your own; convert it, compile with "
                    f"data_format={order!r}, or give a NumPy array"
                )
            return Rows(imported, self._dtype)
        if isinstance(node.layer, TensorInputLayer):
            x = with_observations(as_array(x, f"{node.label}: x"), node.layer)
        array = batch(x, node.size.shape, letters, order, node.label)
        if callable(normalization):
            array = batch(normalization(array), node.size.shape, letters, order, node.label)
        wide = not np.can_cast(array.dtype, self._dtype) and bool(self._statistics)
        normalization = input_normalization(node, self._statistics, inner) if wide else None
        return Rows(array.transpose(permutation(order, inner)), self._dtype, normalization, lengths)

    def _port(self, key: Key, data_format: str) -> _Port:
        node = self._inputs[key]
        letters = "B" + node.size.format
        order, inner = axis_order(data_format or self._format, letters), axis_order(self.axes, letters)
        own = isinstance(node.layer, TensorInputLayer) or callable(getattr(node.layer, "normalization", None))
        shape = tuple(node.size.shape[axis - 1] for axis in permutation(letters, inner)[1:])
        return _Port(node, letters, order, inner, shape, plain=order == inner and not own)

    def whole(self, given: tuple[Any, ...], data_format: str) -> Given:
        """All observations as kernels read them, of which there is at least one; as `inward` otherwise."""
        rows = self.inward(given, data_format)
        count = self.count(rows)
        arrays = {key: each.part(0, count) for key, each in rows.items()}
        return Given(arrays, count, self.normalizations(rows), self.lengths(rows))

    def normalizations(self, rows: Mapping[Key, Rows]) -> dict[str, InputNormalization]:
        """As Given.normalizations."""
        return {name: each.normalization for (_, name), each in rows.items() if each.normalization is not None}

    def lengths(self, rows: Mapping[Key, Rows]) -> Lengths:
        """As Given.lengths."""
        found = {node.name: rows[key].lengths for key, node in self._inputs.items()}
        return {name: lengths for name, lengths in found.items() if lengths is not None}

    def count(self, rows: Mapping[Key, Rows]) -> int:
        """The number of observations; raises ArrayError where there is none."""
        count = len(next(iter(rows.values())))
        if not count:
            raise ArrayError(
                f"{self._network.input.label}: x holds no observation; allowed: at least one; give more data"
            )
        return count

    def cut(self, key: Key, result: Any, letters: str, data_format: str, lengths: Lengths) -> Any:
        """A result as callers see it, as a list of arrays if it has the steps of listed sequences.

        Args:
            key: its argument.
            result: in the caller's axis order.
            letters: its axes, channel last.
            data_format: the caller's axis order.
            lengths: as Given.lengths.
        """
        if not lengths or "T" not in letters:
            return result
        kind, name = key
        if kind == "output":
            name = self._outputs[name]
        elif kind == "gradient":
            name = self._inputs["input", name.partition("/")[2] or "x"].name
        return self._sequences.cut(result, name, lengths, axis_order(data_format or self._format, letters))

    def direct(self, data_format: str) -> tuple[Key, tuple[int, ...], Key, str] | None:
        """(input, shape of its observations, output, axes of the output), where arrays go in and out as they are.

        None where there are several inputs or outputs, or one of them is in another order than kernels have it.
        """
        if len(self._inputs) > 1 or len(self.results) > 1 or self._single or self._network.masks:
            return None
        ((x, _),), ((y, letters),) = self._inputs.items(), self.results.items()
        port = self._port(x, data_format)
        if not port.plain or self._order(letters, data_format) is not None:
            return None
        return x, port.shape, y, letters

    def letters(self, key: Key) -> str:
        """The axes of an output or a gradient, channel last: "" for a parameter's, and for other results."""
        if key[0] != "gradient":
            return self.results.get(key, "")
        prefix, _, name = key[1].partition("/")
        node = self._inputs.get(("input", name or "x")) if prefix == "input" else None
        return "" if node is None else "B" + node.size.format

    def scale(self, results: Mapping[Key, Any], normalizations: Mapping[str, InputNormalization]) -> None:
        """Makes gradients of normalized inputs those of the inputs as they were given, in place."""
        for name, normalization in normalizations.items():
            gradient = results.get(("gradient", "input" if name == "x" else f"input/{name}"))
            if gradient is not None:
                np.multiply(gradient, normalization.factor, out=gradient, casting="same_kind")

    def outward(self, result: Any, letters: str, data_format: str) -> Any:
        """A result in the caller's axis order; `letters` are its axes, channel last, "" for a parameter."""
        if not letters:
            return result
        if self._single:
            return result[0].reshape(seen(letters, result.shape)) if letters == "B" else result[0]
        result = result.reshape(len(result), *seen(letters, result.shape))
        order = self._order(letters, data_format)
        # Only where the batch axis is first are arrays of a GPU taken, and then both orders are one.
        if order is None or isinstance(result, DeviceArray):
            return result
        return np.ascontiguousarray(result.transpose(order))

    def destination(
        self, out: Any, letters: str, data_format: str, shape: tuple[int, ...], dtype: str, what: str
    ) -> Array:
        """The caller's array for a result, seen in the kernels' axis order.

        Args:
            out: a NumPy array that can be written, or one in the target's memory.
            letters: as for `outward`.
            data_format: as for `outward`.
            shape: of the result as kernels write it.
            dtype: of the result.
            what: how messages name the array.

        Raises:
            ArrayError: it is no such array, or of another shape or type.
        """
        array = self._import_device_array(out, what) or out
        plain = shape if self._single and letters != "B" else (shape[0], *seen(letters, shape))
        order = self._order(letters, data_format) if letters and not self._single else None
        wanted = plain if order is None else tuple(plain[axis] for axis in order)
        wanted = wanted[1:] if letters and self._single else wanted
        known = isinstance(array, (np.ndarray, DeviceArray))
        given = f"{array.dtype} {array.shape}" if known else type(array).__name__
        if not known or array.shape != wanted or array.dtype != dtype:
            raise ArrayError(f"{what} is {given}; allowed: an array of {dtype} {wanted}; give one, or leave it out")
        if isinstance(array, DeviceArray):
            return array
        if not array.flags.writeable:
            raise ArrayError(f"{what} is read-only; allowed: an array that can be written; give another one")
        array = array[None] if letters and self._single else array
        return array if order is None else array.transpose(np.argsort(order))

    def _order(self, letters: str, data_format: str) -> tuple[int, ...] | None:
        """For each axis of the caller's array that of the kernels'; None where both orders are one."""
        inner, outer = axis_order(self.axes, letters), axis_order(data_format or self._format, letters)
        return None if inner == outer else permutation(inner, outer)

    def cotangents(self, given: Any, count: int, data_format: str, lengths: Lengths) -> dict[Key, Any]:
        """The cotangents of the outputs as kernels read them, by argument.

        Args:
            given: one array shaped like the output; of several outputs a tuple.
            count: observations of each.
            data_format: their axis order; "" = that of the compilation.
            lengths: as Given.lengths.

        Raises:
            ArrayError: they do not fit the outputs.
        """
        nodes = [self._network[name] for name in self._network.outputs]
        arrays = tuple(given) if len(nodes) > 1 and isinstance(given, (tuple, list)) else (given,)
        if len(arrays) != len(nodes):
            raise ArrayError(f"{len(arrays)} cotangents; allowed: {len(nodes)}, one for each output; give a tuple")
        found: dict[Key, Any] = {}
        for node, array in zip(nodes, arrays, strict=True):
            letters, what = "B" + node.size.format, f"{node.label}: dy"
            order, inner = axis_order(data_format or self._format, letters), axis_order(self.axes, letters)
            if is_listed(array) and self._sequences.steps(node.name) is not None:
                order = "B" + order.replace("B", "")
                time = order.index("T") - 1
                array = self._sequences.whole(array, node.name, lengths, what, {len(letters) - 1: 0}, time)  # noqa: PLW2901
            shape = tuple((count, *node.size.shape)[axis] for axis in permutation(letters, order))
            imported = self._import_device_array(array, what)
            own: Any = as_array(array, what) if imported is None else imported
            # Outputs are given without axes of extent 1 in some cases.
            if [n for n in own.shape if n != 1] != [n for n in shape if n != 1]:
                raise ArrayError(f"{what} has shape {own.shape}; allowed: {shape}, that of the output; reshape it")
            if imported is None:
                own = np.ascontiguousarray(own.reshape(shape).transpose(permutation(order, inner)), self._dtype)
            elif order != inner or imported.dtype != self._dtype:
                raise ArrayError(f"{what} lies on a GPU as {imported.dtype}; allowed: {self._dtype} in {inner!r}")
            if imported is None and "T" in inner:
                own = self._sequences.cleared(own, node.name, lengths, inner.index("T"))
            found["cotangent", result_name(self._network, node)] = own
        return found

    @kept
    def _target(self) -> tuple[Node, tuple[int, ...], tuple[int, ...], bool]:
        """The output layer, the shape of a target, the axes of a batch as kernels read them, whether steps end."""
        node = self._network.loss
        letters = "B" + node.size.format
        order = permutation(letters, axis_order(self.axes, letters))
        return node, node.size.shape, order, self._sequences.steps(node.inputs[0]) is not None

    def targets(self, t: Any, count: int, lengths: Lengths) -> Any:
        """The targets of `count` observations as kernels read them; `lengths` is as Given.lengths.

        On a GPU, one-hot rows and responses of the type and axis order that kernels read are read where they are; other
        targets, such as class indices, are fetched to the host.

        Raises:
            ArrayError: they do not fit the output layer.
        """
        node, size, order, masks = self._target
        imported = self._import_device_array(t, f"{node.label}: t")
        if imported is not None:
            if imported.dtype == self._dtype and imported.shape == tuple((count, *size)[axis] for axis in order):
                return imported
            t = imported.numpy()
        if isinstance(node.layer, ClassificationLayer):
            label = node.layer.ignore_label
            ignored = None if label is None and not masks else (-1, label)
            ranks = {len(size) - 1: -1, len(size): 0}
            t = self._sequences.whole(t, node.inputs[0], lengths, f"{node.label}: targets", ranks, 0)
            rows = one_hot(t, size, self._dtype, node.label, ignored).transpose(order)
        else:
            time = order.index(1) - 1
            t = self._sequences.whole(t, node.inputs[0], lengths, f"{node.label}: targets", {len(size): 0}, time)
            rows = as_array(t, f"{node.label}: t")
            rows = rows[:, None] if rows.ndim == 1 and size == (1,) else rows
            shape = tuple(("N", *size)[axis] for axis in order)
            if rows.ndim != len(shape) or rows.shape[1:] != shape[1:]:
                raise ArrayError(
                    f"{node.label}: targets of shape {rows.shape}; allowed: {'×'.join(map(str, shape))}, shaped like "
                    "the output; reshape them or change the last layer's outputs"
                )
        if len(rows) != count:
            raise ArrayError(
                f"{node.label}: {len(rows)} targets for {count} observations; allowed: one for each; give as many"
            )
        rows = np.ascontiguousarray(rows, self._dtype)
        return self._sequences.cleared(rows, node.inputs[0], lengths, order.index(1)) if masks else rows
