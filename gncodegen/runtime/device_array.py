"""Arrays that lie in a GPU's memory: taken from other libraries without a copy, and given to them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.errors import ArrayError
from gncodegen.targets.device import Device


class DeviceArray:
    """A dense, row-major array in device memory.

    Other libraries read it without a copy: through `__dlpack__` (`torch.from_dlpack(y)`, `jax.dlpack`) or
    `__cuda_array_interface__` (CuPy, Numba). `y.numpy()` copies it to the host; `float(y)` does for one number.

    Args:
        device: whose memory it is.
        address: of its first element.
        shape: extents.
        dtype: element type.
        owner: kept as long as this is: the allocation, or another library's array.
    """

    def __init__(self, device: Device, address: int, shape: tuple[int, ...], dtype: DTypeLike, owner: Any) -> None:
        self._device, self.address, self.owner = device, address, owner
        self.shape, self.dtype = shape, np.dtype(dtype)

    @staticmethod
    def empty(device: Device, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceArray:
        """An array of fresh memory, its values undefined."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        allocation = device.allocate({"array": size})
        return DeviceArray(device, allocation.addresses["array"], shape, dtype, allocation)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> DeviceArray:
        """Some rows in a run, as a view: `y[8:16]`."""
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ArrayError(f"a device array is cut into runs of rows; given: step {step}; write y.numpy()[…]")
        row = self.nbytes // max(len(self), 1)
        shape = (max(stop - start, 0), *self.shape[1:])
        return DeviceArray(self._device, self.address + start * row, shape, self.dtype, self.owner)

    def __setitem__(self, rows: slice, value: Any) -> None:
        """Copies another device array's elements to some rows in a run."""
        place = self[rows]
        self._device.copy(value.address, place.address, place.nbytes)

    def reshape(self, *shape: int) -> DeviceArray:
        """The same elements with other extents, as a view."""
        return DeviceArray(self._device, self.address, shape, self.dtype, self.owner)

    def numpy(self) -> NDArray[Any]:
        """A copy on the host, after all work before."""
        array = np.empty(self.shape, self.dtype)
        if array.size:
            self._device.download(self.address, array)
        return array

    def __float__(self) -> float:
        return float(self.numpy())

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Version 3: shape, element type, address, and the stream that it is ready on."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": self._device.stream_handle,
            "version": 3,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, self._device.number)

    def __dlpack__(self, *, stream: int | None = None, **options: Any) -> Any:
        return self._device.export(self.address, self.shape, self.dtype, self, stream, **options)

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, address={self.address:#x})"
