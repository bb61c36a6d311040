"""Arrays in: any array-like becomes a NumPy array of the wanted type and shape, or is refused."""

from __future__ import annotations

import sys
from functools import cache
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gncodegen.errors import ArrayError
from gncodegen.layers.formats import permutation


def numpy_type(dtype: str) -> np.dtype[Any]:
    """The type of an array in NumPy, which has no bfloat16: its bits are uint16."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values as they lie in memory: of bfloat16 the bits, to nearest even."""
    if dtype != "bfloat16":
        return np.asarray(values, dtype)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16).astype(np.uint16)


def loaded(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The values of what lies in memory: float32 of 16 bits, and a copy of other types."""
    if dtype == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype("float32" if dtype == "float16" else dtype)


def is_masked(value: Any) -> bool:
    """Whether some elements are masked, in the sense of NumPy's masked arrays."""
    # NumPy imports them when they are asked for first: where they are not, nobody can have made one.
    return "numpy.ma" in sys.modules and isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value)


def as_array(value: Any, what: str) -> NDArray[Any]:
    """The array behind an array-like: NumPy, a list, a DLPack exporter on the CPU.

    Raises:
        ArrayError: it is ragged, some elements are masked, or they are not real numbers.
    """
    if is_masked(value):
        raise ArrayError(
            f"{what} has masked elements; allowed: a number everywhere; fill them, as with x.filled(0), or drop those "
            "observations"
        )
    if on_gpu(value):
        raise ArrayError(
            f"{what} lies in a GPU's memory; allowed: arrays on the CPU, and on a GPU for calls of a network compiled "
            "with target='cuda'; fetch it, as with x.cpu() or cupy.asnumpy(x)"
        )
    try:
        array = np.from_dlpack(value) if _only_dlpack(value) else np.asarray(value)
    except (ValueError, TypeError, RuntimeError, BufferError) as error:
        raise ArrayError(
            f"{what} is not an array ({error}); allowed: real numbers with one extent per axis, on the CPU; "
            "give a NumPy array"
        ) from error
    if array.dtype.kind == "O" and all(isinstance(element, Real) for element in array.flat):
        return array.astype(np.float64)  # as of a table whose columns could lack numbers, and do not
    if array.dtype.kind not in "biuf":
        cure = _CURES.get(array.dtype.kind, "convert it, as with np.asarray(x, np.float32)")
        raise ArrayError(f"{what} has elements of type {array.dtype}; allowed: real numbers (bool, int, float); {cure}")
    return array


_CURES = {
    "O": "fill in what is missing (None, NA) and convert it, as with np.asarray(x, np.float32)",
    "c": "give real and imaginary parts as channels",
}
"""What to do about elements that are no real numbers, by their kind in NumPy."""


def on_gpu(value: Any) -> bool:
    """Whether an array lies in a GPU's memory."""
    if isinstance(value, (np.ndarray, list, tuple)):
        return False
    placed = getattr(value, "__dlpack_device__", None)
    if placed is not None:
        kind, _ = placed()
        return int(kind) in _GPU
    return hasattr(value, "__cuda_array_interface__")


_GPU = (2, 13)
"""DLPack's device types of CUDA memory: of a GPU, and managed by its driver."""


def _only_dlpack(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray) and not hasattr(value, "__array__")


def batch(value: Any, shape: tuple[int, ...], letters: str, axes: str, what: str) -> NDArray[Any]:
    """A batch of observations, shape and element type checked.

    Args:
        value: N observations; anything `as_array` takes.
        shape: of one observation, channel last.
        letters: its axes with B first, for example "BSSC".
        axes: the axes of `value`, an order of `letters`.
        what: how messages name the array.

    Raises:
        ArrayError: it has another shape, or elements that are not real numbers.
    """
    array = as_array(value, f"{what}: x")
    check_batch(array.shape, shape, letters, axes, what)
    return array


def check_batch(given: tuple[int, ...], shape: tuple[int, ...], letters: str, axes: str, what: str) -> None:
    """Checks the extents of a batch; the arguments are those of `batch`.

    Raises:
        ArrayError: they are others.
    """
    expected, place = _expected(shape, letters, axes)
    fits = given[:place] == expected[:place] and given[place + 1 :] == expected[place + 1 :]
    if not fits or len(given) != len(expected):
        single = tuple(n for n in expected if n != "N") == given
        cure = "add the batch axis, as with x[None]" if single else "reshape it or give its data_format"
        raise ArrayError(f"{what}: x has shape {given}; allowed: {'×'.join(map(str, expected))} ({axes}); {cure}")


@cache
def _expected(shape: tuple[int, ...], letters: str, axes: str) -> tuple[tuple[int | str, ...], int]:
    """The extents of a batch, "N" for that of B, and where that stands."""
    wanted = ("N", *shape)
    expected = tuple(wanted[axis] for axis in permutation(letters, axes))
    return expected, expected.index("N")


def one_hot(
    value: Any, size: tuple[int, ...], dtype: DTypeLike, what: str, ignored: tuple[Any, ...] | None = None
) -> NDArray[Any]:
    """Targets of a classification as rows of K values.

    Args:
        value: class indices 0 … K − 1 of shape (N, *size without K), or one-hot rows (N, *size); extents of 1 may be
            left out.
        size: the network's output size, K last.
        dtype: the type kernels read.
        what: how messages name the output layer.
        ignored: values beside the indices that give rows of zeros; None = there are none.

    Raises:
        ArrayError: another shape, or an index out of range.
    """
    array, count = as_array(value, f"{what}: t"), size[-1]
    given = tuple(n for n in array.shape[1:] if n != 1)
    if array.ndim and array.dtype.kind in "biuf" and given == tuple(n for n in size if n != 1) and array.ndim > 1:
        return np.ascontiguousarray(array.reshape(len(array), *size), dtype)
    if array.ndim == 0 or given != tuple(n for n in size[:-1] if n != 1):
        indices, rows = "×".join(map(str, ("N", *size[:-1]))), "×".join(map(str, ("N", *size)))
        raise ArrayError(
            f"{what}: targets of shape {array.shape}; allowed: {indices} class indices or {rows} one-hot rows; "
            "reshape them"
        )
    indices = array.reshape(len(array), *size[:-1])
    rows = indices[..., None] == np.arange(count)
    if np.count_nonzero(rows) < indices.size:
        numbers = [value for value in ignored or () if isinstance(value, (int, float))]
        faulty = indices[~rows.any(axis=-1) & ~np.isin(indices, numbers)]
        if faulty.size:
            raise ArrayError(
                f"{what}: class index {faulty[0]}; allowed: whole numbers 0 … {count - 1}; subtract 1 from indices "
                "that start at 1, or give the last layer more outputs"
            )
    return rows.astype(dtype)
