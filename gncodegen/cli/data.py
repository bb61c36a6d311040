"""Data files of the command line: arrays in .npy and .npz files, tables in .csv files, folders of images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gncodegen.errors import ArrayError, OptionsError, TargetError

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
"""Endings of the files that a folder of images is read for."""

WORDS = (
    "x.npy y.npy; a .npz file with x and y; a .csv file, the target in its last column; a folder with one folder of "
    "images for each class"
)
"""What a training takes, for messages and the command line."""


def observations(path: str) -> Any:
    """What a network is run on: an array, or a mapping of names to arrays.

    Args:
        path: a .npy or .npz file, a .csv file of numbers, an image, or a folder of images and of folders with
            images, in the order of their paths.

    Raises:
        ArrayError: it is none of them; says why.
        TargetError: images need a package that is not installed.
    """
    place = Path(path)
    if place.is_dir():
        return _images(_image_files(place), place)
    if not place.is_file():
        raise ArrayError(
            f"X = {path!r} is not a file; allowed: a .npy or .npz file of observations, a .csv file, images; check the "
            "path"
        )
    if place.suffix.lower() in IMAGES:
        return _images([place], place)
    if place.suffix.lower() == ".csv":
        return _numbers(_table(place), place)
    return _arrays(path)


def samples(paths: Sequence[str]) -> tuple[Any, Any]:
    """Observations and targets of a training.

    Args:
        paths: as WORDS says.

    Raises:
        ArrayError: they are something else; says why.
        TargetError: images need a package that is not installed.
    """
    place = Path(paths[0])
    if len(paths) == 2:
        return observations(paths[0]), _arrays(paths[1])
    if len(paths) == 1 and place.is_dir():
        return _labelled_images(place)
    if len(paths) == 1 and place.suffix.lower() == ".csv":
        rows = _table(place)
        return _numbers([row[:-1] for row in rows], place), _labels([row[-1] for row in rows])
    if len(paths) == 1 and place.suffix.lower() == ".npz":
        found = _arrays(paths[0])
        if isinstance(found, Mapping) and {"x", "y"} <= {*found}:
            return found["x"], found["y"]
        raise ArrayError(f"DATA = {paths[0]!r} holds {', '.join(found)}; allowed: arrays with the names x and y")
    raise ArrayError(f"DATA = {' '.join(paths)!r}; allowed: {WORDS}")


def mapped(path: str) -> NDArray[Any]:
    """The array of a .npy file, of which only what is asked for is read.

    Raises:
        ArrayError: it is none; says why.
    """
    if not Path(path).is_file() or Path(path).suffix.lower() != ".npy":
        raise ArrayError(f"X = {path!r}; allowed with --ranks: a .npy file; write it with numpy.save")
    return _arrays(path, read=False)


def unwritable(path: str, error: OSError) -> OptionsError:
    """Why a file of outputs cannot be."""
    return OptionsError(
        f"--output {path!r} cannot be written: {error.strerror}; allowed: a file in a folder that is there, with room; "
        "make the folder"
    )


def _arrays(path: str, read: bool = True) -> Any:
    """The array of a .npy file, or a mapping of names to the arrays of a .npz file."""
    try:
        # Mapped, not read: the header of a damaged file may ask for any size.
        found = np.load(path, allow_pickle=False, mmap_mode="r")
        if isinstance(found, np.ndarray):
            return np.array(found) if read else found
        if not found.files:
            raise ValueError("it holds no array")
        return {name: found[name] for name in found.files}
    except (ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, MemoryError, BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if "allow_pickle" in reason or "Python objects" in reason:  # NumPy says so of any file that it does not know
            reason = "it is no array file, or holds Python objects"
        raise ArrayError(
            f"X = {path!r}: {reason}; allowed: a .npy or .npz file of numbers; write it with numpy.save or numpy.savez"
        ) from error


# ---- tables ------------------------------------------------------------------------------------------------------


def _table(path: Path) -> list[list[str]]:
    """The cells of a .csv file, without a first line of names."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ArrayError(f"{str(path)!r}: {reason}; allowed: a .csv file in UTF-8; check the path") from error
    if rows and not any(map(_is_number, rows[0])):
        del rows[0]
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ArrayError(
                f"{str(path)!r}: row {number} of the data has {len(row)} cells, the first {len(rows[0])}; allowed: as "
                "many in each"
            )
    if not rows:
        raise ArrayError(f"{str(path)!r} holds no row of data; allowed: a row for each observation")
    return rows


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(rows: Sequence[Sequence[str]], path: Path) -> NDArray[np.float32]:
    """Cells as numbers."""
    for number, row in enumerate(rows, 1):
        for column, cell in enumerate(row, 1):
            if not _is_number(cell):
                raise ArrayError(
                    f"{str(path)!r}: {cell!r} in row {number} of the data, column {column}; allowed: numbers; give "
                    "classes in the last column, and numbers for words"
                )
    return np.array(rows, np.float32)


def _labels(cells: Sequence[str]) -> NDArray[Any]:
    """Targets: whole numbers, numbers or words, whatever all of them are."""
    readers: tuple[Callable[[str], Any], ...] = (int, float)
    for read in readers:
        try:
            return np.array([read(cell) for cell in cells])
        except (ValueError, OverflowError):
            continue
    return np.array([cell.strip() for cell in cells])


# ---- images ------------------------------------------------------------------------------------------------------


def _labelled_images(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """The images of a folder of folders, and the names of those as their classes."""
    files = [each for each in _image_files(folder) if each.parent != folder]
    return _images(files, folder), np.array([each.relative_to(folder).parts[0] for each in files])


def _image_files(folder: Path) -> list[Path]:
    """The images of a folder and of those in it, in the order of their paths, without hidden ones."""
    found = (each.relative_to(folder) for each in folder.rglob("*") if each.suffix.lower() in IMAGES)
    return [folder / each for each in sorted(found) if not any(part.startswith(".") for part in each.parts)]


def _images(files: Sequence[Path], place: Path) -> NDArray[np.uint8]:
    """Images of one size: (N, height, width, 3), or 1 where all are grey."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise TargetError(
            "images need Pillow, which is not installed; allowed without it: .npy, .npz and .csv files; run "
            "`pip install pillow`"
        ) from error
    if not files:
        raise ArrayError(
            f"{str(place)!r} holds no image; allowed: files that end in {', '.join(IMAGES)}, for a "
            "training in a folder for each class"
        )
    found: list[NDArray[np.uint8]] = []
    for file in files:
        try:
            with Image.open(file) as image:
                grey = image.mode in ("1", "L")
                found.append(np.atleast_3d(np.asarray(image.convert("L" if grey else "RGB"), np.uint8)))
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ArrayError(f"{str(file)!r} is not an image ({error}); allowed: images only; remove it") from error
        if found[-1].shape[:2] != found[0].shape[:2]:
            given, first = ("×".join(map(str, each.shape[:2])) for each in (found[-1], found[0]))
            raise ArrayError(
                f"{str(file)!r} has {given} pixels, {files[0].name!r} {first}; allowed: one size, that of the input "
                "layer; resize or crop them"
            )
    depth = max(each.shape[2] for each in found)
    return np.stack([np.broadcast_to(each, (*each.shape[:2], depth)) for each in found])
