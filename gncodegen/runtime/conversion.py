"""Where arrays come in and go out: checked, in the type and axis order that kernels read, and back in the caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import axis_order, permutation
from gncodegen.layers.network import Network
from gncodegen.layers.outputs import ClassificationLayer
from gncodegen.runtime.arrays import as_array, batch, check_batch, one_hot
from gncodegen.runtime.device_array import DeviceArray


class ArrayConversion:
    """The arrays of one network.

    Args:
        network: checked and connected.
        dtype: what kernels read.
        data_format: the caller's axis order where a call names none.
        import_device_array: an array of a GPU, read where it is, or None; its second argument names it in messages.
    """

    def __init__(
        self,
        network: Network,
        dtype: str,
        data_format: str,
        import_device_array: Callable[[Any, str], DeviceArray | None],
    ) -> None:
        self._network, self._dtype, self._format, self._import_device_array = (
            network,
            dtype,
            data_format,
            import_device_array,
        )
        self.input_letters = "B" + network.input.size.format
        # Inside a call arrays have the batch axis first, so that a part of a batch is contiguous.
        self.axes = "B" + data_format.replace("B", "")
        # Scores of a classification are rows, also behind 1×1 positions.
        classifies = isinstance(network.output_layer, ClassificationLayer)
        self.output_letters = "BC" if classifies else "B" + network.output.size.format

    def inward(self, x: Any, data_format: str) -> Any:
        """The observations as kernels read them: x itself where it already is.

        Args:
            x: N observations; on a GPU they must have the type and axis order that kernels read.
            data_format: their axis order; "" = that of the compilation.

        Raises:
            ArrayError: they do not fit the input layer.
        """
        node = self._network.input
        order = axis_order(data_format or self._format, self.input_letters)
        inner = axis_order(self.axes, self.input_letters)
        normalization = getattr(node.layer, "normalization", None)
        imported = self._import_device_array(x, f"{node.label}: x")
        if imported is not None:
            check_batch(imported.shape, node.size.shape, self.input_letters, order, node.label)
            if order != inner or imported.dtype != self._dtype or callable(normalization):
                raise ArrayError(
                    f"{node.label}: x lies on a GPU as {imported.dtype} in the order {order!r}; allowed: {self._dtype} "
                    f"in the order {inner!r}, without a normalization of your own; convert it, compile with "
                    f"data_format={order!r}, or give a NumPy array"
                )
            return imported
        array = batch(x, node.size.shape, self.input_letters, order, node.label)
        if callable(normalization):
            array = batch(normalization(array), node.size.shape, self.input_letters, order, node.label)
        return np.ascontiguousarray(_reordered(array, order, inner), self._dtype)

    def count(self, array: NDArray[Any] | DeviceArray) -> int:
        """The number of observations; raises ArrayError where there is none."""
        if not len(array):
            raise ArrayError(
                f"{self._network.input.label}: x holds no observation; allowed: at least one; give more data"
            )
        return len(array)

    def outward(self, result: Any, letters: str, data_format: str) -> Any:
        """A result in the caller's axis order; `letters` are its axes, channel last."""
        inner = axis_order(self.axes, letters)
        outer = axis_order(data_format or self._format, letters)
        result = result.reshape(len(result), result.shape[-1]) if letters == "BC" else result
        # Only where the batch axis is first are arrays of a GPU taken, and then both orders are one.
        return result if isinstance(result, DeviceArray) else _reordered(result, inner, outer)

    def targets(self, t: Any, count: int) -> Any:
        """The targets of `count` observations as kernels read them.

        On a GPU, one-hot rows and responses of the type and axis order that kernels read are read where they are; other
        targets, such as class indices, are fetched to the host.

        Raises:
            ArrayError: they do not fit the output layer.
        """
        node = next(node for node in self._network.nodes if node.layer.is_output)
        size, letters = node.size.shape, "B" + node.size.format
        order = permutation(letters, axis_order(self.axes, letters))
        imported = self._import_device_array(t, f"{node.label}: t")
        if imported is not None:
            if imported.dtype == self._dtype and imported.shape == tuple((count, *size)[axis] for axis in order):
                return imported
            t = imported.numpy()
        if isinstance(node.layer, ClassificationLayer):
            rows = one_hot(t, size, self._dtype, node.label).transpose(order)
        else:
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
        return np.ascontiguousarray(rows, self._dtype)


def _reordered(array: NDArray[Any], given: str, wanted: str) -> NDArray[Any]:
    """The array with its axes in another order; itself where the order is the same."""
    return array if given == wanted else np.ascontiguousarray(array.transpose(permutation(given, wanted)))
