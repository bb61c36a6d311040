"""Predictions of all observations of a file, block by block, by one process or several, into one file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gncodegen.cli.data import mapped, unwritable
from gncodegen.errors import ArrayError, OptionsError
from gncodegen.parallel.collective import ALONE, Collective, raise_together, share

BLOCK_BYTES = 4 << 20
"""About how much input is predicted at once: a kill loses so much."""

_FACTS_BYTES = 4096


class Predictor(Protocol):
    """What is asked of a network."""

    def predict(self, x: Any, /) -> Any:
        """The outputs of some observations."""
        ...


@dataclass(frozen=True)
class _Files:
    """The file of outputs while it is not whole: beside it lies what is done, after facts that it holds for.

    Args:
        output: where the outputs are to be.
        facts: what they follow from.
        blocks: how many there are.
    """

    output: Path
    facts: Mapping[str, Any]
    blocks: int

    @property
    def part(self) -> Path:
        """The outputs so far."""
        return self.output.with_name(f"{self.output.name}.part")

    @property
    def progress(self) -> Path:
        """Facts, and a byte for each block: 1 = it is done."""
        return self.output.with_name(f"{self.output.name}.progress")

    def prepare(self, shape: tuple[int, ...], dtype: Any) -> None:
        """Makes both files, if they are not there of a run before."""
        head = json.dumps(self.facts).encode().ljust(_FACTS_BYTES)
        if len(head) > _FACTS_BYTES:
            raise OptionsError(f"--output {str(self.output)!r}: names too long to keep; allowed: shorter paths")
        if self.part.exists() and self.progress.exists() and self.progress.read_bytes()[:_FACTS_BYTES] == head:
            return
        self.progress.unlink(missing_ok=True)
        np.lib.format.open_memmap(self.part, "w+", dtype, shape).flush()
        self.progress.write_bytes(head + bytes(self.blocks))

    def done(self) -> NDArray[np.uint8]:
        """One number for each block."""
        return np.frombuffer(self.progress.read_bytes()[_FACTS_BYTES:], np.uint8)

    def finish(self) -> None:
        """The outputs take their place."""
        self.part.replace(self.output)
        self.progress.unlink()


def predict_file(
    net: Predictor,
    x: str,
    output: str,
    *,
    collective: Collective = ALONE,
    identity: Any = None,
    block: int = 0,
) -> tuple[int, int]:
    """Writes the outputs of all observations of a .npy file to another; goes on where a run before was ended.

    Args:
        net: predicts; the bits of an observation do not depend on those beside it.
        x: the file of observations (N, …); only what is predicted is read.
        output: the file of outputs (N, …), there when all are done. Beside it lie `.part` and `.progress` till then.
        collective: the ranks that share the blocks; all see the same files.
        identity: of the network, as JSON takes it: outputs of another one are made anew.
        block: observations at once; 0 = about `BLOCK_BYTES`.

    Returns:
        How many blocks there are, and how many of them were done before.

    Raises:
        ArrayError: x is no such file, or does not fit the network.
        OptionsError: the output cannot be written.
        RankError: another rank has failed.
    """
    array = mapped(x)
    if not array.ndim or not len(array):
        raise ArrayError(f"X = {x!r} holds {list(array.shape)}; allowed: (N, …) with N > 0; give observations")
    block = block or max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    first = np.asarray(net.predict(array[:1]))
    if len(first) != 1:
        raise ArrayError(f"outputs of one observation are {list(first.shape)}; allowed: axis orders that begin with B")
    status, blocks = Path(x).stat(), -(-len(array) // block)
    facts = {
        "x": str(Path(x).resolve()), "bytes": status.st_size, "changed": status.st_mtime_ns, "block": block,
        "identity": identity,
    }  # fmt: skip
    files, error = _Files(Path(output), facts, blocks), None
    try:
        if collective.rank == 0:
            files.prepare((len(array), *first.shape[1:]), first.dtype)
    except OSError as found:
        error = unwritable(output, found)
    raise_together(error, collective)
    waiting = np.flatnonzero(files.done() == 0)
    before = blocks - len(waiting)
    raise_together(None, collective)  # all have read what is done, before anyone does more
    try:
        _predict(net, array, files, waiting[share(len(waiting), collective)], first[0].nbytes)
    except OSError as found:
        error = unwritable(output, found)
    except Exception as found:
        error = found
    raise_together(error, collective)
    try:
        if collective.rank == 0:
            files.finish()
    except OSError as found:
        error = unwritable(output, found)
    raise_together(error, collective)
    return blocks, before


def _predict(net: Predictor, x: NDArray[Any], files: _Files, blocks: NDArray[Any], size: int) -> None:
    """Predicts some blocks; `size` are the bytes of an observation's outputs."""
    block, begin = files.facts["block"], files.part.stat().st_size - size * len(x)
    # Not mapped: several machines that share a file may each write their own bytes, not parts of a page.
    with files.part.open("r+b", buffering=0) as part, files.progress.open("r+b", buffering=0) as progress:
        for number in map(int, blocks):
            y = np.ascontiguousarray(net.predict(x[number * block : (number + 1) * block]))
            _write(part.fileno(), y.tobytes(), begin + number * block * size)
            os.fsync(part.fileno())
            _write(progress.fileno(), b"\1", _FACTS_BYTES + number)


def _write(file: int, content: bytes, place: int) -> None:
    """All of it: one call writes as much as a full disk still takes, and only the next one is an error."""
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, place)
        rest, place = rest[written:], place + written


def identity_of(folder: str, choices: Mapping[str, Any]) -> list[Any]:
    """What tells a saved network, loaded with these options, from others: its record names arrays by their content."""
    record = (Path(folder) / "network.json").read_bytes()
    return [hashlib.sha256(record).hexdigest(), sorted(map(str, choices.items()))]
