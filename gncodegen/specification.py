"""Everything that decides what one function of a network becomes; its digest is the key of the function's Program."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path

from gncodegen.errors import NetworkError
from gncodegen.kernels.schedule import Machine
from gncodegen.kernels.templates import template_digest
from gncodegen.layers.network import Network
from gncodegen.options import CompileOptions
from gncodegen.process.forks import kept


@dataclass(frozen=True)
class Specification:
    """One function of a network, for one machine; equal specifications give equal IR and equal Programs.

    Args:
        network: checked and connected.
        function: one of ir.build.FUNCTIONS, such as "predict" or "train_step".
        options: of the compilation, with the batch size and the axis order of this function.
        machine: what kernels are chosen for.
        activations: layers whose outputs are returned too.
        choices: as Select.choices.
        observations: of a run; 0 = the batch size, which kernels are tuned for.
    """

    network: Network
    function: str
    options: CompileOptions = field(default_factory=CompileOptions)
    machine: Machine = field(default_factory=Machine)
    activations: Sequence[str] = ()
    choices: tuple[str, ...] = ()
    observations: int = 0

    @property
    def alone(self) -> Specification:
        """The same with kernels tuned for the observations of a run."""
        options = replace(self.options, batch_size=self.observations or self.options.batch_size)
        return replace(self, options=options, choices=(), observations=0)

    @kept
    def key(self) -> str | None:
        """A digest of all of this and of the compiler itself; None where a callable makes the network unique."""
        try:
            network, _ = self.network.to_json()
        except NetworkError:
            return None
        # A parameter without a value yet is null, one with a value stands among the arrays: both have one Program.
        network["layers"] = [{n: v for n, v in each.items() if v is not None} for each in network["layers"]]
        shapes = {name: parameter.shape for name, parameter in self.network.parameters.items()}
        facts = [
            network, shapes, self.function, self.options.deciding, asdict(self.machine), self.activations,
            self.observations, template_digest(), sources_digest("layers", "kernels", "ir", "passes"),
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
