"""Programs on disk: a later process that compiles the same network takes the Program from there and needs no IR."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gncodegen.environment import environment
from gncodegen.errors import NetworkError
from gncodegen.kernels.program import Program
from gncodegen.kernels.render import template_digest
from gncodegen.kernels.schedule import Machine
from gncodegen.kernels.store import Source, folder, write_atomically
from gncodegen.layers.network import Network

if TYPE_CHECKING:
    from gncodegen.passes.lower import Lowering


@dataclass(frozen=True)
class Specification:
    """Everything that decides one function's Program; the fields are those of `passes.lower.Lowering`, and one more.

    Args:
        tune: the choices are measured, so the Program is the machine's own; its tag tells them apart on disk.
    """

    network: Network
    function: str
    batch_size: int
    dtype: str
    training: bool
    data_format: str
    machine: Machine
    clip: str = "none"
    activations: tuple[str, ...] = ()
    tune: bool = False
    choices: tuple[str, ...] = ()
    solver: str = "sgdm"

    def lowering(self) -> Lowering:
        """The lowering of this function; imports the IR."""
        from gncodegen.passes.lower import Lowering  # noqa: PLC0415  a Program from disk needs no IR

        return Lowering(
            self.network, self.function, self.batch_size, self.dtype, self.training, self.data_format, self.machine,
            self.clip, self.activations, self.choices, self.solver,
        )  # fmt: skip

    @cached_property
    def key(self) -> str | None:
        """A digest of all of this and of the compiler itself; None where a callable makes the network unique."""
        try:
            network, _ = self.network.to_json()
        except NetworkError:
            return None
        shapes = {name: parameter.shape for name, parameter in self.network.parameters.items()}
        facts = [
            network, shapes, self.function, self.batch_size, self.dtype, self.training, self.data_format,
            asdict(self.machine), self.clip, self.solver, self.activations, self.tune, template_digest(),
            sources_digest("layers", "kernels", "ir", "passes"),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]


@cache
def sources_digest(*parts: str) -> str:
    """A digest of the sources of parts of the compiler: a changed pass or plan makes other Programs."""
    root, digest = Path(__file__).parent, hashlib.sha256()
    for part in parts:
        for path in sorted((root / part).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _path(key: str) -> Path:
    return environment().cache_dir / "programs" / f"{key}.json"


def load_program(specification: Specification, tag: str) -> tuple[Program, list[Source]] | None:
    """The Program kept for a specification, and its kernels' files under a target's tag in order; None if absent."""
    if specification.key is None or not _path(specification.key).exists():
        return None
    try:
        record = json.loads(_path(specification.key).read_text(encoding="utf-8"))
        sources = [Source(folder(tag) / name) for name in record["kernels"].get(tag, ())]
        program = Program.from_dict(record["program"])
    except (ValueError, KeyError, TypeError, OSError):
        return None  # a damaged record is made anew
    return (program, sources) if sources and all(source.path.exists() for source in sources) else None


def store_program(specification: Specification, tag: str, program: Program, sources: Sequence[Source]) -> None:
    """Keeps a Program with the file names of its kernels."""
    if specification.key is not None:
        record = {"program": program.to_dict(), "kernels": {tag: [source.path.name for source in sources]}}
        write_atomically(_path(specification.key), json.dumps(record).encode())
