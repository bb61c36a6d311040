"""`python -m gncodegen.emulator kernel.ptx --grid 4 --block 128 x.npy empty:float32:512 2.5` runs a PTX file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gncodegen.emulator.isa.executable import Executable
from gncodegen.emulator.launch import run
from gncodegen.emulator.state.memory import DeviceMemory
from gncodegen.errors import EmulationFault

_DESCRIPTION = "Runs a kernel of a PTX file on the CPU, every thread of the grid, with the checks a GPU does not make."
_ARGUMENTS = """one for each kernel parameter, in order: FILE.npy (an array, whose address is passed), empty:DTYPE:SHAPE
(an array that nothing wrote yet, such as empty:float32:16x16), zeros:DTYPE:SHAPE, or a number"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0, 1 for a fault of the kernel, 2 for a wrong command line."""
    options = _parser().parse_intermixed_args(arguments)
    memory = DeviceMemory()
    try:
        arrays = {place: _array(text) for place, text in enumerate(options.arguments) if not _is_number(text)}
        ptx = options.ptx.read_text(encoding="utf-8")
    except (OSError, ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        module = Executable(ptx, options.entry)
        names = [one.name for one in module.parameters]
        labels = {place: names[place] if place < len(names) else f"argument {place}" for place in arrays}
        addresses = {place: memory.allocate(array.nbytes, labels[place]) for place, (array, _) in arrays.items()}
        for place, (array, written) in arrays.items():
            if written:
                memory.write(addresses[place], array)
        passed = [addresses[i] if i in addresses else _number(text) for i, text in enumerate(options.arguments)]
        statistics = run(
            module, grid=options.grid, block=options.block, arguments=passed, memory=memory, cluster=options.cluster,
            cooperative=options.cooperative, dynamic_shared=options.shared, checks=not options.no_checks,
            agreeing=options.agreeing, leaving=options.leaving,
        )  # fmt: skip
    except EmulationFault as fault:
        print(f"fault: {fault}", file=sys.stderr)
        return 1
    print(f"{module.entry}: no fault; {statistics.lanes} threads, {statistics.instructions} instructions")
    for place, (array, _) in arrays.items():
        found = memory.read(addresses[place], array.shape, array.dtype)
        print(f"{labels[place]}: {np.array2string(found, threshold=8)}")
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            np.save(options.out / f"{labels[place]}.npy", found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gncodegen.emulator", description=_DESCRIPTION)
    parser.add_argument("ptx", type=Path, help="PTX 7 to 9 text")
    parser.add_argument("arguments", nargs="*", help=_ARGUMENTS)
    parser.add_argument("--grid", type=_extents, required=True, help="blocks, such as 8 or 4x2")
    parser.add_argument("--block", type=_extents, required=True, help="threads a block, such as 128 or 16x16")
    parser.add_argument("--cluster", type=int, default=1, help="blocks a cluster")
    parser.add_argument("--cooperative", action="store_true", help="all blocks are resident at once")
    parser.add_argument("--shared", type=int, default=0, help="bytes of dynamic shared memory a block")
    parser.add_argument("--entry", default="", help="name of the kernel; by default the file's first")
    parser.add_argument("--no-checks", action="store_true", help="do not look for races and uninitialised reads")
    parser.add_argument("--agreeing", action="store_true", help="threads may store one value to one place at once")
    parser.add_argument("--leaving", action="store_true", help="threads may end before a barrier of others")
    parser.add_argument("--out", type=Path, help="folder for the arrays after the run, NAME.npy by parameter")
    return parser


def _extents(text: str) -> list[int]:
    """The extents along x, y and z."""
    return [int(extent) for extent in text.split("x")]


def _array(text: str) -> tuple[npt.NDArray[Any], bool]:
    """The array an argument names, and whether its values are given."""
    if text.endswith(".npy"):
        return np.load(text), True
    kind, _, rest = text.partition(":")
    dtype, _, shape = rest.partition(":")
    if kind not in {"empty", "zeros"} or not shape:
        raise ValueError(f"argument {text!r} is no number; allowed: FILE.npy, empty:DTYPE:SHAPE, zeros:DTYPE:SHAPE")
    return np.zeros([int(size) for size in shape.split("x")], np.dtype(dtype)), kind == "zeros"


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> int | float:
    try:
        return int(text, 0)
    except ValueError:
        return float(text)


if __name__ == "__main__":
    sys.exit(main())
