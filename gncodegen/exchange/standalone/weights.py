"""The file of weights beside a file that stands alone: what it keeps, by which names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

PASSING = ("input", "output", "arena", "constant", "target", "loss", "hyperparameters")
"""Kinds of buffers that no file keeps."""

NORMALIZATION = "normalization"
"""The kind of the float64 numbers that inputs of wide types are normalized by."""


def stored(kind: str, name: str) -> str:
    """The name of a buffer in the file of weights, a solver's with its kind before it; "" of what no file keeps."""
    if kind in PASSING:
        return ""
    return name if kind in ("parameter", "state") else f"{kind}/{name}"


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays by name, in the format of numpy.savez, one keyword of which may be the name of an array."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
